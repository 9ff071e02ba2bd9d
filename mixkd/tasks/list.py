"""`mixkd list networks | datasets | ... | artefacts | runs`. Imports nothing heavy."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mixkd.config.commands import GROUPS, ListConfig
from mixkd.config.shipped import artefacts, group_names
from mixkd.console import in_one_line
from mixkd.errors import shortened
from mixkd.files.layout import HISTORY, METRICS, STATUS
from mixkd.files.reading import Damaged, folders_with, read_mapping, read_rows
from mixkd.runs.status import is_held


def list_items(config: ListConfig) -> str:
    """Return the names of a group, such as networks, or artefacts, or runs, a line each."""
    match config.name:
        case "artefacts":
            return _lines(artefacts().items())
        case name if name in GROUPS:
            return _lines(group_names(GROUPS[name], config.folders).items())
    return _lines(runs(config.root)) or f"no runs under {config.root}/"


def runs(root: Path) -> list[tuple[str, str, str]]:
    """Return (directory, state, headline metrics) of each run under `root`, sorted by path."""
    rows = []
    for directory in folders_with((STATUS,), root):
        try:
            status, headline = read_mapping(directory / STATUS), _headline(directory)
        except Damaged as error:
            why = shortened(f"{error.path.name}: {error.why}")
            rows.append((str(directory), "damaged", why))
            continue
        except FileNotFoundError:
            rows.append((str(directory), "damaged", f"{STATUS}: it is a link to nothing"))
            continue
        state = str(status.get("state", "unknown"))
        if state == "running" and not is_held(directory):
            state = "interrupted"
        if "epoch" in status and state != "finished":
            state += f" {status['epoch']}/{status.get('max_epochs', '?')}"
        rows.append((str(directory), shortened(state, 40), headline))
    return rows


def _headline(directory: Path) -> str:
    """Return accuracy and ECE: the run's own, or until then those of its last epoch."""
    metrics: dict[str, Any]
    path, split = directory / METRICS, "test"
    try:
        metrics = read_mapping(path)
    except FileNotFoundError:
        path, split = directory / HISTORY, "val"
        try:
            metrics = dict((read_rows(path) or [{}])[-1])
        except FileNotFoundError:
            return ""
    kept = [f"{split}/{name}" for name in ("accuracy", "ece") if f"{split}/{name}" in metrics]
    try:
        return "  ".join(f"{name} {float(metrics[name]):.4f}" for name in kept)
    except (TypeError, ValueError, OverflowError) as error:
        raise Damaged(path, error) from error


def _lines(rows: Iterable[Sequence[str]]) -> str:
    """Return rows below one another."""
    cells = [[in_one_line(cell) for cell in row] for row in rows]
    return tabulate(cells, tablefmt="plain", disable_numparse=True)
