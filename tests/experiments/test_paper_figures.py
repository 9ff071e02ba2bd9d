"""The paper's figures: what their axes hold."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import curve, is_within, legend_labels, line, texts, visible_axes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from experiments.paper.figures.accuracy_curves import Break, accuracy_curves_figure, choose_break
from experiments.paper.figures.calibration_curves import Pair, calibration_curves_figure
from experiments.paper.figures.corruption_gains import Gain, corruption_gains_figure
from experiments.paper.figures.feature_grid import FeaturePanel, feature_grid_figure
from experiments.paper.figures.linearity_gain import (
    linearity_gain,
    linearity_gain_errors,
    linearity_gain_figure,
)
from experiments.paper.figures.scatter import Points, scatter_figure
from mixkd.plots.corruptions import corruptions_figure
from mixkd.plots.features import features_figure
from mixkd.plots.reliability import Curve, reliability_figure
from mixkd.plots.style import COLOURS, save_figure
from mixkd.plots.vicinal import vicinal_figure

NAN = math.nan


def handle(figure: Figure, name: str) -> Any:
    (legend,) = figure.legends
    return legend.legend_handles[legend_labels(figure).index(name)]


def position(axes: Axes, accuracy: float) -> float:
    """Return where an accuracy is, as a share of the axis' height."""
    point = axes.transData.transform((1, accuracy))
    return float(axes.transAxes.inverted().transform(point)[1])


def are_apart(labels: Iterable[Text]) -> bool:
    boxes = [Text.get_window_extent(text) for text in labels]  # without their arrows
    return not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[k + 1 :])


# Fig. 3

BINS = [
    {"lower": "0.0", "upper": "0.4", "count": "0", "accuracy": "nan", "confidence": "nan"},
    {"lower": "0.4", "upper": "0.7", "count": "1", "accuracy": "0.5", "confidence": "0.6"},
    {"lower": "0.7", "upper": "1.0", "count": "3", "accuracy": "0.9", "confidence": "0.8"},
]


def test_a_pair_has_both_curves_of_filled_bins_and_both_accuracies() -> None:
    student = [{"count": 4, "accuracy": 0.85, "confidence": 0.7}]
    figure = calibration_curves_figure([Pair("one", BINS, student, printed=(0.9217, 0.863))])
    (axes,) = visible_axes(figure)
    diagonal, teacher_curve, student_curve = axes.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert teacher_curve.get_xydata().tolist() == [[0.6, 0.5], [0.8, 0.9]]
    assert student_curve.get_xydata().tolist() == [[0.7, 0.85]]
    assert "None" not in (teacher_curve.get_marker(), student_curve.get_marker())
    assert texts(axes) == ["Accuracy: 80.00 / 85.00\npaper: 92.17 / 86.30"]
    assert legend_labels(figure) == ["perfect calibration", "teacher", "student"]
    assert (
        handle(figure, "student").get_color()
        == student_curve.get_color()
        != teacher_curve.get_color()
    )
    assert axes.get_title() == "one"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_pairs_are_in_one_row_or_two_by_two(count: int) -> None:
    figure = calibration_curves_figure([Pair(str(k), BINS, BINS) for k in range(count)])
    assert len(visible_axes(figure)) == count
    grid = visible_axes(figure)[0].get_subplotspec().get_gridspec().get_geometry()
    assert grid == ((2, 2) if count == 4 else (1, count))
    assert is_within(figure)


def test_a_pair_with_a_network_missing_says_so() -> None:
    figure = calibration_curves_figure([Pair("a", BINS), Pair("b", printed=(0.5, 0.25))])
    half_measured, unmeasured = visible_axes(figure)
    assert texts(half_measured) == ["Accuracy: 80.00 / -"]
    assert texts(unmeasured) == ["not measured", "paper: 50.00 / 25.00"]
    save_figure(figure, Path("missing"))
    assert Image.open("missing.png").size[0] > 500


# Fig. 5


def test_the_gain_is_the_teachers_nl_less_the_students_at_common_lambdas() -> None:
    student = [row | {"nl": str(row["nl"] / 4)} for row in curve(4)[1:]]
    assert linearity_gain(curve(4), student) == {0.25: 2.25, 0.5: 3, 0.75: 2.25, 1: 0}
    assert linearity_gain(curve(4), []) == {}


def test_gains_have_their_peaks_written_apart_a_zero_line_and_the_papers_peaks() -> None:
    peaks = {"a": 0.848, "b": 0.5, "c": 0.311, "d": 0.3105}
    gains = {name: {row["lam"]: row["nl"] for row in curve(peak)} for name, peak in peaks.items()}
    gains["d"][0.25] = NAN
    figure = linearity_gain_figure(gains | {"none": {}}, {"a": 0.9, "none": 0.2})
    (axes,) = visible_axes(figure)
    assert [0, 0] in [list(artist.get_ydata()) for artist in axes.lines]
    assert line(axes, COLOURS[0]).get_xydata()[2].tolist() == [0.5, 0.848]
    assert line(axes, COLOURS[3]).get_xdata().tolist() == [0, 0.5, 0.75, 1]
    assert sorted(texts(axes)) == ["+0.310", "+0.311", "+0.500", "+0.848"]
    assert {text.get_text(): text.xy for text in axes.texts}["+0.848"] == (0.5, 0.848)
    assert is_within(figure)
    assert are_apart(axes.texts)
    marks = [
        artist for artist in axes.lines if artist.get_marker() == "o" and len(artist.get_xdata())
    ]
    assert [(artist.get_color(), *artist.get_xydata()[0]) for artist in marks] == [
        (COLOURS[0], 0.5, 0.9), (COLOURS[4], 0.5, 0.2),
    ]  # fmt: skip
    assert {artist.get_markerfacecolor() for artist in marks} == {"white"}
    assert legend_labels(figure) == ["a", "b", "c", "d", "peak in the paper"]


def test_gains_have_a_band_of_two_errors_and_are_written_halfway_not_at_their_peak() -> None:
    gains = {"a": {0.0: 0.0, 0.25: 0.9, 0.5: 0.3, 0.75: NAN, 1.0: 0.0}, "old": {0.4: 0.1, 0.7: 0.8}}
    errors = {"a": {0.0: 0.0, 0.25: 0.1, 0.5: 0.05, 0.75: 0.2, 1.0: 0.0}, "old": {}}
    (axes,) = visible_axes(linearity_gain_figure(gains, errors=errors))
    (band,) = axes.collections  # none without errors, as of older runs
    corners = band.get_paths()[0].vertices
    for lam, low, high in ((0.25, 0.7, 1.1), (0.5, 0.2, 0.4)):
        edges = corners[corners[:, 0] == lam][:, 1]
        assert (edges.min(), edges.max()) == pytest.approx((low, high))
    assert sorted(texts(axes)) == ["+0.100", "+0.300 ± 0.100"]
    assert "± 2 s.e." in axes.get_ylabel()
    (axes,) = visible_axes(linearity_gain_figure(gains))
    assert "s.e." not in axes.get_ylabel()
    assert not axes.collections


def test_errors_of_gains_are_read_from_the_students_rows() -> None:
    rows = [{"lam": "0", "delta_lin_se": "0.0"}, {"lam": 0.5, "delta_lin_se": 0.25}]
    assert linearity_gain_errors(rows) == {0: 0, 0.5: 0.25}
    assert linearity_gain_errors([{"lam": 0.5, "delta_lin_se": ""}, {"lam": 1.0}]) == {}


def test_gains_that_are_negative_or_none() -> None:
    (axes,) = visible_axes(linearity_gain_figure({"a": {0.0: -2.0, 0.5: -1.0}}))
    assert texts(axes) == ["-1.000"]
    assert axes.get_ylim()[0] < -2
    (axes,) = visible_axes(linearity_gain_figure({"a": {}}))
    assert texts(axes) == ["not measured"]


# Fig. 6

GAINS = {
    "one": {"gaussian_noise": Gain(0.02, 0.005), "fog": Gain(-0.03)},
    "none": {},
    "two": {"gaussian_noise": Gain(0.05), "fog": Gain(0.01), "jpeg": Gain(NAN)},
}


def test_gains_are_bars_in_points_a_group_a_corruption() -> None:
    figure = corruption_gains_figure(GAINS, baseline="mixup")
    (axes,) = visible_axes(figure)
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["gaussian\nnoise", "fog", "jpeg"]
    bars = {round(bar.get_height(), 6): bar for bar in axes.patches}
    assert sorted(bars) == [-3, 1, 2, 5]
    centre = {height: bar.get_x() + bar.get_width() / 2 for height, bar in bars.items()}
    assert -0.5 < centre[2] < centre[5] < 0.5 < centre[-3] < centre[1] < 1.5
    assert legend_labels(figure) == ["one", "two"]
    colour = handle(figure, "two").get_facecolor()
    assert {bars[5].get_facecolor(), bars[1].get_facecolor()} == {colour}
    assert bars[2].get_facecolor() != colour
    assert "over mixup (pp)" in axes.get_ylabel()
    assert [0, 0] in [list(artist.get_ydata()) for artist in axes.lines]


def test_the_extreme_gain_of_each_group_is_written_beyond_its_marks() -> None:
    figure = corruption_gains_figure(GAINS, {"two": {"gaussian_noise": 0.06}, "one": {"fog": -0.1}})
    (axes,) = visible_axes(figure)
    assert texts(axes) == ["+5.0", "-3.0"]
    assert [text.xy[1] for text in axes.texts] == pytest.approx([6, -10])
    assert [text.get_va() for text in axes.texts] == ["bottom", "top"]
    marks = [artist.get_xydata()[0] for artist in axes.lines if artist.get_marker() == "D"]
    assert sorted(mark[1] for mark in marks) == pytest.approx([-10, 6])
    assert legend_labels(figure) == ["one", "two", "paper"]


def test_error_bars_are_two_standard_errors() -> None:
    (axes,) = visible_axes(corruption_gains_figure(GAINS))
    (bar,) = (artist for artist in axes.collections if hasattr(artist, "get_segments"))
    assert bar.get_segments()[0][:, 1].tolist() == pytest.approx([1, 3])


@pytest.mark.parametrize(
    ("gains", "labels"),
    [
        ({"a": {"fog": Gain(0.0)}}, ["+0.0"]),
        ({"a": {"fog": Gain(-0.0001)}}, ["+0.0"]),
        ({"a": {}}, ["not measured"]),
        ({}, ["not measured"]),
    ],
)
def test_gains_that_are_zero_or_none(gains: dict[str, dict[str, Gain]], labels: list[str]) -> None:
    (axes,) = visible_axes(corruption_gains_figure(gains))
    assert texts(axes) == labels


# Figs. 7 and 8


def test_the_grid_has_a_row_a_regime_one_legend_and_says_what_is_missing() -> None:
    tsne, label = np.array([[0.0, 0], [1, 1], [2, 2]]), np.array([0, 1, 1])
    rows = {
        "a) ERM": [
            FeaturePanel("one", tsne, label, 0.94, 0.9217, printed=(0.9, 0.8)),
            FeaturePanel("two", tsne + 5, label, 0.5),
        ],
        "b) mixup": [FeaturePanel("one + mixup", printed=(0.903, 0.9354))],
    }
    figure = feature_grid_figure(rows, ["baby", "boy"])
    one, two, missing = visible_axes(figure)
    assert one.get_title() == "one\nV-S 0.940, Acc 92.17\npaper: V-S 0.900, Acc 80.00"
    assert two.get_title() == "two\nV-S 0.500"
    assert missing.get_title() == "one + mixup\npaper: V-S 0.903, Acc 93.54"
    assert [axes.get_ylabel() for axes in (one, two, missing)] == ["a) ERM", "", "b) mixup"]
    assert texts(missing) == ["not measured"]
    assert not missing.collections
    assert [dots.get_offsets().tolist() for dots in two.collections] == [
        [[5, 5]], [[6, 6], [7, 7]],
    ]  # fmt: skip
    assert legend_labels(figure) == ["baby", "boy"]
    assert not np.allclose(
        handle(figure, "baby").get_facecolor(), handle(figure, "boy").get_facecolor()
    )
    assert is_within(figure)


def test_a_grid_of_one_panel_has_room_for_its_legend() -> None:
    panel = FeaturePanel("one", np.zeros((2, 2)), np.array([0, 4]), 0.5, 0.5)
    figure = feature_grid_figure({"a": [panel]}, ["baby", "boy", "girl", "man", "woman"])
    assert len(legend_labels(figure)) == 5
    assert is_within(figure)


def test_a_grid_of_nothing_has_no_legend() -> None:
    figure = feature_grid_figure({"a": [FeaturePanel("one")]}, ["baby"])
    assert texts(visible_axes(figure)[0]) == ["not measured"]
    assert not figure.legends
    save_figure(figure, Path("nothing"))


# Fig. 9


def rising(final: float, epochs: int = 500) -> list[float]:
    """Return accuracies from half of the final one."""
    return (final - final / 2 / np.arange(1, epochs + 1)).tolist()


def test_a_break_expands_what_is_above_it_and_can_be_inverted() -> None:
    scale = Break(0.7, 5)
    y = np.array([-0.1, 0.0, 0.35, 0.7, 0.72, 0.9])
    position = scale.forward(y)
    assert position.tolist() == pytest.approx([-0.1, 0, 0.35, 0.7, 0.8, 1.7])
    assert scale.inverse(position).tolist() == pytest.approx(y.tolist())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([[0.4, 0.86], [0.3, 0.80], [NAN, NAN]], 0.7),
        ([[0.86], [0.80], [0.01]], 0.7),  # a collapsed line has no say
        ([[0.86, 0.83]], 0.75),
        ([[0.5, 0.985], [0.5, 0.97]], 0.9),
        ([[1.0, 1.0]], 0.9),
        ([[0.012, 0.01]], 0.008),
        ([[0.2, 0.1]], None),
        ([[0.0, 0.0]], None),
        ([[NAN]], None),
        ([], None),
    ],
)
def test_the_break_is_round_and_below_the_final_accuracies(
    lines: list[list[float]], expected: float | None
) -> None:
    assert choose_break(lines) == expected


def test_curves_are_over_logarithmic_epochs_and_mostly_above_the_break() -> None:
    panels = {"one": {"KD": rising(0.80), "T = 2": rising(0.863)}, "two": {"T = 2": rising(0.81)}}
    figure = accuracy_curves_figure(panels, {"one": 0.88})
    one, two = visible_axes(figure)
    assert [axes.get_title() for axes in (one, two)] == ["one", "two"]
    for axes in (one, two):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "function")
        assert axes.get_xlim() == (1, 500)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "10", "100", "500"]
        ticks = axes.get_yticks().tolist()
        assert ticks[:7] == pytest.approx([0.1 * k for k in range(7)])
        assert ticks[7:] == pytest.approx([0.7, 0.75, 0.8, 0.85])
        assert position(axes, 0.0) == pytest.approx(0)
        assert position(axes, 0.7) <= 0.4 + 1e-9
        below = position(axes, 0.7) - position(axes, 0.6)
        above = position(axes, 0.8) - position(axes, 0.7)
        (note,) = (text for text in texts(axes) if "expanded" in text)
        assert note == f"expanded {round(above / below)}x above 0.7"
        assert above / below > 5
        assert [0.7, 0.7] in [list(artist.get_ydata()) for artist in axes.lines]
        heights = [position(axes, y) for y in np.linspace(0, 0.88, 200)]
        assert all(np.diff(heights) > 0)
    assert line(one, COLOURS[0]).get_ydata()[-1] == pytest.approx(0.80, abs=0.01)
    assert line(two, COLOURS[1]).get_xdata().tolist() == list(range(1, 501))  # one colour in all
    assert "0.862" in texts(one)
    assert "0.809" in texts(two)
    (dashed,) = (artist for artist in one.lines if list(artist.get_ydata()) == [0.88, 0.88])
    assert dashed.get_linestyle() == "--"
    assert one.get_ylim()[1] > 0.88
    assert legend_labels(figure) == ["KD", "T = 2", "paper"]
    assert handle(figure, "T = 2").get_color() == COLOURS[1]
    figure.draw_without_rendering()
    ticks = [label for label in one.get_yticklabels() if label.get_text()]
    assert [label.get_text() for label in ticks[6:8]] == ["0.6", "0.70"]
    assert are_apart(ticks)


def test_the_break_can_be_given() -> None:
    (axes,) = visible_axes(accuracy_curves_figure({"one": {"a": rising(0.86)}}, break_at=0.8))
    assert any("above 0.8" in text for text in texts(axes))
    (axes,) = visible_axes(accuracy_curves_figure({"one": {"a": rising(0.5)}}, break_at=0.8))
    assert any("above 0.4" in text for text in texts(axes))


@pytest.mark.parametrize("break_at", [0.85, 0.795])  # just above a tick, just below one
def test_no_tick_is_written_over_the_breaks(break_at: float) -> None:
    figure = accuracy_curves_figure({"one": {"a": rising(0.9)}}, break_at=break_at)
    figure.draw_without_rendering()
    assert are_apart(
        label for label in visible_axes(figure)[0].get_yticklabels() if label.get_text()
    )


def test_panels_of_another_scale_have_an_axis_of_their_own() -> None:
    figure = accuracy_curves_figure(
        {"high": {"a": rising(0.9)}, "higher": {"a": rising(0.95)}, "low": {"a": rising(0.02)}}
    )
    high, higher, low = visible_axes(figure)
    assert high.get_ylim() == higher.get_ylim()
    assert high.get_yticks().tolist() == higher.get_yticks().tolist()
    assert 0.02 < low.get_ylim()[1] < 0.03


@pytest.mark.parametrize(
    ("line", "best", "best_epoch"),
    [
        ([0.1, 0.15, 0.2, 0.12], "0.200", 3),
        ([0.63], "0.630", 1),
        ([NAN, 0.4, NAN, 0.6, NAN], "0.600", 4),
        ([1.0, 1.0, 1.0], "1.000", 1),
        ([0.0, 0.0], "0.000", 1),
        ([0.001, 0.001], "0.001", 1),
    ],
)
def test_the_best_accuracy_of_degenerate_curves(
    line: Sequence[float], best: str, best_epoch: int
) -> None:
    figure = accuracy_curves_figure({"one": {"a": line, "nothing": [NAN]}})
    (axes,) = visible_axes(figure)
    (note,) = (text for text in axes.texts if text.get_text() == best)
    assert note.xy[0] == best_epoch
    finite = [(epoch, y) for epoch, y in enumerate(line, start=1) if math.isfinite(y)]
    plotted = axes.lines[0]
    assert [tuple(point) for point in plotted.get_xydata()] == finite
    assert (plotted.get_marker() == "o") == (len(finite) == 1)  # a line of one point is not seen
    low, high = axes.get_ylim()
    assert low == 0
    assert max(y for _, y in finite) < high
    assert axes.get_xlim()[0] == 1
    assert max(axes.get_yticks()) <= 1
    assert legend_labels(figure) == ["a"]
    save_figure(figure, Path("degenerate"))


def test_a_printed_accuracy_far_above_the_measured_ones_is_on_the_axis() -> None:
    (axes,) = visible_axes(accuracy_curves_figure({"one": {"a": [0.012, 0.012]}}, {"one": 0.86}))
    assert axes.get_ylim()[1] > 0.86
    assert axes.get_yscale() == "linear"


def test_a_teacher_without_curves_is_said_to_be_unmeasured() -> None:
    figure = accuracy_curves_figure({"one": {}, "two": {"a": [NAN]}, "three": {"a": []}})
    assert [texts(axes) for axes in visible_axes(figure)] == [["not measured"]] * 3
    assert legend_labels(accuracy_curves_figure({"one": {}})) == []


# Fig. 10


def test_points_without_a_quantity_are_left_out() -> None:
    points = Points("NL", "ECE")
    for k in range(5):
        points.add("a" if k % 2 else "b", float(k), -float(k))
    points.add("c", 1.0, None)
    points.add("c", None, 1.0)
    assert points.groups == {
        "b": [(0, 0), (2, -2), (4, -4)], "a": [(1, -1), (3, -3)], "c": [],
    }  # fmt: skip
    assert points.correlation.startswith("Kendall's tau -1.00 [-1.00, ")
    figure = scatter_figure([points, Points("x", "y")])
    first, second = figure.axes
    assert [len(drawn.get_offsets()) for drawn in first.collections] == [3, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["b", "a"]
    assert [text.get_text() for text in second.texts] == ["not measured"]
    assert second.get_title() == "0 networks; a rank correlation takes 5 of different values"


NO_FORMULA = r"$\frac{$ $x_1$"


def names_in_every_figure() -> Iterable[Figure]:
    """Yield figures with `NO_FORMULA` wherever a user's words go."""
    x = NO_FORMULA
    tsne, label = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    yield features_figure(tsne, label, [x, "b"], 0.5)
    yield feature_grid_figure({x: [FeaturePanel(x, tsne, label, 0.5)]}, [x, "b"])
    row = {"count": 3, "confidence": 0.5, "accuracy": 0.5}
    yield reliability_figure([Curve(x, [row], 0.1)])
    yield calibration_curves_figure([Pair(x, [row], [row])])
    linearity = [{"lam": lam, "nl": 1.0, "entropy": 1.0, "dominance": 1.0} for lam in (0, 0.5, 1)]
    yield vicinal_figure({x: linearity, "b": linearity})
    yield linearity_gain_figure({x: {0.5: 0.1}, "b": {0.5: 0.2}}, {x: 0.1})
    rows = [
        {"network": n, "corruption": c, "severity": s, "accuracy": 0.5}
        for n in (x, "b") for c, s in (("clean", 0), (x, 1))
    ]  # fmt: skip
    yield corruptions_figure(rows, "accuracy", x)
    yield corruption_gains_figure({x: {x: Gain(0.1)}}, baseline=x)
    yield accuracy_curves_figure({x: {x: [0.1, 0.2]}}, label=x)


def test_names_are_shown_as_they_are_and_never_as_formulas(tmp_path: Path) -> None:
    for figure in names_in_every_figure():
        figure.savefig(tmp_path / "a.svg")
        for suffix in ("png", "svg"):  # again, by our own way
            save_figure(figure, tmp_path / "b")
            assert (tmp_path / f"b.{suffix}").stat().st_size > 1000
        comments = re.findall("<!-- (.*?) -->", (tmp_path / "b.svg").read_text())
        assert any(NO_FORMULA in html.unescape(text) for text in comments)
