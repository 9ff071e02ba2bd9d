"""t-SNE plots of several networks' features, as in Figs. 7 and 8."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from mixkd.plots.features import scatter
from mixkd.plots.style import PlainFigure, add_legend, handles_of, not_measured

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
                scatter(axes, panel.tsne, panel.label, names, size=7)
            text = [fill(panel.title, TITLE), _scores(panel.v_measure, panel.accuracy)]
            text += [f"paper: {_scores(*panel.printed)}"] if panel.printed else []
            axes.set_title("\n".join(filter(None, text)), fontsize="small")
    measured = [axes for axes in grid.flatten() if axes.collections]
    if measured:
        add_legend(figure, handles_of(measured[0]), below=True)
    return figure


def _scores(v_measure: float, accuracy: float) -> str:
    """Return both as the paper has them; what is NaN is left out."""
    scores = [f"V-S {v_measure:.3f}"] if math.isfinite(v_measure) else []
    scores += [f"Acc {100 * accuracy:.2f}"] if math.isfinite(accuracy) else []
    return ", ".join(scores)
