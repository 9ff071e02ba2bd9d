"""Marks at the fields of the schema, and what is derived from them."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

import mixkd
from mixkd.config.data import DataConfig
from mixkd.config.fields import (
    ARCHITECTURE,
    CONTENT,
    PLACE,
    REPEAT,
    SPLIT,
    AsBefore,
    Flag,
    Mark,
    Section,
    fields_of,
    keys,
    marks,
    pruned,
)
from mixkd.config.network import NetworkConfig, TeacherConfig
from mixkd.config.tasks import TASKS, DistillConfig, EvaluateConfig, ExportConfig, FinetuneConfig
from mixkd.config.training import TrainerConfig
from mixkd.request import compose

PACKAGE = Path(mixkd.__file__).parent


def test_a_key_bears_what_its_field_says() -> None:
    assert keys(DataConfig, SPLIT) == ["holdout", "split_seed", "selection"]
    assert "export" in keys(TeacherConfig, PLACE)
    assert set(keys(NetworkConfig, ARCHITECTURE)) == {
        "name", "factory", "args", "head", "mean", "std", "input_size"
    }  # fmt: skip
    assert keys(NetworkConfig, CONTENT) == ["pretrained", "weights"]


class Inner(Section):
    """A section with a key that came later."""

    lr: float
    threads: Annotated[int, PLACE]
    ema: Annotated[float | None, AsBefore(None)]


class Outer(Section):
    """Sections in a list, by names and alone."""

    one: Inner
    several: list[Inner]
    named: dict[str, Inner]
    file: Annotated[bool | Annotated[str, Mark("inner")] | None, CONTENT]
    seed: Annotated[int, REPEAT]


def test_a_configuration_is_pruned_in_its_sections_too() -> None:
    section = {"lr": 1.0, "threads": 3, "ema": None, "strange": [1]}
    raw = {"one": section, "several": [section], "named": {"x": section}, "file": "f", "seed": 1}
    trimmed = {"lr": 1.0, "strange": [1]}
    assert pruned(Outer, raw, PLACE, REPEAT, content=str.upper) == {
        "one": trimmed, "several": [trimmed], "named": {"x": trimmed}, "file": "F"
    }  # fmt: skip
    assert pruned(Outer, {"one": section | {"ema": 0.5}}, PLACE) == {"one": trimmed | {"ema": 0.5}}
    # What strangers' files hold in the place of sections stays as it is.
    for stranger in (None, 3, "text", [1, [2]], {"deep": {"lr": 1}}):
        assert pruned(Outer, {"one": stranger, "several": stranger}, PLACE) == {
            "one": stranger, "several": stranger
        }  # fmt: skip
    assert pruned(Outer, {"file": True}, PLACE, content=str.upper) == {"file": True}
    assert Mark("inner") in marks(Outer.model_fields["file"])


@pytest.mark.parametrize("command", TASKS)
def test_what_a_file_holds_is_pruned_as_what_was_validated(command: str) -> None:
    """The kind of a section is found by its name, as pydantic finds it."""
    cfg = compose(command)
    schema = TASKS[command]
    raw = {str(key): value for key, value in cfg.items()}
    names = {key for key, field in schema.model_fields.items() if PLACE in marks(field)}
    names |= {"metrics", "divergence", "hint", "deviation", "analyses"}  # as before
    assert pruned(schema, raw, PLACE).keys() == raw.keys() - names


def lists_of_keys(path: Path, sections: list[type[BaseModel]]) -> Iterator[str]:
    """Yield the collections in a source file that are of many keys of one section."""
    for node in ast.walk(ast.parse(path.read_text())):
        elements: list[ast.expr | None] = []
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            elements = [*node.elts]
        elif isinstance(node, ast.Dict):
            elements = node.keys
        texts = {element.value for element in elements if isinstance(element, ast.Constant)}
        if len(texts) > 4 and any(texts <= {*section.model_fields} for section in sections):
            yield f"{path}:{node.lineno}: {ast.unparse(node)}"


def test_no_list_of_keys_is_kept_by_hand() -> None:
    """Which keys matter for something is said at their fields, where a new key is added."""
    schemas = (FinetuneConfig, DistillConfig, EvaluateConfig, ExportConfig)
    sections = {DataConfig, NetworkConfig, TeacherConfig, TrainerConfig, *schemas}
    key_lists = [
        text
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "config"
        for text in lists_of_keys(path, sorted(sections, key=str))
    ]
    assert key_lists == []


def test_flags_have_no_marks_by_themselves() -> None:
    class Plain(Section):
        flag: Flag

    assert [marks(field) for _, field in fields_of(Plain)] == [set()]
