"""The sections `method` and `stream`: what is learned, on which images."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from mixkd.config.fields import (
    REPEAT,
    Flag,
    Fraction,
    NonNegative,
    Positive,
    Section,
    Seed,
    Share,
    takes,
)
from mixkd.errors import Problem, shortened


class StreamConfig(Section):
    """Where the vicinal stream starts."""

    seed: Annotated[Seed | None, REPEAT, takes("a whole number, 0 or more, or null")]


class MixConfig(Section):
    """How two images become one."""

    lam: Annotated[
        Literal["uniform", "beta"] | Fraction, takes("uniform, beta, or a number in [0, 1]")
    ]
    a: Positive
    per: Literal["sample", "batch"]
    kind: Literal["mixup", "cutmix"]


class MethodConfig(Section):
    """What is learned; images are mixed where `mix` is given."""

    command: ClassVar[str]  # whose method it is

    name: str
    mix: MixConfig | None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of the methods."""
        return get_args(cls.model_fields["name"].annotation)

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a method of another command, and one that does not mix as its name says."""
        name, mix = raw.get("name"), raw.get("mix")
        if name not in cls.names():
            takes = " or ".join(cls.names())
            yield Problem("", f"got {name}; `mixkd {cls.command}` takes {takes}")
        elif (name in ("erm", "kd")) != (mix is None):
            yield Problem("", f"{name} with mix={shortened(str(mix))}; take another method")


class LabelMethodConfig(MethodConfig):
    """A method that learns from labels only."""

    command = "finetune"

    name: Literal["erm", "mixup"]
    label_smoothing: Share


class TeacherMethodConfig(MethodConfig):
    """A method that learns a teacher's answers: alpha * CE + beta * KL, eq. 2 and 9."""

    command = "distill"

    name: Literal["kd", "kd_mixup"]
    alpha: NonNegative
    beta: NonNegative
    t_squared: Flag

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a loss of nothing as well."""
        yield from super().mistakes(raw)
        if raw.get("alpha") == 0 == raw.get("beta"):
            yield Problem("beta", "got 0 with alpha=0, which leaves nothing to learn")
