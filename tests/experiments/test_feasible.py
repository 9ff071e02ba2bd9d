"""The bounds of an ECE, for any binning."""

from pathlib import Path

import numpy as np
import pytest

from experiments.paper.feasible import ECE_METRICS, infeasible
from experiments.paper.reference import load_reference
from mixkd.metrics.feasible import feasible_ece, is_possible
from mixkd.report.cells import Cell, Key, Subject

REFERENCE = load_reference(Path(__file__).parents[2] / "experiments/paper/reference.yaml")

STUDENT = Subject("cifar10", "student")


def row(
    accuracy: dict[int, float], confidence: dict[int, float], ece: dict[int, float]
) -> dict[Key, list[Cell]]:
    values = zip(ECE_METRICS, (accuracy, confidence, ece), strict=True)
    return {STUDENT.key(metric): [Cell(value)] for metric, value in values}


def test_bounds_by_hand() -> None:
    assert feasible_ece(0.9, 0.7) == pytest.approx((0.2, 0.4))
    assert feasible_ece(0.9, 0.7, slack=0.01) == pytest.approx((0.19, 0.41))
    assert feasible_ece(0.9, 0.9, slack=0.01)[0] == 0


def test_a_number_at_its_bound_is_possible() -> None:
    assert 0.9 - 0.8 < 0.1  # in float64
    assert is_possible(0.9, 0.8, 0.1)
    assert is_possible(0.9, 0.8, 0.3)
    assert not is_possible(0.9, 0.8, 0.0999)
    assert not is_possible(0.9, 0.8, 0.3001)
    assert is_possible(0.9, 0.8, 0.0999, slack=0.0001)
    assert is_possible(0.9, 0.8, 0.0999, half=0.0001)
    assert is_possible(0.9, 0.8, 0.3001, half=0.0001)


def test_no_binning_breaks_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n, bins = rng.integers(1, 40), rng.integers(1, 8)
        confidence = rng.beta(*rng.uniform(0.2, 4, 2), n)
        correct = rng.random(n) < rng.random()
        bin_index = rng.integers(0, bins, n)
        ece = sum(abs((correct - confidence)[bin_index == b].sum()) for b in range(bins)) / n
        assert is_possible(correct.mean(), confidence.mean(), ece)


def test_exactly_three_printed_rows_are_impossible() -> None:
    faults = infeasible(REFERENCE.cells)
    assert [(fault.source, fault.subject.method, fault.seed) for fault in faults] == [
        ("table1", "mixup", 0), ("table2", "erm", 0), ("table4", "erm", 0),
    ]  # fmt: skip
    assert all(fault.subject.role == "student" and not fault.subject.teacher for fault in faults)
    assert faults[1].text == (
        "ECE 0.1073 is impossible beside accuracy 0.9635 and confidence 0.9863: "
        "it lies outside [0.0227, 0.0503]"
    )


def test_every_row_of_tables_1_to_4_is_checked() -> None:
    """A row whose ECE is moved out of its bounds is found, whichever it is."""
    cells = REFERENCE.cells_of("table1", "table2", "table3", "table4")
    rows = {
        (Subject(*key[:5]), cell.source)
        for key, printed_cells in cells.items()
        for cell in printed_cells
        if key.metric == "test/ece"
    }
    assert len(rows) == 29 + 3 * 9
    for subject, source in rows:
        key = subject.key("test/ece")
        worse = [Cell({0: 0.9}, c.half, c.source) if c.source == source else c for c in cells[key]]
        faults = infeasible({**cells, key: worse})
        assert (subject, source) in [(fault.subject, fault.source) for fault in faults]


def test_half_a_unit_of_each_printed_digit_is_allowed() -> None:
    def printed(ece: str, half: float) -> list[str]:
        values = zip(ECE_METRICS, (0.90, 0.80, float(ece)), (0.005, 0.005, half), strict=True)
        cells = {STUDENT.key(m): [Cell({0: v}, h, "table1")] for m, v, h in values}
        return [fault.text for fault in infeasible(cells)]

    assert not printed("0.085", 0.005)  # 0.10 less 0.005 of each of the three
    assert printed("0.084", 0.0005) == [
        "ECE 0.084 is impossible beside accuracy 0.90 and confidence 0.80: "
        "it lies outside [0.0900, 0.3100]"
    ]


def test_printed_rows_are_of_one_artefact() -> None:
    cells = {
        STUDENT.key(metric): [Cell({0: value}, 0.0005, source)]
        for metric, value, source in zip(
            ECE_METRICS, (0.9, 0.8, 0.9), ("table1", "table3", "table1"), strict=True
        )
    }
    assert not infeasible(cells)


def test_measured_rows_are_checked_seed_by_seed() -> None:
    accuracy, confidence = {0: 0.9, 1: 0.9, 2: 0.9}, {0: 0.8, 1: 0.8, 2: 0.8}
    assert not infeasible(row(accuracy, confidence, {0: 0.1, 1: 0.3, 2: 0.2}))
    faults = infeasible(row(accuracy, confidence, {0: 0.1, 1: 0.05, 3: 0.9}))
    assert [(fault.subject, fault.source, fault.seed) for fault in faults] == [(STUDENT, "", 1)]
    assert "ECE 0.0500" in faults[0].text
