"""Figures of corruption: a panel a corruption, a line a network."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mixkd.report.reliability import COLOURS

MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def corruptions_figure(rows: Sequence[Mapping[str, Any]], column: str, label: str) -> Figure:
    """Return curves of a metric over severity; 0 is the clean image.

    Args:
        rows: of corruptions.csv.
        column: which metric.
        label: what the metric is called, with its unit.
    """
    names = list(dict.fromkeys(r["corruption"] for r in rows if r["severity"] in range(1, 6)))
    networks = list(dict.fromkeys(row["network"] for row in rows))
    top = 1.05 * max(float(row[column]) for row in rows) or 1.0
    columns = min(len(names), 5 if len(names) > 6 else 3)
    lines = math.ceil(len(names) / columns)
    size = (2.1 * columns + 0.7, 1.9 * lines + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(panels, names, strict=False):
        for k, network in enumerate(networks):
            own = [r for r in rows if r["network"] == network and r["severity"] != "mean"]
            at = {r["severity"]: r[column] for r in own if r["corruption"] in (name, "clean")}
            order = sorted(at)
            axes.plot(
                order, [at[s] for s in order], label=network, color=COLOURS[k % len(COLOURS)],
                marker=MARKERS[k % len(MARKERS)], markersize=4, linewidth=1.5,
            )  # fmt: skip
        axes.set_title(name.replace("_", " "), fontsize="medium")
        axes.set(xticks=range(6), ylim=(0, top))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.9")
    figure.supxlabel("severity (0: clean)", fontsize="medium")
    figure.supylabel(label, fontsize="medium")
    if len(networks) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure
