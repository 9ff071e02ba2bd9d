"""Table 5: non-linearity of the teachers beside their calibration, CIFAR-100.

The teachers are asked about mixtures of two images (eq. 12), on training images as in the paper and
on test images. `scaled` is the same after temperature scaling, which takes confidence out of it.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.table import NOTES, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison, pair_of_columns
from .paper.students import TEACHERS
from .paper.study import PaperStudy

DATASET = "cifar100"
QUANTITIES = {
    "nl_global": ("vicinal/train/nl_global", 1.0, 2),
    "nl_peak": ("vicinal/train/nl_peak", 1.0, 2),
    "ece": ("test/ece", 1.0, 3),
}
UNPRINTED = {
    "nl_global_test": "vicinal/test/nl_global",
    "nl_peak_test": "vicinal/test/nl_peak",
    "nl_scaled_global": "vicinal/train/nl_scaled_global",
    "signed_gap": "test/signed_gap",
}


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    for teacher in TEACHERS:
        trained = study.teacher(DATASET, teacher)
        yield trained
        yield study.evaluated(trained, "vicinal")


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table."""
    columns = [
        Column("teacher", "Teacher"),
        *pair_of_columns("nl_global", "Global NL, train (nats)", 3),
        *pair_of_columns("nl_peak", "Peak NL, train (nats)", 3),
        *pair_of_columns("ece", "ECE"),
        Column("nl_global_test", "Global NL, test", 3),
        Column("nl_peak_test", "Peak NL, test", 3),
        Column("nl_scaled_global", "Global NL, train, scaled", 3),
        Column("signed_gap", "Signed gap", signed=True),
        NOTES,
    ]
    rows = []
    for teacher in TEACHERS:
        subject = Subject(DATASET, "teacher", teacher)
        row: dict[str, Value] = {"teacher": comparison.label(teacher)}
        row |= comparison.both(subject, QUANTITIES)
        row |= {name: comparison.measured(subject, metric) for name, metric in UNPRINTED.items()}
        remarks = [
            comparison.results.remarks(subject),
            comparison.results.remarks(subject, "vicinal"),
        ]
        row["notes"] = "; ".join(dict.fromkeys(filter(None, remarks)))
        rows.append(row)
    yield Table(
        "table5", "Non-linearity of the teachers", comparison.caption(DATASET), columns, rows
    )
