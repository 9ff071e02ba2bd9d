"""Figure 10: non-linearity against calibration, over all networks. Not in the paper.

The paper sees in four teachers that less linear networks are worse calibrated (7.2, Table 5); no
order of four decides that. Here every teacher and the first seed of every student is a point. To
the right the same after temperature scaling of each network, which takes its confidence out of both
quantities: what is left there is not a matter of confidence alone.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, Column, Number, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.figures.scatter import Points, scatter_figure
from .paper.runs import beside_teacher
from .paper.students import TEACHERS
from .paper.study import PaperStudy

DATASET = "cifar100"
OTHERS = ("4", "6", "8", "10", "sigma")  # temperatures than 2
DEPENDENT = (
    "Intervals and p take networks for independent, which students of one teacher are not: they "
    "make too much of them."
)
METRICS = (
    "vicinal/test/nl_global",
    "test/ece",
    "vicinal/test/nl_scaled_global",
    "test/scaled/ece",
)


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs: teachers, and students of the first seed, each asked between images."""
    trained = [study.teacher(DATASET, teacher) for teacher in TEACHERS]
    trained += [study.from_labels(DATASET, method)[0] for method in ("erm", "mixup")]
    for teacher in TEACHERS:
        trained.append(study.distilled(DATASET, teacher, "kd")[0])
        trained += [study.distilled(DATASET, teacher, "kd_mixup", t)[0] for t in OTHERS]
        yield from study.distilled(DATASET, teacher, "kd_mixup", "2")[:1]
        yield beside_teacher(study, DATASET, teacher)[0]
    for network in trained:
        yield network
        yield study.evaluated(network, "vicinal")


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its numbers."""
    rows: list[dict[str, Value]] = []
    raw = Points("global NL, test (nats)", "ECE")
    scaled = Points("global NL, test, scaled (nats)", "ECE, scaled")
    runs: list[str] = []
    for group, name, subject in networks(comparison):
        nl, ece, nl_scaled, ece_scaled = numbers = of_one_seed(comparison, subject)
        values = [None if number is None else number.value for number in numbers]
        raw.add(group, *values[:2])
        scaled.add(group, *values[2:])
        row: dict[str, Value] = {"group": group, "network": name, "nl": nl, "ece": ece}
        row |= {"nl_scaled": nl_scaled, "ece_scaled": ece_scaled}
        row["notes"] = comparison.results.remarks(subject, "vicinal")
        rows.append(row)
        runs += [run for number in (nl, ece) if number for run in number.runs]
    correlations = f"{raw.correlation}; after temperature scaling: {scaled.correlation}."
    caption = comparison.caption(DATASET, correlations, DEPENDENT, "Of several seeds, the first.")
    figure = scatter_figure([raw, scaled])
    yield Drawing(
        "fig10", "Non-linearity and calibration", caption, figure, (*dict.fromkeys(runs),)
    )
    columns = [
        Column("group", "Trained by"),
        Column("network", "Network"),
        Column("nl", "Global NL, test (nats)", 3),
        Column("ece", "ECE"),
        Column("nl_scaled", "Global NL, test, scaled", 3),
        Column("ece_scaled", "ECE, scaled"),
        NOTES,
    ]
    yield Table("fig10-numbers", "Networks in Figure 10", caption, columns, rows)


def of_one_seed(comparison: Comparison, subject: Subject) -> list[Number | None]:
    """Return the quantities of a network, all of the first seed that has all that are known."""
    cells = [comparison.results.cell(subject, metric) for metric in METRICS]
    seed_sets = [set(cell.by_seed) for cell in cells if cell is not None]
    seeds = sorted(set.intersection(*seed_sets)) if seed_sets else []
    numbers: list[Number | None] = []
    for metric, cell in zip(METRICS, cells, strict=True):
        if cell is None or not seeds:
            numbers.append(None)
            continue
        kind = "vicinal" if metric.startswith("vicinal/") else "training"
        run = comparison.results.slots[subject, seeds[0], kind]
        numbers.append(Number(cell.by_seed[seeds[0]], runs=(run.path,)))
    return numbers


def networks(comparison: Comparison) -> Iterator[tuple[str, str, Subject]]:
    """Yield group, name and subject of each network."""
    for teacher in TEACHERS:
        yield "teachers", comparison.label(teacher), Subject(DATASET, "teacher", teacher)
    for method in ("erm", "mixup"):
        yield "labels alone", f"student, {method}", Subject(DATASET, "student", "", method)
    for teacher in TEACHERS:
        name = f"student of {comparison.label(teacher)}"
        for method, temperature in (("kd", "2"), *(("kd_mixup", t) for t in ("2", *OTHERS))):
            subject = Subject(DATASET, "student", teacher, method, temperature)
            yield method, f"{name}, {method}, T = {temperature}", subject
