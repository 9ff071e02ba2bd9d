"""Figures of vicinal analysis: what networks do between images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixkd.plots.style import COLOURS, PlainFigure, add_legend, not_measured

LINES = ("-", "--", "-.", ":")
LAMBDA = "λ, weight of the first image"

PANELS = (
    ("nl", "Non-linearity ± 2 s.e. (nats)"),
    ("entropy", "Entropy ± 2 s.e. (nats)"),
    ("dominance", "Dominance"),
)


def vicinal_figure(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], stacked: bool = False
) -> Figure:
    """Return curves over lambda: nl with two standard errors, entropy, and dominance.

    Args:
        rows: network -> its rows of vicinal.csv, in the order of lambda. A network without rows
            has no curve, and keeps its colour.
        stacked: one above the other, as the paper's Fig. 4, in place of side by side.
    """
    size = (4.8, 6.8) if stacked else (9.6, 3.2)
    figure = PlainFigure(figsize=size, layout="constrained")
    panels = figure.subplots(
        *((3, 1) if stacked else (1, 3)), squeeze=False, sharex=stacked
    ).flatten()
    for axes, (column, label) in zip(panels, PANELS, strict=True):
        for number, (name, own) in enumerate(rows.items()):
            style = _style(number)
            lam, y = _column(own, "lam"), _column(own, column)
            if not any(math.isfinite(value) for value in y):
                continue
            axes.plot(lam, y, label=name, **style)
            if f"{column}_se" in own[0]:
                errors = _column(own, f"{column}_se")
                low, high = ([v + s * e for v, e in zip(y, errors, strict=True)] for s in (-2, 2))
                axes.fill_between(lam, low, high, color=style["color"], alpha=0.2, linewidth=0)
        if not axes.lines:
            not_measured(axes)
        if column == "dominance":
            axes.axhline(1, color="grey", linewidth=0.8, linestyle=":")
        axes.set(ylabel=label.replace(" ±", "\n±") if stacked else label, xlim=(0, 1))
        axes.set_ylim(bottom=0)
        if not stacked or axes is panels[-1]:
            axes.set_xlabel(LAMBDA)
    figure.align_ylabels()
    if len(rows) > 1:
        add_legend(figure, _handles(panels[0]))
    return figure


def linearity_gain(
    teacher: Sequence[Mapping[str, Any]], student: Sequence[Mapping[str, Any]]
) -> dict[float, float]:
    """Return the gain in linearity in nats (eq. 15) at each lambda that both rows have."""
    other = dict(zip(_column(teacher, "lam"), _column(teacher, "nl"), strict=True))
    own = zip(_column(student, "lam"), _column(student, "nl"), strict=True)
    return {lam: other[lam] - nl for lam, nl in own if lam in other}


def linearity_gain_errors(student: Sequence[Mapping[str, Any]]) -> dict[float, float]:
    """Return the paired standard error of the gain over the teacher at each lambda, where known.

    Args:
        student: its rows of vicinal.csv; those of older runs have no errors.
    """
    errors = {float(row["lam"]): row.get("delta_lin_se", "") for row in student}
    return {lam: float(error) for lam, error in errors.items() if error != ""}


def linearity_gain_figure(
    gains: Mapping[str, Mapping[float, float]],
    printed: Mapping[str, float] | None = None,
    errors: Mapping[str, Mapping[float, float]] | None = None,
) -> Figure:
    """Return the gain in linearity over lambda, a line a pair, as the paper's Fig. 5.

    Beside the axes is the gain halfway, where the grid is nearest to lambda = 0.5. (Its maximum
    would be biased upwards, as is any that is chosen among noisy values.)

    Args:
        gains: teacher -> lambda -> nats. One without gains has no line, and keeps its colour.
        printed: teacher -> the peak that the paper prints; shown at lambda = 0.5.
        errors: teacher -> lambda -> standard error; a band of two is drawn where they are known.
    """
    printed, errors = printed or {}, errors or {}
    figure = PlainFigure(figsize=(5.8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color="grey", linewidth=0.8)
    halfway: list[tuple[float, float, float, int]] = []  # nats, standard error, lambda, position
    for number, (name, own) in enumerate(gains.items()):
        at = sorted((lam, gain) for lam, gain in own.items() if math.isfinite(gain))
        known = errors.get(name, {})
        if at:
            axes.plot(*zip(*at, strict=True), label=name, **_style(number))
            band = [(lam, gain, 2 * known[lam]) for lam, gain in at if lam in known]
            if band:
                lambdas, middle, two = (np.array(values) for values in zip(*band, strict=True))
                colour = _style(number)["color"]
                low, high = middle - two, middle + two
                axes.fill_between(lambdas, low, high, color=colour, alpha=0.2, linewidth=0)
            lam, gain = min(at, key=lambda point: abs(point[0] - 0.5))
            halfway.append((gain, known.get(lam, math.nan), lam, number))
        if name in printed:
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(0.5, printed[name], "o", color=colour, markerfacecolor="white", zorder=4)
    if not halfway:
        not_measured(axes)
    if printed:
        axes.plot([], [], "o", color="black", markerfacecolor="white", label="peak in the paper")
    spread = " ± 2 s.e." if any(errors.values()) else ""
    axes.set(xlabel=LAMBDA, ylabel=f"gain in linearity Δₗᵢₙ{spread} (nats)", xlim=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    _label_halfway(axes, halfway)
    add_legend(figure, _handles(axes))
    return figure


def _label_halfway(axes: Axes, points: Sequence[tuple[float, float, float, int]]) -> None:
    """Write each gain beside the axes, at its height or above the one below it."""
    low, high = axes.get_ylim()
    gap, last = 0.06 * (high - low), -math.inf
    for gain, error, lam, number in sorted(points):
        colour = COLOURS[number % len(COLOURS)]
        last = max(gain, last + gap)
        axes.plot(lam, gain, ".", color=colour, clip_on=False)
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "linestyle": ":"}
        text = f"{gain:+.3f}" + (f" ± {2 * error:.3f}" if math.isfinite(error) else "")
        axes.annotate(
            text, (lam, gain), xytext=(1.02, last), textcoords=("axes fraction", "data"),
            color=colour, va="center", arrowprops={**line, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    axes.set_ylim(low, max(high, last + gap))


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return a column; NaN where it is empty."""
    return [math.nan if row[name] == "" else float(row[name]) for row in rows]


def _style(number: int) -> dict[str, Any]:
    """Return the look of a network's line."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": LINES[number % len(LINES)]}


def _handles(axes: Axes) -> dict[str, Artist]:
    """Return label -> line."""
    lines, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, lines, strict=True))
