"""Table 1: accuracy and calibration across temperatures, CIFAR-100.

A student of each teacher under mixup-based distillation at six temperatures, and under plain
distillation at T = 2; two students that learn from labels alone. The paper has no confidence or ECE
for the first of those.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.table import Column, Table
from mixkd.reproduction.study import StudyRun

from .paper.comparison import PAIRED, Comparison, calibration_table, paired_table
from .paper.students import TEACHERS
from .paper.study import PaperStudy

DATASET = "cifar100"
TEMPERATURES = ("2", "4", "6", "8", "10", "sigma")


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    for method in ("erm", "mixup"):
        yield from study.from_labels(DATASET, method)
    for teacher in TEACHERS:
        for temperature in TEMPERATURES:
            yield from study.distilled(DATASET, teacher, "kd_mixup", temperature)
        yield from study.distilled(DATASET, teacher, "kd", "2")


def render(comparison: Comparison) -> Iterator[Table]:
    """Yield the table, and paired differences from T = 2 and from T = 2's baselines."""
    rows = [
        ({"teacher": "none", "setting": f"labels alone, {method}"}, _student(method=method))
        for method in ("erm", "mixup")
    ]
    pairs = []
    for teacher in TEACHERS:
        name, best = comparison.label(teacher), _student(teacher, "kd_mixup", "2")
        for temperature in TEMPERATURES:
            subject = _student(teacher, "kd_mixup", temperature)
            rows.append(({"teacher": name, "setting": f"T = {temperature}"}, subject))
            if temperature != "2":
                pairs.append((f"{name}, T = 2", best, f"{name}, T = {temperature}", subject))
        plain = _student(teacher, "kd", "2")
        rows.append(({"teacher": name, "setting": "kd without mixup, T = 2"}, plain))
        pairs += [
            (f"{name}, T = 2", best, f"{name}, kd", plain),
            (f"{name}, T = 2", best, "mixup", _student(method="mixup")),
            (f"{name}, T = 2", best, "erm", _student(method="erm")),
        ]
    yield calibration_table(
        "table1",
        "Accuracy and calibration across temperatures",
        comparison.caption(DATASET),
        [Column("teacher", "Teacher"), Column("setting", "Setting")],
        rows,
        comparison,
        percent=True,
    )
    yield paired_table(
        "table1-paired",
        "Paired differences from T = 2, on the same test images",
        comparison.caption(DATASET, PAIRED),
        pairs,
        comparison.results,
    )


def _student(teacher: str = "", method: str = "kd_mixup", temperature: str = "") -> Subject:
    """Return a student of this table."""
    return Subject(DATASET, "student", teacher, method, temperature)
