"""Figure 4: the teachers on mixed images, CIFAR-100.

Non-linearity (eq. 12), entropy and dominance (eq. 13) over the weight of the first image, on pairs
of training images. Eq. 11 would make the entropy of mixed images exceed that of real ones by the
non-linearity, and dominance at most 1: the entropy's rise is given beside the non-linearity.
"""

from collections.abc import Iterator

from mixkd.plots.vicinal import vicinal_figure
from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.study import PaperStudy

DATASET = "cifar100"
TEACHERS = ("resnet152v2", "convnext_large", "convnext_tiny", "vit_b16")
COLUMNS = (
    Column("nl_global", "Global NL (nats)", 3),
    Column("entropy_global", "Global entropy (nats)", 3),
    Column("entropy_gap_global", "Rise of the entropy (nats)", 3),
    Column("dominance_half", "Dominance at 0.5", 2),
    Column("dominance_peak", "Dominance, peak", 2),
)


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs."""
    for teacher in TEACHERS:
        trained = study.teacher(DATASET, teacher)
        yield trained
        yield study.evaluated(trained, "vicinal")


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and its headline numbers."""
    curves, rows, paths = {}, [], []
    for teacher in TEACHERS:
        subject, name = Subject(DATASET, "teacher", teacher), comparison.label(teacher)
        for run in comparison.results.runs(subject, "vicinal").values():
            lines = run.rows("vicinal.csv")
            curves[name] = [
                line for line in lines if (line["split"], line["network"]) == ("train", "network")
            ]
            paths.append(run.path)
        curves.setdefault(name, [])
        row: dict[str, Value] = {"teacher": name}
        for column in COLUMNS:
            row[column.name] = comparison.measured(subject, f"vicinal/train/{column.name}")
        row["notes"] = comparison.results.remarks(subject, "vicinal")
        rows.append(row)
    caption = comparison.caption(DATASET)
    figure = vicinal_figure(curves, stacked=True)
    yield Drawing("fig4", "Teachers on mixed images", caption, figure, tuple(paths))
    columns = [Column("teacher", "Teacher"), *COLUMNS, NOTES]
    yield Table("fig4-numbers", "Numbers of Figure 4", caption, columns, rows)
