"""Figure 5: gain in linearity of the students over their teachers, CIFAR-100.

The teacher's non-linearity less the student's (eq. 15) over the weight of the first image, means
over seeds. The paper's Table 6 prints peaks that are 0.016 to 0.032 nats lower than this figure's.
"""

from collections.abc import Iterator
from statistics import mean

from mixkd.report.cells import Subject
from mixkd.report.rows import NOTES, SEEDS, Comparison, Drawing, pair_of_columns
from mixkd.report.table import Column, Table, Value
from mixkd.report.vicinal import linearity_gain, linearity_gain_figure
from mixkd.reproduction.study import Study, Wanted

DATASET = "cifar100"
TEACHERS = ("resnet152v2", "convnext_large", "vit_b16", "convnext_tiny")
METRIC = "vicinal/train/delta_lin_peak"


def runs(study: Study) -> Iterator[Wanted]:
    """Yield the runs: those of Table 6."""
    yield from study.from_labels(DATASET, "erm")
    for teacher in TEACHERS:
        yield from study.distilled(DATASET, teacher, "kd")
        yield from study.distilled(DATASET, teacher, "kd_mixup", "2")
        yield from study.beside_teacher(DATASET, teacher)


def render(found: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its peaks."""
    gains, printed, rows, paths = {}, {}, [], []
    for teacher in TEACHERS:
        subject, name = Subject(DATASET, "student", teacher, "kd_mixup", "2"), found.label(teacher)
        of_seeds = []
        for run in found.results.runs(subject, "vicinal").values():
            lines = [line for line in run.rows("vicinal.csv") if line["split"] == "train"]
            pair = ([x for x in lines if x["network"] == who] for who in ("teacher", "student"))
            of_seeds.append(linearity_gain(*pair))
            paths.append(run.path)
        lambdas = sorted(set.intersection(*(set(own) for own in of_seeds))) if of_seeds else []
        gains[name] = {lam: mean(own[lam] for own in of_seeds) for lam in lambdas}
        if (peak := found.printed_here(subject, METRIC)) is not None:
            printed[name] = peak
        row: dict[str, Value] = {"teacher": name, **found.both(subject, {"peak": (METRIC, 1.0, 3)})}
        row["drawn"] = max(gains[name].values(), default=None)
        row["seeds"] = float(len(of_seeds))
        row["notes"] = found.results.remarks(subject, "vicinal")
        rows.append(row)
    caption = found.caption(DATASET)
    figure = linearity_gain_figure(gains, printed)
    yield Drawing("fig5", "Gain in linearity", caption, figure, tuple(paths))
    columns = [
        Column("teacher", "Teacher"),
        *pair_of_columns("peak", "Peak gain, mean of the seeds' (nats)", 3, signed=True),
        Column("drawn", "Peak of the mean curve, as drawn", 3, signed=True),
        SEEDS,
        NOTES,
    ]
    yield Table("fig5-numbers", "Peaks of Figure 5", caption, columns, rows)
