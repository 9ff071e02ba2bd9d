import doctest

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from mixkd.errors import NotFinite
from mixkd.metrics import calibration
from mixkd.metrics.calibration import Calibration, bin_of


def reference(logits: np.ndarray, label: np.ndarray, bins: int = 15) -> dict[str, float]:
    """Every metric from its definition, in float64 NumPy, a bin at a time."""
    z = logits.astype(np.float64)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    confidence, hit = p.max(axis=1), p.argmax(axis=1) == label
    ece = 0.0
    for k in range(bins):
        lower, upper = k / bins, (k + 1) / bins
        inside = (confidence >= lower) & ((confidence < upper) | (k == bins - 1))
        if inside.any():
            ece += inside.mean() * abs(hit[inside].mean() - confidence[inside].mean())
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


def counted(*batches: tuple[torch.Tensor, torch.Tensor]) -> Calibration:
    metric = Calibration()
    for logits, label in batches:
        metric.update(logits, label)
    return metric


def test_equals_a_float64_reference() -> None:
    logits, label = random_case()
    found = counted((logits, label)).compute()
    for name, value in reference(logits.numpy(), label.numpy()).items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert found["n"] == len(label)


def test_ece_equals_torchmetrics_away_from_confidence_one() -> None:
    logits, label = random_case()
    theirs = multiclass_calibration_error(logits.double(), label, 10, n_bins=15, norm="l1")
    assert counted((logits, label)).compute()["ece"] == pytest.approx(theirs.item(), abs=1e-6)


def test_brier_equals_scikit_learn() -> None:
    logits, label = random_case()
    p = logits.double().softmax(dim=1).numpy()
    theirs = brier_score_loss(label.numpy(), p, labels=range(10), scale_by_half=False)
    assert counted((logits, label)).compute()["brier"] == pytest.approx(theirs, abs=1e-9)


def test_confidence_one_is_in_the_last_bin() -> None:
    metric = counted((torch.tensor([[200.0, 0.0], [200.0, 0.0]]), torch.tensor([0, 1])))
    assert metric.counts.tolist() == [0] * 14 + [2]
    assert metric.compute()["ece"] == pytest.approx(0.5)
    assert bin_of(torch.tensor([0.0, 1 / 15, 1.0], dtype=torch.float64)).tolist() == [0, 1, 14]


def test_does_not_depend_on_batches_or_processes() -> None:
    logits, label = random_case()
    whole = counted((logits, label))
    parts = [counted((logits[a:b], label[a:b])) for a, b in ((0, 1), (1, 400), (400, 1003))]
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
    metric = counted(random_case())
    rows = [row for row in metric.reliability() if row["count"]]
    total = sum(row["count"] for row in rows)
    ece = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows) / total
    assert ece == pytest.approx(metric.compute()["ece"], abs=1e-12)
    assert len(metric.reliability()) == 15


def test_ece_is_feasible() -> None:
    found = counted(random_case()).compute()
    assert abs(found["signed_gap"]) <= found["ece"]
    assert found["ece"] <= (1 - found["accuracy"]) + (1 - found["confidence"])


def test_logits_that_are_not_finite_are_refused() -> None:
    metric = counted((torch.tensor([[float("nan"), 0.0]]), torch.tensor([0])))
    with pytest.raises(NotFinite, match="not finite"):
        metric.compute()


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images"), pytest.warns(UserWarning, match="before"):
        Calibration().compute()


def test_the_docstring_example_runs() -> None:
    assert doctest.testmod(calibration).failed == 0
