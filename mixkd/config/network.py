"""The sections `network`, `student` and `teacher`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from mixkd.config.fields import (
    ARCHITECTURE,
    CONTENT,
    PATH,
    PIXELS,
    PLACE,
    REPEAT,
    START,
    BelowOne,
    Channels,
    Count,
    File,
    Flag,
    Positive,
    RunDir,
    Section,
    takes,
    value_of,
)
from mixkd.errors import Problem


class HeadConfig(Section):
    """The paper's bottleneck head."""

    units: Count
    dropout: BelowOne


class NetworkConfig(Section):
    """A network: a timm name or a factory, its weights, its own normalisation."""

    name: Annotated[str | None, ARCHITECTURE, takes("the name of a timm model")]
    factory: Annotated[str | None, ARCHITECTURE, takes("a dotted path, package.module.function")]
    args: Annotated[dict[str, Any] | None, ARCHITECTURE, takes("keyword arguments, {key: value}")]
    pretrained: Annotated[
        bool | File | None, CONTENT, START, takes("true, false, a file of weights, or null")
    ]
    head: Annotated[HeadConfig | None, ARCHITECTURE]
    weights: Annotated[
        File | None, CONTENT, REPEAT, takes("a file of weights, pretrained, or null")
    ]
    run: Annotated[RunDir | None, PLACE, takes("the directory of a finished run, or null")]
    export: Annotated[
        str | None,
        PLACE,
        PATH,
        takes("a folder of `mixkd export`, hf_hub:USER/NAME[@REVISION], or null"),
    ]
    mean: Annotated[Channels | None, ARCHITECTURE, takes("three numbers, or null")]
    std: Annotated[
        Annotated[list[Positive], Field(min_length=3, max_length=3)] | None,
        ARCHITECTURE,
        takes("three numbers above 0, or null"),
    ]
    input_size: Annotated[int | None, ARCHITECTURE, PIXELS]

    @property
    def starts_pretrained(self) -> bool:
        """Whether its backbone is pretrained and its head is new."""
        return bool(self.pretrained) and self.weights is None

    @property
    def label(self) -> str:
        """The network's name in run names, tables and figures."""
        if self.name is not None:
            return self.name.partition(".")[0]  # without timm's tag
        return (self.factory or "network").rpartition(".")[2]


def is_given(network: Any) -> bool:
    """Return whether a section, or its values of any type, chooses a network."""
    keys = ("name", "factory", "run", "export", "weights")
    is_section = isinstance(network, NetworkConfig)
    return is_section or any(value_of(network, key) is not None for key in keys)


def none_if_not_given(network: Any) -> Any:
    """Return None for a section that chooses no network."""
    return None if isinstance(network, Mapping) and not is_given(network) else network


def network_mistakes(key: str, network: Any, task: str) -> Iterator[Problem]:
    """Yield what a section lacks: a network, or where it has to be trained already its weights."""
    if not isinstance(network, Mapping):
        return
    whole = network.get("run") or network.get("export")
    name, trained = network.get("name"), whole or network.get("weights")
    if not (name or network.get("factory") or whole):
        yield Problem(
            key,
            f"none chosen; take {key}=NAME (`mixkd list networks`), {key}.run=DIR "
            f"or {key}.factory=package.module.function"
            + (f", beside {key}.weights" if trained else ""),
        )
    elif key == "teacher" and not trained:
        yield Problem(
            "teacher",
            f"{name or network.get('factory')} has no weights trained on these classes; take "
            "teacher.run=DIR (a finished `mixkd finetune`) or teacher.weights=FILE",
        )
    # A bare factory may bring its own weights; pretrained ones get a new, random head.
    elif task == "evaluate" and name and not trained:
        yield Problem(
            key,
            f"{name} has no trained weights; take network.run=DIR or network.weights=FILE "
            "(network.weights=pretrained on ImageNet)",
        )


Precision = Literal["float32", "bf16"]


class TeacherConfig(NetworkConfig):
    """A network that is queried, in its own precision; null: the student's."""

    auto: Annotated[Flag, PLACE]
    precision: Annotated[Precision | None, takes("float32, bf16, or null")]
    tape: Annotated[str | None, PLACE, PATH, takes("a folder, or null")]
    tape_precision: Literal["float16", "float32"]
    tape_gb: Annotated[Positive, PLACE]
