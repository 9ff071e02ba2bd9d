"""Figures of vicinal analysis: what networks do between images."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mixkd.plots.style import PlainFigure, add_legend, handles_of, line_style, not_measured

LAMBDA = "λ, weight of the first image"

PANELS = (
    ("nl", "Non-linearity ± 2 s.e. (nats)"),
    ("entropy", "Entropy ± 2 s.e. (nats)"),
    ("dominance", "Dominance"),
)


def vicinal_figure(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], stacked: bool = False
) -> Figure:
    """Return curves over lambda: nl with two standard errors, entropy, and dominance.

    Args:
        rows: network -> its rows of vicinal.csv, in the order of lambda. A network without rows
            has no curve, and keeps its colour.
        stacked: one above the other, in place of side by side.
    """
    size, (lines, columns) = ((4.8, 6.8), (3, 1)) if stacked else ((9.6, 3.2), (1, 3))
    figure = PlainFigure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=stacked).flatten()
    for axes, (quantity, label) in zip(panels, PANELS, strict=True):
        for number, (name, of_network) in enumerate(rows.items()):
            style = line_style(number)
            lam, y = column(of_network, "lam"), column(of_network, quantity)
            if not any(math.isfinite(value) for value in y):
                continue
            axes.plot(lam, y, label=name, **style)
            if f"{quantity}_se" in of_network[0]:
                errors = column(of_network, f"{quantity}_se")
                low, high = ([v + s * e for v, e in zip(y, errors, strict=True)] for s in (-2, 2))
                axes.fill_between(lam, low, high, color=style["color"], alpha=0.2, linewidth=0)
        if not axes.lines:
            not_measured(axes)
        if quantity == "dominance":
            axes.axhline(1, color="grey", linewidth=0.8, linestyle=":")
        axes.set(ylabel=label.replace(" ±", "\n±") if stacked else label, xlim=(0, 1))
        axes.set_ylim(bottom=0)
        if not stacked or axes is panels[-1]:
            axes.set_xlabel(LAMBDA)
    figure.align_ylabels()
    if len(rows) > 1:
        add_legend(figure, handles_of(panels[0]))
    return figure


def column(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """Return a column of vicinal.csv; NaN where it is empty."""
    return [math.nan if row[name] == "" else float(row[name]) for row in rows]
