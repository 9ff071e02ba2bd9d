import math
from typing import Any

import pytest
import torch
from torch import nn

from mixkd.config.tasks import FinetuneConfig
from mixkd.errors import UserError
from mixkd.modules.optimization import Schedule, make_optimizer, make_schedule, optimization
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


def torchs(scheduler: type, steps: int, lr: float = 0.1, **options: Any) -> list[float]:
    """Return the rates of so many steps under a scheduler of torch's."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=lr, momentum=0.9)
    made, rates = scheduler(optimizer, **options), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return rates


@pytest.mark.parametrize("options", [{}, {"pct_start": 0.05, "div_factor": 7.0}])
@pytest.mark.parametrize(("epochs", "steps"), [(6, 7), (1, 3), (40, 1)])
def test_one_cycle_is_torchs(epochs: int, steps: int, options: dict[str, float]) -> None:
    s = schedule("onecycle", *(f"schedule.{k}={v}" for k, v in options.items()), epochs=epochs)
    rates = [s.rate(epoch, step, steps) for epoch in range(epochs) for step in range(steps)]
    # torch takes one step more than there are rates.
    one_cycle = {"max_lr": 0.1, "total_steps": epochs * steps, **options}
    expected = torchs(torch.optim.lr_scheduler.OneCycleLR, epochs * steps - 1, **one_cycle)
    assert rates[:-1] == pytest.approx(expected)
    assert rates[-1] == pytest.approx(0.1 / options.get("div_factor", 25.0) / 1e4)


def test_one_cycle_by_epoch() -> None:
    by_epoch = schedule("onecycle", "schedule.by=epoch")
    by_step = schedule("onecycle")
    assert [by_epoch.rate(e, 3, 7) for e in range(10)] == [by_step.rate(e) for e in range(10)]


def test_multistep_is_torchs() -> None:
    s = schedule("multistep", epochs=240)
    rates = [s.rate(epoch, 5, 10) for epoch in range(240)]
    multistep = torch.optim.lr_scheduler.MultiStepLR
    assert rates == pytest.approx(torchs(multistep, 240, milestones=[150, 180, 210]))
    assert rates[149] == 0.1
    assert rates[150] == pytest.approx(0.01)


def test_multistep_stretches_to_the_length_of_the_run() -> None:
    short, whole = schedule("multistep", epochs=24), schedule("multistep", epochs=240)
    assert [short.rate(e) for e in range(24)] == [whole.rate(10 * e) for e in range(24)]
    overrides = ["schedule.stretch=false", "schedule.milestones=[2,5]", "schedule.gamma=0.5"]
    s = schedule("multistep", *overrides, "trainer.max_epochs=8", epochs=8)
    assert [s.rate(e) for e in range(8)] == [0.1] * 2 + [0.05] * 3 + [0.025] * 3


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


def options(*overrides: str) -> dict[str, Any]:
    """Return how a network of two layers learns, as a command configures it."""
    cfg = request("finetune", ["network=resnet20", "trainer.max_epochs=4", *overrides])
    assert isinstance(cfg, FinetuneConfig)
    return optimization(cfg, nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)))


def two_rates(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """An optimizer of one's own: biases learn at a tenth of the rate."""
    weights, biases = ([p for p in parameters if p.ndim == n] for n in (2, 1))
    groups = [{"params": biases, "lr": lr / 10}, {"params": weights}]
    return torch.optim.SGD(groups, lr=lr)


def test_timms_optimizers_by_name() -> None:
    made = options("optimizer=timm", "optimizer.name=lion", "optimizer.args={betas: [0.8, 0.9]}")
    optimizer = made["optimizer"]([nn.Parameter(torch.zeros(2))])
    assert type(optimizer).__name__ == "Lion"
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert optimizer.param_groups[0]["betas"] == [0.8, 0.9]


def test_a_schedule_begins_at_the_rate_of_an_optimizer_of_ones_own() -> None:
    own = [f"optimizer.factory={__name__}.two_rates", "optimizer.args.lr=0.2"]
    made = options(*own, "schedule=constant")
    parameters = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
    assert [group["lr"] for group in made["optimizer"](parameters).param_groups] == [0.02, 0.2]
    assert made["schedule"].rate(3) == 0.2  # which was not made of its first group's


def test_a_schedule_of_ones_own_is_made_of_the_optimizer() -> None:
    made = options(
        "schedule._target_=torch.optim.lr_scheduler.OneCycleLR", "schedule.max_lr=0.3",
        "schedule.by=step",
    )  # fmt: skip
    assert made["schedule_by"] == "step"
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=0.1, momentum=0.9)
    scheduler = made["schedule"](optimizer, total_steps=7)
    assert scheduler.total_steps == 7


@pytest.mark.parametrize(
    ("overrides", "key", "message"),
    [
        (["optimizer=timm", "optimizer.name=lino"], "optimizer.name", "did you mean lion"),
        (["optimizer=timm", "optimizer.name=lion", "optimizer.args={rho: 1}"], "optimizer.args",
         "timm's lion does not take"),
        (["optimizer._target_=torch.optim.SGD", "optimizer.momentun=0.9"],
         "optimizer.args.momentun", "did you mean momentum"),
        (["optimizer._target_=builtins.repr"], "optimizer", "takes an optimizer"),
        (["schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"], "schedule",
         "PlateauSchedule, schedule=plateau"),
        (["schedule._target_=builtins.repr"], "schedule", "takes a scheduler"),
        (["schedule._target_=torch.optim.lr_scheduler.StepLR"], "schedule.args",
         "needs step_size"),
    ],
)  # fmt: skip
def test_what_is_no_optimizer_or_schedule_is_told(
    overrides: list[str], key: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        options(*overrides)
    assert caught.value.problems[0].key == key
