"""The library's figures: what their axes hold."""

import math
from pathlib import Path

import pytest
from drawn import curve, is_within, legend_labels, line, texts, visible_axes

from mixkd.plots.corruptions import corruptions_figure, severities_figure
from mixkd.plots.style import COLOURS, save_figure
from mixkd.plots.vicinal import vicinal_figure


def test_stacked_panels_share_lambda_one_below_another() -> None:
    figure = vicinal_figure({"one": curve(4), "none": [], "two": curve(2)}, stacked=True)
    top, middle, bottom = visible_axes(figure)
    figure.draw_without_rendering()
    boxes = [axes.get_position() for axes in (top, middle, bottom)]
    assert boxes[0].y0 > boxes[1].y1 > boxes[1].y0 > boxes[2].y1
    assert len({round(box.x0, 6) for box in boxes}) == 1
    assert top.get_shared_x_axes().joined(top, bottom)
    assert [axes.get_xlabel() for axes in (top, middle)] == ["", ""]
    assert bottom.get_xlabel().startswith("λ")
    labels = [axes.get_ylabel() for axes in (top, middle, bottom)]
    assert [label.split()[0] for label in labels] == ["Non-linearity", "Entropy", "Dominance"]
    assert line(top, COLOURS[0]).get_ydata().tolist() == [0, 3, 4, 3, 0]
    assert line(top, COLOURS[2]).get_ydata().tolist() == [0, 1.5, 2, 1.5, 0]  # keeps its colour
    assert legend_labels(figure) == ["one", "two"]
    assert is_within(figure)


def test_the_band_is_two_standard_errors_and_dominance_has_a_line_at_one() -> None:
    for stacked in (True, False):
        top, _, bottom = visible_axes(vicinal_figure({"one": curve(4)}, stacked=stacked))
        (band,) = top.collections
        corners = band.get_paths()[0].vertices
        edges = corners[corners[:, 0] == 0.5][:, 1]
        assert (edges.min(), edges.max()) == pytest.approx((3.8, 4.2))
        assert [1, 1] in [list(artist.get_ydata()) for artist in bottom.lines]
        assert not bottom.collections


def test_every_panel_beside_another_has_a_label_of_lambda() -> None:
    panels = visible_axes(vicinal_figure({"one": curve(4)}))
    assert all(axes.get_xlabel().startswith("λ") for axes in panels)
    assert "\n" not in panels[0].get_ylabel()


def test_vicinal_rows_as_text_without_a_band_infinite_or_absent() -> None:
    rows = [{k: str(v) for k, v in row.items()} | {"nl_se": ""} for row in curve(1)]
    rows[0]["dominance"] = "inf"
    figure = vicinal_figure({"one": rows}, stacked=True)
    assert line(visible_axes(figure)[0], COLOURS[0]).get_ydata().tolist() == [0, 0.75, 1, 0.75, 0]
    assert math.isfinite(visible_axes(figure)[2].get_ylim()[1])
    save_figure(figure, Path("text"))
    assert texts(visible_axes(vicinal_figure({"a": []}, stacked=True))[0]) == ["not measured"]


def test_curves_over_severity_still_have_a_panel_a_corruption() -> None:
    rows = [
        {"network": n, "corruption": c, "severity": s, "ece": 0.1}
        for n in ("one", "two") for c, s in (("clean", 0), ("fog", 1), ("fog", 2), ("snow", 1))
    ]  # fmt: skip
    figure = corruptions_figure(rows, "ece", "ECE")
    assert [axes.get_title() for axes in visible_axes(figure)] == ["fog", "snow"]
    assert legend_labels(figure) == ["one", "two"]


def test_severities_of_a_corruption_are_dots_in_a_line() -> None:
    rows = [
        {"corruption": name, "severity": severity, "accuracy": accuracy, "ece": 0.1 * severity}
        for name, accuracy in (("fog", 0.5), ("motion_blur", 0.75))
        for severity in (1, 3)
    ]
    figure = severities_figure(rows)
    accuracy, ece = visible_axes(figure)
    assert [tick.get_text() for tick in accuracy.get_yticklabels()] == ["fog", "motion blur"]
    assert legend_labels(figure) == ["mean", "severity 1", "severity 3"]
    (low, high) = (dots.get_offsets() for dots in ece.collections)
    assert [*low[:, 0], *high[:, 0]] == pytest.approx([0.1, 0.1, 0.3, 0.3])
    assert (low[:, 1] < high[:, 1]).all()  # not one on another
    assert list(accuracy.lines[0].get_xdata()) == [0.625, 0.625]
    assert is_within(figure)
