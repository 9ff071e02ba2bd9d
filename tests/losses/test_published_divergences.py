"""Divergences of logits give what the published codes gave."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from mixkd.losses.divergences import divergence_of
from mixkd.losses.temperature import Sigma, squared
from tests.losses.published import LOSSES, assert_published, inputs

T4, T2, T1 = {"temperature": 4.0}, {"temperature": 2.0}, {"temperature": 1.0}

# Of a case its divergence, its arguments, and what the code multiplies beside T squared.
CASES: dict[str, tuple[str, dict[str, Any], float]] = {
    "kd_T4": ("kl", T4, 1),
    "kd_T1": ("kl", T1, 1),
    "dkd_a1_b8_T4": ("dkd", {**T4, "alpha": 1.0, "beta": 8.0}, 1),
    "dkd_tckd_T4": ("dkd", {**T4, "alpha": 1.0, "beta": 0.0}, 1),
    "dkd_nckd_T4": ("dkd", {**T4, "alpha": 0.0, "beta": 1.0}, 1),
    "dkd_a1_b8_T1": ("dkd", T1, 1),
    "dkd_a1_b8_T0.25": ("dkd", {"temperature": 0.25}, 1),
    "dist_b1_g1_tau1": ("dist", T1, 1),
    "dist_inter_tau1": ("dist", {**T1, "beta": 1.0, "gamma": 0.0}, 1),
    "dist_intra_tau1": ("dist", {**T1, "beta": 0.0, "gamma": 1.0}, 1),
    "dist_b1_g1_tau4": ("dist", T4, 1),
    "dist_inter_tau4": ("dist", {**T4, "gamma": 0.0}, 1),
    "dist_intra_tau4": ("dist", {**T4, "beta": 0.0}, 1),
    "nkd_g1.5_T1": ("nkd", T1, 1),
    "nkd_g1.5_T2": ("nkd", {**T2, "gamma": 1.5}, 1),
    "wsld_T4_a2.25": ("wsld", T4, 2.25),
    "wsld_T2_a2.5": ("wsld", T2, 2.5),
    "ttm_l0.1": ("ttm", {"temperature": 1 / 0.1}, 1),
    "wttm_l0.2": ("wttm", {"temperature": 1 / 0.2}, 1),
    "logit_mse": ("mse", {"temperature": 3.0}, 1),
    "lskd_kd_T2": ("kl", {"temperature": Sigma(2.0, "sample")}, 1),
    "lskd_kd_T4": ("kl", {"temperature": Sigma(4.0, "sample")}, 1),
    "lskd_dkd_T2_a9_b72": (
        "dkd", {"temperature": Sigma(2.0, "sample"), "alpha": 9.0, "beta": 72.0}, 1,
    ),
}  # fmt: skip

SETS = ("c100", "c10x20")
OF_LABELS = ("dkd", "nkd", "wsld")
WITHOUT_T_SQUARED = ("nkd", "ttm", "wttm")


def case_of(name: str, label: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a case as its code has it, with its factors."""
    divergence, options, factor = CASES[name]
    if divergence not in WITHOUT_T_SQUARED:
        factor *= squared(options["temperature"])
    given = {"label": label} if divergence in OF_LABELS else {}
    loss = partial(divergence_of(divergence), **options, **given)
    return lambda student, teacher: factor * loss(student, teacher)


@pytest.mark.parametrize("name", [key for key in LOSSES if key.startswith(SETS)])
def test_a_divergence_is_the_published_one(name: str) -> None:
    """`c100`: 100 classes; `c10x20`: 10, logits of 20 times the size."""
    logits, case = name.split(" ")
    *given, label = inputs(*(f"{logits}_{part}" for part in ("student", "teacher", "labels")))
    assert_published(name, case_of(case, label), *given)


def test_every_divergence_has_a_published_case() -> None:
    names = {"kl", "dkd", "dist", "nkd", "wsld", "mse", "ttm", "wttm"}
    assert {divergence for divergence, _, _ in CASES.values()} == names
    assert {f"c10x20 {case}" for case in CASES} == {k for k in LOSSES if k.startswith("c10x20")}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("logits", SETS)
def test_float32_is_finite_and_near(logits: str, case: str) -> None:
    """Where the published code is infinite, too: DKD's, of logits far apart."""
    student, teacher, label = inputs(
        *(f"{logits}_{part}" for part in ("student", "teacher", "labels"))
    )
    loss = case_of(case, label)
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert value.item() == pytest.approx(loss(student.double(), teacher.double()).item(), rel=5e-5)


@pytest.mark.parametrize("name", ["dkd", "nkd", "wsld"])
def test_a_network_that_is_sure_leaves_a_finite_gradient(name: str) -> None:
    """200 to 0 is beyond what a float32 exponential holds, for either network."""
    student = torch.tensor([[0.0, 1.0, 2.0], [200.0, 0.0, 1.0]], requires_grad=True)
    teacher = torch.tensor([[200.0, 0.0, 1.0], [1.0, 200.0, 0.0]])
    divergence_of(name)(student, teacher, **T1, label=torch.tensor([0, 0])).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
