"""The field's methods on one stream: what mixed images do to each. Not in the paper.

Students of one teacher, by every divergence and every hint that mixkd has, on views as they are and
on mixed images: accuracy, ECE before and after temperature scaling, the student's non-linearity
between images and its gain in linearity, accuracy on corrupted images. All see the same images, so
one pass of the teacher, on a tape, serves those that compare logits. The paper's divergence, kl,
has its weights; every other loss is added, with its published weight, to the cross-entropy with the
(mixed) labels, and hints to that and the paper's divergence.
"""

from collections.abc import Iterator, Mapping, Sequence

from mixkd.config.shipped import group_names
from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, SEEDS, Column, Number, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.figures.arrows import Panel, Point, arrows_figure
from .paper.students import TEACHERS
from .paper.study import PaperStudy, with_losses

DATASET, TEACHER, TEMPERATURE = "cifar100", TEACHERS[0], "4"
METHODS = ("kd", "kd_mixup")

# Published weights of a divergence beside a cross-entropy of weight 1, where they are not 1.
BETA = {"dist": 2.0, "wsld": 2.25}

METRICS = {
    "accuracy": "test/accuracy",
    "ece": "test/ece",
    "ece_scaled": "test/scaled/ece",
    "nl": "vicinal/test/nl_global",
    "delta_lin": "vicinal/test/delta_lin_global",
    "corrupted": "corruption/mean/accuracy",
}


def losses(group: str) -> dict[str, list[str]]:
    """Return the overrides that choose each divergence, or each hint beside the usual one."""
    chosen: dict[str, list[str]] = {"kl": []} if group == "divergence" else {}
    for name in group_names(group):
        if name not in ("none", *chosen):
            beta = [f"method.beta={BETA[name]}"] if name in BETA else []
            chosen[name] = [f"{group}={name}", "method.alpha=1", *beta]
    return chosen


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs: the teacher, its students, and one evaluation of each."""
    teacher = study.teacher(DATASET, TEACHER)
    yield teacher
    for overrides in (*losses("divergence").values(), *losses("hint").values()):
        for method in METHODS:
            for run in study.distilled(DATASET, TEACHER, method, TEMPERATURE, losses=overrides):
                yield run
                yield from study.evaluated_at_once(run, ("vicinal", "corruptions"), teacher)


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its numbers."""
    panels: list[Panel] = []
    rows: list[dict[str, Value]] = []
    for group in ("divergence", "hint"):
        raw = Panel(f"{group}s, as trained", "Accuracy", "ECE")
        scaled = Panel(f"{group}s, after temperature scaling", "Accuracy", "ECE, scaled")
        panels += [raw, scaled]
        for label, overrides in losses(group).items():
            pair = [student(method, overrides) for method in METHODS]
            if any(map(comparison.results.is_left_out, pair)):
                continue
            for subject in pair:
                row: dict[str, Value] = {"loss": label, "method": subject.method.partition("+")[0]}
                row |= {k: comparison.measured(subject, metric) for k, metric in METRICS.items()}
                row["seeds"] = float(len(comparison.results.seeds(subject)))
                row["notes"] = comparison.results.remarks(subject)
                rows.append(row)
            for panel, metric in ((raw, "ece"), (scaled, "ece_scaled")):
                start, end = (point(row, metric) for row in rows[-2:])
                panel.arrows[label] = (start, end)
    numbers = [value for row in rows for value in row.values() if isinstance(value, Number)]
    used = tuple(dict.fromkeys(run for number in numbers for run in number.runs))
    caption = comparison.caption(
        DATASET,
        f"Teacher: {comparison.label(TEACHER)}; T = {TEMPERATURE}. Means over seeds. NL of the "
        "student on pairs of test images; gain: the teacher's NL less the student's. Corrupted: "
        "the mean over corruptions and severities.",
    )
    title = "Methods of distillation, from views to mixtures"
    yield Drawing("methods", title, caption, arrows_figure(panels), used)
    columns = [
        Column("loss", "Divergence or hint"),
        Column("method", "Method"),
        Column("accuracy", "Accuracy"),
        Column("ece", "ECE"),
        Column("ece_scaled", "ECE, scaled"),
        Column("nl", "NL"),
        Column("delta_lin", "Gain in linearity", 4, signed=True),
        Column("corrupted", "Accuracy, corrupted"),
        SEEDS,
        NOTES,
    ]
    yield Table("methods-numbers", "Students by every method", caption, columns, rows)


def student(method: str, overrides: Sequence[str]) -> Subject:
    """Return whose row is that of a method and what chooses its losses."""
    return Subject(DATASET, "student", TEACHER, with_losses(method, overrides), TEMPERATURE)


def point(row: Mapping[str, Value], metric: str) -> Point | None:
    """Return accuracy and a metric of a row, if both are known."""
    accuracy, other = row["accuracy"], row[metric]
    if not isinstance(accuracy, Number) or not isinstance(other, Number):
        return None
    return accuracy.value, other.value
