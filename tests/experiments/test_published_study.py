"""The study in experiments/results/: its tables follow from its files; the README shows them."""

import csv
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from mixkd.config.commands import ReportConfig
from mixkd.tasks.report import report

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "experiments" / "results" / "cifar10-laptop"
README = (ROOT / "README.md").read_text()
MOST_BYTES = 5_000_000


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows(page: str) -> Iterator[list[str]]:
    """Yield the rows of a page's Markdown tables."""
    for line in page.splitlines():
        if line.startswith("|") and not line.startswith(("| ---", "|--", "| :-", "|:-")):
            yield cells(line)


def section() -> str:
    """Return what the README says of the study."""
    _, rest = README.split("## A study on real images\n", 1)
    return rest.split("\n## ", 1)[0]


def main_table() -> Iterator[list[str]]:
    """Yield the README's rows: Table 1's, each with the one after temperature scaling."""
    table = list(rows((STUDY / "table1.md").read_text()))
    header = table[0]
    for row, scaled in pairwise(table):
        plain, rescaled = (dict(zip(header, values, strict=True)) for values in (row, scaled))
        if not rescaled["Setting"].startswith("scaled, T = "):
            continue
        teacher = plain["Teacher"].partition("(")[2].rstrip(")")
        name = f"{teacher}: {plain['Setting']}" if teacher else plain["Setting"]
        yield [
            name, plain["Accuracy (%)"], plain["Confidence (%)"], plain["ECE"],
            rescaled["Setting"].removeprefix("scaled, T = "), rescaled["ECE"],
        ]  # fmt: skip


def claims() -> dict[str, dict[str, str]]:
    """Return what the study says of each claim, by the claim."""
    with open(STUDY / "claims.csv", newline="") as file:
        return {row["claim"]: row for row in csv.DictReader(file)}


def test_the_tables_come_of_what_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    report(ReportConfig.parse([f"runs={STUDY.relative_to(ROOT)}/kept", f"out={tmp_path}"]))
    texts = {path.name: path.read_text() for path in STUDY.glob("*.csv")}
    assert {"table1.csv", "table7.csv", "claims.csv"} < texts.keys()
    for name, text in texts.items():
        assert (tmp_path / name).read_text() == text, name


def test_it_is_small_and_without_weights() -> None:
    files = [path for path in STUDY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert not [path for path in files if path.suffix in (".safetensors", ".ckpt", ".th")]


def test_the_readme_shows_its_main_table() -> None:
    readme_rows = list(rows(section()))
    expected = list(main_table())
    assert len(expected) == 13
    assert [row for row in readme_rows if len(row) == 6][1:] == expected


def test_the_readme_shows_every_verdict_and_no_number_that_is_not_measured() -> None:
    ledger = {row[0]: row[1:] for row in rows(section()) if len(row) == 4 and row[0] != "Claim"}
    study_claims = claims()
    assert ledger.keys() == study_claims.keys()
    for claim, (printed, measured, effect) in ledger.items():
        study_claim = study_claims[claim]
        assert (printed, measured) == (
            study_claim["printed_verdict"],
            study_claim["measured_verdict"],
        ), claim
        assert effect or measured == "not measured", claim
        for number in re.findall(r"[+-]?\d+\.\d+", effect):
            assert number in study_claim["measured_figures"], (claim, number)


def test_the_readme_shows_pictures_that_are_there() -> None:
    pictures = re.findall(r"!\[.+\]\((experiments/results/cifar10-laptop/\S+)\)", section())
    assert len(pictures) == 2
    for name in pictures:
        assert (ROOT / name).is_file()
