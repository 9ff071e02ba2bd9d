"""Everything that is measured of a network's answers to one split of images."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from mixkd.losses.temperature import soften
from mixkd.metrics.calibration import (
    Calibration,
    ClasswiseECE,
    adaptive_ece,
    ece_noise_floor,
    per_image,
)
from mixkd.metrics.feasible import feasible_ece
from mixkd.metrics.parts import NamedMetrics

SCALED_METRICS = ("confidence", "ece", "signed_gap", "nll", "brier")


class Measurement(nn.Module):
    """Calibration of logits, of scaled and of normalised ones, and each image's prediction.

    It is a module so that its metrics follow to the device. A fitted temperature is for
    `scaled/...`; `save_logits` is whether `predictions` hold the logits too; `metrics` are measured
    beside mixkd's own.
    """

    def __init__(
        self,
        classes: int,
        temperature: float | None = None,
        save_logits: bool = False,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        self.temperature, self.save_logits = temperature, save_logits
        self.calibration, self.scaled, self.normalised = (Calibration() for _ in range(3))
        self.classwise = ClasswiseECE(classes)
        self.named = NamedMetrics(metrics or {})
        self._images: dict[str, Tensor] = {}  # by name, of `_count` images; the rest is room
        self._count = 0

    def update(self, logits: Tensor, label: Tensor, index: Tensor) -> None:
        """Count a batch: logits [b, classes], int64 labels and positions in the data set [b]."""
        self.calibration.update(logits, label)
        self.classwise.update(logits, label)
        self.named.update(logits, label)
        self.normalised.update(soften(logits.float(), "sigma"), label)
        if self.temperature is not None:
            self.scaled.update(logits.double() / self.temperature, label)
        images = per_image(logits, label) | {"index": index, "label": label}
        if self.save_logits:
            images["logits"] = logits.float()
        self._keep(images)

    def _keep(self, images: dict[str, Tensor]) -> None:
        """Copy a batch to the CPU, to where there is room already.

        Small tensors of their own, between the large ones of a batch, would keep the allocator from
        using the same memory for the next batch.
        """
        start, self._count = self._count, self._count + len(images["index"])
        for name, value in images.items():
            kept = self._images.get(name, value[:0].cpu())
            if len(kept) < self._count:
                more = kept.new_empty((max(4096, 2 * self._count), *value.shape[1:]))
                more[:start] = kept[:start]
                self._images[name] = kept = more
            kept[start : self._count] = value

    def predictions(self) -> dict[str, Tensor]:
        """Return what is known of each image, from all processes, in the data set's order."""
        images = {name: value[: self._count] for name, value in self._images.items()}
        return gathered([images])

    def compute(self, predictions: dict[str, Tensor]) -> dict[str, float]:
        """Return the metrics of what was counted, over all processes, given its `predictions`.

        `scaled/...` are of the logits over the fitted temperature; `normalised/...` of each image's
        logits over their own standard deviation, as the loss of `temperature=sigma` has them.
        `ece_least` and `ece_most` bound the ECE of any binning.

        Raises:
            NotFinite: if logits were not finite.
        """
        metrics = dict(self.calibration.compute())
        metrics["ece_classwise"] = self.classwise.compute()
        for name, metric in (("normalised", self.normalised), ("scaled", self.scaled)):
            if name == "normalised" or self.temperature is not None:
                values = metric.compute()
                metrics |= {f"{name}/{key}": values[key] for key in SCALED_METRICS}
        if self.temperature is not None:
            metrics["scaled/temperature"] = self.temperature
        confidence = predictions["confidence"].numpy()
        correct = (predictions["prediction"] == predictions["label"]).numpy()
        metrics["ece_adaptive"] = adaptive_ece(confidence, correct)
        metrics["ece_noise_floor"] = ece_noise_floor(confidence)
        least, most = feasible_ece(metrics["accuracy"], metrics["confidence"])
        return metrics | {"ece_least": least, "ece_most": most} | self.named.compute()


def gathered(batches_here: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the batches of all processes, on the CPU, as one, sorted by `index`, int64 [b]."""
    parts: list[list[dict[str, Tensor]]] = [batches_here]
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        parts = [[] for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather_object(parts, batches_here)
    batches = [batch for part in parts for batch in part]
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    order = whole["index"].argsort()
    return {name: value[order] for name, value in whole.items()}
