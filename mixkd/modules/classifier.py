"""A LightningModule that measures a network on views as they are."""

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from mixkd.data.datamodule import EvaluationBatch
from mixkd.metrics.calibration import Calibration, per_image
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
        self.testing.reset()
        self.predictions = []

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Count a batch and keep each image's prediction."""
        logits = self(batch.view)
        self.testing.update(logits, batch.label)
        images = per_image(logits, batch.label)
        del images["brier"]
        images |= {"index": batch.index, "label": batch.label}
        if self.save_logits:
            images["logits"] = logits.float()
        self.predictions.append({name: value.cpu() for name, value in images.items()})

    def gathered_predictions(self) -> dict[str, Tensor]:
        """Return the last tested split's predictions from all processes, in data set order."""
        parts: Sequence[list[dict[str, Tensor]]] = [self.predictions]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts = [[] for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(parts, self.predictions)
        batches = [batch for part in parts for batch in part]
        whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        order = whole["index"].argsort()
        return {name: value[order] for name, value in whole.items()}
