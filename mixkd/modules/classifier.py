"""A LightningModule that measures a network on views as they are."""

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from mixkd.console import say
from mixkd.data.datamodule import EvaluationBatch, ImageDataModule
from mixkd.losses import soften
from mixkd.metrics.calibration import Calibration, ClasswiseECE, TemperatureFit, per_image
from mixkd.networks import Network


class Classifier(LightningModule):
    """Measures calibration: on the held-out images as `val/...`, and on any split in testing.

    Args:
        network: what is measured.
        save_logits: whether `predictions` hold the logits too.
    """

    def __init__(self, network: Network, save_logits: bool = False) -> None:
        super().__init__()
        self.network, self.save_logits = network, save_logits
        self.validation, self.testing = Calibration(), Calibration()
        self.scaled, self.normalised = Calibration(), Calibration()
        self.classwise: ClasswiseECE | None = None
        # While `fitting` is a metric, testing fits temperature scaling and measures nothing.
        self.fitting: TemperatureFit | None = None
        self.scaling: float | None = None
        # The latest values of the epoch, as Python floats: Lightning's own go through float32.
        self.values: dict[str, float] = {}
        self.predictions: list[dict[str, Tensor]] = []

    def forward(self, view: Tensor) -> Tensor:
        """Map views, float [b, 3, h, w] in [0, 1], to logits [b, classes]."""
        logits: Tensor = self.network(view)
        return logits

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Count a batch of held-out images."""
        self.validation.update(self(batch.view), batch.label)

    def on_validation_epoch_end(self) -> None:
        """Log val/accuracy, val/confidence and so on."""
        found = {f"val/{k}": v for k, v in self.validation.compute().items() if k != "n"}
        self.validation.reset()
        self.values |= found
        self.log_dict(found, rank_zero_only=True)  # already summed over all processes

    def on_test_epoch_start(self) -> None:
        """Start a split afresh."""
        for metric in (self.testing, self.scaled, self.normalised):
            metric.reset()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageDataModule)
        self.classwise = ClasswiseECE(len(data.splits.classes)).to(self.device)
        self.predictions = []

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Count a batch and keep each image's prediction; or fit the temperature."""
        logits = self(batch.view)
        if self.fitting is not None:
            self.fitting.update(logits, batch.label)
            return
        assert self.classwise is not None
        self.testing.update(logits, batch.label)
        self.classwise.update(logits, batch.label)
        self.normalised.update(soften(logits, "sigma"), batch.label)
        if self.scaling is not None:
            self.scaled.update(logits.double() / self.scaling, batch.label)
        images = per_image(logits, batch.label)
        images |= {"index": batch.index, "label": batch.label}
        if self.save_logits:
            images["logits"] = logits.float()
        self.predictions.append({name: value.cpu() for name, value in images.items()})

    def fit_temperature(self, trainer: Trainer, data: ImageDataModule) -> None:
        """Fit temperature scaling on the held-out images; none where no temperature is best."""
        data.tested, self.fitting = "val", TemperatureFit().to(trainer.strategy.root_device)
        trainer.test(self, data, verbose=False)
        found, self.fitting = self.fitting.compute(), None
        lowest, highest = TemperatureFit.RANGE
        if lowest < found < highest:
            self.scaling = found
        else:
            say(f"no temperature scaling: the best temperature is beyond {lowest:g} to {highest:g}")

    def measured(self) -> dict[str, float]:
        """Return what the last test found: calibration of the logits, and of them divided.

        `scaled/...` divides by the fitted temperature, `normalised/...` each image's logits by
        their own standard deviation, as the loss of `temperature=sigma` does.
        """
        assert self.classwise is not None
        found = dict(self.testing.compute())
        found["ece_classwise"] = self.classwise.compute()
        for name, metric in (("normalised", self.normalised), ("scaled", self.scaled)):
            if name == "normalised" or self.scaling is not None:
                values = metric.compute()
                kept = ("confidence", "ece", "signed_gap", "nll", "brier")
                found |= {f"{name}/{key}": values[key] for key in kept}
        if self.scaling is not None:
            found["scaled/temperature"] = self.scaling
        return found

    def gathered_predictions(self) -> dict[str, Tensor]:
        """Return the last tested split's predictions from all processes, in data set order."""
        return gathered(self.predictions, "index")


def gathered(own: list[dict[str, Tensor]], by: str) -> dict[str, Tensor]:
    """Return the batches of all processes as one, sorted by one of its tensors.

    Args:
        own: this process's batches, on the CPU.
        by: the name of the tensor, int64 [b], to sort by.
    """
    parts: list[list[dict[str, Tensor]]] = [own]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts = [[] for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather_object(parts, own)
    batches = [batch for part in parts for batch in part]
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    order = whole[by].argsort()
    return {name: value[order] for name, value in whole.items()}
