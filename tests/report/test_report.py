import csv
import math
from pathlib import Path

import pytest
from PIL import Image

from experiments.demo import read_curve
from mixkd.plots.reliability import Curve, reliability_figure
from mixkd.plots.style import save_figure
from mixkd.report.table import Column, Number, Table, as_markdown, metrics_table

METRICS = {
    "test/accuracy": 0.9733333, "test/confidence": 0.91, "test/ece": 0.0631, "test/nll": 0.12,
    "test/signed_gap": -0.0633333, "test/brier": 0.05,
}  # fmt: skip
ROWS = [
    {"bin": k, "lower": k / 3, "upper": (k + 1) / 3, "count": n, "accuracy": a, "confidence": c}
    for k, (n, a, c) in enumerate([(0, math.nan, math.nan), (4, 0.25, 0.5), (6, 1.0, 0.9)])
]


def table(*runs: tuple[str, dict[str, float]]) -> Table:
    return metrics_table("name", "Title_1", "50 % of it.", runs, "test")


def test_markdown_rounds_and_csv_does_not() -> None:
    rounded = table(("teacher", METRICS))
    header, rule, row = rounded.markdown().splitlines()
    assert [cell.strip() for cell in header.split("|")[1:-1]] == [
        "Network", "Accuracy", "Confidence", "ECE", "Signed gap", "NLL (nats)", "Brier",
    ]  # fmt: skip
    assert len(header) == len(rule) == len(row)
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "teacher", "0.9733", "0.9100", "0.0631", "-0.0633", "0.1200", "0.0500",
    ]  # fmt: skip
    rows = list(csv.DictReader(rounded.csv().splitlines()))
    assert float(rows[0]["accuracy"]) == METRICS["test/accuracy"]


def test_a_spread_and_runs_go_along() -> None:
    columns = [Column("a", "A"), Column("b", "B (%)", 1), Column("notes", "Notes")]
    rows = [
        {"a": "x|y", "b": Number(12.345, 0.5, ("runs/1", "runs/2")), "notes": None},
        {"a": "z", "b": math.nan, "notes": "one seed"},
    ]
    spread = Table("t", "A & B", "Of 2_a.", columns, rows)
    text = spread.markdown().splitlines()
    assert "12.3 ± 0.5" in text[2]
    assert "x\\|y" in text[2]
    assert text[3].split("|")[2].strip() == "-"
    first, second = csv.DictReader(spread.csv().splitlines())
    assert first["b"] == "12.345"
    assert first["b_sd"] == "0.5"
    assert first["runs"] == "runs/1;runs/2"
    assert second["runs"] == second["b_sd"] == ""


def test_latex_escapes_and_has_a_caption() -> None:
    text = table(("kd_mixup & 5 %", METRICS)).latex()
    assert r"\caption{Title\_1. 50 \% of it.}" in text
    assert r"kd\_mixup \& 5 \% & 0.9733 & 0.9100 & 0.0631 & -0.0633 & 0.1200 & 0.0500 \\" in text
    assert r"\begin{tabular}{lrrrrrr}" in text


def test_a_table_is_written_in_three_forms() -> None:
    table(("teacher", METRICS)).write(Path("out"))
    assert Path("out/name.md").read_text().startswith("# Title_1\n\n50 % of it.\n\n| Network")
    assert sorted(p.suffix for p in Path("out").iterdir()) == [".csv", ".md", ".tex"]


def test_a_reliability_figure_has_a_panel_a_network_with_its_filled_bins() -> None:
    figure = reliability_figure([Curve("one", ROWS, 0.16), Curve("two", ROWS, 0.16)])
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in panels] == ["one\nECE 0.160", "two\nECE 0.160"]
    dots = panels[0].collections[-1].get_offsets()
    assert dots.tolist() == [[0.5, 0.25], [0.9, 1.0]]
    save_figure(figure, Path("out/figure"))
    assert Image.open("out/figure.png").size[0] > 500
    assert "<svg" in Path("out/figure.svg").read_text()


def test_a_curve_is_read_from_a_run() -> None:
    Path("run").mkdir()
    with open("run/reliability.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, ["split", *ROWS[0]])
        writer.writeheader()
        writer.writerows([{"split": s, **row} for s in ("val", "test") for row in ROWS])
    curve = read_curve(Path("run"), "test", "label", 0.1)
    assert [row["count"] for row in curve.rows] == ["0", "4", "6"]


def test_temperature_scaling_has_a_row_of_its_own() -> None:
    scaled = {f"test/scaled/{k}": 0.01 for k in ("confidence", "ece", "signed_gap", "nll", "brier")}
    both_rows = table(("kd", METRICS | scaled | {"test/scaled/temperature": 1.5}), ("erm", METRICS))
    assert [row["network"] for row in both_rows.rows] == ["kd", "kd, T = 1.50", "erm"]
    assert both_rows.rows[1]["ece"] == 0.01
    assert both_rows.rows[1]["accuracy"] == METRICS["test/accuracy"]  # it changes no prediction


STRANGE = [
    ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"),
    ("[here](http://evil.example)", "[here\\](http://evil.example)"),
    ("![x][y] [y]: z", "![x\\][y] [y\\]: z"),
    ("[x\\](http://evil.example)", "[x\\\\\\](http://evil.example)"),
    ("``[x](http://evil.example)`", "&#96;&#96;[x\\](http://evil.example)&#96;"),
    ("a ` b", "a &#96; b"),
    ("`[x](y)`", "`[x](y)`"),
    ("`<b>`", "`&lt;b>`"),
    ("a\n\n# b\x1b", "a # b\\\\x1b"),
    ("0.5 > 0.4, [0.1, 0.2] kd_mixup", "0.5 > 0.4, [0.1, 0.2] kd_mixup"),
]


@pytest.mark.parametrize(("text", "expected"), STRANGE)
def test_text_of_a_stranger_is_no_markup(text: str, expected: str) -> None:
    assert as_markdown(text) == expected
    table = Table("t", text, f"# {text}", [Column("a", "A")], [{"a": f"{text}|"}])
    table.write(Path())
    title, _, caption, *_, row = Path("t.md").read_text().splitlines()
    assert title == f"# {expected}"
    assert caption == f"\\# {expected}"
    assert row == f"| {expected}\\| |"
    assert "\x1b" not in Path("t.tex").read_text()


def test_a_row_in_brackets_is_no_height_in_latex() -> None:
    lines = Table("t", "", "", [Column("a", "A")], [{"a": "x"}, {"a": "[y]\n\nz"}]).latex()
    assert "x \\\\\n{}[y] z \\\\\n" in lines
