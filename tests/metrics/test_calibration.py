import doctest
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq, minimize_scalar
from scipy.special import softmax
from scipy.stats import binom
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from mixkd.errors import NotFinite
from mixkd.metrics import calibration
from mixkd.metrics.calibration import (
    Calibration,
    ClasswiseECE,
    TemperatureFit,
    adaptive_ece,
    bin_of,
    ece_noise_floor,
)
from mixkd.metrics.feasible import feasible_ece
from mixkd.metrics.measurement import Measurement


def reference(logits: np.ndarray, label: np.ndarray, bins: int = 15) -> dict[str, float]:
    """Every metric from its definition, in float64 NumPy, a bin at a time."""
    z = logits.astype(np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    confidence, hit = p.max(axis=1), p.argmax(axis=1) == label
    ece = 0.0
    for k in range(bins):
        lower, upper = k / bins, (k + 1) / bins
        in_bin = (confidence >= lower) & ((confidence < upper) | (k == bins - 1))
        if in_bin.any():
            ece += in_bin.mean() * abs(hit[in_bin].mean() - confidence[in_bin].mean())
    rows = np.arange(len(label))
    return {
        "accuracy": hit.mean(),
        "confidence": confidence.mean(),
        "ece": ece,
        "signed_gap": confidence.mean() - hit.mean(),
        "nll": -np.log(p[rows, label]).mean(),
        "brier": ((p - np.eye(p.shape[1])[label]) ** 2).sum(axis=1).mean(),
    }


def random_case(n: int = 1003, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(n, classes, generator=generator)
    label = (logits + 3 * torch.randn(n, classes, generator=generator)).argmax(dim=1)
    return logits, label


def calibration_of(*batches: tuple[torch.Tensor, torch.Tensor]) -> Calibration:
    metric = Calibration()
    for logits, label in batches:
        metric.update(logits, label)
    return metric


def test_metrics_equal_a_float64_reference() -> None:
    logits, label = random_case()
    metrics = calibration_of((logits, label)).compute()
    for name, value in reference(logits.numpy(), label.numpy()).items():
        assert metrics[name] == pytest.approx(value, abs=1e-9), name
    assert metrics["n"] == len(label)


def test_ece_equals_torchmetrics_away_from_confidence_one() -> None:
    logits, label = random_case()
    theirs = multiclass_calibration_error(logits.double(), label, 10, n_bins=15, norm="l1")
    assert calibration_of((logits, label)).compute()["ece"] == pytest.approx(
        theirs.item(), abs=1e-6
    )


def test_brier_equals_scikit_learn() -> None:
    logits, label = random_case()
    p = logits.double().softmax(dim=1).numpy()
    theirs = brier_score_loss(label.numpy(), p, labels=range(10), scale_by_half=False)
    assert calibration_of((logits, label)).compute()["brier"] == pytest.approx(theirs, abs=1e-9)


def test_confidence_one_is_in_the_last_bin() -> None:
    metric = calibration_of((torch.tensor([[200.0, 0.0], [200.0, 0.0]]), torch.tensor([0, 1])))
    assert metric.counts.tolist() == [0] * 14 + [2]
    assert metric.compute()["ece"] == pytest.approx(0.5)
    assert bin_of(torch.tensor([0.0, 1 / 15, 1.0], dtype=torch.float64)).tolist() == [0, 1, 14]


def test_does_not_depend_on_batches_or_processes() -> None:
    logits, label = random_case()
    whole = calibration_of((logits, label))
    parts = [calibration_of((logits[a:b], label[a:b])) for a, b in ((0, 1), (1, 400), (400, 1003))]
    summed = Calibration()
    for name in whole.metric_state:  # what torchmetrics does across processes
        setattr(summed, name, sum(getattr(part, name) for part in parts))
    summed._update_count = 1
    assert summed.compute() == pytest.approx(whole.compute(), abs=1e-12)
    assert all(
        reduce is torch.sum or reduce.__name__ == "dim_zero_sum"
        for reduce in whole._reductions.values()
    )


def test_reliability_rows_give_the_ece() -> None:
    metric = calibration_of(random_case())
    rows = [row for row in metric.reliability() if row["count"]]
    total = sum(row["count"] for row in rows)
    ece = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / total
    assert ece == pytest.approx(metric.compute()["ece"], abs=1e-12)
    assert len(metric.reliability()) == 15


def test_ece_is_feasible() -> None:
    metrics = calibration_of(random_case()).compute()
    assert abs(metrics["signed_gap"]) <= metrics["ece"]
    assert metrics["ece"] <= (1 - metrics["accuracy"]) + (1 - metrics["confidence"])


def test_logits_that_are_not_finite_are_refused() -> None:
    metric = calibration_of((torch.tensor([[float("nan"), 0.0]]), torch.tensor([0])))
    with pytest.raises(NotFinite, match="not finite"):
        metric.compute()


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images"), pytest.warns(UserWarning, match="before"):
        Calibration().compute()


def test_the_docstring_example_runs() -> None:
    assert doctest.testmod(calibration).failed == 0


def test_the_authors_published_bins_give_their_ece() -> None:
    """Their ViT-B/16 on CIFAR-100; paper/reference.yaml, repo_vit_bins_cifar100."""
    accuracy = [
        0.0, 0.4, 0.136364, 0.357143, 0.463415, 0.405797, 0.527778, 0.4375, 0.573604, 0.558376,
        0.639175, 0.711934, 0.809384, 0.854452, 0.982553,
    ]  # fmt: skip
    confidence = [
        0.0, 0.118103, 0.172974, 0.242310, 0.304199, 0.364502, 0.432861, 0.501465, 0.567383,
        0.630859, 0.702148, 0.767578, 0.835938, 0.902832, 0.990234,
    ]  # fmt: skip
    counts = [0, 5, 22, 28, 41, 69, 108, 176, 197, 197, 194, 243, 341, 584, 7795]
    metric = Calibration()
    logits, label = [], []
    for p, q, n in zip(accuracy, confidence, counts, strict=True):
        if n:  # n images of one confidence, of which the given share is right
            other_logit = math.log((1 - q) / 99)
            logits.append(torch.full((n, 100), other_logit, dtype=torch.float64))
            logits[-1][:, 0] = math.log(q)
            label.append((torch.arange(n) >= round(p * n)).long())
    metric.update(torch.cat(logits), torch.cat(label))
    assert metric.compute()["ece"] == pytest.approx(0.0174741, abs=2e-6)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_temperature_scaling_finds_the_optimum(scale: float) -> None:
    logits, label = random_case()
    logits = logits * scale
    metric = TemperatureFit()
    for part in torch.arange(len(label)).split(100):
        metric.update(logits[part], label[part])

    assert metric.compute() == pytest.approx(best_temperature(logits, label), rel=1e-9)


def best_temperature(logits: torch.Tensor, label: torch.Tensor) -> float:
    """Return the root of the derivative of the mean NLL in 1 / T, from its definition."""
    z = logits.double().numpy()
    right_logit = z[np.arange(len(z)), label.numpy()]

    def slope(beta: float) -> float:
        return float(((softmax(beta * z, axis=1) * z).sum(axis=1) - right_logit).mean())

    return 1 / brentq(slope, 0.05, 20, xtol=1e-15, rtol=1e-14)


def test_temperature_scaling_minimises_the_nll() -> None:
    logits, label = random_case()

    def nll(log_t: float) -> float:
        return F.cross_entropy(logits.double() / math.exp(log_t), label).item()

    best = minimize_scalar(nll, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    assert best_temperature(logits, label) == pytest.approx(math.exp(best.x), rel=1e-6)


@pytest.mark.parametrize("classes", [2, 100, 5000])
@pytest.mark.parametrize("gap", [0.8, 5.0, 30.0])
def test_temperature_scaling_is_exact_where_one_logit_stands_out(classes: int, gap: float) -> None:
    """T by hand: a right share of 0.7 is exp(gap / T) / (exp(gap / T) + classes - 1)."""
    logits = torch.full((10, classes), 1e4, dtype=torch.float64)  # an offset changes nothing
    logits[:, 0] += gap
    metric = TemperatureFit()
    metric.update(logits, (torch.arange(10) >= 7).long())
    by_hand = gap / math.log(0.7 / 0.3 * (classes - 1))
    assert metric.compute() == pytest.approx(by_hand if by_hand < 20 else 20, rel=1e-9)


def test_temperature_scaling_stays_within_its_range() -> None:
    right, wrong = TemperatureFit(), TemperatureFit()
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right.update(logits, torch.tensor([0, 1]))
    wrong.update(logits, torch.tensor([1, 0]))
    assert (right.compute(), wrong.compute()) == (pytest.approx(0.05), pytest.approx(20))


def test_classwise_ece_by_its_definition() -> None:
    logits, label = random_case()
    metric = ClasswiseECE(10)
    for part in torch.arange(len(label)).split(100):
        metric.update(logits[part], label[part])
    p = logits.double().softmax(dim=1).numpy()
    total = 0.0
    for k in range(10):
        bin_index = np.minimum((p[:, k] * 15).astype(int), 14)
        for b in range(15):
            in_bin = bin_index == b
            if in_bin.any():
                total += in_bin.mean() * abs(
                    (label.numpy()[in_bin] == k).mean() - p[in_bin, k].mean()
                )
    assert metric.compute() == pytest.approx(total / 10, rel=1e-9)


def test_adaptive_ece_by_hand() -> None:
    confidence = np.array([0.9, 0.5, 0.6, 0.8])
    correct = np.array([True, False, True, False])
    # Two bins: (0.5, 0.6) with one hit, (0.8, 0.9) with one hit.
    assert adaptive_ece(confidence, correct, bins=2) == pytest.approx((0.1 + 0.7) / 4)


def test_adaptive_ece_counts_images_of_one_confidence_with_their_mean_gap() -> None:
    confidence = np.array([0.6, 0.8, 0.6, 0.6, 0.8, 0.9])
    correct = np.array([True, True, False, False, True, False])
    # Gaps: a third - 0.6 thrice, 0.2 twice, and -0.9.
    third = 1 / 3 - 0.6
    by_hand = (abs(2 * third) + abs(third + 0.2) + abs(0.2 - 0.9)) / 6
    assert adaptive_ece(confidence, correct, bins=3) == pytest.approx(by_hand)
    close = confidence + np.array([0, 1, 2, -1, -2, 0]) * 1e-16  # as a sum in another order
    assert adaptive_ece(close, correct, bins=3) == pytest.approx(by_hand)


def test_no_metric_depends_on_the_order_of_images() -> None:
    """Few logits, so that many confidences tie, sorted by what the images are."""
    generator = torch.Generator().manual_seed(2)
    levels = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 2], [1, 1, 0]])
    kind = torch.arange(700) % 4
    label = torch.randint(0, 3, (700,), generator=generator)
    by_kind = torch.argsort(kind * 3 + label)  # hits and misses apart
    orders = by_kind, by_kind.flip(0), torch.randperm(700, generator=generator)
    metrics = []
    for order, batch in zip(orders, (700, 64, 7), strict=True):
        measurement, count = Measurement(3, temperature=1.5), 0
        for images in order.split(batch):
            measurement.update(
                levels[kind[images]], label[images], count + torch.arange(len(images))
            )
            count += len(images)
        metrics.append(measurement.compute(measurement.predictions()))
    for other in metrics[1:]:
        assert other == pytest.approx(metrics[0], rel=1e-12, abs=1e-14)
    assert metrics[0]["ece_adaptive"] > 0.01


def test_the_noise_floor_is_what_calibrated_networks_show() -> None:
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.3, 1, 2000)
    eces = []
    for _ in range(400):
        hit = rng.random(2000) < confidence
        bin_index = np.minimum((confidence * 15).astype(int), 14)
        sums = np.bincount(bin_index, hit - confidence, 15)
        eces.append(np.abs(sums).sum() / 2000)
    error = np.std(eces) / math.sqrt(len(eces))
    assert ece_noise_floor(confidence) == pytest.approx(np.mean(eces), abs=4 * error)
    assert ece_noise_floor(confidence[::-1]) == ece_noise_floor(confidence)
    assert ece_noise_floor(np.ones(50)) == 0


@pytest.mark.parametrize("n", [1, 2, 3, 64, 1000])
def test_the_noise_floor_is_exact(n: int) -> None:
    """Of n equal confidences the hits are binomial."""
    hits = np.arange(n + 1)
    expected = binom.pmf(hits, n, 0.7) @ np.abs(hits - 0.7 * n) / n
    assert ece_noise_floor(np.full(n, 0.7)) == pytest.approx(expected, rel=1e-12)
    pair = np.array([0.7, 0.68])  # of one bin: 0, 1 or 2 hits
    by_hand = 0.32 * 0.3 * 1.38 + (0.7 * 0.32 + 0.3 * 0.68) * 0.38 + 0.7 * 0.68 * 0.62
    assert ece_noise_floor(pair) == pytest.approx(by_hand / 2, rel=1e-12)


def test_the_bounds_of_any_binning() -> None:
    low, high = feasible_ece(0.8, 0.9)
    assert (low, high) == (pytest.approx(0.1), pytest.approx(0.3))
    for bins in (1, 3, 15, 100):
        logits, label = random_case()
        metric = Calibration(bins)
        metric.update(logits, label)
        metrics = metric.compute()
        low, high = feasible_ece(metrics["accuracy"], metrics["confidence"])
        assert low - 1e-12 <= metrics["ece"] <= high + 1e-12
