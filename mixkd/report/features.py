"""Pictures of features."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mixkd.report.reliability import COLOURS

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


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
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(names):
        at = tsne[label == k]
        axes.scatter(
            at[:, 0], at[:, 1], s=10, alpha=0.7, linewidths=0, label=name,
            color=COLOURS[k % len(COLOURS)], marker=MARKERS[k // len(COLOURS) % len(MARKERS)],
        )  # fmt: skip
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    axes.set_title(f"V-measure of the features {v_measure:.3f}", fontsize="medium")
    axes.legend(frameon=False, markerscale=2, bbox_to_anchor=(1, 0.5), loc="center left")
    return figure
