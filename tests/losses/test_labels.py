"""Losses from labels, against their formulas computed apart, in float64."""

import math
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixkd.config.shipped import label_losses, shipped_values
from mixkd.data.batches import ordinary_batch
from mixkd.losses.labels import label_loss_of
from mixkd.losses.labels.confidence_penalty import confidence_penalty
from mixkd.losses.labels.focal import focal
from mixkd.losses.labels.label_smoothing import label_smoothing
from mixkd.losses.labels.margin import margin
from mixkd.modules.supervised import Supervised
from mixkd.vicinal import Mixing

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 6 * torch.randn(8, 5, generator=GENERATOR, dtype=torch.float64)
LABEL = torch.randint(0, 5, (8,), generator=GENERATOR)
PARTNER = torch.randint(0, 5, (8,), generator=GENERATOR)
LAM = torch.rand(8, generator=GENERATOR, dtype=torch.float64)
ONES = torch.ones(8, dtype=torch.float64)
HALVES = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()


def by_rows(of_row: Callable[[list[float], int], float]) -> float:
    """Return the mean over the batch of a loss of a row of logits and one class."""
    rows = zip(LOGITS.tolist(), LABEL.tolist(), strict=True)
    return sum(of_row(row, y) for row, y in rows) / 8


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(z - max(row)) for z in row]
    return [power / sum(powers) for power in powers]


def ce(row: list[float], y: int) -> float:
    return -math.log(softmax(row)[y])


def test_focal_is_the_published_one() -> None:
    """torrvision/focal_calibration, Losses/focal_loss.py: -(1 - p)^gamma log p."""
    for gamma in (0.0, 0.5, 1.0, 3.0):
        value = by_rows(lambda row, y: (1 - softmax(row)[y]) ** gamma * ce(row, y))  # noqa: B023
        loss = focal(LOGITS, LABEL, LABEL, ONES, gamma=gamma)
        assert loss.item() == pytest.approx(value, rel=1e-9)


def test_focal_by_hand() -> None:
    one = torch.ones(1, dtype=torch.float64)
    of = [focal(HALVES, torch.tensor([y]), torch.tensor([y]), one, gamma=2.0) for y in (0, 1)]
    assert of[0].item() == pytest.approx(math.log(2) / 4)
    assert of[1].item() == pytest.approx(math.log(4) * 9 / 16)
    mixed = focal(HALVES, torch.tensor([0]), torch.tensor([1]), 0.3 * one, gamma=2.0)
    assert mixed.item() == pytest.approx(0.3 * of[0].item() + 0.7 * of[1].item())


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 3.0])
def test_focal_has_a_gradient_where_the_network_is_sure(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [30.0, 0.0, 0.0]], requires_grad=True)
    label = torch.tensor([0, 0])
    focal(logits, label, label, torch.ones(2), gamma=gamma).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_the_confidence_penalty_by_hand() -> None:
    def of_row(row: list[float], y: int) -> float:
        return ce(row, y) + 0.3 * sum(p * math.log(p) for p in softmax(row))

    loss = confidence_penalty(LOGITS, LABEL, LABEL, ONES, weight=0.3)
    assert loss.item() == pytest.approx(by_rows(of_row), rel=1e-9)
    # CE by lambda; H = 1.5 log 2 whatever the labels are.
    label, partner, lam = torch.tensor([0]), torch.tensor([1]), torch.tensor([0.25])
    mixed = confidence_penalty(HALVES, label, partner, lam, weight=0.1)
    assert mixed.item() == pytest.approx((0.25 + 0.75 * 2 - 0.15) * math.log(2))


def test_margin_is_the_published_one() -> None:
    """by-liu/MbLS at 2c92990, LogitMarginL1: the mean over images and classes."""

    def of_row(row: list[float], y: int) -> float:
        return ce(row, y) + 0.3 * sum(max(0.0, max(row) - z - 4) for z in row) / 5

    loss = margin(LOGITS, LABEL, LABEL, ONES, margin=4.0, weight=0.3)
    assert loss.item() == pytest.approx(by_rows(of_row), rel=1e-9)
    logits = torch.tensor([[0.0, -12.0, -15.0]], dtype=torch.float64, requires_grad=True)
    label, partner, lam = torch.tensor([0]), torch.tensor([1]), torch.tensor([0.75])
    mixed = margin(logits, label, partner, lam)
    rest = math.log(1 + math.exp(-12) + math.exp(-15))
    assert mixed.item() == pytest.approx(rest + 0.25 * 12 + 0.1 * 7 / 3)
    mixed.backward()
    p, target = softmax([0.0, -12.0, -15.0]), [0.75, 0.25, 0.0]
    by_hand = [q - t + 0.1 * g / 3 for q, t, g in zip(p, target, (2, -1, -1), strict=True)]
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx(by_hand)


def test_label_smoothing_is_torchs_and_timms() -> None:
    expected = nn.functional.cross_entropy(LOGITS, LABEL, label_smoothing=0.2)
    loss = label_smoothing(LOGITS, LABEL, LABEL, ONES, smoothing=0.2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    # The target of timm 1.0.31's Mixup: label_smoothing 0.1, lam 0.71875, classes 4 and 2 of 10.
    target = torch.full((10,), 0.01, dtype=torch.float64)
    target[4], target[2] = 0.656875, 0.263125
    logits = torch.randn(1, 10, generator=GENERATOR, dtype=torch.float64)
    lam = torch.tensor([0.71875])
    loss = label_smoothing(logits, torch.tensor([4]), torch.tensor([2]), lam, smoothing=0.1)
    assert loss.item() == pytest.approx(-(target * logits.log_softmax(dim=1)).sum().item())


@pytest.mark.parametrize("name", label_losses())
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    loss = label_loss_of(name)
    assert torch.autograd.gradcheck(lambda z: loss(z, LABEL, PARTNER, LAM), (logits,))


@pytest.mark.parametrize("name", label_losses())
def test_a_loss_computes_in_float32_or_in_float64(name: str) -> None:
    loss = label_loss_of(name)
    value = loss(LOGITS, LABEL, PARTNER, LAM)
    assert value.dtype == torch.float64
    for dtype in (torch.float32, torch.bfloat16):
        lower = loss(LOGITS.to(dtype), LABEL, PARTNER, LAM.float())
        assert lower.dtype == torch.float32
        assert lower.item() == pytest.approx(
            value.item(), rel=1e-5 if dtype == torch.float32 else 0.05
        )


@pytest.mark.parametrize("name", label_losses())
def test_lambda_weighs_both_classes(name: str) -> None:
    loss = label_loss_of(name)
    of_label, of_partner = (loss(LOGITS, y, y, ONES) for y in (LABEL, PARTNER))
    assert loss(LOGITS, LABEL, PARTNER, ONES) == pytest.approx(of_label)
    mixed = loss(LOGITS, LABEL, PARTNER, 0.25 * ONES)
    assert mixed.item() == pytest.approx((0.25 * of_label + 0.75 * of_partner).item())


@pytest.mark.parametrize("name", label_losses())
def test_a_method_has_the_name_and_the_defaults_of_its_loss(name: str) -> None:
    values = shipped_values("method", name)
    parameters = [*signature(label_loss_of(name)).parameters.values()]
    assert [p.name for p in parameters[:4]] == ["logits", "label", "partner", "lam"]
    assert values["name"] == name
    assert values["args"] == {p.name: p.default for p in parameters[4:]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: focal(LOGITS, LABEL, PARTNER, LAM, gamma=-1), "got gamma=-1; takes a number, 0"),
        (lambda: focal(LOGITS, LABEL, PARTNER, LAM, gamma=math.nan), "got gamma=nan"),
        (lambda: margin(LOGITS, LABEL, PARTNER, LAM, margin=-1), "got margin=-1"),
        (lambda: margin(LOGITS, LABEL, PARTNER, LAM, weight=-1), "got weight=-1"),
        (lambda: confidence_penalty(LOGITS, LABEL, PARTNER, LAM, weight="x"), "got weight='x'"),
        (lambda: label_smoothing(LOGITS, LABEL, PARTNER, LAM, smoothing=1), "a smoothing of 1"),
        (lambda: label_loss_of("focl"), r"got loss 'focl'; takes .* \(did you mean focal\?\)"),
        (lambda: supervised(loss="focal", label_smoothing=0.1), "beside another loss; takes 0"),
        (lambda: supervised(loss="focl"), "got loss 'focl'"),
    ],
)
def test_what_is_no_loss_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def supervised(**options: Any) -> Supervised:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    return Supervised(network, mixing=Mixing("uniform"), **options).eval()


def test_a_module_minimises_the_loss_that_it_is_given() -> None:
    images = torch.rand(8, 3, 2, 2)
    batch = ordinary_batch(images, LABEL, Mixing("uniform"), seed=0, epoch=0, step=0)
    usual = supervised().losses(batch)
    assert torch.equal(usual["loss"], usual["ce"])
    logits = supervised()(batch.mixed)
    expected = focal(logits, batch.label, batch.partner_label, batch.lam)

    def brought(logits: Tensor, label: Tensor, *, lam: Tensor, partner: Tensor) -> Tensor:
        return focal(logits, label, partner, lam)

    for loss in ("focal", partial(focal, gamma=3.0), brought):
        losses = supervised(loss=loss).losses(batch)
        assert torch.equal(losses["loss"], expected)
        assert torch.equal(losses["ce"], usual["ce"])
