"""`mixkd list networks | datasets | artefacts | runs`. Imports nothing heavy."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from mixkd.errors import UserError, nearest
from mixkd.files import read_json
from mixkd.run import is_held, read_status
from mixkd.shipped import artefacts, group_names

WHAT = ("networks", "datasets", "artefacts", "runs")


def list_items(words: Sequence[str]) -> str:
    """Return the text of `mixkd list WORDS`; `run.root=DIR` says where runs are.

    Raises:
        UserError: if it is not known what to list.
    """
    root = next((w.partition("=")[2] for w in words if w.startswith("run.root=")), "runs")
    names = [word for word in words if not word.startswith("run.root=")]
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
    for status in sorted(root.rglob("status.json")):
        directory = status.parent
        try:
            known, headline = read_status(directory), _headline(directory)
        except (UserError, OSError, ValueError, TypeError, csv.Error):
            found.append((str(directory), "damaged", ""))
            continue
        state = str(known.get("state", "unknown"))
        if state == "running" and not is_held(directory):
            state = "interrupted"
        if "epoch" in known and state != "finished":
            state += f" {known['epoch']}/{known.get('max_epochs', '?')}"
        found.append((str(directory), state, headline))
    return found


def _headline(directory: Path) -> str:
    """Return accuracy and ECE: the run's own, or until then those of its last epoch."""
    split, metrics = "test", {}
    if (directory / "metrics.json").is_file():
        metrics = read_json(directory / "metrics.json", "run.root")
    elif (directory / "history.csv").is_file():
        with open(directory / "history.csv", newline="") as file:
            split, metrics = "val", (list(csv.DictReader(file)) or [{}])[-1]
    kept = [f"{split}/{name}" for name in ("accuracy", "ece") if f"{split}/{name}" in metrics]
    return "  ".join(f"{name} {float(metrics[name]):.4f}" for name in kept)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in padded)
