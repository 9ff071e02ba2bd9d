"""Accuracy against confidence, bin by bin: reliability diagrams."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from mixkd.plots.style import colour_of, open_frame, panel_grid

TICKS = (0.0, 0.5, 1.0)


class Curve(NamedTuple):
    """One network's reliability: a label, rows of reliability.csv, and its ECE."""

    label: str
    rows: Sequence[Mapping[str, Any]]
    ece: float


def reliability_figure(curves: Sequence[Curve]) -> Figure:
    """Draw a panel a curve: a dot a bin, its area the share of images, its bar the gap."""
    figure, panels = panel_grid(len(curves), 5, 2.2, 2.4)
    for number, (axis, curve) in enumerate(zip(panels, curves, strict=True)):
        filled = [row for row in curve.rows if float(row["count"]) > 0]
        total = sum(float(row["count"]) for row in filled)
        x = [float(row["confidence"]) for row in filled]
        y = [float(row["accuracy"]) for row in filled]
        colour = colour_of(number)
        area = [20 + 180 * float(row["count"]) / total for row in filled]
        axis.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        axis.vlines(x, x, y, color=colour, linewidth=1.5, alpha=0.6)
        axis.scatter(x, y, s=area, color=colour, alpha=0.85, linewidths=0, clip_on=False, zorder=3)
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=TICKS, yticks=TICKS, aspect="equal")
        axis.set_title(f"{curve.label}\nECE {curve.ece:.3f}", fontsize="medium")
        open_frame(axis)
    figure.supxlabel("confidence (mean of the bin)\ndot area: share of images", fontsize="medium")
    figure.supylabel("accuracy", fontsize="medium")
    return figure
