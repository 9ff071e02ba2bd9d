"""What the commands take that are none of Hydra's: compare, report, list, dashboard."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixkd.config.overrides import by_key
from mixkd.config.reproduce import ReproduceConfig
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
LISTS = ("networks", "datasets", "artefacts", "runs")
DASHBOARD_KEYS = {
    "entity": "your W&B user or team; with it the workspace is saved there",
    "project": "of the runs; mixkd unless given",
    "out": "a folder for workspace.json and sweep.yaml",
}


@dataclass(frozen=True)
class CompareConfig:
    """Two runs to compare.

    Attributes:
        network: the directory of a run.
        other: the directory of another run.
        split: whose predictions are compared.
        draws: of the bootstrap.
        out: a .csv file for the table.
    """

    network: Path
    other: Path
    split: str = "test"
    draws: int = 2000
    out: Path | None = None

    @classmethod
    def parse(cls, overrides: Sequence[str]) -> "CompareConfig":
        """Read `network.run=DIR other.run=DIR [split=test] [draws=2000] [out=FILE]`.

        Raises:
            UserError: for another key or value.
        """
        given = by_key(overrides, COMPARE_KEYS)
        draws = given.get("draws", "2000")
        if not re.fullmatch("[0-9]{3,6}", draws) or not 100 <= int(draws) <= MOST_DRAWS:
            text = f"got {shortened(draws)}; takes a whole number from 100 to {MOST_DRAWS}"
            raise UserError.of("draws", text)
        out = _path(given["out"]) if "out" in given else None
        if out is not None and out.is_dir():
            text = f"got {given['out']!r}, a folder; takes {COMPARE_KEYS['out']}"
            raise UserError.of("out", text)
        for key in ("network.run", "other.run"):
            if key not in given:
                raise UserError.of(key, f"is missing; takes {COMPARE_KEYS[key]}")
        network, other = (_path(given[key]) for key in ("network.run", "other.run"))
        return cls(network, other, given.get("split", "test"), int(draws), out)


@dataclass(frozen=True)
class ReportConfig:
    """A folder of runs to report on.

    Attributes:
        runs: the folder.
        out: where the report goes; None: reports/<scale>.
        scale: of the reproduction that planned them; None: the latest one, if there is one.
    """

    runs: Path = Path("runs")
    out: Path | None = None
    scale: str | None = None

    @classmethod
    def parse(cls, overrides: Sequence[str]) -> "ReportConfig":
        """Read `[runs=DIR] [out=DIR] [scale=NAME]`.

        Raises:
            UserError: for another key.
        """
        given = by_key(overrides, REPORT_KEYS)
        out = _path(given["out"]) if "out" in given else None
        return cls(_path(given.get("runs", "runs")), out, given.get("scale"))


@dataclass(frozen=True)
class ListConfig:
    """What to list: one of LISTS, and where runs are."""

    name: str
    root: Path = Path("runs")

    @classmethod
    def parse(cls, overrides: Sequence[str]) -> "ListConfig":
        """Read `NAME [run.root=DIR]`.

        Raises:
            UserError: if it is not known what to list.
        """
        given = by_key([word for word in overrides if "=" in word], ["run.root"])
        names = [word for word in overrides if "=" not in word]
        if len(names) != 1 or names[0] not in LISTS:
            got = " ".join(names) or "nothing"
            raise UserError.of("list", f"got {got}; takes {', '.join(LISTS)}{nearest(got, LISTS)}")
        return cls(names[0], _path(given.get("run.root", "runs")))


@dataclass(frozen=True)
class DashboardConfig:
    """Where a W&B workspace and a sweep file go.

    Attributes:
        entity: W&B's user or team; None: it is not saved there.
        project: of the runs.
        out: a folder for both as files.
        overrides: of `mixkd distill`, for the sweep file.
    """

    entity: str | None = None
    project: str = "mixkd"
    out: Path | None = None
    overrides: tuple[str, ...] = ()

    @classmethod
    def parse(cls, overrides: Sequence[str]) -> "DashboardConfig":
        """Read `[entity=NAME] [project=NAME] [out=DIR]`, and overrides of `mixkd distill`.

        Raises:
            UserError: if neither entity nor out is given, or a name is none.
        """
        from mixkd.config.logging import WANDB_NAME, WANDB_NAMED  # pydantic takes its time

        by_word = {word: word.partition("=") for word in overrides}
        given = {key: value for key, _, value in by_word.values() if key in DASHBOARD_KEYS}
        rest = [word for word, (key, _, _) in by_word.items() if key not in DASHBOARD_KEYS]
        if not {"entity", "out"} & given.keys():
            wrong = rest[0].partition("=")[0] if rest else "nothing"
            takes = ", ".join(f"{key}=" for key in DASHBOARD_KEYS)
            text = f"got {wrong}; takes {takes}{nearest(wrong, DASHBOARD_KEYS)}"
            raise UserError.of("dashboard", text)
        for key in given.keys() & {"entity", "project"}:
            if not re.search(WANDB_NAME, given[key]) or len(given[key]) > 128:
                raise UserError.of(key, f"got {shown(given[key])}; takes {WANDB_NAMED}")
        out = _path(given["out"]) if "out" in given else None
        return cls(given.get("entity"), given.get("project", "mixkd"), out, tuple(rest))


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))


# How each command reads its overrides.
PARSERS: Mapping[str, Callable[[Sequence[str]], Any]] = {
    "compare": CompareConfig.parse,
    "dashboard": DashboardConfig.parse,
    "list": ListConfig.parse,
    "report": ReportConfig.parse,
    "reproduce": ReproduceConfig.parse,
}
