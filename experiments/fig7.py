"""Figure 7: features of networks trained without and with mixup, CIFAR-100.

What the last layer sees of test images of five classes, as t-SNE; V is the V-measure of k-means
clusters of the features themselves. Row a: trained without mixup, row b: with it.
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
TEACHERS = ("convnext_large", "convnext_tiny", "resnet152v2")
METHODS = ("erm", "mixup")


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs: of the students, those of the first seed."""
    for method in METHODS:
        for teacher in TEACHERS:
            if method == "erm" or study.has_mixup_teacher(DATASET, teacher):
                trained = study.teacher(DATASET, teacher, method)
                yield trained
                yield study.evaluated(trained, "features")
        student = study.from_labels(DATASET, method)[0]
        yield student
        yield study.evaluated(student, "features")


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its numbers."""
    rows = {
        f"{letter}) {method}": [
            *((comparison.label(t), Subject(DATASET, "teacher", t, method)) for t in TEACHERS),
            (comparison.student, Subject(DATASET, "student", "", method)),
        ]
        for letter, method in zip("ab", METHODS, strict=True)
    }
    yield from feature_parts("fig7", "Features without and with mixup", rows, comparison, DATASET)
