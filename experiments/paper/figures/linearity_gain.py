"""The gain in linearity of students over their teachers, as in Fig. 5."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixkd.plots.style import (
    add_legend,
    colour_of,
    handles_of,
    line_style,
    not_measured,
    one_panel,
    open_frame,
)
from mixkd.plots.vicinal import LAMBDA, column


def linearity_gain(
    teacher: Sequence[Mapping[str, Any]], student: Sequence[Mapping[str, Any]]
) -> dict[float, float]:
    """Return the gain in linearity in nats (eq. 15) at each lambda that both rows have."""
    of_teacher = dict(zip(column(teacher, "lam"), column(teacher, "nl"), strict=True))
    pairs = zip(column(student, "lam"), column(student, "nl"), strict=True)
    return {lam: of_teacher[lam] - nl for lam, nl in pairs if lam in of_teacher}


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
    figure, axes = one_panel(5.8, 4.2)
    axes.axhline(0, color="grey", linewidth=0.8)
    halfway: list[tuple[float, float, float, int]] = []  # nats, standard error, lambda, position
    for number, (name, curve) in enumerate(gains.items()):
        at = sorted((lam, gain) for lam, gain in curve.items() if math.isfinite(gain))
        curve_errors = errors.get(name, {})
        if at:
            axes.plot(*zip(*at, strict=True), label=name, **line_style(number))
            band = [(lam, gain, 2 * curve_errors[lam]) for lam, gain in at if lam in curve_errors]
            if band:
                lambdas, middle, two = (np.array(values) for values in zip(*band, strict=True))
                colour = colour_of(number)
                low, high = middle - two, middle + two
                axes.fill_between(lambdas, low, high, color=colour, alpha=0.2, linewidth=0)
            lam, gain = min(at, key=lambda point: abs(point[0] - 0.5))
            halfway.append((gain, curve_errors.get(lam, math.nan), lam, number))
        if name in printed:
            colour = colour_of(number)
            axes.plot(0.5, printed[name], "o", color=colour, markerfacecolor="white", zorder=4)
    if not halfway:
        not_measured(axes)
    if printed:
        axes.plot([], [], "o", color="black", markerfacecolor="white", label="peak in the paper")
    spread = " ± 2 s.e." if any(errors.values()) else ""
    axes.set(xlabel=LAMBDA, ylabel=f"gain in linearity Δₗᵢₙ{spread} (nats)", xlim=(0, 1))
    open_frame(axes)
    _label_halfway(axes, halfway)
    add_legend(figure, handles_of(axes))
    return figure


def _label_halfway(axes: Axes, points: Sequence[tuple[float, float, float, int]]) -> None:
    """Write each gain beside the axes, at its height or above the one below it."""
    low, high = axes.get_ylim()
    gap, last = 0.06 * (high - low), -math.inf
    for gain, error, lam, number in sorted(points):
        colour = colour_of(number)
        last = max(gain, last + gap)
        axes.plot(lam, gain, ".", color=colour, clip_on=False)
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.6, "linestyle": ":"}
        text = f"{gain:+.3f}" + (f" ± {2 * error:.3f}" if math.isfinite(error) else "")
        axes.annotate(
            text, (lam, gain), xytext=(1.02, last), textcoords=("axes fraction", "data"),
            color=colour, va="center", arrowprops={**line, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
    axes.set_ylim(low, max(high, last + gap))
