"""Table 3: teachers and their students, CIFAR-100.

Each teacher, its student under mixup-based distillation at T = 2, and the baseline: a student that
learns from labels alone. The paper's baseline has the accuracy that its Table 1 gives to mixup.
"""

from collections.abc import Iterator

from mixkd.report.table import Table
from mixkd.reproduction.study import Study, Wanted

from .paper.comparison import Comparison, teachers_and_students

DATASET = "cifar100"
TEACHERS = ("convnext_large", "vit_b16", "resnet152v2", "convnext_tiny")


def runs(study: Study) -> Iterator[Wanted]:
    """Yield the runs."""
    for teacher in TEACHERS:
        yield study.teacher(DATASET, teacher)
        yield from study.distilled(DATASET, teacher, "kd_mixup", "2")
    yield from study.from_labels(DATASET, "erm")


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table, and paired differences of the students from teacher and baseline."""
    yield from teachers_and_students(
        "table3", "CIFAR-100: teachers and students", comparison.caption(DATASET), DATASET,
        TEACHERS, comparison,
    )  # fmt: skip
