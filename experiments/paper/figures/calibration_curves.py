"""Confidence against accuracy of teachers and students, bin by bin, as in Fig. 3."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from mixkd.plots.style import COLOURS, add_legend, not_measured, open_frame, panel_grid

FIFTHS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


class Pair(NamedTuple):
    """A teacher and its student.

    Attributes:
        title: of their panel.
        teacher: rows of reliability.csv; none where it was not measured.
        student: the same.
        printed: both accuracies elsewhere, fractions, to be shown beside.
    """

    title: str
    teacher: Sequence[Mapping[str, Any]] = ()
    student: Sequence[Mapping[str, Any]] = ()
    printed: tuple[float, float] | None = None


def calibration_curves_figure(panels: Sequence[Pair]) -> Figure:
    """Draw a panel a pair: both confidence-accuracy curves beside the diagonal, and accuracies."""
    figure, grid = panel_grid(len(panels), 2 if len(panels) == 4 else 3, 2.7, 2.8)
    for axes, pair in zip(grid, panels, strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        for rows, colour, marker in zip((pair.teacher, pair.student), COLOURS, "os", strict=False):
            filled = [row for row in rows if float(row["count"]) > 0]
            x = [float(row["confidence"]) for row in filled]
            y = [float(row["accuracy"]) for row in filled]
            axes.plot(x, y, color=colour, marker=marker, markersize=4, clip_on=not filled)
        if pair.teacher or pair.student:
            accuracies = _both(_accuracy(pair.teacher), _accuracy(pair.student))
            text = f"Accuracy: {accuracies}"
        else:
            not_measured(axes)
            text = ""
        if pair.printed:
            text += f"\npaper: {_both(*pair.printed)}"
        behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1}
        axes.text(
            0.97, 0.03, text.strip(), ha="right", fontsize="small", linespacing=1.3,
            bbox=behind if text else None, zorder=3,
        )  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=FIFTHS, yticks=FIFTHS, aspect="equal")
        axes.set_title(pair.title, fontsize="medium")
        open_frame(axes)
    figure.supxlabel("confidence (mean of the bin)", fontsize="medium")
    figure.supylabel("accuracy", fontsize="medium")
    names = ("perfect calibration", "teacher", "student")
    add_legend(figure, dict(zip(names, grid[0].lines, strict=True)) if grid else {})
    return figure


def _accuracy(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the accuracy over all bins, NaN without images."""
    filled = [row for row in rows if float(row["count"]) > 0]
    total = sum(float(row["count"]) for row in filled)
    hits = sum(float(row["count"]) * float(row["accuracy"]) for row in filled)
    return hits / total if total else math.nan


def _both(teacher: float, student: float) -> str:
    return " / ".join("-" if math.isnan(a) else f"{100 * a:.2f}" for a in (teacher, student))
