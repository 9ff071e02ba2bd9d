"""Accuracy, confidence and calibration from logits, streamed in O(bins) float64 state."""

import math
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor
from torchmetrics import Metric

from mixkd.errors import NotFinite
from mixkd.metrics import BINS

Values = dict[str, float]

# Where the derivative of the NLL is looked at: 1 / T, from T = 20 to T = 1 / 20.
INVERSE_TEMPERATURES = torch.logspace(math.log10(0.05), math.log10(20), 49, dtype=torch.float64)


def bin_of(confidence: Tensor, bins: int = BINS) -> Tensor:
    """Return the bin of each confidence: equal widths, [lower, upper), the last one right-closed.

    Args:
        confidence: float64, shape [n], in [0, 1].
        bins: how many.

    Returns:
        int64, shape [n], in [0, bins).
    """
    edges = torch.tensor([k / bins for k in range(bins + 1)], dtype=torch.float64)
    edges = edges.to(confidence.device)
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

    Examples:
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


class TemperatureFit(Metric):
    """Streaming temperature scaling (Guo et al. 2017): the T that minimises the NLL of logits / T.

    The NLL is convex in 1 / T. Its first two derivatives there are summed on a grid, in one pass;
    `compute()` returns the root of the first, between 1 / 20 and 20.

    Examples:
        >>> import torch
        >>> metric = TemperatureFit()
        >>> sure = torch.tensor([[2.0, 0.0]] * 4)  # 88 % sure, and right 3 times of 4
        >>> metric.update(sure, torch.tensor([0, 0, 0, 1]))
        >>> round(metric.compute(), 3)  # 2 / ln 3
        1.82
    """

    RANGE = (0.05, 20.0)

    full_state_update = False
    slope: Tensor
    curvature: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("slope", "curvature"):
            self.add_state(name, torch.zeros_like(INVERSE_TEMPERATURES), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count a batch: logits [n, classes], int64 labels [n]."""
        z = logits.double()
        right = z.gather(1, label[:, None])[:, 0]
        slope, curvature = [], []
        for beta in INVERSE_TEMPERATURES.tolist():
            p = torch.softmax(beta * z, dim=1)
            mean = (p * z).sum(dim=1)
            slope.append((mean - right).sum())
            curvature.append((p * (z - mean[:, None]).square()).sum())
        self.slope = self.slope + torch.stack(slope)
        self.curvature = self.curvature + torch.stack(curvature)
        self.count = self.count + len(label)

    def compute(self) -> float:
        """Return the temperature.

        Raises:
            ValueError: if no image was counted.
            NotFinite: if logits were not finite.
        """
        if self.count == 0:
            raise ValueError("no images were counted")
        beta = INVERSE_TEMPERATURES.numpy()
        slope, curvature = self.slope.cpu().numpy(), self.curvature.cpu().numpy()
        if not np.isfinite(slope).all():
            raise NotFinite("the network's logits are not finite")
        if slope[0] >= 0:  # no temperature is high enough
            return self.RANGE[1]
        if slope[-1] <= 0:  # all are right: the lower the better
            return self.RANGE[0]
        after = int(np.argmax(slope > 0))
        at = slice(after - 1, after + 1)
        roots = CubicHermiteSpline(beta[at], slope[at], curvature[at]).roots(extrapolate=False)
        return float(1 / roots[0])


class ClasswiseECE(Metric):
    """Streaming class-wise ECE: the mean over classes of the ECE of that class's probability.

    `update(logits, label)` as for `Calibration`; O(classes * bins) state in float64. The bound of
    `feasible_ece` does not hold for it.

    Examples:
        >>> import torch
        >>> metric = ClasswiseECE(classes=2)
        >>> metric.update(torch.tensor([[3.0, 1.0]]).log(), torch.tensor([0]))  # sure to 3/4
        >>> round(metric.compute(), 4)
        0.25
    """

    full_state_update = False
    hits: Tensor
    confidences: Tensor
    count: Tensor

    def __init__(self, classes: int, bins: int = BINS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins
        for name in ("hits", "confidences"):
            zeros = torch.zeros(classes * bins, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count a batch: logits [n, classes], int64 labels [n]."""
        p = logits.double().softmax(dim=1)
        classes = torch.arange(p.shape[1], device=p.device)
        where = (bin_of(p, self.bins) + classes * self.bins).flatten()
        hit = (label[:, None] == classes).double().flatten()
        self.hits = self.hits.index_add(0, where, hit)
        self.confidences = self.confidences.index_add(0, where, p.flatten())
        self.count = self.count + len(label)

    def compute(self) -> float:
        """Return the class-wise ECE, a fraction."""
        classes = len(self.hits) // self.bins
        return float((self.hits - self.confidences).abs().sum() / (self.count * classes))


def adaptive_ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Return the ECE over bins of equal numbers of images, in the order of their confidence.

    Args:
        confidence: float64, shape [n].
        correct: bool, shape [n].
        bins: how many; the first ones hold an image more where they do not divide n.
    """
    order = np.argsort(confidence, kind="stable")
    gap = correct[order].astype(np.float64) - confidence[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, bins)) / len(gap))


def ece_noise_floor(
    confidence: np.ndarray, bins: int = BINS, draws: int = 200, seed: int = 0
) -> float:
    """Return the ECE that a perfectly calibrated network has on average, for want of more images.

    Each image is taken to be right with the probability that its confidence says.

    Args:
        confidence: float64, shape [n].
        bins: of equal width, as for the ECE.
        draws: how many times outcomes are drawn.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    where = bin_of(torch.from_numpy(confidence), bins).numpy()
    expected = np.bincount(where, confidence, bins)
    total = 0.0
    for _ in range(draws):
        hits = np.bincount(where[rng.random(len(confidence)) < confidence], minlength=bins)
        total += float(np.abs(hits - expected).sum())
    return total / (draws * len(confidence))
