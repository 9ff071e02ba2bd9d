"""Pictures of features: t-SNE of one network."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mixkd.plots.style import COLOURS, colour_of, marker_of, one_panel


def features_figure(
    tsne: np.ndarray, label: np.ndarray, names: Sequence[str], v_measure: float
) -> Figure:
    """Return a scatter plot of t-SNE coordinates, a colour and a marker a class.

    Args:
        tsne: float, shape [n, 2].
        label: int64, shape [n], positions in `names`, those of the classes.
        v_measure: of the clusters of the features, for the title.
    """
    figure, axes = one_panel(4.8, 4.2)
    scatter(axes, tsne, label, names, size=10)
    axes.set(xlabel="t-SNE 1", ylabel="t-SNE 2")
    axes.set_title(f"V-measure of the features {v_measure:.3f}", fontsize="medium")
    axes.legend(frameon=False, markerscale=2, bbox_to_anchor=(1, 0.5), loc="center left")
    return figure


def scatter(
    axes: Axes, tsne: np.ndarray, label: np.ndarray, names: Sequence[str], size: float
) -> None:
    """Draw a class after another; also one that has no points, for the legend."""
    for k, name in enumerate(names):
        at = tsne[label == k]
        axes.scatter(
            at[:, 0], at[:, 1], s=size, alpha=0.7, linewidths=0, label=name,
            color=colour_of(k), marker=marker_of(k // len(COLOURS)),
        )  # fmt: skip
    axes.set(xticks=[], yticks=[])
