"""`mixkd list networks | datasets | artefacts | runs`. Imports nothing heavy."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixkd.config.overrides import by_key
from mixkd.config.shipped import artefacts, group_names
from mixkd.console import in_one_line
from mixkd.errors import UserError, nearest, shortened
from mixkd.files.reading import Damaged, folders_with, read_mapping, read_rows
from mixkd.runs.status import is_held

WHAT = ("networks", "datasets", "artefacts", "runs")


def list_items(words: Sequence[str]) -> str:
    """Return the text of `mixkd list WORDS`; `run.root=DIR` says where runs are.

    Raises:
        UserError: if it is not known what to list.
    """
    root = by_key([word for word in words if "=" in word], ["run.root"]).get("run.root", "runs")
    names = [word for word in words if "=" not in word]
    if len(names) != 1 or names[0] not in WHAT:
        got = " ".join(names) or "nothing"
        raise UserError.of("list", f"got {got}; takes {', '.join(WHAT)}{nearest(got, WHAT)}")
    if names[0] == "networks":
        return _columns(list(group_names("network").items()))
    if names[0] == "datasets":
        return _columns(list(group_names("data").items()))
    if names[0] == "artefacts":
        return _columns(list(artefacts().items()))
    return _columns(runs(Path(os.path.expanduser(root)))) or f"no runs under {root}/"


def runs(root: Path) -> list[tuple[str, str, str]]:
    """Return (directory, state, headline metrics) of each run under `root`, sorted by path."""
    found = []
    for directory in folders_with(("status.json",), root):
        try:
            known, headline = read_mapping(directory / "status.json"), _headline(directory)
        except Damaged as error:
            why = shortened(f"{error.path.name}: {error.why}")
            found.append((str(directory), "damaged", why))
            continue
        except FileNotFoundError:
            found.append((str(directory), "damaged", "status.json: it is a link to nothing"))
            continue
        state = str(known.get("state", "unknown"))
        if state == "running" and not is_held(directory):
            state = "interrupted"
        if "epoch" in known and state != "finished":
            state += f" {known['epoch']}/{known.get('max_epochs', '?')}"
        found.append((str(directory), shortened(state, 40), headline))
    return found


def _headline(directory: Path) -> str:
    """Return accuracy and ECE: the run's own, or until then those of its last epoch."""
    metrics: dict[str, Any]
    path, split = directory / "metrics.json", "test"
    try:
        metrics = read_mapping(path)
    except FileNotFoundError:
        path, split = directory / "history.csv", "val"
        try:
            metrics = dict((read_rows(path) or [{}])[-1])
        except FileNotFoundError:
            return ""
    kept = [f"{split}/{name}" for name in ("accuracy", "ece") if f"{split}/{name}" in metrics]
    try:
        return "  ".join(f"{name} {float(metrics[name]):.4f}" for name in kept)
    except (TypeError, ValueError, OverflowError) as error:
        raise Damaged(path, error) from error


def _columns(rows: Sequence[Sequence[str]]) -> str:
    rows = [[in_one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)
