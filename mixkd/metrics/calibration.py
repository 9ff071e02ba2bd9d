"""Accuracy, confidence and calibration from logits, streamed in O(bins) float64 state."""

import math
from typing import Any

import numpy as np
import torch
from scipy.fft import irfft, next_fast_len, rfft
from scipy.interpolate import BPoly
from scipy.optimize import brentq
from torch import Tensor
from torchmetrics import Metric

from mixkd.errors import NotFinite, check_count
from mixkd.metrics import BINS

Values = dict[str, float]

ROUNDING = 1e-12  # of a confidence in float64, with much to spare

# Where the derivatives of the NLL are looked at: 1 / T, from T = 20 to T = 1 / 20.
INVERSE_TEMPERATURES = torch.logspace(math.log10(0.05), math.log10(20), 49, dtype=torch.float64)


def bin_of(confidence: Tensor, bins: int = BINS) -> Tensor:
    """Return the bin of each confidence, int64 in [0, bins), of float64 in [0, 1], same shape.

    Bins are of equal widths, [lower, upper); the last one is closed.
    """
    bounds = [k / bins for k in range(bins + 1)]
    edges = torch.tensor(bounds, dtype=torch.float64, device=confidence.device)
    return (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, bins - 1)


def check_labelled(logits: Tensor, label: Tensor, classes: int | None = None) -> None:
    """Raise a ValueError unless these are floats [n, classes] and int64 labels [n] of them.

    Whether labels are among the classes is looked at on the CPU alone, where it costs no waiting.
    """
    is_fit = logits.ndim == 2 and logits.is_floating_point() and label.dtype == torch.int64
    if not is_fit or label.shape != logits.shape[:1] or classes not in (None, logits.shape[1]):
        got = ", ".join(f"{x.dtype} {list(x.shape)}" for x in (logits, label))
        raise ValueError(f"got {got}; takes float logits [n, {classes or 'classes'}], int64 [n]")
    if label.device.type == "cpu" and len(label):
        low, high, last = int(label.min()), int(label.max()), logits.shape[1] - 1
        if low < 0 or high > last:
            raise ValueError(f"got labels from {low} to {high}; takes 0 to {last}")


def per_image(logits: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Return what logits [n, classes] and int64 labels [n] tell of each image.

    That is prediction (int64), confidence, nll in nats and brier (float64), each of shape [n].
    Brier is the squared distance between the probabilities and the one-hot label, in [0, 2].
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
        check_count("bins", bins)
        self.bins = bins
        for name in ("hits", "confidences", "counts"):
            self.add_state(name, torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("nll", "brier"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count a batch; raise a ValueError if it is none of logits and labels."""
        check_labelled(logits, label)
        images = per_image(logits, label)
        bin_index = bin_of(images["confidence"], self.bins)
        hit = (images["prediction"] == label).double()
        self.hits = self.hits.index_add(0, bin_index, hit)
        self.confidences = self.confidences.index_add(0, bin_index, images["confidence"])
        self.counts = self.counts.index_add(0, bin_index, torch.ones_like(hit))
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
            bins = torch.stack([self.hits, self.confidences, self.counts], dim=1).tolist()
        return [
            {
                "bin": k,
                "lower": k / self.bins,
                "upper": (k + 1) / self.bins,
                "count": int(count),
                "accuracy": hits / count if count else math.nan,
                "confidence": confidences / count if count else math.nan,
            }
            for k, (hits, confidences, count) in enumerate(bins)
        ]


class TemperatureFit(Metric):
    """Streaming temperature scaling (Guo et al. 2017): the T that minimises the NLL of logits / T.

    With beta = 1 / T, the NLL of an image is log sum_k exp(beta z_k) - beta z_label: convex, and
    its derivatives are the cumulants of the logits under softmax(beta z), less z_label in the
    first. Six of them are summed on a grid of 49 betas from 1 / 20 to 20, in one pass. `compute()`
    returns the root of the first: between the two betas beside it, of the polynomial that has all
    six at both. That is within 1e-9 of the optimum up to 20,000 classes.

    Examples:
        >>> import torch
        >>> metric = TemperatureFit()
        >>> sure = torch.tensor([[2.0, 0.0]] * 4)  # 88 % sure, and right 3 times of 4
        >>> metric.update(sure, torch.tensor([0, 0, 0, 1]))
        >>> abs(metric.compute() - 2 / math.log(3)) < 1e-9
        True
    """

    RANGE = (0.05, 20.0)

    full_state_update = False
    derivatives: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zeros = torch.zeros(len(INVERSE_TEMPERATURES), 6, dtype=torch.float64)
        self.add_state("derivatives", zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count a batch: logits [n, classes], int64 labels [n]."""
        check_labelled(logits, label)
        z = logits.double()
        z = z - z.gather(1, label[:, None])
        sums = [cumulants(z, beta).sum(dim=0) for beta in INVERSE_TEMPERATURES.tolist()]
        self.derivatives = self.derivatives + torch.stack(sums)
        self.count = self.count + len(label)

    def compute(self) -> float:
        """Return the temperature; an end of `RANGE` where the optimum is not within it.

        Raises:
            ValueError: if no image was counted.
            NotFinite: if logits were not finite.
        """
        if self.count == 0:
            raise ValueError("no images were counted")
        beta, derivatives = INVERSE_TEMPERATURES.numpy(), self.derivatives.cpu().numpy()
        slope = derivatives[:, 0]
        if not np.isfinite(slope).all():
            raise NotFinite("the network's logits are not finite")
        if slope[0] >= 0:  # no temperature is high enough
            return self.RANGE[1]
        if slope[-1] <= 0:  # all are right: the lower the better
            return self.RANGE[0]
        after = int(np.argmax(slope > 0))
        low, high = beta[after - 1 : after + 1]
        line = BPoly.from_derivatives([low, high], derivatives[after - 1 : after + 1])
        return float(1 / brentq(line, low, high, xtol=1e-15, rtol=1e-14))


def cumulants(z: Tensor, beta: float) -> Tensor:
    """Return the first six cumulants of each image's logits under softmax(beta z).

    They are the derivatives of log sum_k exp(beta z_k) in beta: float64 [n, 6] of z [n, classes].
    """
    p = torch.softmax(beta * z, dim=1)
    mean = (p * z).sum(dim=1, keepdim=True)
    centred = z - mean
    weighted, moments = p * centred, []
    for _ in range(5):
        weighted = weighted * centred
        moments.append(weighted.sum(dim=1))
    m2, m3, m4, m5, m6 = moments
    fourth, fifth = m4 - 3 * m2**2, m5 - 10 * m3 * m2
    sixth = m6 - 15 * m4 * m2 - 10 * m3**2 + 30 * m2**3
    return torch.stack([mean[:, 0], m2, m3, fourth, fifth, sixth], dim=1)


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
        check_count("classes", classes)
        check_count("bins", bins)
        self.classes, self.bins = classes, bins
        for name in ("hits", "confidences"):
            zeros = torch.zeros(classes * bins, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count a batch: logits [n, classes], int64 labels [n]."""
        check_labelled(logits, label, self.classes)
        p = logits.double().softmax(dim=1)
        classes = torch.arange(p.shape[1], device=p.device)
        cell = (bin_of(p, self.bins) + classes * self.bins).flatten()
        hit = (label[:, None] == classes).double().flatten()
        self.hits = self.hits.index_add(0, cell, hit)
        self.confidences = self.confidences.index_add(0, cell, p.flatten())
        self.count = self.count + len(label)

    def compute(self) -> float:
        """Return the class-wise ECE, a fraction."""
        if self.count == 0:
            raise ValueError("no images were counted")
        return float((self.hits - self.confidences).abs().sum() / (self.count * self.classes))


def adaptive_ece(confidence: np.ndarray, correct: np.ndarray, bins: int = BINS) -> float:
    """Return the ECE over bins of equal numbers of images, in the order of their confidence.

    Images of one confidence have no order: each of them counts with the mean gap of them all. With
    g_i = the mean of correct_j - confidence_j over the images j that are as confident as i, and
    B_1 ... B_K an equal division of the images sorted by confidence, it is

        sum_k |sum of g_i over i in B_k| / n

    Args:
        confidence: float64, shape [n]. Those that differ by rounding, 1e-12, are one.
        correct: bool, shape [n].
        bins: how many; the first ones hold an image more where they do not divide n.

    Examples:
        >>> sure, right = np.full(30, 0.8), np.arange(30) < 15  # the hits first
        >>> round(adaptive_ece(sure, right), 12)
        0.3
    """
    order = np.argsort(confidence)
    ordered = confidence[order]
    ties = np.cumsum(np.diff(ordered, prepend=ordered[:1]) > ROUNDING)
    gap = correct[order].astype(np.float64) - ordered
    gap = (np.bincount(ties, gap) / np.bincount(ties))[ties]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, bins)) / len(gap))


def ece_noise_floor(confidence: np.ndarray, bins: int = BINS) -> float:
    """Return the ECE that a perfectly calibrated network has on average, for want of more images.

    Each image is taken to be right with the probability that its confidence says. The hits of a bin
    then follow a Poisson binomial distribution, and the floor is the sum over the bins of their
    mean distance from its expectation, over n. It is exact: nothing is drawn.

    Args:
        confidence: float64, shape [n].
        bins: of equal width, as for the ECE.

    Examples:
        >>> ece_noise_floor(np.array([0.5]))  # one image, right or wrong
        0.5
    """
    ordered = np.sort(confidence)
    bin_index = bin_of(torch.from_numpy(ordered), bins).numpy()
    parts = np.split(ordered, np.searchsorted(bin_index, np.arange(1, bins)))
    return sum(mean_distance(part) for part in parts if part.size) / len(confidence)


def mean_distance(probability: np.ndarray) -> float:
    """Return E|S - E[S]| of the number S of independent events that happen.

    The distribution of S is the product of the polynomials 1 - p + p x over the events, with p the
    probability of each, float64 [n]; they are multiplied in pairs by fast Fourier transforms.
    """
    probability = probability[(probability > 0) & (probability < 1)]  # the others are no chance
    n = len(probability)
    if n == 0:
        return 0.0
    padded = np.zeros(1 << (n - 1).bit_length())  # with events that never happen
    padded[:n] = probability
    factors = np.stack([1 - padded, padded], axis=1)
    while len(factors) > 1:
        length = 2 * factors.shape[1] - 1
        size = next_fast_len(length, real=True)
        spectra = rfft(factors, size)
        factors = irfft(spectra[::2] * spectra[1::2], size)[:, :length]
    return float(factors[0, : n + 1] @ np.abs(np.arange(n + 1) - probability.sum()))
