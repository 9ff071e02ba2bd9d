"""Measure a network on splits and write what is found into a run directory."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer

from mixkd.config.data import DataConfig
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits
from mixkd.files.layout import FIGURES, PREDICTIONS, RELIABILITY
from mixkd.files.writing import write_csv, write_npz
from mixkd.metrics.measurement import Measurement
from mixkd.modules.classifier import Classifier
from mixkd.plots.reliability import Curve, reliability_figure
from mixkd.plots.style import save_figure
from mixkd.runs.run import Metrics, Run


def measure(
    trainer: Trainer,
    classifier: Classifier,
    data: ImageDataModule,
    splits: Sequence[str],
    run: Run,
    *,
    fits: bool,
) -> Metrics:
    """Return `<split>/<metric>` of each split; write predictions, reliability.csv, figures.

    Args:
        trainer: where to compute.
        classifier: what is measured.
        data: the images.
        splits: the names of those to measure.
        run: where to write.
        fits: whether to fit temperature scaling on the held-out images first.
    """
    if fits:
        classifier.fit_temperature(trainer, data)
    metrics: Metrics = {}
    rows: list[dict[str, Any]] = []
    for split in splits:
        data.tested = split
        trainer.test(classifier, data, verbose=False)
        assert classifier.testing is not None
        found, table = record(classifier.testing, split, run, writes=trainer.is_global_zero)
        if split == "val":  # the temperature was fitted on these
            found = {name: v for name, v in found.items() if not name.startswith("val/scaled/")}
        metrics |= found
        rows += table
    if trainer.is_global_zero:
        write_csv(run.path / RELIABILITY, rows)
    return metrics


def record(
    measurement: Measurement, split: str, run: Run, *, writes: bool
) -> tuple[Metrics, list[dict[str, Any]]]:
    """Return `<split>/<metric>` and the rows of reliability.csv; write predictions and a figure.

    Args:
        measurement: of a split; every process has to take part.
        split: its name.
        run: where to write.
        writes: whether this process does.
    """
    predictions = measurement.predictions()
    found = measurement.compute(predictions)
    reliability = measurement.reliability()
    if writes:
        arrays = {name: value.numpy() for name, value in predictions.items()}
        write_npz(run.path / PREDICTIONS / f"{split}.npz", arrays)
        figure = reliability_figure([Curve(split, reliability, found["ece"])])
        save_figure(figure, run.path / FIGURES / f"reliability-{split}")
    metrics = {f"{split}/{name}": value for name, value in found.items()}
    return metrics, [{"split": split, **row} for row in reliability]


def can_fit(splits: Splits, cfg: DataConfig) -> bool:
    """Return whether there are held-out images, apart from the test's, to fit temperatures on."""
    return len(splits.val) > 0 and cfg.selection != "test"
