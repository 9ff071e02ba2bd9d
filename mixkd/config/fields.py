"""What every section of the schema is made of: kinds of values, what they take, marks of keys."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from mixkd.errors import Problem


@dataclass(frozen=True)
class Mark:
    """What is known of a key, said once, in the annotation of its field; see `keys`, `pruned`."""

    meaning: str


PATH = Mark("text that names a file or a folder: there `~` is the user's home")
PLACE = Mark("where or how fast, never what: it cannot change a result, and names no experiment")
CONTENT = Mark("a path that counts by the sha256 of what it holds, wherever it lies")
ARCHITECTURE = Mark("with the weights it fixes what a network answers, and how fast")
START = Mark("what a network begins from, before it is trained")
DATASET = Mark("which data set, at which size of images: a network is trained for both")
SPLIT = Mark("which images are held out from training, and whether those select")
LIMIT = Mark("how many of a split's images are used")
VIEW = Mark("the pixels that a network sees of an image")
REPEAT = Mark("what the repeats of one setting, its seeds, may differ in")


@dataclass(frozen=True)
class Exists(Mark):
    """Marks the path of a file that has to be there, or of a folder that holds the file `within`.

    Its meaning is what to say where that is missing.
    """

    within: str = ""


FILE = Exists("no such file")
RUN = Exists("no run there: a run directory holds a config.yaml", within="config.yaml")


@dataclass(frozen=True)
class AsBefore:
    """Marks a key that was added later, with the value at which all is as before it was there.

    At that value it does not count in the name of a run, so that older runs keep theirs.
    """

    value: Any


def each_once(names: list[Any]) -> list[Any]:
    """Return a list whose values are distinct; ValueError where they are not."""
    if len(set(names)) < len(names):
        raise ValueError("takes each once")
    return names


def takes(text: str, **constraints: Any) -> Any:
    """Return a pydantic field described by what it takes; the text is part of error messages."""
    return Field(description=text, **constraints)


UnitInterval = Annotated[float, takes("a number in [0, 1]", ge=0, le=1)]
Positive = Annotated[float, takes("a number above 0", gt=0)]
NonNegative = Annotated[float, takes("a number, 0 or more", ge=0)]
BelowOne = Annotated[float, takes("a number in [0, 1)", ge=0, lt=1)]
OpenUnitInterval = Annotated[float, takes("a number above 0 and below 1", gt=0, lt=1)]
Count = Annotated[int, takes("a whole number, 1 or more", ge=1)]
CountOrNull = Annotated[Count | None, takes("a whole number, 1 or more, or null")]
Epochs = Annotated[int, takes("a whole number from 1 to 100000", ge=1, le=100_000)]
Seed = Annotated[int, takes("a whole number from 0 to 2**63 - 1", ge=0, le=2**63 - 1)]
NumpySeed = Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]
Lambdas = Annotated[int, takes("a whole number from 3 to 1001", ge=3, le=1001)]
Flag = Annotated[bool, takes("true or false")]
File = Annotated[str, PATH, FILE, takes("a file")]
HubName = Annotated[str, takes("hf_hub:USER/NAME", pattern=r"^hf_hub:[\w.-]+/[\w.-]+$")]
RunDir = Annotated[str, PATH, RUN, takes("the directory of a finished run")]
Name = Annotated[str, takes("letters, digits, _, - and .", pattern=r"^\w[\w.-]*$")]
Channels = Annotated[list[float], takes("three numbers", min_length=3, max_length=3)]
SplitNames = Annotated[
    list[Literal["train", "val", "test"]],
    AfterValidator(each_once),
    takes("a list of train, val, test", min_length=1),
]
MOST_SIDE = 4096
PIXELS = takes(f"a whole number of pixels from 8 to {MOST_SIDE}, or null", ge=8, le=MOST_SIDE)


class Section(BaseModel):
    """Part of a configuration: strict types, no unknown keys, no change after validation.

    A section that takes further ones by name says in `further` of which class they are.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    further: ClassVar[type["Section"] | None] = None

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what no single key can know, by keys of the section; "" is the section itself.

        The values are of any type: the fields check those, at the same time.
        """
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _with_mistakes(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(raw, Mapping):
            return handler(raw)
        plain = {k: v.model_dump() if isinstance(v, BaseModel) else v for k, v in raw.items()}
        mistakes = [_as_error(problem, raw) for problem in cls.mistakes(plain)]
        if not mistakes:
            return handler(raw)
        errors: list[InitErrorDetails] = []
        try:
            handler(raw)
        except ValidationError as error:
            errors = [_as_before(details) for details in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(cls.__name__, errors + mistakes)


# The type of a pydantic error that says a `Problem` of several keys, in mixkd's words already.
MISTAKE = "mistake"


def _as_error(problem: Problem, raw: Any) -> InitErrorDetails:
    loc = (int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", problem.key))
    kind = PydanticCustomError(MISTAKE, "{text}", {"text": problem.text})
    return InitErrorDetails(type=kind, loc=tuple(loc), input=raw)


def _as_before(details: ErrorDetails) -> InitErrorDetails:
    """Return an error as pydantic takes it back."""
    context = details.get("ctx", {})
    kind: Any = details["type"]
    if kind == MISTAKE:
        kind = PydanticCustomError(MISTAKE, "{text}", context)
    return InitErrorDetails(type=kind, loc=details["loc"], input=details["input"], ctx=context)


def value_of(raw: Any, key: str) -> Any:
    """Return the value of a dotted key; None where there is none."""
    for part in key.split("."):
        raw = raw.get(part) if isinstance(raw, Mapping) else None
    return raw


def marks(field: FieldInfo) -> set[Mark]:
    """Return the marks of a field, those within a union among them."""
    metadata = (*field.metadata, *_flat(field.annotation))
    return {mark for mark in metadata if isinstance(mark, Mark)}


def kinds(field: FieldInfo) -> set[Any]:
    """Return the types that a field takes, such as str and None of `str | None`."""
    return {kind for kind in _flat(field.annotation) if not isinstance(kind, Mark)}


def _flat(annotation: Any) -> Iterator[Any]:
    """Yield the types and the marks in an annotation."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        yield from _flat(inner)
        yield from (mark for mark in metadata if isinstance(mark, Mark))
    elif get_origin(annotation) in (Union, UnionType):
        for inner in get_args(annotation):
            yield from _flat(inner)
    else:
        yield get_origin(annotation) or annotation


@cache
def _marks_by_key(section: type[BaseModel]) -> dict[str, set[Mark]]:
    return {key: marks(field) for key, field in section.model_fields.items()}


def keys(section: type[BaseModel], *bearing: Mark) -> list[str]:
    """Return the keys of a section that bear any of some marks, in the order of its fields."""
    return [key for key, borne in _marks_by_key(section).items() if borne & {*bearing}]


def pruned(
    schema: type[BaseModel],
    raw: Mapping[str, Any],
    *without: Mark,
    content: Callable[[str], str] = str,
) -> dict[str, Any]:
    """Return a configuration without the keys that bear some marks, in its sections too.

    A key that came later is left out at its value of `AsBefore`. Keys that the schema does not
    know, as a saved configuration may have them, stay as they are. `content` gives what stands for
    the path of a key that counts by its content.
    """

    def inner(annotation: Any, value: Any) -> Any:
        section = section_of(annotation, value)
        if isinstance(value, list) and section is not None:
            return [inner(annotation, part) for part in value]
        if not isinstance(value, Mapping) or section is None:
            return value
        if get_origin(annotation) is dict:  # of sections by names
            return {key: inner(get_args(annotation)[1], part) for key, part in value.items()}
        return pruned(section, value, *without, content=content)

    kept = {}
    for key, value in raw.items():
        field, borne = schema.model_fields.get(key), _marks_by_key(schema).get(key, set())
        if field is None:
            kept[key] = value
        elif not borne & {*without} and not _is_as_before(field, value):
            is_path = CONTENT in borne and isinstance(value, str) and value != "pretrained"
            kept[key] = content(value) if is_path else inner(field.annotation, value)
            if value and kept[key] == {}:  # a section of which nothing is left
                del kept[key]
    return kept


def _is_as_before(field: FieldInfo, value: Any) -> bool:
    """Return whether a key that came later has the value that it had before it was there."""
    before = (mark.value for mark in field.metadata if isinstance(mark, AsBefore))
    return any(value == v and isinstance(value, bool) == isinstance(v, bool) for v in before)


def fields_of(section: type[BaseModel], under: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every key of a section, and of those within it, with its field."""
    for name, field in section.model_fields.items():
        yield under + name, field
        if get_origin(field.annotation) is not dict:
            for inner in sections_of(field.annotation):
                yield from fields_of(inner, f"{under}{name}.")


def paths(schema: type[BaseModel], raw: Any, under: str = "") -> Iterator[tuple[str, str, Exists]]:
    """Yield key and path of what has to be there, in a configuration and its sections."""
    for name, field in schema.model_fields.items():
        value, key = raw.get(name) if isinstance(raw, Mapping) else None, f"{under}{name}"
        if isinstance(value, str) and value != "pretrained":
            yield from ((key, value, mark) for mark in marks(field) if isinstance(mark, Exists))
        elif get_origin(field.annotation) is dict and isinstance(value, Mapping):
            for inner in sections_of(field.annotation):
                for part, section in value.items():
                    yield from paths(inner, section, f"{key}.{part}.")
        elif (section := section_of(field.annotation, value)) is not None:
            yield from paths(section, value, f"{key}.")


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """Return all sections in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections_of(part)]


def section_of(annotation: Any, raw: Any = None) -> type[BaseModel] | None:
    """Return the section that `raw` is meant for, among those in a type annotation."""
    sections = sections_of(annotation)
    if len(sections) > 1 and isinstance(raw, Mapping):
        return _meant(sections, raw) or sections[0]
    return next(iter(sections), None)


# What tells kinds of sections apart, by its value; and what by being there.
BY_VALUE, BY_PRESENCE = ("name", "source"), ("factory", "library")


def _meant(sections: Iterable[type[BaseModel]], raw: Mapping[str, Any]) -> type[BaseModel] | None:
    """Return the first of some sections that values are meant for; None where there is none."""
    sections = list(sections)
    for section in sections:
        present = [key for key in BY_PRESENCE if key in section.model_fields]
        if any(raw.get(key) is not None for key in present if not is_optional(section, key)):
            return section
    for section in sections:
        for key in BY_VALUE:
            if key in section.model_fields and raw.get(key) in kind_names(section, key):
                return section
    return None


def is_optional(section: type[BaseModel], key: str) -> bool:
    """Return whether a section may go without a key."""
    return type(None) in kinds(section.model_fields[key])


def kind_names(section: type[BaseModel], key: str) -> tuple[Any, ...]:
    """Return the names by which a key tells a kind of section; none where it takes any text."""
    field = section.model_fields.get(key)
    is_choice = field is not None and get_origin(field.annotation) is Literal
    return get_args(field.annotation) if field is not None and is_choice else ()


def one_of(*sections: type[BaseModel]) -> Any:
    """Return the type of a section of one of several kinds, told apart as `section_of` does."""

    def tag(raw: Any) -> str | None:
        values = raw if isinstance(raw, Mapping) else getattr(raw, "__dict__", {})
        section = _meant(sections, values)
        return None if section is None else section.__name__

    tagged = tuple(Annotated[section, Tag(section.__name__)] for section in sections)
    return Annotated[reduce(or_, tagged), Discriminator(tag)]
