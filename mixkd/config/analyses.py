"""The sections of what `mixkd evaluate` measures beside calibration."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from mixkd.config.data import CORRUPTED
from mixkd.config.fields import (
    PATH,
    PLACE,
    Count,
    Flag,
    Name,
    Section,
    Splits,
    each_once,
    takes,
    value_of,
)
from mixkd.data.corruption_names import PAPER, STANDARD
from mixkd.errors import Problem, nearest


class AnalysisConfig(Section):
    """The keys of an analysis."""

    asks_others: ClassVar[str] = ""  # what about, where it asks teachers and baselines as well

    enabled: Flag

    @classmethod
    def contradictions(cls, keys: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what no single key can know, where the analysis is asked for.

        Args:
            keys: its own, of any type.
            raw: the whole configuration.
        """
        yield from ()


class VicinalConfig(AnalysisConfig):
    """Vicinal analysis: how networks answer between pairs of images."""

    asks_others = "between images"

    splits: Splits
    n_pairs: Count
    lambdas: Annotated[int, takes("a whole number from 3 to 1001", ge=3, le=1001)]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]
    pairs: Annotated[str | None, PATH, takes("a .npz file of pairs, or null")]


class CorruptionsConfig(AnalysisConfig):
    """The test images, corrupted: which corruptions and severities, made here or published."""

    asks_others = "corrupted ones"

    source: Literal["made", "cifar10_c", "cifar100_c", "imagenet_c"]
    root: Annotated[str | None, PLACE, PATH, takes("a folder, or null")]
    names: Annotated[
        Literal["paper", "all"]
        | Annotated[list[Name], Field(min_length=1), AfterValidator(each_once)],
        takes("paper, all, or a list of names such as fog, each once"),
    ]
    severities: Annotated[
        list[Annotated[int, Field(ge=1, le=5)]],
        AfterValidator(each_once),
        takes("a list of whole numbers from 1 to 5", min_length=1),
    ]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the corruptions."""
        match self.names:
            case "paper":
                return PAPER
            case "all":
                return STANDARD
            case _:
                return tuple(self.names)

    @classmethod
    def contradictions(cls, keys: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield names, roots and sizes that do not go with the source, and images that are so."""
        names, source = keys.get("names"), keys.get("source")
        if value_of(raw, "data.source") in CORRUPTED:
            yield Problem("corruptions", "got true on data that are corrupted already")
        for name in names if isinstance(names, list) and source == "made" else ():
            if isinstance(name, str) and name not in STANDARD:
                text = f"got {name!r}; takes paper, all, or some of {', '.join(STANDARD)}"
                yield Problem("corruptions.names", f"{text}{nearest(name, STANDARD)}")
        if keys.get("root") is not None and source == "made":
            yield Problem("corruptions.root", "got a folder; corruptions.source=made reads none")
        if source == "imagenet_c" and keys.get("root") is None:
            yield Problem("corruptions.root", "got null; takes the folder of ImageNet-C")
        elif source == "imagenet_c" and value_of(raw, "data.size") is None:
            yield Problem("data.size", "got null; imagenet_c takes a number of pixels")


class FeaturesConfig(AnalysisConfig):
    """Penultimate features of test images: t-SNE, clusters and their V-measure."""

    classes: Annotated[
        Annotated[list[str], Field(min_length=2), AfterValidator(each_once)] | None,
        takes("a list of two or more class names, or null"),
    ]
    n_images: Annotated[int, takes("a whole number, 5 or more", ge=5)]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]


SECTIONS: dict[str, type[AnalysisConfig]] = {
    "vicinal": VicinalConfig,
    "corruptions": CorruptionsConfig,
    "features": FeaturesConfig,
}


def analysis_names() -> tuple[str, ...]:
    """Return the names of all analyses, in order."""
    return tuple(SECTIONS)


def section_of_analysis(name: str) -> type[AnalysisConfig]:
    """Return the section of an analysis by its name."""
    return SECTIONS[name]
