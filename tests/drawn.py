"""Helpers for tests of figures: the artists in the axes, and a curve to draw."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

LAMBDAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def visible_axes(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def legend_labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def line(axes: Axes, colour: str) -> Any:
    (curve_line,) = (
        candidate
        for candidate in axes.lines
        if candidate.get_color() == colour and len(candidate.get_xdata()) > 1
    )
    return curve_line


def is_within(figure: Figure) -> bool:
    """Return whether the whole legend is on the figure."""
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    return bool(box.x0 >= 0 and box.x1 <= figure.bbox.x1)


def curve(peak: float) -> list[dict[str, Any]]:
    return [
        {
            "lam": lam, "nl": 4 * peak * lam * (1 - lam), "nl_se": 0.1, "entropy": 1.0,
            "entropy_se": 0.05, "dominance": 4 * peak * lam * (1 - lam),
        }
        for lam in LAMBDAS
    ]  # fmt: skip
