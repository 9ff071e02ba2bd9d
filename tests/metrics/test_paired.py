import math

import numpy as np
import pytest
import torch

from mixkd.metrics.calibration import Calibration, per_image
from mixkd.metrics.paired import accuracy_gain, are_paired, mcnemar, paired_differences


def predictions(logits: torch.Tensor, label: torch.Tensor) -> dict[str, np.ndarray]:
    columns = {k: v.numpy() for k, v in per_image(logits, label).items()}
    return columns | {"label": label.numpy(), "index": np.arange(len(label))}


def case(n: int = 600) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 5, (n,), generator=generator)
    first = 2 * torch.nn.functional.one_hot(label, 5) + torch.randn(n, 5, generator=generator)
    second = first + 0.7 * torch.randn(n, 5, generator=generator)
    return first, second, label


def test_mcnemar_by_hand() -> None:
    first = np.array([True] * 8 + [False] * 2 + [True] * 5)
    second = np.array([False] * 8 + [True] * 2 + [True] * 5)
    assert mcnemar(first, second) == pytest.approx(2 * (45 + 10 + 1) / 1024)
    assert mcnemar(second, first) == mcnemar(first, second)
    assert mcnemar(first, first) == 1


def test_values_are_those_of_the_streaming_metrics() -> None:
    first, second, label = case()
    rows = {
        r.metric: r
        for r in paired_differences(*([predictions(z, label)] for z in (first, second)), 100)
    }
    assert list(rows) == ["accuracy", "confidence", "ece", "nll", "brier"]
    for side, logits in (("first", first), ("second", second)):
        metric = Calibration()
        metric.update(logits, label)
        for name, value in metric.compute().items():
            if name in rows:
                assert getattr(rows[name], side) == pytest.approx(value, rel=1e-9), name


def test_intervals_are_of_the_paired_difference() -> None:
    first, second, label = case()
    a, b = (predictions(z, label) for z in (first, second))
    rows = {r.metric: r for r in paired_differences([a], [b], draws=4000)}
    for name, values in (("nll", a["nll"] - b["nll"]), ("brier", a["brier"] - b["brier"])):
        se = values.std(ddof=1) / math.sqrt(len(values))
        row = rows[name]
        assert row.difference == pytest.approx(values.mean())
        assert row.high - row.low == pytest.approx(2 * 1.96 * se, rel=0.06)
        assert row.low < row.difference < row.high
        # Far smaller than if the two were independent.
        independent_se = math.hypot(a[name].std(), b[name].std()) / math.sqrt(len(values))
        assert se < 0.8 * independent_se
    assert rows["nll"].p < 0.01


def test_a_network_does_not_differ_from_itself() -> None:
    predicted = predictions(*case()[::2])
    for row in paired_differences([predicted], [predicted], draws=100):
        assert row.difference == row.low == row.high == 0
        assert row.p == 1 or row.metric == "ece"


@pytest.mark.parametrize("draws", [100, 999])
def test_the_bootstraps_p_is_counted_with_the_sample_itself(draws: int) -> None:
    """Two-sided, 2 (k + 1) / (B + 1) of k samples beyond 0: never below 2 / (B + 1)."""
    first, second, label = case()
    a, b = (predictions(z, label) for z in (first, second))
    shifted = {r.metric: r for r in paired_differences([a], [a | {"nll": a["nll"] + 1}], draws)}
    assert shifted["nll"].p == pytest.approx(2 / (draws + 1))
    differences = {r.metric: r for r in paired_differences([a], [b], draws)}
    for row in differences.values():
        if row.metric in ("confidence", "nll", "brier"):
            k = row.p * (draws + 1) / 2 - 1
            assert row.p == 1 or k == pytest.approx(round(k), abs=1e-9)
    # One image of two decides: of each sample the mean of two draws, below, at or above 0.
    pair = {
        "label": np.array([0, 1]), "prediction": np.array([0, 0]),
        "confidence": np.array([0.6, 0.7]), "nll": np.array([0.0, 1.0]),
    }  # fmt: skip
    rows = {r.metric: r for r in paired_differences([pair], [pair | {"nll": np.zeros(2)}], draws)}
    weights = np.random.default_rng(0)
    drawn = [np.bincount(weights.integers(0, 2, 2), minlength=2)[1] for _ in range(draws)]
    k = sum(count == 0 for count in drawn)
    assert rows["nll"].p == pytest.approx(2 * (k + 1) / (draws + 1))


def test_the_order_of_images_changes_no_interval() -> None:
    first, second, label = case()
    a, b = (predictions(z.round(), label) for z in (first, second))  # many tie
    order = np.random.default_rng(1).permutation(len(label))
    moved = [{name: values[order] for name, values in predicted.items()} for predicted in (a, b)]
    rows = paired_differences([a], [b], 200), paired_differences([moved[0]], [moved[1]], 200)
    for one, other in zip(*rows, strict=True):
        assert one.metric == other.metric
        assert [one.low, one.high] == pytest.approx([other.low, other.high], abs=1e-12)


def test_networks_that_change_places_change_the_sign_alone() -> None:
    first, second, label = case()
    a, b = (predictions(z, label) for z in (first, second))
    for one, other in zip(
        paired_differences([a], [b], 200), paired_differences([b], [a], 200), strict=True
    ):
        assert [one.low, one.high] == pytest.approx([-other.high, -other.low], abs=1e-12)
        assert one.p == other.p or one.metric == "ece"


def test_ece_has_no_p_value() -> None:
    """Noise alone tells two calibrated networks' ECE apart: it would be next to 0."""
    first, second, label = case()
    rows = {
        r.metric: r
        for r in paired_differences(*([predictions(z, label)] for z in (first, second)), 100)
    }
    assert math.isnan(rows["ece"].p)


def test_old_predictions_have_no_brier() -> None:
    predicted = predictions(*case()[::2])
    other = {k: v for k, v in predicted.items() if k != "brier"}
    assert "brier" not in [r.metric for r in paired_differences([predicted], [other], draws=100)]


def test_several_seeds_are_averaged_and_share_the_drawn_images() -> None:
    first, second, label = case()
    a, b = predictions(first, label), predictions(second, label)
    single = {r.metric: r for r in paired_differences([a], [b], draws=500)}
    copied = {r.metric: r for r in paired_differences([a, a], [b, b], draws=500)}
    for name in ("confidence", "ece", "nll", "brier"):  # a copy of a seed adds nothing
        assert copied[name].difference == pytest.approx(single[name].difference)
        assert copied[name].low == pytest.approx(single[name].low)
    mixed = {r.metric: r for r in paired_differences([a, b], [b, a], draws=500)}
    assert mixed["accuracy"].difference == pytest.approx(0)
    half = {r.metric: r for r in paired_differences([a, b], [b, b], draws=500)}
    assert half["nll"].difference == pytest.approx(single["nll"].difference / 2)
    # ECE is the mean of the seeds' own, not that of their mean answers.
    assert half["ece"].first == pytest.approx((single["ece"].first + single["ece"].second) / 2)


def test_predictions_of_other_images_are_recognised() -> None:
    predicted = predictions(*case()[::2])
    assert are_paired([predicted, predicted])
    assert not are_paired([predicted, predicted | {"index": predicted["index"][::-1]}])
    assert not are_paired([predicted, {k: v[:-1] for k, v in predicted.items()}])


def test_a_gain_its_error_and_what_is_beyond_clean() -> None:
    network, other = np.array([1, 1, 0, 1]), np.array([0, 1, 0, 0])
    clean = np.array([1, 1, 1, 1]), np.array([1, 1, 1, 0])
    gains = accuracy_gain(network, other, clean)
    assert gains["gain"] == 0.5  # 3/4 - 1/4
    # Differences 1, 0, 0, 1: sample variance 1/3.
    assert gains["gain_se"] == pytest.approx(math.sqrt(1 / 3 / 4))
    assert gains["gain_beyond_clean"] == 0.25  # 1/2 less 4/4 - 3/4
    # Differences of differences 1, 0, 0, 0: sample variance 1/4.
    assert gains["gain_beyond_clean_se"] == pytest.approx(math.sqrt(1 / 4 / 4))


def test_other_clean_images_have_no_paired_error() -> None:
    gains = accuracy_gain(np.ones(4), np.zeros(4), (np.ones(8), np.zeros(8)), paired=False)
    assert gains["gain_beyond_clean"] == 0
    assert "gain_beyond_clean_se" not in gains
    assert set(accuracy_gain(np.ones(4, bool), np.zeros(4, bool), None)) == {"gain", "gain_se"}
