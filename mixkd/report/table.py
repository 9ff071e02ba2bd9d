"""Tables as Markdown, CSV and LaTeX."""

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tabulate import tabulate

from mixkd.console import printable
from mixkd.files.writing import write_text


@dataclass(frozen=True)
class Number:
    """A number of a table, in the unit of its column.

    Attributes:
        spread: standard deviation over seeds; None of a single value.
        runs: the run directories that it comes from.
        digits: after the decimal point, where they are not the column's: as a paper prints it.
    """

    value: float
    spread: float | None = None
    runs: tuple[str, ...] = ()
    digits: int | None = None


Value = Number | float | str | None


@dataclass(frozen=True)
class Column:
    """A column: its `name` in CSV, letters, digits and _; its heading for people, with the unit.

    `digits` are those after the decimal point. The page sets apart what is `printed` in a paper.
    """

    name: str
    heading: str
    digits: int = 4
    signed: bool = False
    printed: bool = False

    def shown(self, value: Value, missing: str = "-") -> str:
        """Return a value as people read it."""
        match value:
            case None:
                return missing
            case str():
                return value
            case Number():
                text = self._rounded(value.value, value.digits)
                spread = value.spread
                return text if spread is None else f"{text} ± {spread:.{self.digits}f}"
        return self._rounded(value)

    def _rounded(self, value: float, places: int | None = None) -> str:
        if math.isnan(value):
            return "-"
        digits = self.digits if places is None else places
        return f"{value:+.{digits}f}" if self.signed else f"{value:.{digits}f}"


@dataclass(frozen=True)
class Table:
    """A table: a row maps names of columns to values; what a row lacks is shown as `-`.

    `name` is of its files. The caption says scale, data, protocol, selection and what else a reader
    has to know. Columns of text are set to the left.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Value]] = field(default_factory=list)

    def is_text(self, column: Column) -> bool:
        """Return whether a column holds text alone."""
        values = [row.get(column.name) for row in self.rows]
        return all(isinstance(value, str) or value is None for value in values)

    def markdown(self) -> str:
        """Return the table alone, as Markdown."""
        lines = [[column.heading for column in self.columns]]
        lines += [[c.shown(row.get(c.name)) for c in self.columns] for row in self.rows]
        lines = [[as_markdown(cell).replace("|", "\\|") for cell in line] for line in lines]
        sides = ["left" if self.is_text(column) else "right" for column in self.columns]
        return f"{tabulate(lines, 'firstrow', 'pipe', disable_numparse=True, colalign=sides)}\n"

    def csv(self) -> str:
        """Return the table as CSV with every digit, spreads as `<name>_sd`, and the runs."""
        lines: list[dict[str, object]] = []
        for row in self.rows:
            line: dict[str, object] = {}
            runs: dict[str, None] = {}
            for column in self.columns:
                value = row.get(column.name)
                if isinstance(value, Number):
                    runs |= dict.fromkeys(value.runs)
                    if value.spread is not None:
                        line[f"{column.name}_sd"] = value.spread
                    value = value.value
                line[column.name] = "" if value is None else _inert(value)
            lines.append(line | ({"runs": _inert(";".join(runs))} if runs else {}))
        used = {column.name for column in self.columns}.union(*lines)
        names = [name for c in self.columns for name in (c.name, f"{c.name}_sd")] + ["runs"]
        text = io.StringIO()
        writer = csv.DictWriter(text, [name for name in names if name in used], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        return text.getvalue()

    def latex(self) -> str:
        """Return a LaTeX table for the package booktabs, with its caption."""
        head = " & ".join(escaped(column.heading) for column in self.columns)
        lines = [
            " & ".join(escaped(c.shown(row.get(c.name), missing="--")) for c in self.columns)
            + r" \\"
            for row in self.rows
        ]
        # What stands after a row's end in brackets would be its height.
        body = "".join(f"{{}}{line}\n" if line[0] in "[*" else f"{line}\n" for line in lines)
        return rf"""% \usepackage{{booktabs}}
\begin{{table}}
\caption{{{escaped(f"{self.title}. {self.caption}")}}}
\label{{tab:{self.name}}}
\begin{{tabular}}{{{"".join("l" if self.is_text(c) else "r" for c in self.columns)}}}
\toprule
{head} \\
\midrule
{body}\bottomrule
\end{{tabular}}
\end{{table}}
"""

    def write(self, folder: Path) -> None:
        """Write `name`.md, .csv and .tex into a folder."""
        # A caption that begins as a heading, a list or a fence is none.
        caption = re.sub(r"^(?=[#>~|+=-])", r"\\", as_markdown(self.caption))
        heading = f"# {as_markdown(self.title)}\n\n{caption}\n\n"
        write_text(folder / f"{self.name}.md", heading + self.markdown())
        write_text(folder / f"{self.name}.csv", self.csv())
        write_text(folder / f"{self.name}.tex", self.latex())


def _inert(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: a text that begins as one is quoted.

    Names come from the configurations of runs, which may be a stranger's.
    """
    starts = isinstance(cell, str) and len(cell) > 1 and cell[0] in "=+-@\t\r"
    return f"'{cell}" if starts else cell


def as_markdown(text: str) -> str:
    """Return a text as Markdown shows it, in one line: only `backticks` are markup, and set code.

    Names in it may be a stranger's: they bring no HTML, link or image of their own.
    """
    text = printable(" ".join(text.split())).replace("<", "&lt;")
    parts = re.split(r"(?<!`)(`[^`]+`)(?!`)", text)
    for k, part in enumerate(parts[::2]):
        part = re.sub(r"\\|\](?=[(\[:])", r"\\\g<0>", part)
        parts[2 * k] = part.replace("`", "&#96;")
    return "".join(parts)


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "λ": r"$\lambda$", "Δ": r"$\Delta$", "σ": r"$\sigma$", "−": r"$-$",
    "<": r"$<$", ">": r"$>$", "≤": r"$\leq$", "≥": r"$\geq$",
}  # fmt: skip


def escaped(text: str) -> str:
    """Return a text as LaTeX sets it."""
    letters = printable(" ".join(text.split()))
    return "".join(_TEX.get(letter, letter) for letter in letters)


COLUMNS = (
    Column("network", "Network"),
    Column("accuracy", "Accuracy"),
    Column("confidence", "Confidence"),
    Column("ece", "ECE"),
    Column("signed_gap", "Signed gap", signed=True),
    Column("nll", "NLL (nats)"),
    Column("brier", "Brier"),
)
NOTES = Column("notes", "Notes")
SEEDS = Column("seeds", "Seeds", digits=0)


def metrics_table(
    name: str, title: str, caption: str, runs: Sequence[tuple[str, Mapping[str, float]]], split: str
) -> Table:
    """Return a table of calibration, a row for each (label, metrics), and one of its scaled logits.

    Temperature scaling is one fitted number: the reference that any method has to beat. The metrics
    are what metrics.json holds.
    """
    rows: list[dict[str, Value]] = []
    kept = [column.name for column in COLUMNS[1:]]
    for label, metrics in runs:
        rows.append({"network": label} | {c: metrics[f"{split}/{c}"] for c in kept})
        if {f"{split}/scaled/ece", f"{split}/scaled/temperature"} <= metrics.keys():
            scaled = {c: metrics.get(f"{split}/scaled/{c}", metrics[f"{split}/{c}"]) for c in kept}
            after_scaling = f"{label}, T = {metrics[f'{split}/scaled/temperature']:.2f}"
            rows.append({"network": after_scaling, **scaled})
    return Table(name, title, caption, COLUMNS, rows)
