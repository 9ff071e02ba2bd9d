"""Parts of the artefacts that show features."""

import math
from collections.abc import Iterator, Mapping, Sequence

from mixkd.report.cells import Subject
from mixkd.report.sections import Drawing
from mixkd.report.table import NOTES, Column, Table, Value

from .comparison import Comparison, pair_of_columns
from .figures.feature_grid import FeaturePanel, feature_grid_figure


def feature_parts(
    name: str,
    title: str,
    rows: Mapping[str, Sequence[tuple[str, Subject]]],
    comparison: Comparison,
    dataset: str,
) -> Iterator[Table | Drawing]:
    """Yield a grid of t-SNE plots, and its V-measures and accuracies.

    Args:
        name: of its files.
        title: one line.
        rows: how networks were trained -> labels and subjects, a panel each; of the first seed.
        comparison: measured and printed numbers.
        dataset: as the paper names it.
    """
    panels: dict[str, list[FeaturePanel]] = {}
    classes: list[str] = []
    lines: list[dict[str, Value]] = []
    paths: list[str] = []
    metrics = ("features/v_measure", "test/accuracy")
    for heading, subjects in rows.items():
        panels[heading] = []
        for label, subject in subjects:
            printed = comparison.printed_pair((subject, metrics[0]), (subject, metrics[1]))
            runs = comparison.results.runs(subject, "features")
            seed, run = next(iter(runs.items()), (0, None))
            arrays = run.shown_arrays("features.npz") if run else {}
            panel = FeaturePanel(label, printed=printed)
            if run is not None and arrays:
                classes = [str(name) for name in arrays["classes"]]
                cell = comparison.results.cell(subject, "test/accuracy")
                accuracy = cell.by_seed.get(seed, math.nan) if cell else math.nan
                panel = FeaturePanel(
                    label, arrays["tsne"], arrays["position"], run.metrics["features/v_measure"],
                    accuracy, printed,
                )  # fmt: skip
                paths.append(run.path)
            panels[heading].append(panel)
            row: dict[str, Value] = {"network": label, "training": heading}
            row |= comparison.both(
                subject,
                {"v_measure": (metrics[0], 1.0, 3), "accuracy": (metrics[1], 100.0, 2)},
            )
            row["accuracy"] = comparison.first(subject, metrics[1], 100)
            remarks = [
                comparison.results.remarks(subject),
                comparison.results.remarks(subject, "features"),
            ]
            row["notes"] = "; ".join(dict.fromkeys(filter(None, remarks)))
            lines.append(row)
    about = comparison.caption(dataset, "Of several seeds, the first.")
    yield Drawing(name, title, about, feature_grid_figure(panels, classes), tuple(paths))
    columns = [
        Column("network", "Network"),
        Column("training", "Training"),
        *pair_of_columns("v_measure", "V-measure", 3),
        *pair_of_columns("accuracy", "Accuracy (%)", 2),
        NOTES,
    ]
    yield Table(f"{name}-numbers", f"{title}: numbers", about, columns, lines)
