"""The configuration files that mixkd ships."""

from pathlib import Path
from typing import Any

import yaml


def config_dir() -> Path:
    """Return the folder of the shipped Hydra groups, in a checkout or in an installed wheel."""
    here = Path(__file__).resolve().parent
    return next(path for path in (here / "_conf", here.parent / "conf") if path.is_dir())


def group_names(group: str) -> dict[str, str]:
    """Return {name: first comment line} of the shipped files of a group, sorted by name."""
    files = sorted((config_dir() / group).glob("*.yaml"))
    lines = {file.stem: file.read_text().splitlines()[0].removeprefix("# ") for file in files}
    return {name: line for name, line in lines.items() if name[0] != "_"}


def shipped_values(group: str, name: str) -> dict[str, Any]:
    """Return the values of a shipped file, over those of its group's `_base`."""
    values: dict[str, Any] = {}
    for stem in ("_base", name):
        path = config_dir() / group / f"{stem}.yaml"
        values |= yaml.safe_load(path.read_text()) if path.is_file() else {}
    values.pop("defaults", None)
    return values
