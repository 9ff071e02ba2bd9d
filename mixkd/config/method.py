"""The sections `method` and `stream`: what is learned, on which images."""

from typing import Annotated, Literal

from mixkd.config.fields import (
    REPEAT,
    Flag,
    Fraction,
    NonNegative,
    Positive,
    Section,
    Seed,
    takes,
)


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


class LabelMethodConfig(Section):
    """A method that learns from labels only; it mixes images where `mix` is given."""

    name: Literal["erm", "mixup"]
    label_smoothing: Annotated[float, takes("a number in [0, 1)", ge=0, lt=1)]
    mix: MixConfig | None


class TeacherMethodConfig(Section):
    """A method that learns a teacher's answers: alpha * CE + beta * KL, eq. 2 and 9."""

    name: Literal["kd", "kd_mixup"]
    mix: MixConfig | None
    alpha: NonNegative
    beta: NonNegative
    t_squared: Flag
