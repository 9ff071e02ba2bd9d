"""Figure 3: confidence against accuracy of teachers and students, CIFAR-100.

The bins of the ECE as curves, of the first seed: on the diagonal, confidence is right.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison, pair_of_columns
from .paper.figures.calibration_curves import Pair, calibration_curves_figure
from .paper.study import PaperStudy

DATASET = "cifar100"
TEACHERS = ("convnext_large", "resnet152v2", "convnext_tiny", "vit_b16")


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    for teacher in TEACHERS:
        yield study.teacher(DATASET, teacher)
        yield from study.distilled(DATASET, teacher, "kd_mixup", "2")


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and the accuracies in it."""
    panels, rows, paths = [], [], []
    for teacher in TEACHERS:
        of = {
            "teacher": Subject(DATASET, "teacher", teacher),
            "student": Subject(DATASET, "student", teacher, "kd_mixup", "2"),
        }
        curves = {}
        for role, subject in of.items():
            run = next(iter(comparison.results.runs(subject).values()), None)
            bins = run.rows("reliability.csv") if run else []
            curves[role] = [row for row in bins if row.get("split") == "test"]
            paths += [run.path] if run else []
            row: dict[str, Value] = {"network": f"{comparison.label(teacher)}, {role}"}
            row |= comparison.both(subject, {"accuracy": ("test/accuracy", 100.0, 2)})
            row["accuracy"] = comparison.first(subject, "test/accuracy", 100)
            row["notes"] = comparison.results.remarks(subject)
            rows.append(row)
        teachers, students = ((subject, "test/accuracy") for subject in of.values())
        printed = comparison.printed_pair(teachers, students)
        panels.append(
            Pair(comparison.label(teacher), curves["teacher"], curves["student"], printed)
        )
    caption = comparison.caption(DATASET, "Of several seeds, the first.")
    figure = calibration_curves_figure(panels)
    yield Drawing("fig3", "Confidence against accuracy", caption, figure, tuple(paths))
    columns = [Column("network", "Network"), *pair_of_columns("accuracy", "Accuracy (%)", 2), NOTES]
    yield Table("fig3-numbers", "Accuracies in Figure 3", caption, columns, rows)
