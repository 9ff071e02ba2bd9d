"""What `mkdocs build` adds to the pages: equations as MathML, and tables of every key.

The tables are made of the schema (mixkd/config/) and of conf/, so that they cannot go stale.
"""

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import takewhile
from typing import Any, Literal, get_args, get_origin

import yaml
from latex2mathml.converter import convert
from omegaconf import OmegaConf
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mixkd import __version__
from mixkd.cli import HELP
from mixkd.config.analyses import analysis_names
from mixkd.config.commands import COMPARE_KEYS, DASHBOARD_KEYS, REPORT_KEYS, REPRODUCE_KEYS
from mixkd.config.fields import PLACE
from mixkd.config.shipped import config_dir, group_names, shipped_values
from mixkd.config.tasks import SCHEMAS
from mixkd.config.training import MethodConfig
from mixkd.request import compose

# Sections with a folder of files in conf/ to choose from.
GROUPS = ("data", "network", "method", "divergence", "hint", "optimizer", "schedule", "trainer",
          "callbacks", "logger", "launcher")  # fmt: skip


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in the version, the help text, and the tables of keys that a page asks for."""
    made = {
        "version": lambda: __version__,
        "help": lambda: HELP.format(version=__version__),
        "tasks": _task_tables,
        "looks": _look_tables,
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: made[found[1]](), markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Turn LaTeX into MathML, which browsers show without a script."""
    inline = r'<span class="arithmatex">\\\((.*?)\\\)</span>'
    block = r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>'
    content = re.sub(inline, _mathml, content, flags=re.DOTALL)
    return re.sub(block, _equation, content, flags=re.DOTALL)


def _mathml(found: re.Match[str], display: str = "inline") -> str:
    latex = html.unescape(found[1]).strip()
    made = convert(latex, display=display)
    if "\\" in made or "&</mi>" in made:
        raise ValueError(f"latex2mathml does not know all of {latex}")
    return made


def _equation(found: re.Match[str]) -> str:
    return f'<div class="equation" tabindex="0">{_mathml(found, "block")}</div>'


def _look_tables() -> str:
    """Return a table for each command that prints something at once."""
    commands = {
        "compare": COMPARE_KEYS,
        "report": REPORT_KEYS,
        "reproduce": REPRODUCE_KEYS,
        "dashboard": DASHBOARD_KEYS,
    }
    parts = []
    for command, keys in commands.items():
        rows = [(f"`{key}`", _cell(takes)) for key, takes in keys.items()]
        parts.append(f"### mixkd {command}\n\n{_table(('Key', 'Takes'), rows)}")
    return "\n\n".join(parts)


def _task_tables() -> str:
    """Return, for each top-level key of finetune, distill and evaluate, all keys below it."""
    commands: dict[str, list[str]] = {}
    for command, schema in SCHEMAS.items():
        for section in schema.model_fields:
            if section not in ("task", "protocol", "student"):  # see the page, and network
                commands.setdefault(section, []).append(command)
    single, parts = [], []
    for section, of in commands.items():
        rows = _rows(section, of)
        if len(rows) == 1:
            single += rows
        else:
            parts.append(_section(section, of, rows))
    alone = f"### Single keys\n\n{_table(COLUMNS, single)}"
    return "\n\n".join([alone, *parts])


ABSENT = object()
COLUMNS = ("Key", "Takes", "Default", "Meaning")


def _section(name: str, commands: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = f"### {name}\n\nOf " + ", ".join(f"`mixkd {command}`" for command in commands) + "."
    if name == "network":
        text += " The same keys are `teacher.*` and `student.*` of `mixkd distill`."
    if name == "teacher":
        text += " Beside these, all of [network](#network)."
    choices = group_names(name) if name in GROUPS else {}
    if len(choices) > 1:
        lines = [(f"`{name}={choice}`", _cell(_about(name, choice))) for choice in choices]
        text += f"\n\n{_table(('Choice', 'What it is'), lines)}"
    return f"{text}\n\n{_table(COLUMNS, rows)}"


def _about(group: str, choice: str) -> str:
    """Return the comment that a file of conf/ starts with."""
    lines = (config_dir() / group / f"{choice}.yaml").read_text().splitlines()
    return " ".join(line[2:] for line in takewhile(lambda line: line.startswith("# "), lines))


def _rows(section: str, commands: Sequence[str]) -> list[tuple[str, ...]]:
    """Return (key, takes, default, meaning) of a top-level key, or of each one below it."""
    leaves: dict[str, tuple[FieldInfo, bool]] = {}
    for command in commands:
        for key, field, place in _leaves(section, SCHEMAS[command].model_fields[section]):
            leaves.setdefault(key, (field, place))
    if section == "teacher":
        for key, _, _ in _leaves(section, SCHEMAS["finetune"].model_fields["network"]):
            del leaves[key]
    meanings = dict(_meanings(section, commands))
    rows = []
    for key, (field, place) in leaves.items():
        if key not in meanings:
            raise ValueError(f"no comment in conf/ says what {key} means")
        default = _default(section, key, commands).replace("|", r"\|")
        mark = "°" if place else ""
        rows.append((f"`{key}`{mark}", _cell(_takes(field)), default, _cell(meanings[key])))
    return rows


def _leaves(
    key: str, field: FieldInfo, place: bool = False
) -> Iterator[tuple[str, FieldInfo, bool]]:
    """Yield each key at or below a field, and whether it is left out of the experiment's name."""
    place = place or PLACE in field.metadata
    sections = [] if get_origin(field.annotation) in (list, dict) else _sections(field.annotation)
    if not sections:
        yield key, field, place
    for section in sections:
        for name, inner in section.model_fields.items():
            is_kind = get_origin(inner.annotation) is Literal or issubclass(section, MethodConfig)
            if name != "name" or not is_kind:  # which is chosen by a file
                yield from _leaves(f"{key}.{name}", inner, place)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for inner in get_args(annotation) for section in _sections(inner)]


def _takes(field: FieldInfo) -> str:
    if field.description:
        return field.description
    if get_origin(field.annotation) is Literal:
        return ", ".join(str(choice) for choice in get_args(field.annotation))
    raise ValueError(f"{field} does not say what it takes")


def _default(section: str, key: str, commands: Sequence[str]) -> str:
    """Return what a key is where nothing sets it; by choice or command where they differ."""
    if section in GROUPS and section != "network":
        values = {name: {section: _shipped(section, name)} for name in group_names(section)}
    else:
        values = {name: _composed(name) for name in commands}
    shown: dict[str, list[str]] = {}
    for name, cfg in values.items():
        value = _at(cfg, key)
        if value is not ABSENT:
            shown.setdefault(_value(value), []).append(name)
    if len(shown) == len(values) > 2:
        return "as chosen"
    if len(shown) < 2:
        return next(iter(shown), "")
    most = max(shown, key=lambda value: len(shown[value]))
    others = (f"{value} ({', '.join(names)})" for value, names in shown.items() if value != most)
    return ", ".join([most, *others])


def _meanings(section: str, commands: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (key, comment) of every line of conf/ on a section; the first that has one counts."""
    found: dict[str, str] = {}
    for file in ("base", *commands):
        for key, comment in _comments(file, ""):
            found.setdefault(key, comment)
    if section in analysis_names():
        for key, comment in _comments(f"analysis/{section}", section):
            found.setdefault(key, comment)
    folder = config_dir() / section
    for path in sorted(folder.glob("*.yaml"), key=lambda path: (path.stem[0] != "_", path.stem)):
        for key, comment in _comments(f"{section}/{path.stem}", section):
            found.setdefault(key, comment)
    yield from found.items()


@cache
def _comments(file: str, prefix: str) -> tuple[tuple[str, str], ...]:
    """Return (dotted key, comment on its line) of a file of conf/, where there is a comment."""
    text = (config_dir() / f"{file}.yaml").read_text()
    lines = text.splitlines()

    def walk(node: yaml.Node | None, key: str) -> Iterator[tuple[str, str]]:
        for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
            inner = f"{key}.{name.value}".lstrip(".")
            if found := re.search(r"\s# (.*)$", lines[name.start_mark.line]):
                yield inner, found[1]
            yield from walk(value, inner)

    return tuple(walk(yaml.compose(text), prefix))


def _at(cfg: Any, key: str) -> Any:
    """Return what a configuration has at a dotted key; null below null."""
    for part in key.split("."):
        if cfg is None:
            break
        cfg = cfg.get(part, ABSENT) if isinstance(cfg, dict) else ABSENT
    return cfg


@cache
def _shipped(group: str, name: str) -> dict[str, Any]:
    return shipped_values(group, name, resolve=False)


@cache
def _composed(command: str) -> Any:
    return OmegaConf.to_container(compose(command, []), resolve=False)


def _value(value: Any) -> str:
    if isinstance(value, str) and "${oc.env:HOME" in value:
        return "~/.cache/mixkd"
    text = value if isinstance(value, str) else json.dumps(value)
    is_plain = len(text) <= 60 and "${" not in text
    return f"`{text}`" if is_plain else "see the file in conf/"


def _cell(text: str) -> str:
    return html.escape(re.sub(r"([|*_])", r"\\\1", text), quote=False)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
