"""Reliability diagrams: accuracy against confidence, bin by bin (as in the paper's Fig. 3)."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from mixkd.files import replacing

# Okabe and Ito's palette: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

TICKS = (0.0, 0.5, 1.0)


class Curve(NamedTuple):
    """One network's reliability: a label, rows of reliability.csv, and its ECE."""

    label: str
    rows: Sequence[Mapping[str, Any]]
    ece: float


def reliability_figure(curves: Sequence[Curve]) -> Figure:
    """Draw a panel a curve: a dot a bin, its area the share of images, its bar the gap."""
    columns = min(len(curves), 5)
    lines = math.ceil(len(curves) / columns)
    figure = Figure(figsize=(2.2 * columns + 0.6, 2.6 * lines + 0.4), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axis in axes[len(curves) :]:
        axis.set_visible(False)
    for number, (axis, curve) in enumerate(zip(axes, curves, strict=False)):
        filled = [row for row in curve.rows if float(row["count"]) > 0]
        total = sum(float(row["count"]) for row in filled)
        x = [float(row["confidence"]) for row in filled]
        y = [float(row["accuracy"]) for row in filled]
        area = [20 + 180 * float(row["count"]) / total for row in filled]
        colour = COLOURS[number % len(COLOURS)]
        axis.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        axis.vlines(x, x, y, color=colour, linewidth=1.5, alpha=0.6)
        axis.scatter(x, y, s=area, color=colour, alpha=0.85, linewidths=0, clip_on=False, zorder=3)
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=TICKS, yticks=TICKS, aspect="equal")
        axis.set_title(f"{curve.label}\nECE {curve.ece:.3f}", fontsize="medium")
        axis.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("confidence (mean of the bin)\ndot area: share of images", fontsize="medium")
    figure.supylabel("accuracy", fontsize="medium")
    return figure


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure as `stem`.png and `stem`.svg."""
    for suffix in ("png", "svg"):
        with replacing(stem.parent / f"{stem.name}.{suffix}") as temporary:
            figure.savefig(temporary, dpi=150)


def read_curve(run: Path, split: str, label: str, ece: float) -> Curve:
    """Return a run's reliability on a split, from its reliability.csv."""
    with open(run / "reliability.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return Curve(label, rows, ece)
