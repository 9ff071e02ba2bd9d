"""Figures of corruption: curves over severity."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mixkd.plots.style import (
    PlainFigure,
    add_legend,
    colour_of,
    handles_of,
    marker_of,
    open_frame,
    panel_grid,
)


def corruptions_figure(rows: Sequence[Mapping[str, Any]], column: str, label: str) -> Figure:
    """Return curves of a column of corruptions.csv over severity; 0 is the clean image."""
    names = list(dict.fromkeys(r["corruption"] for r in rows if r["severity"] in range(1, 6)))
    networks = list(dict.fromkeys(row["network"] for row in rows))
    top = 1.05 * max(float(row[column]) for row in rows) or 1.0
    columns = 5 if len(names) > 6 else 3
    figure, panels = panel_grid(len(names), columns, 2.1, 2.0)
    for axes, name in zip(panels, names, strict=True):
        for k, network in enumerate(networks):
            of_curve = [
                r for r in rows if r["network"] == network and r["corruption"] in (name, "clean")
            ]
            at = {r["severity"]: r[column] for r in of_curve if r["severity"] != "mean"}
            order = sorted(at)
            axes.plot(
                order, [at[s] for s in order], label=network, color=colour_of(k),
                marker=marker_of(k), markersize=4, linewidth=1.5,
            )  # fmt: skip
        axes.set_title(name.replace("_", " "), fontsize="medium")
        axes.set(xticks=range(6), ylim=(0, top))
        open_frame(axes)
        axes.grid(axis="y", color="0.9")
    figure.supxlabel("severity (0: clean)", fontsize="medium")
    figure.supylabel(label, fontsize="medium")
    if len(networks) > 1:
        add_legend(figure, handles_of(panels[0]))
    return figure


def severities_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw accuracy and ECE of each corruption, a dot a severity.

    Args:
        rows: `corruption`, `severity`, `accuracy` and `ece`; the dotted line is the mean of all.
    """
    names = list(dict.fromkeys(row["corruption"] for row in rows))
    severities = sorted({row["severity"] for row in rows})
    figure = PlainFigure(figsize=(7.2, 1.3 + 0.3 * len(names)), layout="constrained")
    pair = figure.subplots(1, 2, sharey=True)
    for axes, (column, label) in zip(pair, (("accuracy", "accuracy"), ("ece", "ECE")), strict=True):
        mean = sum(float(row[column]) for row in rows) / len(rows)
        axes.axvline(mean, color="0.6", linewidth=1, linestyle=":", label="mean")
        for k, severity in enumerate(severities):
            of_severity = [row for row in rows if row["severity"] == severity]
            aside = 0.14 * (k - (len(severities) - 1) / 2)  # so that equal values are seen
            axes.scatter(
                [row[column] for row in of_severity],
                [names.index(row["corruption"]) + aside for row in of_severity],
                s=26, color=colour_of(k), marker=marker_of(k), linewidths=0, clip_on=False,
                label=f"severity {severity}", zorder=3,
            )  # fmt: skip
        axes.set(xlabel=label, yticks=range(len(names)))
        axes.set_yticklabels([name.replace("_", " ") for name in names])
        axes.grid(axis="y", color="0.9")
        open_frame(axes)
    pair[0].set_xlim(0, 1)
    pair[1].set_xlim(left=0)
    pair[0].set_ylim(len(names) - 0.5, -0.5)
    add_legend(figure, handles_of(pair[0]))
    return figure
