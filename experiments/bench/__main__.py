"""`python -m experiments.bench [--repeats N] [NAME ...]`: measure, print a table, write it."""

import argparse
import gc
import platform
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

from experiments.bench.timing import Figure
from mixkd.console import cores, say
from mixkd.files.writing import write_csv, write_text

COMPARISONS = (
    "training",
    "losses",
    "sweep",
    "vicinal",
    "inputs",
    "corruptions",
    "start",
    "settings",
)
OUT = Path("reports/bench")


def main(words: Sequence[str]) -> None:
    """Measure what is named, or everything; print the table and write it as Markdown and CSV."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(COMPARISONS))
    parser.add_argument("--repeats", type=int, default=7, help="of each piece of work (7)")
    asked = parser.parse_args(words)
    if unknown := set(asked.names) - set(COMPARISONS):
        parser.error(f"got {', '.join(sorted(unknown))}; takes {', '.join(COMPARISONS)}")
    if asked.repeats < 1:
        parser.error(f"--repeats: got {asked.repeats}; takes 1 or more")
    figures: list[Figure] = []
    for name in asked.names or COMPARISONS:
        say(f"bench: {name}")
        comparison = import_module(f"experiments.bench.{name}")
        gc.freeze()  # as a command does after its imports
        for figure in comparison.figures(asked.repeats):
            say(f"  {figure.what}: {number(figure.median)} {figure.unit}")
            figures.append(figure)
    table = f"{markdown(figures)}\n{machine()}, {asked.repeats} repeats.\n"
    write_text(OUT / "table.md", table)
    write_csv(OUT / "table.csv", [row(figure) for figure in figures])
    print(f"\n{table}\n{OUT}/table.md, table.csv")


def row(figure: Figure) -> dict[str, str]:
    """Return a figure as it stands in a table."""
    kind, bound = figure.target or ("", None)
    return {
        "what": figure.what,
        "median": f"{number(figure.median)} {figure.unit}".strip(),
        "lowest": number(min(figure.values)),
        "highest": number(max(figure.values)),
        "target": "" if bound is None else f"{kind} {bound:g} {figure.unit}".strip(),
        "met": {True: "yes", False: "no", None: ""}[figure.is_met],
    }


def markdown(figures: Sequence[Figure]) -> str:
    """Return a table of figures, and a sentence on each."""
    rows = [row(figure) for figure in figures]
    head = ["", *list(rows[0])]
    lines = [head, ["---"] * len(head)]
    lines += [[str(k), *cells.values()] for k, cells in enumerate(rows, start=1)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    says = "\n".join(f"{k}. {figure.says}" for k, figure in enumerate(figures, start=1))
    return f"{table}\n\n{says}\n"


def number(value: float) -> str:
    """Return a number to three significant digits."""
    return f"{value:.3g}"


def machine() -> str:
    """Return what it was measured on."""
    return f"{cores()} CPU cores, torch {torch.__version__}, {platform.system()}"


if __name__ == "__main__":
    main(sys.argv[1:])
