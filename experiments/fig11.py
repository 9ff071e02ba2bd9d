"""Figure 11: accuracy against ECE of the students, from views to mixtures. Not in the paper.

Does a student of mixed images get what temperature scaling would have given it? An arrow begins at
the student that learned from views and ends at the one that learned from mixtures, alike in all
else: from the same labels, or from the same teacher at the same temperature. Students of the other
teachers, of mixtures alone, are points. To the right the same students, each after temperature
scaling on held-out images.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, SEEDS, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.figures.arrows import Panel, Point, arrows_figure
from .paper.students import TEACHERS
from .paper.study import PaperStudy

DATASET = "cifar100"
MAIN, *OTHERS = TEACHERS
TEMPERATURES = ("1", "4")
METRICS = ("test/accuracy", "test/ece", "test/scaled/ece")


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs: students of labels, of the main teacher, and of the others' mixtures."""
    for method in ("erm", "mixup"):
        yield from study.from_labels(DATASET, method)
    for temperature in TEMPERATURES:
        for method in ("kd", "kd_mixup"):
            yield from study.distilled(DATASET, MAIN, method, temperature)
    if study.has_mixup_teacher(DATASET, MAIN):
        yield from study.distilled(DATASET, MAIN, "kd_mixup", "1", teacher_method="mixup")
    for teacher in OTHERS:
        yield from study.distilled(DATASET, teacher, "kd_mixup", "1")


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its numbers."""
    raw = Panel("as trained", "Accuracy", "ECE")
    scaled = Panel("after temperature scaling", "Accuracy", "ECE, scaled")
    rows: list[dict[str, Value]] = []
    runs: list[str] = []
    for label, pair in arrows(comparison).items():
        for subject in filter(None, pair):
            numbers = [comparison.measured(subject, metric) for metric in METRICS]
            row: dict[str, Value] = {"students": label, "method": subject.method}
            row |= dict(zip(("accuracy", "ece", "ece_scaled"), numbers, strict=True))
            row["seeds"] = float(len(comparison.results.seeds(subject)))
            row["notes"] = comparison.results.remarks(subject)
            rows.append(row)
            runs += [run for number in numbers if number for run in number.runs]
        for panel, metric in ((raw, METRICS[1]), (scaled, METRICS[2])):
            start, end = (point(comparison, subject, metric) for subject in pair)
            panel.arrows[label] = (start, end)
    caption = comparison.caption(DATASET, "Means over seeds.")
    title = "Accuracy and calibration, from views to mixtures"
    figure = arrows_figure([raw, scaled])
    yield Drawing("fig11", title, caption, figure, (*dict.fromkeys(runs),))
    columns = [
        Column("students", "Students of"),
        Column("method", "Method"),
        Column("accuracy", "Accuracy"),
        Column("ece", "ECE"),
        Column("ece_scaled", "ECE, scaled"),
        SEEDS,
        NOTES,
    ]
    yield Table("fig11-numbers", "Students in Figure 11", caption, columns, rows)


def point(comparison: Comparison, subject: Subject | None, metric: str) -> Point | None:
    """Return accuracy and a metric of a student, means over seeds, if both are known."""
    if subject is None:
        return None
    accuracy, other = (comparison.measured(subject, m) for m in (METRICS[0], metric))
    return (accuracy.value, other.value) if accuracy and other else None


def arrows(comparison: Comparison) -> dict[str, tuple[Subject | None, Subject]]:
    """Return label -> the student of views, if the scale has one, and that of mixtures."""

    def student(teacher: str, method: str, temperature: str = "") -> Subject:
        return Subject(DATASET, "student", teacher, method, temperature)

    pairs: dict[str, tuple[Subject | None, Subject]] = {
        "labels": (student("", "erm"), student("", "mixup"))
    }
    for t in TEMPERATURES:
        label = f"{comparison.label(MAIN)}, T = {t}"
        pairs[label] = (student(MAIN, "kd", t), student(MAIN, "kd_mixup", t))
    for teacher in (f"{MAIN}+mixup", *OTHERS):
        label = f"{comparison.label(teacher)}, T = 1"
        pairs[label] = (None, student(teacher, "kd_mixup", "1"))
    is_left_out = comparison.results.is_left_out
    return {
        label: (None if start is None or is_left_out(start) else start, end)
        for label, (start, end) in pairs.items()
        if not is_left_out(end)
    }
