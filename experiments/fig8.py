"""Figure 8: features of students whose teachers were trained without and with mixup, CIFAR-100.

As Figure 7, for students under mixup-based distillation at T = 2. The paper does not say which of
its two values in row b belongs to which teacher.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import Table
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.features import feature_parts
from .paper.study import PaperStudy

DATASET = "cifar100"
TEACHERS = ("resnet152v2", "convnext_large")
METHODS = ("erm", "mixup")


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs; features are those of the first seed."""
    for method in METHODS:
        for teacher in TEACHERS:
            if method == "mixup" and not study.has_mixup_teacher(DATASET, teacher):
                continue
            students = study.distilled(DATASET, teacher, "kd_mixup", "2", method)
            yield from students
            yield study.evaluated(students[0], "features")


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its numbers."""
    rows = {}
    for letter, method, more in (("a", "erm", ""), ("b", "mixup", "+mixup")):
        subjects = [(t, Subject(DATASET, "student", t + more, "kd_mixup", "2")) for t in TEACHERS]
        title = f"{letter}) teacher trained by {method}"
        rows[title] = [(f"student of {comparison.label(t)}", subject) for t, subject in subjects]
    yield from feature_parts("fig8", "Features of students", rows, comparison, DATASET)
