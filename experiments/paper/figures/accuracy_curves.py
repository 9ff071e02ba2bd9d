"""Accuracy while networks train, on an axis whose upper part is expanded, as in Fig. 9."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from mixkd.plots.style import COLOURS, add_legend, colour_of, not_measured, open_frame, panel_grid

UPPER = 0.6  # the least share of the height that is above the break
STEPS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)

# Label -> accuracy [epochs]
Lines = Mapping[str, Sequence[float]]


class Break(NamedTuple):
    """An axis that is `factor` times as long above `at` as below it."""

    at: float
    factor: float

    def forward(self, y: np.ndarray) -> np.ndarray:
        """Return positions on the axis, of any shape: increasing, and linear in each part."""
        return np.where(y <= self.at, y, self.at + self.factor * (y - self.at))

    def inverse(self, position: np.ndarray) -> np.ndarray:
        """Return the values at positions on the axis."""
        return np.where(position <= self.at, position, self.at + (position - self.at) / self.factor)


def choose_break(lines: Iterable[Sequence[float]]) -> float | None:
    """Return a round accuracy somewhat below the lowest final one; None if zero is near it.

    Lines that end below half of the best accuracy are not looked at.
    """
    finite = [values for line in lines if (values := [y for y in line if math.isfinite(y)])]
    best = max((max(values) for values in finite), default=0.0)
    low = min((values[-1] for values in finite if values[-1] >= best / 2), default=best)
    span = max(best - low, 0.05 * best)
    for step in STEPS:
        at = math.floor((low - span) / step + 1e-9) * step
        if step <= 2 * span and at >= low / 2 > 0:
            return round(at, 6)
    return None


def accuracy_curves_figure(
    panels: Mapping[str, Lines],
    printed: Mapping[str, float] | None = None,
    label: str = "test accuracy",
    break_at: float | None = None,
) -> Figure:
    """Return accuracy over epochs, a panel a teacher and a line a temperature, as Fig. 9.

    The best accuracy of a panel is marked and written beside it.

    Args:
        panels: teacher -> line, such as `T = 2` -> accuracy after each epoch, fractions, shape
            [epochs]; NaN where it is not accuracies. A line has one colour in all panels.
        printed: teacher -> the best accuracy that the paper prints.
        label: which accuracy.
        break_at: the accuracy above which the axis is expanded; by default chosen from the data.
            One holds for all panels of like accuracy; the others have their own, if any.
    """
    printed = printed or {}
    accuracies = [line for lines in panels.values() for line in lines.values()]
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    last = max([1, *map(len, accuracies)])
    figure, grid = panel_grid(len(panels), 2 if len(panels) == 4 else 3, 3.4, 3.1, share=False)
    handles: dict[str, Line2D] = {}
    scales: list[tuple[Axes, float | None, float]] = []
    for axes, (teacher, lines) in zip(grid, panels.items(), strict=True):
        drawn = {name: _draw(axes, line, names.index(name)) for name, line in lines.items()}
        handles |= {name: line for name, line in drawn.items() if line}
        if teacher in printed:
            handles["paper"] = axes.axhline(
                printed[teacher], color="black", linestyle="--", linewidth=0.9
            )
        best = [_best(line) for line in lines.values() if any(map(math.isfinite, line))]
        if best:
            accuracy, epoch = max(best, key=lambda point: point[0])
            default = choose_break(lines.values())
            at = break_at if break_at is not None and break_at < accuracy else default
            scales.append((axes, at, max(accuracy, printed.get(teacher, 0.0))))
            _mark(axes, accuracy, epoch, last)
        else:
            not_measured(axes)
            axes.set_ylim(0, 1)
        _epochs(axes, last)
        axes.set_title(teacher, fontsize="medium")
        axes.tick_params(labelsize="small")
        open_frame(axes)
    same = _shared({at for _, at, _ in scales if at is not None})
    for axes, at, top in scales:
        if at is None:
            _expand(axes, None, top)
        else:
            _expand(axes, same[at], max(t for _, a, t in scales if a and same[a] == same[at]))
    figure.supxlabel("epoch (logarithmic)", fontsize="medium")
    figure.supylabel(label, fontsize="medium")
    add_legend(figure, {k: handles[k] for k in (*names, "paper") if k in handles})
    return figure


def _shared(breaks: Iterable[float]) -> dict[float, float]:
    """Return, for each break, the lowest one that is like it."""
    shared: dict[float, float] = {}
    lowest = 0.0
    for at in sorted(breaks):
        lowest = lowest if at < 1.5 * lowest else at
        shared[at] = lowest
    return shared


def _draw(axes: Axes, line: Sequence[float], number: int) -> Line2D | None:
    """Draw what is known of a line; return None if that is nothing."""
    points = [(epoch, y) for epoch, y in enumerate(line, start=1) if math.isfinite(y)]
    if not points:
        return None
    one = len(points) == 1
    (drawn,) = axes.plot(
        *zip(*points, strict=True), color=colour_of(number), linewidth=1.2,
        linestyle="-" if number < len(COLOURS) else "--", marker="o" if one else "",
        clip_on=not one,
    )  # fmt: skip
    return drawn


def _best(line: Sequence[float]) -> tuple[float, int]:
    """Return the highest accuracy of a line, and the first epoch that has it."""
    points = [(y, epoch) for epoch, y in enumerate(line, start=1) if math.isfinite(y)]
    return max(points, key=lambda point: point[0])


def _mark(axes: Axes, accuracy: float, epoch: int, last: int) -> None:
    """Mark the best accuracy, its value towards the middle of the axis."""
    late = epoch * epoch > last
    axes.plot(epoch, accuracy, "*", color="black", markersize=6, clip_on=False, zorder=4)
    axes.annotate(
        f"{accuracy:.3f}", (epoch, accuracy), xytext=(-3 if late else 5, 4),
        textcoords="offset points", ha="right" if late else "left", va="bottom",
    )  # fmt: skip


def _expand(axes: Axes, at: float | None, top: float) -> None:
    """Scale the accuracy axis from 0 to a bit above `top`, expanded above `at`."""
    top = top or 0.1
    end = 1.1 * top if at is None else top + 0.16 * (top - at)
    factor = 1 if at is None else math.ceil(UPPER / (1 - UPPER) * at / (end - at))
    if at is None or factor <= 1:
        ticks = _ticks(0, top, 6)
        axes.set_yticks(ticks, _texts(ticks))
        axes.set_ylim(0, 1.1 * top)
        return
    scale = Break(at, factor)
    axes.set_yscale("function", functions=(scale.forward, scale.inverse))
    axes.axhspan(0, at, color="0.95", linewidth=0, zorder=0)
    axes.axhline(at, color="0.5", linewidth=0.8, linestyle=":")
    axes.text(
        0.98, 0.02, f"expanded {factor}x above {at:g}", transform=axes.transAxes, ha="right",
        fontsize="x-small", color="0.3",
    )  # fmt: skip
    lower = [tick for tick in _ticks(0, at, 7) if tick < 0.88 * at]
    upper = [at, *(tick for tick in _ticks(at, top, 5) if tick > at + 0.1 * (end - at))]
    axes.set_yticks([*lower, *upper], [*_texts(lower), *_texts(upper)])
    axes.set_ylim(0, end)


def _ticks(low: float, high: float, most: int) -> list[float]:
    values = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [round(float(t), 9) for t in values if low - 1e-9 <= t <= high + 1e-9]


def _texts(ticks: Sequence[float]) -> list[str]:
    """Return ticks with as many digits as the longest has."""
    digits = max((len(f"{tick:g}".partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:.{digits}f}" for tick in ticks]


def _epochs(axes: Axes, last: int) -> None:
    """Scale the axis of epochs from 1 to `last`."""
    axes.set_xscale("log")
    axes.set_xlim(1, max(last, 2))
    units = (1,) if last >= 100 else (1, 2, 5)
    ticks = [u * 10**k for k in range(len(str(last))) for u in units if u * 10**k <= last]
    ticks += [last] if last >= 1.4 * ticks[-1] else []
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
