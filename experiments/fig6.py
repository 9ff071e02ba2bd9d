"""Figure 6: gain in accuracy over the baseline by corruption, CIFAR-100-C.

Means over five severities. The baseline learns from labels alone, without mixing. Bars: two
standard errors, over seeds, or of one seed over images. The paper labels one bar in each group, the
one furthest from zero.
"""

from collections.abc import Iterator
from math import sqrt
from statistics import stdev

from mixkd.data.corruption_names import PAPER
from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, SEEDS, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison, pair_of_columns
from .paper.figures.corruption_gains import Gain, corruption_gains_figure
from .paper.students import TEACHERS
from .paper.study import PaperStudy, for_seed

DATASET = "cifar100"


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs: those of Table 7."""
    plain = study.from_labels(DATASET, "erm")
    for teacher in TEACHERS:
        for student in study.distilled(DATASET, teacher, "kd_mixup", "2"):
            yield student
            baselines = {"erm": for_seed(plain, student.seed)}
            yield study.evaluated(student, "corruptions", baselines=baselines)


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its numbers."""
    gains: dict[str, dict[str, Gain]] = {}
    printed: dict[str, dict[str, float]] = {}
    rows, paths = [], []
    for teacher in TEACHERS:
        subject, name = (
            Subject(DATASET, "student", teacher, "kd_mixup", "2"),
            comparison.label(teacher),
        )
        gains[name], printed[name] = {}, {}
        paths += [run.path for run in comparison.results.runs(subject, "corruptions").values()]
        for corruption in PAPER:
            path = f"corruption/{corruption}/mean"
            if (cell := comparison.results.cell(subject, f"{path}/gain")) is not None:
                values = list(cell.by_seed.values())
                error_cell = comparison.results.cell(subject, f"{path}/gain_se_erm")
                one = error_cell.mean if error_cell is not None else float("nan")
                error = stdev(values) / sqrt(len(values)) if len(values) > 1 else one
                gains[name][corruption] = Gain(cell.mean, error)
            if (label := comparison.printed_here(subject, f"{path}/gain")) is not None:
                printed[name][corruption] = label
            row: dict[str, Value] = {"teacher": name, "corruption": corruption}
            row |= comparison.both(subject, {"gain": (f"{path}/gain", 100.0, 1)})
            row["seeds"] = float(len(comparison.results.seeds(subject, "corruptions")))
            row["notes"] = comparison.results.remarks(subject, "corruptions")
            rows.append(row)
    bars = "Bars: two standard errors, over seeds, or of one seed over images."
    caption = comparison.caption(DATASET, bars)
    figure = corruption_gains_figure(gains, printed)
    yield Drawing("fig6", "Gain in accuracy by corruption", caption, figure, tuple(paths))
    columns = [
        Column("teacher", "Teacher"),
        Column("corruption", "Corruption"),
        *pair_of_columns("gain", "Gain (points)", 1, signed=True),
        SEEDS,
        NOTES,
    ]
    yield Table("fig6-numbers", "Numbers of Figure 6", caption, columns, rows)
