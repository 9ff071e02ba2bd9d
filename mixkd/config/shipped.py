"""The configuration files that mixkd ships."""

import ast
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf

# In a preset: ${lookup:VALUE,{KEY:FOUND, ...},OTHERWISE} and ${scale:VALUE,NUMERATOR,DENOMINATOR}.
OmegaConf.register_new_resolver(
    "lookup", lambda value, table, otherwise: table.get(value, otherwise), replace=True
)
OmegaConf.register_new_resolver(
    "scale", lambda value, a, b: None if value is None else round(value * a / b), replace=True
)


def config_dir() -> Path:
    """Return the folder of the shipped Hydra groups."""
    return _shipped("conf")


def experiments_dir() -> Path:
    """Return the folder of the shipped experiments."""
    return _shipped("experiments")


def _shipped(name: str) -> Path:
    """Return where a folder lies: in an installed wheel or beside `mixkd` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    wheel = package / f"_{name}"
    return wheel if wheel.is_dir() else package.parent / name


def experiment(name: str) -> ModuleType:
    """Return a module of the shipped experiments, such as `table1`."""
    return import_module(f"{experiments().__name__}.{name}")


def experiments() -> ModuleType:
    """Return the package of the shipped experiments, which says what its study and its report are.

    An installed wheel holds it, a checkout has it beside `mixkd`.
    """
    package = "mixkd._experiments"
    if package not in sys.modules:
        folder = experiments_dir()
        spec = spec_from_file_location(
            package, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[package] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    return sys.modules[package]


@cache
def artefacts() -> dict[str, str]:
    """Return {name: title} of every file of experiments/ that is an artefact. Runs none of them."""
    titles = {}
    for path in sorted(experiments_dir().glob("*.py")):
        tree = ast.parse(path.read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if {"runs", "render"} <= functions:
            titles[path.stem] = (ast.get_docstring(tree) or path.stem).splitlines()[0].rstrip(".")
    return dict(sorted(titles.items(), key=lambda item: _by_kind(item[0])))


def _by_kind(name: str) -> tuple[bool, str, int]:
    """Sort tables before figures, table2 before table10."""
    letters = name.rstrip("0123456789")
    return (letters != "table", letters, int(name[len(letters) :] or 0))


def group_names(group: str, folders: Sequence[Path] = ()) -> dict[str, str]:
    """Return {name: first comment} of the files of a group, sorted by name.

    They are those that mixkd ships and those of a user's folders, there also within others, as
    `cifar/mine`.
    """
    files = {file.stem: file for file in (config_dir() / group).glob("*.yaml")}
    for folder in folders:
        for file in (folder / group).rglob("*.yaml"):
            files[file.relative_to(folder / group).with_suffix("").as_posix()] = file
    files = {name: file for name, file in files.items() if file.stem[0] != "_"}
    return {name: _first_comment(file) for name, file in sorted(files.items())}


def _first_comment(file: Path) -> str:
    lines = file.read_text(errors="replace").splitlines()
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return next((line for line in comments if not line.startswith("@package")), "")


@cache
def label_losses() -> tuple[str, ...]:
    """Return the names of the losses from labels, each a file of mixkd/losses/labels."""
    folder = Path(__file__).resolve().parents[1] / "losses" / "labels"
    return tuple(module.name for module in iter_modules([str(folder)]))


@cache
def network_files() -> dict[Any, str]:
    """Return the shipped file of each network, by the network's name."""
    return {shipped_values("network", stem).get("name"): stem for stem in group_names("network")}


def shipped_values(group: str, name: str, resolve: bool = True) -> dict[str, Any]:
    """Return the values of a shipped file, over those of the files of its group that it builds on.

    Choices from other groups are left out. Where there is no such file, there are no values.
    """
    return cast(dict[str, Any], OmegaConf.to_container(_merged(group, name), resolve=resolve))


def _merged(group: str, name: str) -> DictConfig:
    path = config_dir() / group / f"{name}.yaml"
    values = yaml.safe_load(path.read_text()) if path.is_file() else {}
    bases = [base for base in values.pop("defaults", []) if isinstance(base, str)]
    return cast(DictConfig, OmegaConf.merge(*(_merged(group, base) for base in bases), values))
