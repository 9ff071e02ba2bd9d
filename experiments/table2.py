"""Table 2: teachers and their students, CIFAR-10.

Each teacher, its student under mixup-based distillation at T = 2, and the baseline: a student that
learns from labels alone.
"""

from collections.abc import Iterator

from mixkd.report.table import Table
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.students import runs_of_students, tables_of_students
from .paper.study import PaperStudy

DATASET = "cifar10"


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    yield from runs_of_students(study, DATASET)


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table, and paired differences of the students from teacher and baseline."""
    yield from tables_of_students("table2", "CIFAR-10: teachers and students", DATASET, comparison)
