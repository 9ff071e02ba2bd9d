"""A LightningModule that measures a network on views as they are."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from mixkd.console import say
from mixkd.data.batches import EvaluationBatch
from mixkd.data.module import ImageDataModule
from mixkd.metrics.calibration import Calibration, TemperatureFit
from mixkd.metrics.measurement import Measurement
from mixkd.networks.network import Network


class Classifier(LightningModule):
    """Measures calibration: on the held-out images as `val/...`, and on any split in testing.

    Args:
        network: what is measured.
        save_logits: whether predictions hold the logits too.
    """

    def __init__(self, network: Network, save_logits: bool = False) -> None:
        super().__init__()
        self.network, self.save_logits = network, save_logits
        self.validation = Calibration()
        self.testing: Measurement | None = None
        # While `fitting` is a metric, testing fits temperature scaling and measures nothing.
        self.fitting: TemperatureFit | None = None
        self.scaling: float | None = None
        # The latest values of the epoch, as Python floats: Lightning's own go through float32.
        self.values: dict[str, float] = {}
        self.reliability: list[dict[str, Any]] = []  # of the held-out images

    def forward(self, view: Tensor) -> Tensor:
        """Map views, float [b, 3, h, w] in [0, 1], to logits [b, classes]."""
        logits: Tensor = self.network(view)
        return logits

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Count a batch of held-out images."""
        self.validation.update(self(batch.view), batch.label)

    def on_validation_epoch_end(self) -> None:
        """Log val/accuracy, val/confidence and so on."""
        metrics = {f"val/{k}": v for k, v in self.validation.compute().items() if k != "n"}
        self.reliability = self.validation.reliability()
        self.validation.reset()
        self.values |= metrics
        self.log_dict(metrics, rank_zero_only=True)  # already summed over all processes

    def on_test_epoch_start(self) -> None:
        """Start a split afresh."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageDataModule)
        measurement = Measurement(len(data.splits.classes), self.scaling, self.save_logits)
        self.testing = measurement.to(self.device)

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Count a batch and keep each image's prediction; or fit the temperature."""
        logits = self(batch.view)
        if self.fitting is not None:
            self.fitting.update(logits, batch.label)
            return
        assert self.testing is not None
        self.testing.update(logits, batch.label, batch.index)

    def fit_temperature(self, trainer: Trainer, data: ImageDataModule) -> None:
        """Fit temperature scaling on the held-out images; none where no temperature is best."""
        data.tested, self.fitting = "val", TemperatureFit().to(trainer.strategy.root_device)
        trainer.test(self, data, verbose=False)
        self.scaling, self.fitting = fitted_temperature(self.fitting), None


def fitted_temperature(fit: TemperatureFit) -> float | None:
    """Return the best temperature; None, and a line that says so, where it is beyond the range."""
    lowest, highest = fit.RANGE
    best = fit.compute()
    if lowest < best < highest:
        return best
    say(f"no temperature scaling: the best temperature is beyond {lowest:g} to {highest:g}")
    return None
