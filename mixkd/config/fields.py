"""What every section of the schema is made of: kinds of values, what they take, marks of keys."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# Marks a field that cannot change a result: it is left out of the experiment's hash.
PLACE = "place"
# Marks text that names a file or a folder: there `~` is the user's home.
PATH = "path"


def existing_file(path: str) -> str:
    """Return the path of a file that is there; ValueError where none is."""
    if not os.path.isfile(path):  # which a name too long for the system is not, without an error
        raise ValueError("no such file")
    return path


def existing_run(path: str) -> str:
    """Return the path of a run directory; ValueError where none is."""
    if not os.path.isfile(Path(path) / "config.yaml"):
        raise ValueError("no run there: a run directory holds a config.yaml")
    return path


def each_once(names: list[Any]) -> list[Any]:
    """Return a list whose values are distinct; ValueError where they are not."""
    if len(set(names)) < len(names):
        raise ValueError("takes each once")
    return names


def takes(text: str, **constraints: Any) -> Any:
    """Return a pydantic field described by what it takes; the text is part of error messages."""
    return Field(description=text, **constraints)


Fraction = Annotated[float, takes("a number in [0, 1]", ge=0, le=1)]
Positive = Annotated[float, takes("a number above 0", gt=0)]
NonNegative = Annotated[float, takes("a number, 0 or more", ge=0)]
Count = Annotated[int, takes("a whole number, 1 or more", ge=1)]
Epochs = Annotated[int, takes("a whole number from 1 to 100000", ge=1, le=100_000)]
Seed = Annotated[int, takes("a whole number from 0 to 2**63 - 1", ge=0, le=2**63 - 1)]
Flag = Annotated[bool, takes("true or false")]
File = Annotated[str, PATH, AfterValidator(existing_file), takes("a file")]
Weights = Annotated[
    str, PATH, AfterValidator(lambda path: path if path == "pretrained" else existing_file(path))
]
HubName = Annotated[str, takes("hf_hub:USER/NAME", pattern=r"^hf_hub:[\w.-]+/[\w.-]+$")]
RunDir = Annotated[
    str, PATH, AfterValidator(existing_run), takes("the directory of a finished run")
]
Name = Annotated[str, takes("letters, digits, _, - and .", pattern=r"^\w[\w.-]*$")]
Channels = Annotated[list[float], takes("three numbers", min_length=3, max_length=3)]


class Section(BaseModel):
    """Part of a configuration: strict types, no unknown keys, no change after validation."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def places(section: type[Section]) -> Iterator[str]:
    """Yield the keys of a section that cannot change a result."""
    return (key for key, field in section.model_fields.items() if PLACE in field.metadata)


MOST_SIDE = 4096
PIXELS = takes(f"a whole number of pixels from 8 to {MOST_SIDE}, or null", ge=8, le=MOST_SIDE)


Splits = Annotated[
    list[Literal["train", "val", "test"]],
    AfterValidator(each_once),
    takes("a list of train, val, test", min_length=1),
]
