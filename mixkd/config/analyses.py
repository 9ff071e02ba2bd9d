"""The sections of what `mixkd evaluate` measures beside calibration."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mixkd.config.fields import PATH, PLACE, Count, Flag, Name, Section, Splits, each_once, takes
from mixkd.data.corruption_names import PAPER, STANDARD


class VicinalConfig(Section):
    """Vicinal analysis: how networks answer between pairs of images."""

    enabled: Flag
    splits: Splits
    n_pairs: Count
    lambdas: Annotated[int, takes("a whole number from 3 to 1001", ge=3, le=1001)]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]
    pairs: Annotated[str | None, PATH, takes("a .npz file of pairs, or null")]


class CorruptionsConfig(Section):
    """The test images, corrupted: which corruptions and severities, made here or published."""

    enabled: Flag
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


class FeaturesConfig(Section):
    """Penultimate features of test images: t-SNE, clusters and their V-measure."""

    enabled: Flag
    classes: Annotated[
        Annotated[list[str], Field(min_length=2), AfterValidator(each_once)] | None,
        takes("a list of two or more class names, or null"),
    ]
    n_images: Annotated[int, takes("a whole number, 5 or more", ge=5)]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]
