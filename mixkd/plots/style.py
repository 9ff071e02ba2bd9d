"""The one style of all figures: colours, panels, legends, and files."""

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text

from mixkd.files.writing import replacing

# Okabe and Ito's palette: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", "-.", ":")

DPI = 150


def colour_of(number: int) -> str:
    """Return the colour of a line by its number."""
    return COLOURS[number % len(COLOURS)]


def marker_of(number: int) -> str:
    """Return the marker of a line by its number: another one when colours begin anew."""
    return MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]


def line_style(number: int) -> dict[str, Any]:
    """Return the colour and dashes of a line by its number."""
    return {"color": colour_of(number), "linestyle": LINES[number % len(LINES)]}


class PlainFigure(Figure):
    """A figure whose texts are shown as they are: a `$` in a name begins no formula."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure."""
        with rc_context({"text.parse_math": False}):  # of ticks, which are made as they are drawn
            for text in self.findobj(Text):
                assert isinstance(text, Text)
                text.set_parse_math(False)
            super().draw(renderer)

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows, with or without pyplot."""
        picture = io.BytesIO()
        write_png(self, picture)
        return picture.getvalue()


def panel_grid(
    count: int, columns: int, width: float, height: float, share: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return a figure and its panels, row by row, each of a width and height in inches.

    A row has at most `columns` panels; `share` gives all the same axes.
    """
    columns = max(1, min(count, columns))
    lines = max(1, math.ceil(count / columns))
    size = (width * columns + 0.6, height * lines + 0.6)
    figure = PlainFigure(figsize=size, layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=share, sharey=share).flatten()
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, list(panels[:count])


def one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of a size in inches, and its only panel."""
    figure = PlainFigure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def open_frame(axes: Axes, *more: str) -> None:
    """Take away the frame above, to the right, and on other sides."""
    axes.spines[["top", "right", *more]].set_visible(False)


def handles_of(axes: Axes) -> dict[str, Artist]:
    """Return what stands for each label of a panel."""
    artists, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, artists, strict=True))


def not_measured(axes: Axes) -> None:
    """Say that a panel has no data."""
    axes.text(
        0.5, 0.5, "not measured", transform=axes.transAxes, color="0.4", ha="center", va="center",
        backgroundcolor="white",
    )  # fmt: skip


def add_legend(figure: Figure, handles: Mapping[str, Any], below: bool = False) -> None:
    """Add a legend above or below the panels, in as many columns as the figure has room for.

    `handles` maps a label to what it stands for; the figure's layout is constrained.
    """
    if not handles:
        return
    widths = [0.45 + 0.07 * len(name) for name in handles]  # inches, in small letters
    lines = 1
    while lines < len(widths) and figure.get_figwidth() < sum(
        max(widths[first : first + lines]) for first in range(0, len(widths), lines)
    ):
        lines += 1
    figure.legend(
        list(handles.values()), list(handles), frameon=False,
        loc="outside lower center" if below else "outside upper center",
        ncols=math.ceil(len(widths) / lines), fontsize="small", columnspacing=1.2,
        handlelength=1.8, markerscale=2 if below else 1,
    )  # fmt: skip


def save_figure(figure: Figure, stem: Path) -> None:
    """Write a figure as `stem`.png and `stem`.svg: the same bytes for the same figure."""
    for suffix in ("png", "svg"):
        with (
            replacing(stem.parent / f"{stem.name}.{suffix}") as temporary,
            rc_context({"svg.hashsalt": "mixkd"}),  # else ids are random
        ):
            figure.savefig(temporary, dpi=DPI, metadata={"Date": None} if suffix == "svg" else {})


def write_png(figure: Figure, file: IO[bytes]) -> None:
    """Write a figure into an open file as PNG."""
    figure.savefig(file, format="png", dpi=DPI)
