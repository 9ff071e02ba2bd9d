"""The section `data`."""

from typing import Annotated, Literal, get_args

from mixkd.config.fields import (
    DATASET,
    LIMIT,
    PATH,
    PIXELS,
    PLACE,
    SPLIT,
    VIEW,
    Count,
    Flag,
    Name,
    Section,
    takes,
)


class DataConfig(Section):
    """A data set, its split and its views. Sizes in pixels."""

    source: Annotated[Literal["digits", "cifar10", "cifar100", "imagefolder", "imagenet"], DATASET]
    name: Annotated[Name, DATASET]
    root: Annotated[str | None, PLACE, PATH, takes("a folder")]
    download: Annotated[Flag, PLACE]
    resident: Annotated[Flag, PLACE]
    workers: Annotated[
        int | None, PLACE, takes("a whole number from 0 to 256, or null", ge=0, le=256)
    ]
    size: Annotated[int | None, DATASET, VIEW, PIXELS]
    resize: Annotated[int | None, VIEW, PIXELS]
    pad: Annotated[int, VIEW, takes("a whole number of pixels, 0 to 512", ge=0, le=512)]
    flip: Annotated[Flag, VIEW]
    holdout: Annotated[float, SPLIT, takes("a number above 0 and below 1", gt=0, lt=1)]
    split_seed: Annotated[
        int, SPLIT, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)
    ]
    selection: Annotated[Literal["holdout", "test"], SPLIT]
    limit_train: Annotated[Count | None, LIMIT, takes("a whole number, 1 or more, or null")]
    limit_test: Annotated[Count | None, LIMIT, takes("a whole number, 1 or more, or null")]
    batch_size: Annotated[int, takes("a whole number, 2 or more", ge=2)]
    eval_batch_size: Annotated[Count, PLACE]
    cache_dir: Annotated[str, PLACE, PATH, takes("a directory")]


class CorruptedDataConfig(DataConfig):
    """Corrupted test images: one corruption at one severity."""

    source: Annotated[Literal["cifar10_c", "cifar100_c", "imagenet_c"], DATASET]  # type: ignore[assignment]
    corruption: Annotated[Name, takes("the name of a corruption, such as fog")]
    severity: Annotated[int, takes("a whole number from 1 to 5", ge=1, le=5)]


class NamedDataConfig(Section):
    """Data of which only the name is known."""

    name: Name


CORRUPTED = get_args(CorruptedDataConfig.model_fields["source"].annotation)
SOURCES = (*get_args(DataConfig.model_fields["source"].annotation), *CORRUPTED)
ON_DISK = ("imagefolder", "imagenet", "imagenet_c")  # data that may stay there
