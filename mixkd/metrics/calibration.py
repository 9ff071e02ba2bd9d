"""Accuracy, confidence and calibration from logits, streamed in O(bins) float64 state."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from mixkd.errors import NotFinite

BINS = 15

Values = dict[str, float]


def bin_of(confidence: Tensor, bins: int = BINS) -> Tensor:
    """Return the bin of each confidence: equal widths, [lower, upper), the last one right-closed.

    Args:
        confidence: float64, shape [n], in [0, 1].
        bins: how many.

    Returns:
        int64, shape [n], in [0, bins).
    """
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=confidence.device)
    return (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, bins - 1)


def per_image(logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return what is known of each image.

    Args:
        logits: shape [n, classes].
        label: int64, shape [n].

    Returns:
        prediction (int64), confidence, nll in nats and brier (float64), each of shape [n]. Brier
        is the squared distance between the probabilities and the one-hot label, in [0, 2].
    """
    log_p = torch.log_softmax(logits.double(), dim=1)
    p = log_p.exp()
    confidence, prediction = p.max(dim=1)
    p_label = p.gather(1, label[:, None])[:, 0]
    return {
        "prediction": prediction,
        "confidence": confidence,
        "nll": -log_p.gather(1, label[:, None])[:, 0],
        "brier": p.square().sum(dim=1) - 2 * p_label + 1,
    }


class Calibration(Metric):
    """Streaming accuracy, confidence, ECE (eq. 16), signed gap, NLL and Brier score.

    `update(logits, label)` takes logits [n, classes] of any floating dtype and int64 labels [n].
    `compute()` returns fractions, and nats for NLL. The state is a few sums for each bin, added up
    across processes, so that the result does not depend on how the images were shared out.

    Example:
        >>> import torch
        >>> metric = Calibration()
        >>> metric.update(torch.tensor([[4.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
        >>> round(metric.compute()["accuracy"], 2)
        0.5
    """

    full_state_update = False
    hits: Tensor
    confidences: Tensor
    counts: Tensor
    nll: Tensor
    brier: Tensor

    def __init__(self, bins: int = BINS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins
        for name in ("hits", "confidences", "counts"):
            self.add_state(name, torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("nll", "brier"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count a batch."""
        images = per_image(logits, label)
        where = bin_of(images["confidence"], self.bins)
        hit = (images["prediction"] == label).double()
        self.hits = self.hits.index_add(0, where, hit)
        self.confidences = self.confidences.index_add(0, where, images["confidence"])
        self.counts = self.counts.index_add(0, where, torch.ones_like(hit))
        self.nll = self.nll + images["nll"].sum()
        self.brier = self.brier + images["brier"].sum()

    def compute(self) -> Values:
        """Return accuracy, confidence, ece, signed_gap, nll, brier and n.

        Raises:
            ValueError: if no image was counted.
            NotFinite: if logits were not finite.
        """
        n = self.counts.sum().item()
        if n == 0:
            raise ValueError("no images were counted")
        if not torch.isfinite(self.confidences.sum() + self.nll):
            raise NotFinite("the network's logits are not finite; is the learning rate too high?")
        accuracy = self.hits.sum().item() / n
        confidence = self.confidences.sum().item() / n
        return {
            "accuracy": accuracy,
            "confidence": confidence,
            "ece": (self.hits - self.confidences).abs().sum().item() / n,
            "signed_gap": confidence - accuracy,
            "nll": self.nll.item() / n,
            "brier": self.brier.item() / n,
            "n": int(n),
        }

    def reliability(self) -> list[dict[str, float]]:
        """Return a row a bin: bin, lower, upper, count, accuracy, confidence (NaN where empty).

        Like `compute`, it is over all processes, and every process has to call it.
        """
        with self.sync_context():
            sums = (self.hits, self.confidences, self.counts)
            hits, confidences, counts = (x.tolist() for x in sums)
        return [
            {
                "bin": k,
                "lower": k / self.bins,
                "upper": (k + 1) / self.bins,
                "count": int(count),
                "accuracy": hit / count if count else float("nan"),
                "confidence": confidence / count if count else float("nan"),
            }
            for k, (hit, confidence, count) in enumerate(
                zip(hits, confidences, counts, strict=True)
            )
        ]
