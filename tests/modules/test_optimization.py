import math

import pytest
import torch

from mixkd.config.tasks import FinetuneConfig
from mixkd.modules.optimization import Schedule, make_optimizer, make_schedule
from mixkd.request import request


def schedule(name: str, *overrides: str, lr: float = 0.1, epochs: int = 10) -> Schedule:
    cfg = request("finetune", ["network=resnet20", f"schedule={name}", *overrides])
    assert isinstance(cfg, FinetuneConfig)
    return make_schedule(cfg.schedule, lr, epochs)


def test_a_constant_schedule_keeps_its_rate() -> None:
    assert [schedule("constant").rate(e) for e in (0, 9)] == [0.1, 0.1]


def test_cosine_by_hand() -> None:
    s = schedule("cosine", "schedule.warmup_epochs=2", "schedule.min_lr=0.02", epochs=6)
    rates = [s.rate(e) for e in range(6)]
    middle = 0.02 + 0.08 / 2
    quarter = 0.08 * math.sqrt(2) / 4
    assert rates == pytest.approx(
        [0.1 / 3, 0.2 / 3, 0.1, middle + quarter, middle, middle - quarter]
    )


def test_cosine_by_step_by_hand() -> None:
    s = schedule("cosine", "schedule.by=step", "schedule.min_lr=0.02", epochs=3)
    rates = [s.rate(epoch, step, 2) for epoch in range(3) for step in range(2)]
    middle, quarter = 0.06, 0.04 * math.sqrt(2) / 2
    expected = [0.1 / 3, 0.2 / 3, 0.1, middle + quarter, middle, middle - quarter]
    assert rates == pytest.approx(expected)


def test_piecewise_by_step_is_the_papers_schedule() -> None:
    s = schedule("piecewise", "schedule.by=step", "schedule.stretch=false", epochs=500)
    assert s.rate(10, 0, 4) == pytest.approx(5e-4)
    assert s.rate(5, 2, 4) == pytest.approx(1e-5 + 4.9e-4 * 0.55)
    stretched = schedule("piecewise", "schedule.by=step", epochs=20)
    assert stretched.rate(0, 0, 4) == 1e-5
    assert stretched.rate(19, 3, 4) == pytest.approx(1e-5, rel=1e-3)


def test_piecewise_is_the_papers_schedule() -> None:
    s = schedule("piecewise", epochs=500)
    expected = {0: 1e-5, 5: (1e-5 + 5e-4) / 2, 10: 5e-4, 30: 3e-4, 50: 1e-4, 125: 7.5e-5, 200: 5e-5}
    assert {e: s.rate(e) for e in expected} == pytest.approx(expected)
    assert s.rate(499) == pytest.approx(1e-5, rel=1e-3)


def test_piecewise_stretches_to_the_length_of_the_run() -> None:
    short, whole = schedule("piecewise", epochs=20), schedule("piecewise", epochs=500)
    assert short.rate(0) == whole.rate(0)
    assert short.rate(19) == pytest.approx(whole.rate(499))
    unstretched = schedule("piecewise", "schedule.stretch=false", epochs=20)
    assert unstretched.rate(10) == pytest.approx(5e-4)


def keras_plateau(
    losses: list[float], lr: float, factor: float, patience: int, delta: float, floor: float
) -> list[float]:
    """The rule of Keras's ReduceLROnPlateau, from its documentation."""
    best, wait, rates = math.inf, 0, []
    for loss in losses:
        if loss < best - delta:
            best, wait = loss, 0
        else:
            wait += 1
            if wait >= patience:
                lr, wait = max(lr * factor, floor), 0
        rates.append(lr)
    return rates


@pytest.mark.parametrize("patience", [1, 3])
def test_plateau_counts_as_keras_does(patience: int) -> None:
    generator = torch.Generator().manual_seed(0)
    losses = (1 + torch.rand(40, generator=generator) / (1 + torch.arange(40) / 8)).tolist()
    s = schedule("plateau", f"schedule.patience={patience}", "schedule.min_lr=0.04")
    rates = []
    for loss in losses:
        s.epoch_ended(loss)
        rates.append(s.rate(0))
    assert rates == pytest.approx(keras_plateau(losses, 0.1, 0.9, patience, 1e-4, 0.04))


def test_plateau_resumes() -> None:
    whole, first, second = (schedule("plateau") for _ in range(3))
    losses = [1.0, 0.9, 0.95, 0.94, 0.8, 0.81, 0.82]
    for loss in losses:
        whole.epoch_ended(loss)
    for loss in losses[:3]:
        first.epoch_ended(loss)
    second.load_state_dict(first.state_dict())
    for loss in losses[3:]:
        second.epoch_ended(loss)
    assert second.rate(0) == whole.rate(0) < 0.1


@pytest.mark.parametrize(
    ("name", "optimizer_class"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_optimizers_are_torchs(name: str, optimizer_class: type) -> None:
    overrides = [
        "network=resnet20",
        f"optimizer={name}",
        "optimizer.lr=0.3",
        "optimizer.weight_decay=0.01",
    ]
    cfg = request("finetune", overrides)
    assert isinstance(cfg, FinetuneConfig)
    optimizer = make_optimizer(cfg.optimizer, [torch.nn.Parameter(torch.zeros(2))])
    assert type(optimizer) is optimizer_class
    assert optimizer.defaults["lr"] == 0.3
    assert optimizer.defaults["weight_decay"] == 0.01
