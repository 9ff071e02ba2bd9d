"""What pydantic finds wrong, in mixkd's words."""

import json
import re
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mixkd.config.fields import BY_VALUE, MISTAKE, Section, kind_names, section_of, sections_of
from mixkd.errors import Problem, nearest, shortened, shown


def first_fault(error: Exception) -> str:
    """Return what is wrong, in one line: of several things that pydantic refuses the first."""
    if isinstance(error, ValidationError):
        details = error.errors()[0]
        return ": ".join(filter(None, [".".join(map(str, details["loc"])), details["msg"]]))
    return " ".join(str(error).split())


def schema_problems(schema: type[BaseModel], raw: Any, error: ValidationError) -> list[Problem]:
    """Say what pydantic finds wrong, of each key once.

    Of a section that is wrong as a whole, what is wrong within it is left out.
    """
    problems: dict[str, Problem] = {}
    sections: set[str] = set()  # of what is wrong with several keys together
    for details in error.errors(include_url=False):
        problem = _problem(schema, raw, details)
        key = problem.key
        if details["type"] == MISTAKE and key not in sections:
            sections.add(key)
            within = (f"{key}.", f"{key}[")
            outside = {k: p for k, p in problems.items() if k != key and not k.startswith(within)}
            problems = outside | {key: problem}
        # Of a union pydantic names the whole, and then a part of it.
        elif key.partition("[")[0] not in problems:
            problems.setdefault(key, problem)
    return list(problems.values())


def _problem(schema: type[BaseModel], raw: Any, details: ErrorDetails) -> Problem:
    kind, got = details["type"], f"got {shown(details['input'])}"
    if kind == "extra_forbidden":
        key, owner, _ = _locate(schema, raw, details["loc"][:-1])
        name, valid = str(details["loc"][-1]), list(owner.model_fields)
        text = f"no such key{nearest(name, valid)}; takes {', '.join(valid)}"
        return Problem(f"{key}.{name}".lstrip("."), text)
    key, _, field = _locate(schema, raw, details["loc"])
    if kind == MISTAKE:
        return Problem(key, details["ctx"]["text"])
    if kind == "union_tag_invalid":  # a section whose kind is named by one of its keys
        name = details["ctx"]["discriminator"].strip("'")
        valid = [tag.strip(" '") for tag in details["ctx"]["expected_tags"].split(",")]
        got = details["ctx"]["tag"]
        text = f"got {got!r}; takes {', '.join(valid)}{nearest(got, valid)}"
        return Problem(f"{key}.{name}", text)
    if kind == "union_tag_not_found" and field is not None:
        return _no_kind(key, field, details["input"])
    if kind == "string_type" and isinstance(details["input"], (int, float)):
        takes = field.description if field is not None and field.description else "text"
        return _in_quotes(key, takes, raw, details)
    if kind == "model_type":
        section = schema if field is None else section_of(field.annotation)
        return Problem(key, f"{got}; {takes_section(section)}")
    if kind == "missing":
        return Problem(key, "is missing; a shipped conf/ file sets it")
    if kind == "value_error":
        text = str(details["ctx"]["error"])
        return Problem(key, f"{got}; {text}" if key else text)
    if field is not None and get_origin(field.annotation) is Literal:
        valid = [str(choice) for choice in get_args(field.annotation)]
        close = nearest(str(details["input"]), valid)
        return Problem(key, f"{got}; takes {', '.join(valid)}{close}")
    if field is not None and field.description:
        valid = re.findall("'([^']*)'", str(details.get("ctx", {}).get("expected", "")))
        close = nearest(str(details["input"]), valid)  # of a list's or a union's choices
        return Problem(key, f"{got}; takes {field.description}{close}")
    start = "^(Input|List|String|Dictionary|Value) should (be |have )?"
    takes = re.sub(start, "takes ", details["msg"]).replace("a valid ", "a ")
    return Problem(key, f"{got}; {takes}")


def _no_kind(key: str, field: FieldInfo, got: Any) -> Problem:
    """Say which kinds of a section there are, where it is of none of them."""
    sections = sections_of(field.annotation)
    name = next(name for name in BY_VALUE if any(kind_names(s, name) for s in sections))
    valid = [str(tag) for section in sections for tag in kind_names(section, name)]
    if isinstance(got, dict) and isinstance(given := got.get(name), str):
        takes = f"takes {', '.join(valid)}{nearest(given, valid)}"
        return Problem(f"{key}.{name}", f"got {given!r}; {takes}")
    return Problem(key, f"got {shown(got)}; takes a section with {name}: {', '.join(valid)}")


def _in_quotes(key: str, takes: str, raw: Any, details: ErrorDetails) -> Problem:
    """Say how a name is written that reads as a number or a flag; of a list once, of the list."""
    takes = f"takes {takes}; in quotes where it reads as a number"
    if not isinstance(details["loc"][-1], int):
        return Problem(key, f"got {shown(details['input'])}; {takes}")
    key = key.rpartition("[")[0]
    names = raw
    for part in details["loc"][:-1]:
        if isinstance(names, dict):  # not so by the tag of a union
            names = names.get(part, names)
    names = names if isinstance(names, list) else [details["input"]]
    quotes = json.dumps([n if isinstance(n, str) else shown(n) for n in names], ensure_ascii=False)
    example = f"'{key}={shortened(quotes.replace(', ', ','), 200)}'"
    return Problem(key, f"got {shortened(str(names))}; {takes}: {example}")


def _locate(
    schema: type[BaseModel], raw: Any, loc: tuple[int | str, ...]
) -> tuple[str, type[BaseModel], FieldInfo | None]:
    """Follow a pydantic location; return the dotted key, the innermost section and the field.

    pydantic puts the tags of unions among the names: parts that name no field are passed over.
    """
    key, owner, field = "", schema, None
    for part in loc:
        if isinstance(part, int) and isinstance(raw, list):
            key, raw = f"{key}[{part}]", raw[part]
        elif part in owner.model_fields and isinstance(raw, dict):
            key, raw, field = f"{key}.{part}".lstrip("."), raw.get(part), owner.model_fields[part]
            owner = section_of(field.annotation, raw) or owner
        elif field is not None and get_origin(field.annotation) is dict and part in (raw or {}):
            key, raw = f"{key}.{part}", raw[part]
            owner = section_of(field.annotation, raw) or owner
        elif issubclass(owner, Section) and owner.further and part in (raw or {}):
            key, raw, owner = f"{key}.{part}", raw[part], owner.further
    return key, owner, field


def takes_section(section: type[BaseModel] | None) -> str:
    """Return the end of a message on a key of a section: which keys that has."""
    names = ", ".join(section.model_fields) if section else "its keys"
    return f"takes a section with {names}"
