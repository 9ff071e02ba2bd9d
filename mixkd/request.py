"""From what a user asks for to a typed configuration: compose, resolve, validate.

Composing reads what mixkd ships, resolving looks at runs, exports, the Hub and whether files are
there, and validating looks at the configuration alone. What is wrong is said all at once.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig
from pydantic import BaseModel

from mixkd.config.arguments import with_folders
from mixkd.config.compose import REFUSALS, composed, diagnose, expand
from mixkd.config.data import fill_name
from mixkd.config.fields import paths, sections_of, value_of
from mixkd.config.parts import NETWORKS, PARTS, with_factories
from mixkd.config.shipped import shipped_values
from mixkd.config.sources import FILES, SOURCES, SPLITS
from mixkd.config.tasks import Config, DistillConfig, EvaluateLogitsConfig, ExportConfig
from mixkd.config.validation import plain, schema_of, validate
from mixkd.data.listing import renamings, to_rename
from mixkd.errors import Problem, UserError, shown
from mixkd.runs.inherit import fill_from_runs


def compose(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the configuration of `mixkd COMMAND OVERRIDES`.

    `hydra.searchpath=[DIR]` among them has a user's folder of groups looked through too.

    Raises:
        UserError: for what is no override, and with it what is wrong with the rest.
    """
    overrides = with_folders(overrides)
    try:
        return composed(command, expand(command, overrides))
    except REFUSALS as error:
        raise refused(command, overrides, error) from error


def refused(command: str, overrides: Sequence[str], error: Exception) -> UserError:
    """Return what is wrong with overrides that Hydra refused with `error`, and with the others."""
    problems, rest = diagnose(command, overrides, error)
    by_key = {problem.key: problem for problem in problems}
    try:
        if rest is not None:
            _accept(rest)
    except UserError as others:
        by_key = {problem.key: problem for problem in others.problems} | by_key
    return UserError(*by_key.values())


def request(command: str, overrides: Sequence[str] = ()) -> Config:
    """Return the typed configuration of `mixkd COMMAND OVERRIDES`, of a task.

    Raises:
        UserError: with everything that is wrong with it.
    """
    return accept(compose(command, overrides))


def accept(cfg: DictConfig) -> Config:
    """Return the typed form of a composed configuration of a task.

    Raises:
        UserError: with every problem found, each naming its key, what it got and what it takes.
    """
    return cast(Config, _accept(cfg))


def accept_export(cfg: DictConfig) -> ExportConfig:
    """Return the typed form of a composed configuration of an export; raise as `accept` does."""
    return cast(ExportConfig, _accept(cfg))


def _accept(cfg: DictConfig) -> Config | ExportConfig:
    raw = plain(cfg)
    of_parts = list(_own_parts(raw))
    resolved = of_parts + resolve(raw)
    try:
        config = validate(raw)
    except UserError as error:
        # Of each key one problem: what resolving found comes first.
        keys = {problem.key for problem in resolved}
        if raw["data"].get("source") == "run" and keys & {"network.run", "network.export"}:
            keys.add("data")  # which the run was to say
        others = [problem for problem in error.problems if problem.key not in keys]
        sections = tuple(f"{problem.key}." for problem in others)
        resolved = [p for p in resolved if not p.key.startswith(sections)] + others
        raise UserError(*resolved) from error
    if resolved:
        raise UserError(*resolved)
    return config


def _own_parts(raw: dict[str, Any]) -> Iterator[Problem]:
    """Bring the parts that a user gives to one form, in place; yield what is wrong with them."""
    schema = schema_of(raw)
    keep: dict[str, set[str]] = {}
    for key in schema.model_fields.keys() & {*PARTS}:
        sections = sections_of(schema.model_fields[key].annotation)
        names = (section.model_fields for section in sections if "factory" in section.model_fields)
        keep[key] = {*chain.from_iterable(names)}
    yield from with_factories(raw, keep)
    for key in keep:
        if value_of(raw, f"{key}.factory") is not None:
            raw[key] = _base(schema, key) | raw[key]
    if isinstance(mix := value_of(raw, "method.mix"), dict):
        raw["method"]["mix"] = shipped_values("method", "mixup")["mix"] | mix


def _base(schema: type[BaseModel], key: str) -> dict[str, Any]:
    """Return the keys that a part of one's own has where it does not give them."""
    if key == "method":
        return shipped_values(key, "kd_mixup" if schema is DistillConfig else "erm")
    return shipped_values(*(("network", "_none") if key in NETWORKS else (key, "_own")))


def resolve(raw: dict[str, Any]) -> list[Problem]:
    """Take what given runs and exports say, in place; return what is wrong with files and folders.

    A UserError names the sections that the configuration lacks.
    """
    schema = schema_of(raw)
    if schema is EvaluateLogitsConfig:
        return list(_missing(schema, raw))
    fill_name(raw["data"])
    problems = {problem.key: problem for problem in fill_from_runs(raw)}
    for problem in (*_missing(schema, raw), *_no_folder(raw["data"])):
        problems.setdefault(problem.key, problem)
    return list(problems.values())


def _missing(schema: Any, raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the files and run directories that have to be there, and are not."""
    for key, path, mark in paths(schema, raw):
        # A name too long for the system is no file, without an error.
        if not os.path.isfile(os.path.join(path, mark.within) if mark.within else path):
            yield Problem(key, f"got {shown(path)}; {mark.meaning}")


def _no_folder(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a root that holds no images to train on."""
    source, root = data.get("source"), str(data.get("root") or "")
    if source not in FILES or not root:
        return
    if not os.path.isdir(root):
        what = "is no folder" if os.path.exists(root) else "no such folder"
        yield Problem("data.root", f"got {shown(root)}; {what}; takes the one that holds train/")
    # Before its files are listed, which of a root that is none, such as /, would take long.
    elif (
        source in SPLITS
        and not SOURCES[source].archives
        and not os.path.isdir(os.path.join(root, "train"))
    ):
        text = f"got {shown(root)}, which holds no train/; takes a folder of train/ with val/,"
        rename = to_rename(renamings(Path(root), SPLITS[source]))
        yield Problem("data.root", f"{text} test/ or both{rename}")
