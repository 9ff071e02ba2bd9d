import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from mixkd.losses.distillation import distillation, distillation_kl, mixed_cross_entropy
from mixkd.losses.divergences import divergence_of
from mixkd.losses.temperature import Sigma, check_temperature, soften, squared


def reference_kl(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> float:
    """KL from its definition, in float64, a row at a time."""
    total = 0.0
    for s, t in zip(student.double().tolist(), teacher.double().tolist(), strict=True):
        ps = [math.exp(x / temperature) for x in s]
        pt = [math.exp(x / temperature) for x in t]
        ps, pt = [p / sum(ps) for p in ps], [p / sum(pt) for p in pt]
        total += sum(b * math.log(b / a) for a, b in zip(ps, pt, strict=True))
    return total / len(student)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_kl_is_its_definition(temperature: float) -> None:
    student, teacher = 3 * torch.randn(7, 5), 3 * torch.randn(7, 5)
    expected = reference_kl(student, teacher, temperature)
    assert distillation_kl(student, teacher, temperature).item() == pytest.approx(
        expected, rel=1e-5
    )


def test_kl_by_hand() -> None:
    # p_t = (3/4, 1/4), p_s = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2).
    teacher, student = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert distillation_kl(student, teacher, 1.0).item() == pytest.approx(expected, abs=1e-7)


def test_kl_of_confident_networks_that_disagree_is_not_cut_off() -> None:
    # An epsilon of 1e-7 inside the log would give about 15.
    student, teacher = torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]])
    assert distillation_kl(student, teacher, 1.0).item() == pytest.approx(50.0, abs=1e-4)


def test_kl_counts_in_float32_whatever_comes_in() -> None:
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    half = distillation_kl(student.bfloat16(), teacher.bfloat16(), 2.0)
    full = distillation_kl(student.bfloat16().float(), teacher.bfloat16().float(), 2.0)
    assert half.dtype == torch.float32
    assert half.item() == full.item()


def test_sigma_divides_each_row_by_its_population_std() -> None:
    logits = torch.tensor([[1.0, 3.0, 5.0], [10.0, 30.0, 50.0]])
    std = math.sqrt(8 / 3)  # of 1, 3, 5
    expected = torch.tensor([[1.0, 3.0, 5.0]]) / std
    torch.testing.assert_close(soften(logits, "sigma"), expected.expand(2, 3))


def test_sigma_does_not_see_the_scale_of_either_network() -> None:
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    kl = distillation_kl(student, teacher, "sigma")
    torch.testing.assert_close(distillation_kl(9 * student, 0.1 * teacher, "sigma"), kl)


def test_sigma_of_constant_logits_is_finite_and_so_is_its_gradient() -> None:
    student = torch.zeros(2, 5, requires_grad=True)
    loss = distillation_kl(student, torch.full((2, 5), 3.0), "sigma")
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_mixed_cross_entropy_is_that_with_mixed_one_hot_labels() -> None:
    logits, lam = torch.randn(6, 4), torch.rand(6)
    label, partner = torch.randint(4, (6,)), torch.randint(4, (6,))
    one_hot = torch.nn.functional.one_hot
    target = lam[:, None] * one_hot(label, 4) + (1 - lam[:, None]) * one_hot(partner, 4)
    expected = torch.nn.functional.cross_entropy(logits, target)
    torch.testing.assert_close(mixed_cross_entropy(logits, label, partner, lam), expected)


def test_label_smoothing_is_torchs() -> None:
    logits, label = torch.randn(6, 4), torch.randint(4, (6,))
    expected = torch.nn.functional.cross_entropy(logits, label, label_smoothing=0.1)
    loss = mixed_cross_entropy(logits, label, label, torch.ones(6), smoothing=0.1)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(
    ("temperature", "t_squared", "alpha", "beta", "expected"),
    [
        (3.0, True, 0.0, 1.0, 9 * 0.5),  # alpha = 0 keeps T squared
        (3.0, True, 0.2, 0.5, 0.2 * 2.0 + 0.5 * 9 * 0.5),
        (3.0, False, 1.0, 1.0, 2.0 + 0.5),
        ("sigma", True, 0.0, 2.0, 2 * 0.5),  # sigma takes no T squared
    ],
)
def test_loss_is_alpha_ce_plus_beta_t_squared_kl(
    temperature: float, t_squared: bool, alpha: float, beta: float, expected: float
) -> None:
    ce, kd = torch.tensor(2.0), torch.tensor(0.5)
    losses = distillation(ce, kd, temperature, alpha=alpha, beta=beta, t_squared=t_squared)
    assert losses["loss"].item() == pytest.approx(expected)
    assert (losses["ce"], losses["kd"]) == (ce, kd)


LOGITS, LABEL, LAM = torch.zeros(4, 3), torch.zeros(4, dtype=torch.int64), torch.ones(4)
SCALAR = torch.tensor(1.0)


@pytest.mark.parametrize("temperature", [0, -1.0, math.inf, math.nan, True, "sgima", None, [2.0]])
def test_a_temperature_is_a_number_above_0_or_sigma(temperature: Any) -> None:
    calls = [
        lambda: soften(LOGITS, temperature),
        lambda: distillation_kl(LOGITS, LOGITS, temperature),
        lambda: distillation(SCALAR, SCALAR, temperature),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="takes a number above 0, or 'sigma'"):
            call()


def test_numbers_of_numpy_are_temperatures() -> None:
    for temperature in (np.float32(2), np.int64(2)):
        assert torch.equal(soften(LOGITS + 1, temperature), (LOGITS + 1) / 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: soften(LABEL, 2.0), r"logits of shape \[4\]; takes \[b, classes\]"),
        (lambda: distillation_kl(LOGITS, LOGITS[:2], 2.0), r"\[4, 3\] .* and \[2, 3\]"),
        (lambda: distillation_kl(LOGITS, LOGITS[:, :2], 2.0), r"\[4, 3\] .* and \[4, 2\]"),
        (lambda: mixed_cross_entropy(LOGITS, LABEL[:3], LABEL, LAM), "got shapes"),
        (lambda: mixed_cross_entropy(LOGITS, LABEL, LABEL[:, None], LAM), "got shapes"),
        (lambda: mixed_cross_entropy(LOGITS, LABEL, LABEL, LAM[:, None]), "got shapes"),
        (lambda: mixed_cross_entropy(LOGITS, LABEL, LABEL, LAM, 1.0), "a smoothing of 1.0"),
        (lambda: mixed_cross_entropy(LOGITS, LABEL, LABEL, LAM, -0.1), "a smoothing of -0.1"),
        (lambda: distillation(SCALAR, SCALAR, 2.0, alpha=-1), "alpha=-1"),
        (lambda: distillation(SCALAR, SCALAR, 2.0, beta=math.inf), "beta=inf"),
        (lambda: divergence_of("kll"), r"'kll'; takes dist, .*\(did you mean kl\?\)"),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_divergence_has_a_name() -> None:
    student, teacher = torch.randn(4, 6), torch.randn(4, 6)
    kl = divergence_of("kl")(student, teacher, temperature=3.0)
    assert torch.equal(kl, distillation_kl(student, teacher, 3.0))


def test_sigma_has_a_base_and_a_deviation() -> None:
    logits = torch.tensor([[1.0, 3.0, 5.0], [7.0, 7.0, 7.0]], dtype=torch.float64)
    population, sample = math.sqrt(8 / 3), 2.0  # of 1, 3, 5
    assert torch.equal(soften(logits, Sigma()), soften(logits, "sigma"))
    torch.testing.assert_close(soften(logits, Sigma(2.0))[0], logits[0] / (2 * population))
    by_sample = logits[0] / (3 * (sample + 1e-7))  # as logit standardisation's code has it
    torch.testing.assert_close(
        soften(logits, Sigma(3.0, "sample"))[0], by_sample, rtol=1e-12, atol=0
    )
    assert soften(logits, Sigma(2.0, "sample")).isfinite().all()


def test_sigma_is_squared_by_its_base() -> None:
    assert [squared(t) for t in (3, "sigma", Sigma(), Sigma(2.5, "sample"))] == [9, 1, 1, 6.25]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "temperature",
    [0, -1.0, math.inf, math.nan, True, "2", None, Sigma(0), Sigma(-2.0), Sigma(math.inf),
     Sigma("2"), Sigma(2.0, "sampel")],  # type: ignore[arg-type]
)  # fmt: skip
def test_what_is_no_temperature_is_refused(temperature: Any) -> None:
    with pytest.raises(ValueError, match=r"takes a number above 0, or 'sigma'|takes population or"):
        check_temperature(temperature)
