"""The section `data`."""

from typing import Annotated, Literal, get_args

from mixkd.config.fields import PATH, PIXELS, PLACE, Count, Flag, Name, Section, takes


class DataConfig(Section):
    """A data set, its split and its views. Sizes in pixels."""

    source: Literal["digits", "cifar10", "cifar100", "imagefolder", "imagenet"]
    name: Name
    root: Annotated[str | None, PLACE, PATH, takes("a folder")]
    download: Annotated[Flag, PLACE]
    resident: Annotated[Flag, PLACE]
    workers: Annotated[
        int | None, PLACE, takes("a whole number from 0 to 256, or null", ge=0, le=256)
    ]
    size: Annotated[int | None, PIXELS]
    resize: Annotated[int | None, PIXELS]
    pad: Annotated[int, takes("a whole number of pixels, 0 to 512", ge=0, le=512)]
    flip: Flag
    holdout: Annotated[float, takes("a number above 0 and below 1", gt=0, lt=1)]
    split_seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]
    selection: Literal["holdout", "test"]
    limit_train: Annotated[Count | None, takes("a whole number, 1 or more, or null")]
    limit_test: Annotated[Count | None, takes("a whole number, 1 or more, or null")]
    batch_size: Annotated[int, takes("a whole number, 2 or more", ge=2)]
    eval_batch_size: Annotated[Count, PLACE]
    cache_dir: Annotated[str, PLACE, PATH, takes("a directory")]


class CorruptedDataConfig(DataConfig):
    """Corrupted test images: one corruption at one severity."""

    source: Literal["cifar10_c", "cifar100_c", "imagenet_c"]  # type: ignore[assignment]
    corruption: Annotated[Name, takes("the name of a corruption, such as fog")]
    severity: Annotated[int, takes("a whole number from 1 to 5", ge=1, le=5)]


class NamedDataConfig(Section):
    """Data of which only the name is known."""

    name: Name


CORRUPTED = get_args(CorruptedDataConfig.model_fields["source"].annotation)
SOURCES = (*get_args(DataConfig.model_fields["source"].annotation), *CORRUPTED)
ON_DISK = ("imagefolder", "imagenet", "imagenet_c")  # data that may stay there
