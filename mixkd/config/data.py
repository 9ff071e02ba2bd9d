"""The section `data`."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from pydantic import ValidationError

from mixkd.config.fields import (
    DATASET,
    LIMIT,
    PATH,
    PIXELS,
    PLACE,
    SPLIT,
    VIEW,
    AsBefore,
    Count,
    CountOrNull,
    Flag,
    Name,
    NumpySeed,
    OpenUnitInterval,
    Section,
    takes,
)
from mixkd.config.messages import schema_problems
from mixkd.config.parts import DOTTED
from mixkd.config.shipped import shipped_values
from mixkd.config.sources import CORRUPTED, FILES, GIVEN_BY, SOURCES, CleanName, CorruptedName
from mixkd.errors import Problem, UserError, nearest, shown

# Which data set it is, wherever it lies.
WHICH = ("source", "factory", "dataset", "args")


class DataConfig(Section):
    """A data set, its split and its views. Sizes in pixels."""

    source: Annotated[CleanName, DATASET]
    name: Annotated[Name, DATASET]
    factory: Annotated[str | None, DATASET, AsBefore(None), DOTTED] = None
    dataset: Annotated[
        str | None,
        DATASET,
        AsBefore(None),
        takes("torch/NAME, hfds/NAME or tfds/NAME", pattern="^(torch|hfds|tfds)/."),
    ] = None
    args: Annotated[
        dict[str, Any] | None, DATASET, AsBefore(None), takes("arguments by name, or null")
    ] = None
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
    holdout: Annotated[OpenUnitInterval, SPLIT]
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
        has_root, given_by = SOURCES[source].has_root, GIVEN_BY.get(source, "")
        for key in ("factory", "dataset"):
            if key == given_by and raw.get(key) is None:
                yield Problem(key, f"got null; takes {cls.model_fields[key].description}")
            elif key != given_by and raw.get(key) is not None:
                option = next(name for name, other in GIVEN_BY.items() if other == key)
                text = f"got {shown(raw[key])} with data={source}; it is of data={option}"
                yield Problem(key, text)
        if raw.get("args") and not given_by:
            yield Problem("args", f"got some with data={source}, which takes none; leave them out")
        if not has_root and root is not None:
            text = f"got {root!r} with data={source}; take data=imagefolder for a folder"
            yield Problem("root", text)
        elif has_root and root is None and not given_by:
            yield Problem("root", "got null; takes the folder that holds train/ and test/")
        size, resize, resident = raw.get("size"), raw.get("resize"), raw.get("resident")
        if resident is False and source not in (*FILES, *CORRUPTED, *GIVEN_BY):
            yield Problem("resident", f"got false; {source} lives in memory, and takes true")
        if resident is True and source in CORRUPTED and source not in FILES:
            yield Problem("resident", f"got true; {source} is read in place, and takes false")
        if resident is False and source in (*FILES, *GIVEN_BY) and size is None:
            text = "images that stay on disk are all resized: takes a number of pixels"
            yield Problem("size", f"got null; {text}")
        if isinstance(resize, int) and size is None:
            text = f"got {resize} without data.size, the views' side after it; takes both"
            yield Problem("resize", text)
        elif isinstance(resize, int) and isinstance(size, int) and resize < size:
            yield Problem("resize", f"got {resize}; takes at least data.size, {size}")


def fill_name(raw: dict[str, Any]) -> None:
    """Name data that are brought, where they have no name, by what brings them."""
    source = str(raw.get("source"))
    if raw.get("name") is None and source in GIVEN_BY:
        given = str(raw.get(GIVEN_BY[source]))
        name = given.rpartition(".")[2] if source == "own" else given
        raw["name"] = re.sub(r"[^\w.-]+", "_", name)


class CorruptedDataConfig(DataConfig):
    """Corrupted test images: one corruption at one severity."""

    source: Annotated[CorruptedName, DATASET]
    corruption: Annotated[Name, takes("the name of a corruption, such as fog")]
    severity: Annotated[int, takes("a whole number from 1 to 5", ge=1, le=5)]


class NamedDataConfig(Section):
    """Data of which only the name is known."""

    name: Name


def data_config(name: str, given: Mapping[str, Any], options: Mapping[str, Any]) -> DataConfig:
    """Return the section of a shipped data set, with what is given, and options over its values.

    Raises:
        ValueError: for each option that there is not, or that takes another value.
    """
    schema = CorruptedDataConfig if "corruption" in given else DataConfig
    valid = [key for key in schema.model_fields if key not in WHICH]
    wrong = [
        Problem(key, f"no such option{nearest(key, valid)}; takes {', '.join(valid)}")
        for key in options
        if key not in valid
    ]
    shipped = {**shipped_values("data", name, resolve=False), **given}
    resolved: Any = OmegaConf.to_container(OmegaConf.create({"data": shipped}), resolve=True)
    of_no_run = {key: None if value == "run" else value for key, value in resolved["data"].items()}
    raw = of_no_run | {key: value for key, value in options.items() if key in valid}
    try:
        config = schema.model_validate(raw)
    except ValidationError as error:
        wrong += schema_problems(schema, raw, error)
    if wrong:
        raise UserError(*wrong)
    return config
