"""What Tables 2 to 4 share: teachers, their students at T = 2, and the baseline."""

from collections.abc import Iterator, Sequence

from mixkd.report.cells import Subject
from mixkd.report.table import Column, Table
from mixkd.reproduction.study import StudyRun

from .comparison import PAIRED, Comparison, calibration_table, paired_table
from .study import PaperStudy

TEACHERS = ("convnext_large", "vit_b16", "resnet152v2", "convnext_tiny")


def runs_of_students(study: PaperStudy, dataset: str) -> Iterator[StudyRun]:
    """Yield the runs of the teachers, of their students, and of the baseline on a data set."""
    for teacher in TEACHERS:
        yield study.teacher(dataset, teacher)
        yield from study.distilled(dataset, teacher, "kd_mixup", "2")
    yield from study.from_labels(dataset, "erm")


def tables_of_students(
    name: str,
    title: str,
    dataset: str,
    comparison: Comparison,
    teachers: Sequence[str] = TEACHERS,
) -> Iterator[Table]:
    """Yield a table of teachers, students and baseline, and their paired differences.

    Args:
        name: of the table's files.
        title: one line.
        dataset: as the paper names it.
        comparison: measured and printed numbers.
        teachers: as the paper names them.
    """
    baseline = Subject(dataset, "student", "", "erm")
    rows, pairs = [], []
    for teacher in teachers:
        subject = Subject(dataset, "teacher", teacher)
        rows.append(({"model": f"{comparison.label(teacher)}, teacher"}, subject))
    for teacher in teachers:
        student = Subject(dataset, "student", teacher, "kd_mixup", "2")
        label = f"student of {comparison.label(teacher)}"
        rows.append(({"model": label}, student))
        pairs += [
            (label, student, "its teacher", Subject(dataset, "teacher", teacher)),
            (label, student, "baseline", baseline),
        ]
    rows.append(({"model": "baseline student, labels alone"}, baseline))
    caption, columns = comparison.caption(dataset), [Column("model", "Model")]
    yield calibration_table(name, title, caption, columns, rows, comparison)
    yield paired_table(
        f"{name}-paired", f"{title}: paired differences", f"{caption} {PAIRED}", pairs,
        comparison.results,
    )  # fmt: skip
