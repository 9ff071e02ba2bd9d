"""Equations 10 to 15 against a plain float64 implementation and hand-computed cases."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from mixkd.errors import NotFinite
from mixkd.metrics import standard_error
from mixkd.metrics.vicinal import (
    Line,
    VicinalLinearity,
    alignment_metrics,
    alignment_rows,
    answers_between,
    curve_metrics,
    gain_metrics,
    linearity_summary,
    network_rows,
    over_lambda,
    pair_values,
)

LAMBDAS = np.linspace(0, 1, 11).tolist()


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def case(n: int = 40, classes: int = 7, scale: float = 3.0) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [scale * rng.normal(size=(n, classes)) for _ in range(3)]


def values_of(logits: list[np.ndarray], lambdas: list[float]) -> dict[str, np.ndarray]:
    first, second, mixed = (torch.from_numpy(z) for z in logits)
    values: dict[str, list[np.ndarray]] = {}
    for lam in lambdas:
        between = {0.0: second, 1.0: first}.get(lam, mixed)
        for name, value in pair_values(Line(first, second), between, lam).items():
            values.setdefault(name, []).append(value.numpy())
    return {name: np.stack(value, axis=1) for name, value in values.items()}


def test_curves_equal_their_definitions() -> None:
    logits = case()
    rows = network_rows(values_of(logits, LAMBDAS), LAMBDAS)
    p_i, p_j, p_m = (softmax(z) for z in logits)
    for row in rows[1:-1]:
        lam = row["lam"]
        line = lam * p_i + (1 - lam) * p_j
        nl = (line * (np.log(line) - np.log(p_m))).sum(axis=1)
        h = -(p_m * np.log(p_m)).sum(axis=1)
        h_line = -(line * np.log(line)).sum(axis=1)
        h_i, h_j = (-(p * np.log(p)).sum(axis=1) for p in (p_i, p_j))
        expected = {
            "nl": nl.mean(),
            "nl_se": nl.std(ddof=1) / math.sqrt(40),
            "entropy": h.mean(),
            "entropy_se": h.std(ddof=1) / math.sqrt(40),
            "dominance": nl.mean() / h.mean(),
            "dominance_median": np.median(nl / h),
            "linearity_information": h_line.mean() - nl.mean(),
            "entropy_gap": h.mean() - (lam * h_i + (1 - lam) * h_j).mean(),
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name
        assert row["n_pairs"] == 40


def test_the_ends_are_clean() -> None:
    for row in (network_rows(values_of(case(), LAMBDAS), LAMBDAS)[k] for k in (0, -1)):
        assert row["nl"] == 0
        assert row["dominance"] == row["dominance_median"] == 0
        assert row["entropy_gap"] == pytest.approx(0, abs=1e-15)


def test_a_linear_model_has_no_residual() -> None:
    p_i, p_j = (softmax(z) for z in case()[:2])
    for lam in LAMBDAS:
        line = np.log(lam * p_i + (1 - lam) * p_j)
        ends = Line(*(torch.from_numpy(np.log(p)) for p in (p_i, p_j)))
        values = pair_values(ends, torch.from_numpy(line), lam)
        assert values["nl"].abs().max() < 1e-14
        assert torch.equal(values["entropy"], values["linear_entropy"]) or torch.allclose(
            values["entropy"], values["linear_entropy"], rtol=0, atol=1e-14
        )


def test_two_classes_by_hand() -> None:
    """(3/4, 1/4) and (1/4, 3/4), and (9/10, 1/10) in the middle, where (1/2, 1/2) is due."""
    logits = [torch.tensor([p]).log() for p in ((0.75, 0.25), (0.25, 0.75), (0.9, 0.1))]
    values = pair_values(Line(*logits[:2]), logits[2], 0.5)
    nl = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert values["nl"].item() == pytest.approx(nl, rel=1e-6)
    h = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert values["entropy"].item() == pytest.approx(h, rel=1e-6)
    assert values["linear_entropy"].item() == pytest.approx(math.log(2), rel=1e-6)


def test_sure_and_wrong_is_finite_and_unclipped() -> None:
    """No epsilon: 60 nats are 60 nats."""
    first, second = torch.tensor([[60.0, 0, 0]]), torch.tensor([[0.0, 60, 0]])
    values = pair_values(Line(first, second), torch.tensor([[0.0, 0, 60]]), 0.5)
    assert values["nl"].item() == pytest.approx(60 - math.log(2), rel=1e-9)
    assert values["entropy"].item() == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("scale", [3.0, 3000.0])
def test_the_logarithm_of_what_is_too_small_for_a_number_is_finite(scale: float) -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 7, 5, dtype=torch.float64) * scale
    p, log_p = Line(first, second).at(0.3)
    assert bool((p == 0).any()) == (scale > 1000)
    logs = first.log_softmax(1) + math.log(0.3), second.log_softmax(1) + math.log(0.7)
    torch.testing.assert_close(log_p, torch.logaddexp(*logs))
    assert log_p.isfinite().all()


def test_headline_figures_are_the_mean_over_lambda_and_the_peak() -> None:
    rows = [
        {"lam": lam, "nl": nl, "nl_se": 0.1, "entropy": 2.0, "dominance": nl / 2,
         "linearity_information": 1.0, "entropy_gap": 0.0}
        for lam, nl in ((0.0, 0.0), (0.25, 1.0), (0.5, 4.0), (1.0, 0.0))
    ]  # fmt: skip
    metrics = curve_metrics(rows)
    assert metrics["nl_global"] == pytest.approx(0.125 + 0.625 + 1.0)  # trapezia
    assert (metrics["nl_peak"], metrics["nl_peak_lam"], metrics["nl_peak_se"]) == (4.0, 0.5, 0.1)
    assert metrics["dominance_global"] == pytest.approx(1.75 / 2)
    assert metrics["dominance_peak"] == 2.0
    assert over_lambda([1, 1, 1], [0, 0.3, 1]) == pytest.approx(1)


def test_alignment_of_a_student_equals_its_definitions() -> None:
    z_t, z_s, _ = case()
    p_t, p_s = softmax(z_t), softmax(z_s)
    kl = (p_t * np.log(p_t / p_s)).sum(axis=1)
    h = -(p_t * np.log(p_t)).sum(axis=1)
    kl_and_entropy = np.stack([kl, 3 * kl, kl], axis=1), np.stack([h] * 3, axis=1)
    rows = alignment_rows(*kl_and_entropy, np.stack([p_t.mean(axis=0)] * 3))
    mean = p_t.mean(axis=0)
    ce = -(p_t * np.log(p_s)).sum(axis=1).mean()
    assert rows[0]["kl_teacher_student"] == pytest.approx(kl.mean())
    assert rows[0]["kl_se"] == pytest.approx(kl.std(ddof=1) / math.sqrt(40))
    assert rows[0]["mi_bound"] == pytest.approx(-(mean * np.log(mean)).sum() - ce)
    metrics = alignment_metrics(rows, [0, 0.5, 1])
    assert metrics["kl_real"] == pytest.approx(kl.mean())
    assert metrics["kl_mixed"] == pytest.approx(2 * kl.mean())
    assert metrics["independent_response"] == pytest.approx(kl.mean())
    assert metrics["mi_paper_real"] == pytest.approx(h.mean() - ce)


def test_mi_bound_is_below_the_mutual_information() -> None:
    """H(E[p]) - E[CE] is at most the mutual information of image and answer."""
    z_t, z_s, _ = case()
    p_t = softmax(z_t)
    h = -(p_t * np.log(p_t)).sum(axis=1)
    kl = (p_t * np.log(p_t / softmax(z_s))).sum(axis=1)
    mean = p_t.mean(axis=0)
    information = -(mean * np.log(mean)).sum() - h.mean()
    row = alignment_rows(kl[:, None], h[:, None], mean[None])[0]
    assert row["mi_bound"] <= information
    assert alignment_rows(0 * kl[:, None], h[:, None], mean[None])[0]["mi_bound"] == pytest.approx(
        information
    )


def curves(n: int = 50, seed: int = 5) -> dict[str, np.ndarray]:
    """Return NL of n pairs at three lambdas, 0 at both ends, and the scaled ones."""
    rng = np.random.default_rng(seed)
    return {
        name: np.stack([np.zeros(n), rng.exponential(size=n), np.zeros(n)], axis=1)
        for name in ("nl", "nl_scaled")
    }


def test_gains_by_hand() -> None:
    teacher = {"nl": np.array([[0, 3, 4, 1, 0], [0, 5, 8, 3, 0.0]])}
    student = {"nl": np.array([[0, 1, 1, 1, 0], [0, 2, 2, 5, 0.0]])}
    # Differences (0, 2, 3, 0, 0) and (0, 3, 6, -2, 0): of two values the error is half of their
    # distance.
    rows, metrics = gain_metrics(teacher, student, [0, 0.25, 0.5, 0.75, 1])
    assert [row["delta_lin"] for row in rows] == [0, 2.5, 4.5, -1, 0]
    assert [row["delta_lin_se"] for row in rows] == pytest.approx([0, 0.5, 1.5, 1, 0])
    assert metrics == pytest.approx({
        "delta_lin_global": 1.5, "delta_lin_global_se": 0.25,  # of 5/4 and 7/4
        "delta_lin_at_0.25": 2.5, "delta_lin_at_0.25_se": 0.5,
        "delta_lin_at_0.5": 4.5, "delta_lin_at_0.5_se": 1.5,
        "delta_lin_at_0.75": -1, "delta_lin_at_0.75_se": 1,
        "delta_lin_peak": 4.5, "delta_lin_peak_se": 1.5, "delta_lin_peak_lam": 0.5,
    })  # fmt: skip


def test_gains_before_and_after_scaling_over_a_teacher_and_a_baseline() -> None:
    teacher, student = curves(seed=5), curves(seed=6)
    rows, metrics = gain_metrics(teacher, student, [0, 0.5, 1], against="erm")
    assert set(rows[0]) == {
        f"delta_lin{scaled}_erm{se}" for scaled in ("", "_scaled") for se in ("", "_se")
    }
    for name in ("nl", "nl_scaled"):
        key, d = f"delta_lin{name[2:]}_erm", (teacher[name] - student[name])[:, 1]
        error = np.sqrt(((d - d.mean()) ** 2).sum() / 49 / 50)
        assert rows[1][f"{key}_se"] == pytest.approx(error)
        assert metrics[f"{key}_at_0.5_se"] == pytest.approx(error)
        assert metrics[f"{key}_at_0.5"] == pytest.approx(d.mean())
        assert metrics[f"{key}_global"] == pytest.approx(d.mean() / 2)
        assert metrics[f"{key}_global_se"] == pytest.approx(error / 2)
        assert f"{key}_at_0.25" not in metrics  # no point of the grid
    unscaled = gain_metrics({"nl": teacher["nl"]}, student, [0, 0.5, 1])[1]
    assert not [name for name in unscaled if "scaled" in name]


def test_the_error_of_a_gain_is_paired() -> None:
    """What both networks find hard in a pair is no noise of their difference."""
    network = curves()
    other = {name: values + 0.1 * (values > 0) for name, values in network.items()}
    metrics = gain_metrics(other, network, [0, 0.5, 1])[1]
    assert metrics["delta_lin_at_0.5"] == pytest.approx(0.1)
    assert metrics["delta_lin_at_0.5_se"] == pytest.approx(0, abs=1e-12)
    assert standard_error(network["nl"][:, 1]) > 0.05


def test_a_single_pair_has_a_gain_without_an_error() -> None:
    curves_ = {"nl": np.array([[0, 2.0, 0]])}, {"nl": np.array([[0, 1.0, 0]])}
    rows, metrics = gain_metrics(*curves_, [0, 0.5, 1])
    assert math.isnan(rows[1]["delta_lin_se"])
    assert metrics == {
        "delta_lin_global": 0.5, "delta_lin_at_0.5": 1, "delta_lin_peak": 1,
        "delta_lin_peak_lam": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("points", [5, 9, 21, 101, 1001])
def test_fixed_lambdas_are_known_on_any_grid_that_has_them(points: int) -> None:
    grid = np.linspace(0, 1, points).tolist()
    nl = np.stack([np.array(grid), 2 * np.array(grid)])
    metrics = gain_metrics({"nl": nl}, {"nl": 0 * nl}, grid)[1]
    for lam in (0.25, 0.5, 0.75):
        assert metrics[f"delta_lin_at_{lam}"] == pytest.approx(1.5 * lam)


def test_the_gains_are_columns_of_the_measured_networks_rows() -> None:
    values = {name: values_of(case(), LAMBDAS) for name in ("erm", "network", "kd")}
    rows, metrics = linearity_summary(values, None, LAMBDAS)
    gains = [name for name in rows["network"][5] if name.startswith("delta_lin")]
    assert gains == ["delta_lin_erm", "delta_lin_erm_se", "delta_lin_kd", "delta_lin_kd_se"]
    assert not [name for name in rows["erm"][0] if name.startswith("delta_lin")]
    assert metrics["delta_lin_kd_at_0.5"] == metrics["delta_lin_kd_global_se"] == 0


def test_standard_error_of_one_is_unknown() -> None:
    assert math.isnan(standard_error(np.array([1.0])))


def test_a_network_without_entropy_has_no_finite_dominance() -> None:
    certain = [torch.tensor([[2000.0, 0], [0.0, 2000]])] * 2 + [
        torch.tensor([[0.0, 2000], [0, 2000]])
    ]
    values = {
        k: v.numpy()[:, None] for k, v in pair_values(Line(*certain[:2]), certain[2], 0.5).items()
    }
    row = network_rows(values, [0.5])[0]
    assert row["nl"] == pytest.approx(1000)
    assert row["dominance"] == math.inf
    assert row["dominance_median"] == math.inf  # of 0 and infinity, NumPy's mean of the two
    metrics = curve_metrics([dict(row, lam=lam) for lam in (0, 1)])
    assert metrics["nl_global"] == pytest.approx(1000)
    assert not [name for name in metrics if name.startswith("dominance")]


GRID = [0.0, 0.25, 0.5, 1.0]


def linearity_of(
    order: Sequence[int], batch: int, networks: Mapping[str, nn.Module]
) -> VicinalLinearity:
    """Return the metric of 12 pairs, shown in an order and in batches."""
    first, second = torch.rand(2, 12, 5, generator=torch.Generator().manual_seed(0))
    metric = VicinalLinearity(tuple(networks), GRID, {"student": 2.0})
    with torch.no_grad():
        for rows in torch.tensor(order).split(batch):
            metric.update(answers_between(networks, first[rows], second[rows], GRID), rows)
    return metric


@pytest.fixture
def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    names = ("student", "teacher", "erm")
    return {name: nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)) for name in names}


def test_the_order_and_batches_of_pairs_change_nothing(networks: dict[str, nn.Module]) -> None:
    rows, metrics = linearity_of(range(12), 12, networks).compute()
    shuffled = [7, 2, 11, 0, 5, 9, 1, 10, 3, 8, 6, 4]
    for batch in (12, 5, 1):
        rows_again, metrics_again = linearity_of(shuffled, batch, networks).compute()
        assert metrics_again == pytest.approx(metrics, rel=1e-4, abs=1e-8)
        for name, curve in rows.items():
            for row, other in zip(curve, rows_again[name], strict=True):
                assert other == pytest.approx(row, rel=1e-4, abs=1e-8)
    assert {"delta_lin_global", "delta_lin_erm_global", "kl_mixed"} <= metrics.keys()
    assert "student/nl_scaled_global" in metrics
    assert "teacher/nl_scaled_global" not in metrics


def test_a_gain_is_the_difference_of_the_curves(networks: dict[str, nn.Module]) -> None:
    rows, _ = linearity_of(range(12), 12, networks).compute()
    for student, teacher in zip(rows["student"], rows["teacher"], strict=True):
        assert student["delta_lin"] == teacher["nl"] - student["nl"]


def test_processes_share_their_pairs(networks: dict[str, nn.Module]) -> None:
    """What torchmetrics gathers of two processes is as if one had seen all pairs."""
    parts = [linearity_of(range(7), 4, networks), linearity_of(range(7, 12), 2, networks)]
    whole = linearity_of(range(12), 12, networks)
    for state in whole._defaults:
        joined = [value for part in parts for value in getattr(part, state)]
        setattr(parts[0], state, joined)
    assert parts[0].compute()[1] == pytest.approx(whole.compute()[1], rel=1e-4, abs=1e-8)


def test_a_network_whose_logits_are_not_finite_is_named(networks: dict[str, nn.Module]) -> None:
    with torch.no_grad():
        networks["teacher"][2].bias[0] = math.inf  # type: ignore[index]
    with pytest.raises(NotFinite, match="the logits of teacher are not finite"):
        linearity_of(range(12), 12, networks).compute()
