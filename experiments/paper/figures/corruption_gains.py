"""Gains in accuracy over a baseline on corrupted images, as in Fig. 6."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from mixkd.plots.style import add_legend, colour_of, not_measured, one_panel, open_frame


class Gain(NamedTuple):
    """A gain in accuracy over the baseline, a fraction, and its standard error if known."""

    mean: float
    se: float = math.nan


def corruption_gains_figure(
    gains: Mapping[str, Mapping[str, Gain]],
    printed: Mapping[str, Mapping[str, float]] | None = None,
    baseline: str = "the baseline",
) -> Figure:
    """Return gains as bars, a group a corruption and a bar a teacher, as the paper's Fig. 6.

    The gain furthest from zero in each group is written beside it.

    Args:
        gains: teacher -> corruption -> the mean gain over severities. What is missing has no bar,
            and a teacher without gains keeps its colour.
        printed: teacher -> corruption -> the gain that the paper prints, a fraction.
        baseline: what the gains are over.
    """
    printed = printed or {}
    names = list(
        dict.fromkeys(
            name for of_teacher in (*gains.values(), *printed.values()) for name in of_teacher
        )
    )
    figure, axes = one_panel(min(max(4.8, 1.2 * len(names) + 1), 13), 3.8)
    axes.axhline(0, color="black", linewidth=0.8)
    width = 0.84 / max(1, len(gains))
    handles: dict[str, Any] = {}
    extremes: dict[str, tuple[float, float, float]] = {}  # value, x and the end of its marks
    for k, (teacher, of_teacher) in enumerate(gains.items()):
        for group, name in enumerate(names):
            x = group + (k - (len(gains) - 1) / 2) * width
            gain = of_teacher.get(name, Gain(math.nan))
            value, error = 100 * gain.mean, 200 * gain.se if math.isfinite(gain.se) else 0.0
            ends = [value + math.copysign(error, value)]
            if name in printed.get(teacher, {}):
                ends.append(100 * printed[teacher][name])
                (handles["paper"],) = axes.plot(
                    x, ends[-1], "D", color="black", markerfacecolor="white", markersize=4
                )
            if not math.isfinite(value):
                continue
            handles[teacher] = axes.bar(x, value, 0.92 * width, color=colour_of(k))
            if error:
                axes.errorbar(x, value, error, color="0.2", linewidth=0.8, capsize=2)
            if name not in extremes or abs(value) > abs(extremes[name][0]):
                end = max(ends) if value >= 0 else min(ends)
                extremes[name] = (value, x, end)
    for value, x, end in extremes.values():
        axes.annotate(
            f"{round(value, 1) + 0:+.1f}", (x, end), xytext=(0, 5 if value >= 0 else -5),
            textcoords="offset points", ha="center", va="bottom" if value >= 0 else "top",
            fontsize="small",
        )  # fmt: skip
    if not extremes:
        not_measured(axes)
    axes.margins(y=0.14)
    axes.set_xlim(-0.5, max(1, len(names)) - 0.5)
    axes.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(f"mean gain in accuracy over {baseline} (pp)")
    open_frame(axes, "bottom")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    add_legend(figure, {k: handles[k] for k in (*gains, "paper") if k in handles})
    return figure
