"""Networks as points: one quantity against another."""

from collections.abc import Sequence
from functools import cached_property

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixkd.plots.style import add_legend, colour_of, marker_of, not_measured, open_frame, panel_grid

from ..correlation import LEAST_NETWORKS, rank_correlation


class Points:
    """Networks by two quantities, in groups.

    Args:
        x: what the first quantity is.
        y: what the second one is.
    """

    def __init__(self, x: str, y: str) -> None:
        self.x, self.y = x, y
        self.groups: dict[str, list[tuple[float, float]]] = {}

    def add(self, group: str, x: float | None, y: float | None) -> None:
        """Add a network to a group, if both quantities are known."""
        points = self.groups.setdefault(group, [])
        if x is not None and y is not None:
            points.append((x, y))

    @cached_property  # asked when all have been added: it draws a thousand samples
    def correlation(self) -> str:
        """How alike both quantities rank the networks of all groups, in words."""
        both = [pair for group in self.groups.values() for pair in group]
        rank = rank_correlation([x for x, _ in both], [y for _, y in both])
        if rank is None:
            takes = f"a rank correlation takes {LEAST_NETWORKS} of different values"
            return f"{len(both)} networks; {takes}"
        p = "< 0.001" if rank.p < 0.001 else f"{rank.p:.3f}"
        interval = f"[{rank.low:+.2f}, {rank.high:+.2f}]"
        return f"Kendall's tau {rank.tau:+.2f} {interval}, p {p}, {rank.n} networks"


def scatter_figure(panels: Sequence[Points]) -> Figure:
    """Draw a panel each: a dot a network, a colour and shape a group."""
    figure, grid = panel_grid(len(panels), 2, 3.6, 3.0, share=False)
    handles = {}
    for axes, points in zip(grid, panels, strict=True):
        for number, (group, pairs) in enumerate(points.groups.items()):
            if pairs:
                x, y = zip(*pairs, strict=True)
                handles[group] = axes.scatter(
                    x,
                    y,
                    s=28,
                    color=colour_of(number),
                    marker=marker_of(number),
                    alpha=0.85,
                    linewidths=0,
                )
        is_empty = not any(points.groups.values())
        label_panel(axes, points.x, points.y, points.correlation, "x-small", is_empty)
    add_legend(figure, handles)
    return figure


def label_panel(axes: Axes, x: str, y: str, title: str, size: str, is_empty: bool) -> None:
    """Write what the axes of a panel are, and its title, or that it has no data."""
    if is_empty:
        not_measured(axes)
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=size)
    open_frame(axes)
