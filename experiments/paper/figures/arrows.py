"""Students in two quantities, with an arrow from learning on views to learning on mixtures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from mixkd.plots.style import add_legend, colour_of, marker_of, panel_grid

from .scatter import label_panel

Point = tuple[float, float]


@dataclass
class Panel:
    """Arrows by two quantities.

    Attributes:
        title: what the panel shows.
        x: what the first quantity is.
        y: what the second one is.
        arrows: label -> where it begins, if that was measured, and where it ends.
    """

    title: str
    x: str
    y: str
    arrows: dict[str, tuple[Point | None, Point | None]] = field(default_factory=dict)


def arrows_figure(panels: Sequence[Panel]) -> Figure:
    """Draw a panel each: hollow where an arrow begins, filled where it ends, a colour a label."""
    figure, grid = panel_grid(len(panels), 2, 3.6, 3.2, share=False)
    handles: dict[str, object] = {}
    labels = list(dict.fromkeys(label for panel in panels for label in panel.arrows))
    for axes, panel in zip(grid, panels, strict=True):
        for label, (start, end) in panel.arrows.items():
            number = labels.index(label)
            marker, colour = marker_of(number), colour_of(number)
            if start is not None:
                axes.plot(*start, marker, color=colour, markersize=6, fillstyle="none")
            if end is not None:
                (handles[label],) = axes.plot(*end, marker, color=colour, markersize=6)
            if start is not None and end is not None:
                axes.annotate(
                    "", end, start,
                    arrowprops={"arrowstyle": "->", "color": colour, "shrinkA": 4, "shrinkB": 4},
                )  # fmt: skip
        is_empty = not any(point for pair in panel.arrows.values() for point in pair)
        label_panel(axes, panel.x, panel.y, panel.title, "medium", is_empty)
    add_legend(figure, handles)
    return figure
