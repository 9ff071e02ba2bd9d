"""Table 3: teachers and their students, CIFAR-100.

Each teacher, its student under mixup-based distillation at T = 2, and the baseline: a student that
learns from labels alone. The paper's baseline has the accuracy that its Table 1 gives to mixup.
"""

from collections.abc import Iterator

from mixkd.report.table import Table
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.students import runs_of_students, tables_of_students
from .paper.study import PaperStudy

DATASET = "cifar100"


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    yield from runs_of_students(study, DATASET)


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table, and paired differences of the students from teacher and baseline."""
    yield from tables_of_students("table3", "CIFAR-100: teachers and students", DATASET, comparison)
