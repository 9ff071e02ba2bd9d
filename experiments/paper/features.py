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
    found: Comparison,
    dataset: str,
) -> Iterator[Table | Drawing]:
    """Yield a grid of t-SNE plots, and its V-measures and accuracies.

    Args:
        name: of its files.
        title: one line.
        rows: how networks were trained -> labels and subjects, a panel each; of the first seed.
        found: measured and printed numbers.
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
            printed = found.printed_pair((subject, metrics[0]), (subject, metrics[1]))
            seen = found.results.runs(subject, "features")
            seed, run = next(iter(seen.items()), (0, None))
            arrays = run.features if run else {}
            panel = FeaturePanel(label, printed=printed)
            if run is not None and arrays:
                classes = [str(each) for each in arrays["classes"]]
                cell = found.results.cell(subject, "test/accuracy")
                accuracy = cell.by_seed.get(seed, math.nan) if cell else math.nan
                panel = FeaturePanel(
                    label, arrays["tsne"], arrays["position"], run.metrics["features/v_measure"],
                    accuracy, printed,
                )  # fmt: skip
                paths.append(run.path)
            panels[heading].append(panel)
            row: dict[str, Value] = {"network": label, "training": heading}
            row |= found.both(
                subject,
                {"v_measure": (metrics[0], 1.0, 3), "accuracy": (metrics[1], 100.0, 2)},
            )
            row["accuracy"] = found.first(subject, metrics[1], 100)
            said = [found.results.remarks(subject), found.results.remarks(subject, "features")]
            row["notes"] = "; ".join(dict.fromkeys(filter(None, said)))
            lines.append(row)
    about = found.caption(dataset, "Of several seeds, the first.")
    yield Drawing(name, title, about, feature_grid_figure(panels, classes), tuple(paths))
    columns = [
        Column("network", "Network"),
        Column("training", "Training"),
        *pair_of_columns("v_measure", "V-measure", 3),
        *pair_of_columns("accuracy", "Accuracy (%)", 2),
        NOTES,
    ]
    yield Table(f"{name}-numbers", f"{title}: numbers", about, columns, lines)
