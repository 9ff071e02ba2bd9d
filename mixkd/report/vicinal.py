"""Figures of vicinal analysis: what networks do between images."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mixkd.report.reliability import COLOURS

LINES = ("-", "--", "-.", ":")

PANELS = (
    ("nl", "Non-linearity ± 2 s.e. (nats)"),
    ("entropy", "Entropy ± 2 s.e. (nats)"),
    ("dominance", "Dominance"),
)


def vicinal_figure(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Return curves over lambda: nl with two standard errors, entropy, and dominance.

    Args:
        rows: network -> its rows of vicinal.csv, in the order of lambda.
    """
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    for axes, (column, label) in zip(figure.subplots(1, 3), PANELS, strict=True):
        for number, (name, own) in enumerate(rows.items()):
            colour = COLOURS[number % len(COLOURS)]
            lam = [row["lam"] for row in own]
            y = [row[column] for row in own]
            axes.plot(lam, y, label=name, color=colour, linestyle=LINES[number % len(LINES)])
            if f"{column}_se" in own[0]:
                low, high = (
                    [v + s * row[f"{column}_se"] for v, row in zip(y, own, strict=True)]
                    for s in (-2, 2)
                )
                axes.fill_between(lam, low, high, color=colour, alpha=0.2, linewidth=0)
        if column == "dominance":
            axes.axhline(1, color="grey", linewidth=0.8, linestyle=":")
        axes.set(xlabel="λ, weight of the first image", ylabel=label, xlim=(0, 1))
        axes.set_ylim(bottom=0)
    if len(rows) > 1:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False)
    return figure
