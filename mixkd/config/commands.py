"""What the commands take that Hydra composes nothing for. Imports nothing heavy."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from mixkd.config.arguments import folders_of, read_folders, searchpath
from mixkd.config.overrides import by_key
from mixkd.config.shipped import artefacts
from mixkd.errors import UserError, nearest, shortened, shown

COMPARE_KEYS = {
    "network.run": "the directory of a run",
    "other.run": "the directory of another run",
    "split": "a split that both have predictions of; test unless given",
    "draws": "bootstrap samples, 100 to 100000; 2000 unless given",
    "out": "a .csv file to write the table to",
}
MOST_DRAWS = 100_000
REPORT_KEYS = {
    "runs": "a folder of runs; runs unless given",
    "out": "a folder for the report; reports/<scale> unless given",
    "scale": "that of a reproduction whose runs are there; the latest one unless given",
}
REPRODUCE_KEYS = {
    "scale": "smoke, laptop, paper, cifar100, or a .yaml file",
    "protocol": "corrected or parity",
    "seeds": "whole numbers, 0,1,2: the students'",
    "runs": "a folder for the runs",
    "out": "a folder for tables and figures",
    "plan": "true, false, or runs: print what there is to do, and stop",
}
Plan = Literal["true", "false", "runs"]
# What `mixkd list` lists of a group; and what it lists beside.
GROUPS = {
    "networks": "network",
    "datasets": "data",
    "methods": "method",
    "divergences": "divergence",
    "hints": "hint",
    "analyses": "analysis",
    "optimizers": "optimizer",
    "schedules": "schedule",
    "experiments": "experiment",
}
LISTS = (*GROUPS, "artefacts", "runs")
DASHBOARD_KEYS = {
    "entity": "your W&B user or team; with it the workspace is saved there",
    "project": "of the runs; mixkd unless given",
    "out": "a folder for workspace.json and sweep.yaml",
}

LIST_KEYS = {"run.root": "a folder of runs; runs unless given"}
OTHER_KEYS: Mapping[str, Mapping[str, str]] = {
    "compare": COMPARE_KEYS,
    "dashboard": DASHBOARD_KEYS,
    "list": LIST_KEYS,
    "report": REPORT_KEYS,
    "reproduce": REPRODUCE_KEYS,
}


@dataclass(frozen=True)
class CompareConfig:
    """Two run directories, and whose predictions of them are compared."""

    network: Path
    other: Path
    split: str = "test"
    draws: int = 2000
    out: Path | None = None

    @classmethod
    def parse(cls, overrides: Sequence[str]) -> "CompareConfig":
        """Read `network.run=DIR other.run=DIR [split=test] [draws=2000] [out=FILE]`."""
        values = by_key(overrides, COMPARE_KEYS)
        draws = values.get("draws", "2000")
        if not re.fullmatch("[0-9]{3,6}", draws) or not 100 <= int(draws) <= MOST_DRAWS:
            text = f"got {shortened(draws)}; takes a whole number from 100 to {MOST_DRAWS}"
            raise UserError.of("draws", text)
        out = _path(values["out"]) if "out" in values else None
        if out is not None and out.is_dir():
            text = f"got {values['out']!r}, a folder; takes {COMPARE_KEYS['out']}"
            raise UserError.of("out", text)
        for key in ("network.run", "other.run"):
            if key not in values:
                raise UserError.of(key, f"is missing; takes {COMPARE_KEYS[key]}")
        network, other = (_path(values[key]) for key in ("network.run", "other.run"))
        return cls(network, other, values.get("split", "test"), int(draws), out)


@dataclass(frozen=True)
class ReportConfig:
    """A folder of runs to report on; without `out` the report goes to reports/<scale>."""

    runs: Path = Path("runs")
    out: Path | None = None
    scale: str | None = None

    @classmethod
    def parse(cls, overrides: Sequence[str]) -> "ReportConfig":
        """Read `[runs=DIR] [out=DIR] [scale=NAME]`."""
        values = by_key(overrides, REPORT_KEYS)
        out = _path(values["out"]) if "out" in values else None
        return cls(_path(values.get("runs", "runs")), out, values.get("scale"))


@dataclass(frozen=True)
class ReproduceConfig:
    """Artefacts to reproduce; `all` stands for all that the scale does not leave out.

    Without `seeds` the students have those of the scale. `overrides` are KEY=VALUE for every
    command that has the key, or COMMAND.KEY=VALUE for one.
    """

    artefacts: tuple[str, ...]
    scale: str = "smoke"
    protocol: str = "corrected"
    seeds: tuple[int, ...] = ()
    runs: Path = Path("runs")
    out: Path | None = None
    plan: Plan = "false"
    overrides: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The names of its artefacts, with `all` written out."""
        return list(artefacts()) if "all" in self.artefacts else list(self.artefacts)

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "ReproduceConfig":
        """Read `ARTEFACT... [scale=NAME] [protocol=NAME] [seeds=0,1]`, and overrides of runs."""
        arguments = read_folders(arguments, "reproduce")
        names = tuple(dict.fromkeys(name for name in arguments if "=" not in name))
        pairs = [override.partition("=") for override in arguments if "=" in override]
        values = {key: value for key, _, value in pairs if key in REPRODUCE_KEYS}
        plan = values.get("plan", "false")
        if plan not in get_args(Plan):
            raise UserError.of("plan", f"got {plan!r}; takes {REPRODUCE_KEYS['plan']}")
        if not names:
            takes = f"takes {', '.join(artefacts())}, all"
            raise UserError.of("artefact", f"none given; {takes}")
        return cls(
            names,
            values.get("scale", cls.scale),
            values.get("protocol", cls.protocol),
            _seeds(values.get("seeds", "")),
            _path(values.get("runs", "runs")),
            _path(values["out"]) if values.get("out") else None,
            cast(Plan, plan),
            tuple(f"{key}={value}" for key, _, value in pairs if key not in REPRODUCE_KEYS),
        )


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in text.strip("[]").split(",") if part)
    except ValueError:
        seeds = (-1,)
    if any(seed < 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise UserError.of("seeds", f"got {text!r}; takes whole numbers, each once, such as 0,1,2")
    return seeds


@dataclass(frozen=True)
class ListConfig:
    """What to list: one of LISTS, where runs are, and a user's own folders of groups."""

    name: str
    root: Path = Path("runs")
    folders: tuple[Path, ...] = ()

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> "ListConfig":
        """Read `NAME [run.root=DIR] [--config-dir DIR]`."""
        arguments = read_folders(arguments, "list")
        folders = folders_of(arguments)
        arguments = [argument for argument in arguments if argument not in searchpath(folders)]
        values = by_key([override for override in arguments if "=" in override], LIST_KEYS)
        names = [name for name in arguments if "=" not in name]
        if len(names) != 1 or names[0] not in LISTS:
            got = " ".join(names) or "nothing"
            raise UserError.of("list", f"got {got}; takes {', '.join(LISTS)}{nearest(got, LISTS)}")
        return cls(names[0], _path(values.get("run.root", "runs")), tuple(folders))


@dataclass(frozen=True)
class DashboardConfig:
    """Where a workspace and a sweep file go: to W&B under `entity`, into a folder, or both."""

    entity: str | None = None
    project: str = "mixkd"
    out: Path | None = None
    overrides: tuple[str, ...] = ()

    @classmethod
    def parse(cls, overrides: Sequence[str]) -> "DashboardConfig":
        """Read `[entity=NAME] [project=NAME] [out=DIR]`, and overrides of `mixkd distill`."""
        from mixkd.config.launcher import WANDB_NAME, WANDB_NAMED  # pydantic takes its time

        overrides = read_folders(overrides, "dashboard")
        pairs = {override: override.partition("=") for override in overrides}
        values = {key: value for key, _, value in pairs.values() if key in DASHBOARD_KEYS}
        rest = [override for override, (key, _, _) in pairs.items() if key not in DASHBOARD_KEYS]
        if not {"entity", "out"} & values.keys():
            wrong = rest[0].partition("=")[0] if rest else "nothing"
            takes = ", ".join(f"{key}=" for key in DASHBOARD_KEYS)
            text = f"got {wrong}; takes {takes}{nearest(wrong, DASHBOARD_KEYS)}"
            raise UserError.of("dashboard", text)
        for key in values.keys() & {"entity", "project"}:
            if not re.search(WANDB_NAME, values[key]) or len(values[key]) > 128:
                raise UserError.of(key, f"got {shown(values[key])}; takes {WANDB_NAMED}")
        out = _path(values["out"]) if "out" in values else None
        return cls(values.get("entity"), values.get("project", "mixkd"), out, tuple(rest))


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))


# How each command reads its overrides; a UserError says what is wrong with them.
PARSERS: Mapping[str, Callable[[Sequence[str]], Any]] = {
    "compare": CompareConfig.parse,
    "dashboard": DashboardConfig.parse,
    "list": ListConfig.parse,
    "report": ReportConfig.parse,
    "reproduce": ReproduceConfig.parse,
}
