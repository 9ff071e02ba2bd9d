"""The section `data`."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from mixkd.config.fields import (
    DATASET,
    LIMIT,
    PATH,
    PIXELS,
    PLACE,
    SPLIT,
    VIEW,
    Count,
    CountOrNull,
    Flag,
    Name,
    NumpySeed,
    Part,
    Section,
    takes,
)
from mixkd.config.sources import CORRUPTED, FILES, SOURCES, CleanName, CorruptedName
from mixkd.errors import Problem, nearest


class DataConfig(Section):
    """A data set, its split and its views. Sizes in pixels."""

    source: Annotated[CleanName, DATASET]
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
    holdout: Annotated[Part, SPLIT]
    split_seed: Annotated[NumpySeed, SPLIT]
    selection: Annotated[Literal["holdout", "test"], SPLIT]
    limit_train: Annotated[CountOrNull, LIMIT]
    limit_test: Annotated[CountOrNull, LIMIT]
    batch_size: Annotated[int, takes("a whole number, 2 or more", ge=2)]
    eval_batch_size: Annotated[Count, PLACE]
    cache_dir: Annotated[str, PLACE, PATH, takes("a directory")]

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what does not go together: where images are, and what is made of them."""
        source, root = raw.get("source"), raw.get("root") or None
        if not isinstance(source, str) or source not in SOURCES:
            if source != "run":  # which stands for the data of a run
                close = nearest(str(source), SOURCES)
                yield Problem("source", f"got {source!r}; takes {', '.join(SOURCES)}{close}")
            return
        if source in CORRUPTED and raw.get("corruption") is None:
            yield Problem("corruption", "got null; takes the name of a corruption, such as fog")
        has_root = SOURCES[source].has_root
        if not has_root and root is not None:
            text = f"got {root!r} with data={source}; take data=imagefolder for a folder"
            yield Problem("root", text)
        elif has_root and root is None:
            yield Problem("root", "got null; takes the folder that holds train/ and test/")
        size, resize, resident = raw.get("size"), raw.get("resize"), raw.get("resident")
        if resident is False and source not in (*FILES, *CORRUPTED):
            yield Problem("resident", f"got false; {source} lives in memory, and takes true")
        if resident is True and source in CORRUPTED and source not in FILES:
            yield Problem("resident", f"got true; {source} is read in place, and takes false")
        if resident is False and source in FILES and size is None:
            text = "images that stay on disk are all resized: takes a number of pixels"
            yield Problem("size", f"got null; {text}")
        if isinstance(resize, int) and size is None:
            text = f"got {resize} without data.size, the views' side after it; takes both"
            yield Problem("resize", text)
        elif isinstance(resize, int) and isinstance(size, int) and resize < size:
            yield Problem("resize", f"got {resize}; takes at least data.size, {size}")


class CorruptedDataConfig(DataConfig):
    """Corrupted test images: one corruption at one severity."""

    source: Annotated[CorruptedName, DATASET]
    corruption: Annotated[Name, takes("the name of a corruption, such as fog")]
    severity: Annotated[int, takes("a whole number from 1 to 5", ge=1, le=5)]


class NamedDataConfig(Section):
    """Data of which only the name is known."""

    name: Name
