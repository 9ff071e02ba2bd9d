"""Pictures of features: t-SNE of one network, and of several as in Figs. 7 and 8."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixkd.plots.style import COLOURS, PlainFigure, add_legend, not_measured

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
TITLE = 30  # characters of a panel's title in a line


class FeaturePanel(NamedTuple):
    """What is known of one network's features; without coordinates they were not measured.

    Attributes:
        title: the network.
        tsne: float, shape [n, 2].
        label: int64, shape [n], positions in the names of the classes.
        v_measure: of the clusters of the features.
        accuracy: of the network, a fraction.
        printed: the paper's v_measure and accuracy, to be shown beneath.
    """

    title: str
    tsne: np.ndarray | None = None
    label: np.ndarray | None = None
    v_measure: float = math.nan
    accuracy: float = math.nan
    printed: tuple[float, float] | None = None


def features_figure(
    tsne: np.ndarray, label: np.ndarray, names: Sequence[str], v_measure: float
) -> Figure:
    """Return a scatter plot of t-SNE coordinates, a colour and a marker a class.

    Args:
        tsne: float, shape [n, 2].
        label: int64, shape [n], positions in `names`.
        names: of the classes.
        v_measure: of the clusters of the features, for the title.
    """
    figure = PlainFigure(figsize=(4.8, 4.2), layout="constrained")
    axes = figure.subplots()
    _scatter(axes, tsne, label, names, size=10)
    axes.set(xlabel="t-SNE 1", ylabel="t-SNE 2")
    axes.set_title(f"V-measure of the features {v_measure:.3f}", fontsize="medium")
    axes.legend(frameon=False, markerscale=2, bbox_to_anchor=(1, 0.5), loc="center left")
    return figure


def feature_grid_figure(rows: Mapping[str, Sequence[FeaturePanel]], names: Sequence[str]) -> Figure:
    """Return a grid of t-SNE plots with one legend, as the paper's Figs. 7 and 8.

    Args:
        rows: how networks were trained -> a panel a network.
        names: of the classes.
    """
    columns = max((len(panels) for panels in rows.values()), default=1)
    lines = max(1, len(rows))
    figure = PlainFigure(figsize=(2.2 * columns + 0.4, 2.7 * lines + 0.4), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flatten():
        axes.set(xticks=[], yticks=[])
    for line, (row, panels) in zip(grid, rows.items(), strict=False):
        line[0].set_ylabel(row)
        for axes in line[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(line, panels, strict=False):
            if panel.tsne is None or panel.label is None:
                not_measured(axes)
            else:
                _scatter(axes, panel.tsne, panel.label, names, size=7)
            text = [fill(panel.title, TITLE), _scores(panel.v_measure, panel.accuracy)]
            text += [f"paper: {_scores(*panel.printed)}"] if panel.printed else []
            axes.set_title("\n".join(filter(None, text)), fontsize="small")
    measured = [axes for axes in grid.flatten() if axes.collections]
    if measured:
        handles, labels = measured[0].get_legend_handles_labels()
        add_legend(figure, dict(zip(labels, handles, strict=True)), below=True)
    return figure


def _scatter(
    axes: Axes, tsne: np.ndarray, label: np.ndarray, names: Sequence[str], size: float
) -> None:
    """Draw a class after another; also one that has no points, for the legend."""
    for k, name in enumerate(names):
        at = tsne[label == k]
        axes.scatter(
            at[:, 0], at[:, 1], s=size, alpha=0.7, linewidths=0, label=name,
            color=COLOURS[k % len(COLOURS)], marker=MARKERS[k // len(COLOURS) % len(MARKERS)],
        )  # fmt: skip
    axes.set(xticks=[], yticks=[])


def _scores(v_measure: float, accuracy: float) -> str:
    """Return both as the paper has them; what is NaN is left out."""
    found = [f"V-S {v_measure:.3f}"] if math.isfinite(v_measure) else []
    found += [f"Acc {100 * accuracy:.2f}"] if math.isfinite(accuracy) else []
    return ", ".join(found)
