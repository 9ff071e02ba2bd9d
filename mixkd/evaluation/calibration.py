"""Calibration: measure a network on splits and write what is found into a run directory."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Trainer
from torchmetrics import Metric

from mixkd.config.data import DataConfig
from mixkd.console import say
from mixkd.data.batches import EvaluationBatch
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits
from mixkd.evaluation.one_pass import run_pass
from mixkd.files.layout import FIGURES, PREDICTIONS, RELIABILITY
from mixkd.files.writing import write_csv, write_npz
from mixkd.metrics.calibration import TemperatureFit
from mixkd.metrics.measurement import Measurement
from mixkd.networks.network import Network
from mixkd.plots.reliability import Curve, reliability_figure
from mixkd.plots.style import save_figure
from mixkd.runs.run import Metrics, Run


def measure_splits(
    trainer: Trainer,
    network: Network,
    data: ImageDataModule,
    splits: Sequence[str],
    run: Run,
    *,
    temperature: float | None = None,
    save_logits: bool = False,
    metrics: Mapping[str, Metric] | None = None,
) -> Metrics:
    """Return `<split>/<metric>` of each split; write predictions, reliability.csv, figures.

    `temperature` is fitted on the held-out images, for `scaled/...`; `metrics` are the user's own.
    """
    values: Metrics = {}
    rows: list[dict[str, Any]] = []
    for split in splits:
        scale = None if split == "val" else temperature  # which was fitted on val
        measurement = measure_split(trainer, network, data, split, scale, save_logits, metrics)
        of_split, table = write_split(measurement, split, run, writes=trainer.is_global_zero)
        values |= of_split
        rows += table
    if trainer.is_global_zero:
        write_csv(run.path / RELIABILITY, rows)
    return values


def measure_split(
    trainer: Trainer,
    network: Network,
    data: ImageDataModule,
    split: str,
    temperature: float | None = None,
    save_logits: bool = False,
    metrics: Mapping[str, Metric] | None = None,
) -> Measurement:
    """Return the measurement of a network on a split."""
    measurement = Measurement(len(data.splits.classes), temperature, save_logits, metrics)

    def update(batch: EvaluationBatch) -> None:
        measurement.update(network(batch.view), batch.label, batch.index)

    data.tested = split
    return run_pass(trainer, data, [network, measurement], update, lambda: measurement)


def val_temperature(trainer: Trainer, network: Network, data: ImageDataModule) -> float | None:
    """Return the temperature that fits the held-out images; None where no temperature is best."""
    metric = TemperatureFit()

    def update(batch: EvaluationBatch) -> None:
        metric.update(network(batch.view), batch.label)

    data.tested = "val"
    return run_pass(trainer, data, [network, metric], update, lambda: fitted_temperature(metric))


def fitted_temperature(fit: TemperatureFit) -> float | None:
    """Return the best temperature; None, and a line that says so, where it is beyond the range."""
    lowest, highest = fit.RANGE
    best = fit.compute()
    if lowest < best < highest:
        return best
    say(f"no temperature scaling: the best temperature is beyond {lowest:g} to {highest:g}")
    return None


def write_split(
    measurement: Measurement, split: str, run: Run, *, writes: bool
) -> tuple[Metrics, list[dict[str, Any]]]:
    """Return `<split>/<metric>` and the rows of reliability.csv; write predictions and a figure.

    Every process has to take part, of which one `writes`.
    """
    predictions = measurement.predictions()
    values = measurement.compute(predictions)
    reliability = measurement.calibration.reliability()
    if writes:
        arrays = {name: value.numpy() for name, value in predictions.items()}
        write_npz(run.path / PREDICTIONS / f"{split}.npz", arrays)
        figure = reliability_figure([Curve(split, reliability, values["ece"])])
        save_figure(figure, run.path / FIGURES / f"reliability-{split}")
    metrics = {f"{split}/{name}": value for name, value in values.items()}
    return metrics, [{"split": split, **row} for row in reliability]


def can_fit(splits: Splits, cfg: DataConfig) -> bool:
    """Return whether there are held-out images, apart from the test's, to fit temperatures on."""
    return len(splits.val) > 0 and cfg.selection != "test"
