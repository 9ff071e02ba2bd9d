"""Table 4: teachers and their students, ImageNet.

Each teacher, its student under mixup-based distillation at T = 2 with alpha = 0.2, and the
baseline: a student that learns from labels alone. The paper leaves unsaid: how its teachers came
to their accuracies (those of its ConvNeXts are 5 and 15 points below the published networks'), the
weight beta, the student's epochs on ImageNet, the baseline's training, and which images selected
the epoch. Here beta is 1, epochs and rates are those of CIFAR unless the scale says otherwise, and
the baseline is trained as the students are.
"""

from collections.abc import Iterator

from mixkd.report.table import Table
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.students import runs_of_students, tables_of_students
from .paper.study import PaperStudy

DATASET = "imagenet"


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    yield from runs_of_students(study, DATASET)


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table, and paired differences of the students from teacher and baseline."""
    yield from tables_of_students("table4", "ImageNet: teachers and students", DATASET, comparison)
