"""What divergences that ask for a class are on mixed images, restated in plain floats."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mixkd.losses.divergences import divergence_of

GENERATOR = torch.Generator().manual_seed(0)
STUDENT, TEACHER = 3 * torch.randn(2, 7, 5, generator=GENERATOR, dtype=torch.float64)
LABEL = torch.tensor([0, 1, 2, 3, 4, 0, 1])
PARTNER = torch.tensor([1, 1, 4, 0, 4, 2, 3])  # twice the same class
LAM = torch.tensor([0.9, 0.3, 0.5, 0.25, 0.75, 0.0, 1.0], dtype=torch.float64)
T = 2.0
NAMES = ("dkd", "nkd", "wsld")

Row = list[float]


def softmax(row: Row, temperature: float = 1.0) -> Row:
    powers = [math.exp(z / temperature) for z in row]
    return [power / sum(powers) for power in powers]


def kl(q: Row, p: Row) -> float:
    return sum(b * math.log(b / a) for b, a in zip(q, p, strict=True))


def without(row: Row, y: int) -> Row:
    return [z for k, z in enumerate(row) if k != y]


def dkd(student: Row, teacher: Row, y: int) -> float:
    p, q = softmax(student, T), softmax(teacher, T)
    target = kl([q[y], 1 - q[y]], [p[y], 1 - p[y]])
    return 2 * target + 3 * kl(softmax(without(teacher, y), T), softmax(without(student, y), T))


def nkd(student: Row, teacher: Row, y: int) -> float:
    others = zip(softmax(without(teacher, y), T), softmax(without(student, y), T), strict=True)
    cross = -sum(b * math.log(a) for b, a in others)
    return -softmax(teacher)[y] * math.log(softmax(student)[y]) + 0.5 * T**2 * cross


def wsld(student: Row, teacher: Row, y: int, partner: int, lam: float) -> float:
    """Both classes are within the weight, of which there is one an image."""
    of_student, of_teacher = (
        -lam * math.log(p[y]) - (1 - lam) * math.log(p[partner])
        for p in (softmax(student), softmax(teacher))
    )
    pairs = zip(softmax(teacher, T), softmax(student, T), strict=True)
    cross = -sum(b * math.log(a) for b, a in pairs)
    return (1 - math.exp(-of_student / (of_teacher + 1e-7))) * cross


def either(of_class: Callable[[Row, Row, int], float]) -> Callable[..., float]:
    def loss(student: Row, teacher: Row, y: int, partner: int, lam: float) -> float:
        one, other = (of_class(student, teacher, k) for k in (y, partner))
        return lam * one + (1 - lam) * other

    return loss


OPTIONS: dict[str, dict[str, float]] = {"dkd": {"alpha": 2.0, "beta": 3.0}, "nkd": {"gamma": 0.5},
                                        "wsld": {}}  # fmt: skip
BY_HAND = {"dkd": either(dkd), "nkd": either(nkd), "wsld": wsld}


def loss(name: str, **given: Any) -> Tensor:
    return divergence_of(name)(STUDENT, TEACHER, temperature=T, **OPTIONS[name], **given)


@pytest.mark.parametrize("name", NAMES)
def test_both_classes_count_by_lambda(name: str) -> None:
    """Of each image: the lambdas of a batch differ."""
    columns = (x.tolist() for x in (STUDENT, TEACHER, LABEL, PARTNER, LAM))
    rows = [BY_HAND[name](*row) for row in zip(*columns, strict=True)]
    value = loss(name, label=LABEL, partner=PARTNER, lam=LAM)
    assert value.item() == pytest.approx(sum(rows) / len(rows), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_partner_it_is_the_loss_of_the_label(name: str) -> None:
    alone = loss(name, label=LABEL).item()
    for partner, lam in ((PARTNER, torch.ones_like(LAM)), (LABEL, LAM)):
        assert loss(name, label=LABEL, partner=partner, lam=lam).item() == pytest.approx(alone)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_and_its_partner_are_alike(name: str) -> None:
    one = loss(name, label=LABEL, partner=PARTNER, lam=LAM)
    other = loss(name, label=PARTNER, partner=LABEL, lam=1 - LAM)
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    student = STUDENT[:3].clone().requires_grad_()

    def of_student(student: Tensor) -> Tensor:
        given = {"label": LABEL[:3], "partner": PARTNER[:3], "lam": LAM[:3]}
        return divergence_of(name)(student, TEACHER[:3], temperature=T, **given)

    if name == "wsld":  # no gradient goes through its weight, which differences would see
        with pytest.raises(RuntimeError, match="Jacobian mismatch"):
            torch.autograd.gradcheck(of_student, (student,))
    else:
        assert torch.autograd.gradcheck(of_student, (student,))


@pytest.mark.parametrize("name", ["dkd", "nkd"])
@pytest.mark.parametrize("given", [{"partner": PARTNER}, {"lam": LAM}])
def test_a_partner_without_lambda_is_refused(name: str, given: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="takes both, or neither without mixing"):
        loss(name, label=LABEL, **given)


@pytest.mark.parametrize("name", ["kl", "dist", "mse", "ttm", "wttm"])
def test_other_divergences_ask_for_no_class(name: str) -> None:
    from mixkd.modules.comparison import taken_by

    assert set(taken_by(divergence_of(name))) <= {"temperature", "t_squared"}
