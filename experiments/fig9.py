"""Figure 9: accuracy of the students while they train, CIFAR-100.

Means over seeds after each epoch, over a logarithmic axis of epochs; the upper part of the accuracy
axis is expanded. Under `corrected` the accuracy is that on held-out images, under `parity`, as in
the paper, that on test images.
"""

from collections.abc import Iterator

from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, SEEDS, Column, Table, Value
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison, pair_of_columns
from .paper.figures.accuracy_curves import accuracy_curves_figure
from .paper.study import PaperStudy

DATASET = "cifar100"
TEACHERS = ("convnext_tiny", "resnet152v2", "vit_b16", "convnext_large")
SETTINGS = (
    ("kd, T = 2", "kd", "2"),
    *((f"T = {t}", "kd_mixup", t) for t in ("sigma", "2", "4", "6", "8", "10")),
)


def runs(study: PaperStudy) -> Iterator[StudyRun]:
    """Yield the runs: the students of Table 1."""
    for teacher in TEACHERS:
        for _, method, temperature in SETTINGS:
            yield from study.distilled(DATASET, teacher, method, temperature)


def render(comparison: Comparison) -> Iterator[Table | Drawing]:
    """Yield the figure, and the final accuracies."""
    panels: dict[str, dict[str, list[float]]] = {}
    printed, rows, paths = {}, [], []
    for teacher in TEACHERS:
        name = comparison.label(teacher)
        panels[name] = {}
        for setting, method, temperature in SETTINGS:
            subject = Subject(DATASET, "student", teacher, method, temperature)
            of_seeds = []
            for run in comparison.results.runs(subject).values():
                lines = run.rows("history.csv")
                of_seeds.append([line.get("val/accuracy", float("nan")) for line in lines])
                paths.append(run.path)
            length = min(map(len, of_seeds), default=0)
            panels[name][setting] = [
                sum(curve[epoch] for curve in of_seeds) / len(of_seeds) for epoch in range(length)
            ]
            row: dict[str, Value] = {"teacher": name, "setting": setting}
            row |= comparison.both(subject, {"accuracy": ("test/accuracy", 1.0, 3)})
            row["epochs"] = float(length)
            row["seeds"] = float(len(of_seeds))
            row["notes"] = comparison.results.remarks(subject)
            rows.append(row)
            best = comparison.printed_here(subject, "test/accuracy")
            if best is not None:
                printed[name] = best
    label = "test accuracy" if comparison.selection(DATASET) == {"test"} else "held-out accuracy"
    caption = comparison.caption(DATASET)
    figure = accuracy_curves_figure(panels, printed, label)
    yield Drawing("fig9", "Accuracy while training", caption, figure, tuple(paths))
    columns = [
        Column("teacher", "Teacher"),
        Column("setting", "Setting"),
        *pair_of_columns("accuracy", "Test accuracy", 3),
        Column("epochs", "Epochs", 0),
        SEEDS,
        NOTES,
    ]
    yield Table("fig9-numbers", "Test accuracy at the end", caption, columns, rows)
