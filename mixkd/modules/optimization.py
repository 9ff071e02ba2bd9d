"""Optimizers and learning-rate schedules. Rates change between epochs, or at every step."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers  # type: ignore[attr-defined]
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from mixkd.config.tasks import DistillConfig, FinetuneConfig
from mixkd.config.training import (
    AdamConfig,
    ConstantConfig,
    CosineConfig,
    MultistepConfig,
    OneCycleConfig,
    OptimizerConfig,
    OwnOptimizerConfig,
    OwnScheduleConfig,
    PiecewiseConfig,
    PlateauConfig,
    SGDConfig,
    TimmOptimizerConfig,
)
from mixkd.errors import Unfit, UserError, first_line, nearest
from mixkd.parts import FAILURES, made


def make_optimizer(cfg: OptimizerConfig, parameters: Iterable[torch.nn.Parameter]) -> Optimizer:
    """Return the configured optimizer over parameters.

    Raises:
        UserError: if the user's own makes none, or timm has none of that name.
    """
    parameters = list(parameters)
    match cfg:
        case SGDConfig():
            return torch.optim.SGD(
                parameters, cfg.lr, momentum=cfg.momentum, nesterov=cfg.nesterov,
                weight_decay=cfg.weight_decay, fused=cfg.fused,
            )  # fmt: skip
        case AdamConfig():
            adam = torch.optim.Adam if cfg.name == "adam" else torch.optim.AdamW
            b1, b2 = cfg.betas
            return adam(
                parameters, cfg.lr, betas=(b1, b2), weight_decay=cfg.weight_decay, fused=cfg.fused
            )
        case TimmOptimizerConfig():
            return _timm_optimizer(cfg, parameters)
        case OwnOptimizerConfig():
            return checked_optimizer(made(cfg, "optimizer", parameters), cfg.factory)


def _timm_optimizer(
    cfg: TimmOptimizerConfig, parameters: Sequence[torch.nn.Parameter]
) -> Optimizer:
    names = list(map(str, list_optimizers()))
    if cfg.name.lower() not in names:
        close = nearest(cfg.name, names)
        raise UserError.of("optimizer.name", f"timm has no optimizer {cfg.name!r}{close}")
    try:
        return create_optimizer_v2(
            parameters, opt=cfg.name, lr=cfg.lr, weight_decay=cfg.weight_decay, **cfg.args
        )
    except FAILURES as error:
        text = f"timm's {cfg.name} does not take {cfg.args}: {first_line(error)}"
        raise UserError.of("optimizer.args", text) from error


def checked_optimizer(optimizer: object, source: str = "it") -> Optimizer:
    """Return an optimizer of torch's kind, whose groups of parameters have rates.

    Raises:
        Unfit: if what `source` gives is none.
    """
    if not isinstance(optimizer, Optimizer):
        text = f"{source} gives {type(optimizer).__name__}; takes an optimizer of torch's kind"
        raise Unfit.of("optimizer", text)
    if not all("lr" in group for group in optimizer.param_groups):
        text = f"{source} gives {type(optimizer).__name__} without a rate, lr, which is scheduled"
        raise Unfit.of("optimizer", text)
    return optimizer


def checked_scheduler(scheduler: object, source: str = "it") -> LRScheduler:
    """Return a scheduler of torch's kind that resumes.

    Raises:
        Unfit: if what `source` gives is none, or one that waits for a metric.
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        text = f"{source} gives ReduceLROnPlateau, whose steps a checkpoint may lack; "
        raise Unfit.of("schedule", text + "take mixkd's PlateauSchedule, schedule=plateau")
    if not isinstance(scheduler, LRScheduler):
        text = f"{source} gives {type(scheduler).__name__}; takes a scheduler of torch's kind"
        raise Unfit.of("schedule", text)
    return scheduler


class Schedule(ABC):
    """The learning rate of each step."""

    @abstractmethod
    def rate(self, epoch: int, step: int = 0, steps: int = 1) -> float:
        """Return the rate of a step.

        Args:
            epoch: counted from 0.
            step: of the epoch, counted from 0.
            steps: in every epoch.
        """

    def epoch_ended(self, nll: float) -> None:  # noqa: B027 - most schedules have nothing to note
        """Take note of an epoch's held-out NLL, in nats; by default nothing changes."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs; by default the epoch says it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Continue from `state_dict`."""


class FixedSchedule(Schedule):
    """A rate for each epoch, chosen in advance.

    Examples:
        >>> from mixkd import FixedSchedule
        >>> FixedSchedule([0.1, 0.1, 0.01]).rate(epoch=2)
        0.01
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates = rates

    def rate(self, epoch: int, step: int = 0, steps: int = 1) -> float:
        """Return the rate of the step's epoch."""
        return self.rates[epoch]


class SteppedSchedule(Schedule):
    """A rate for each step, chosen in advance.

    Args:
        rate_at: maps a step, counted from 0 over all epochs, and the steps in an epoch to a rate.

    Examples:
        >>> from mixkd import SteppedSchedule
        >>> schedule = SteppedSchedule(lambda step, steps: 0.1 * min(1, (step + 1) / (2 * steps)))
        >>> round(schedule.rate(epoch=1, step=5, steps=10), 3)
        0.08
    """

    def __init__(self, rate_at: Callable[[int, int], float]) -> None:
        self._rate_at = rate_at

    def rate(self, epoch: int, step: int = 0, steps: int = 1) -> float:
        """Return the rate of the step."""
        return self._rate_at(epoch * steps + step, steps)


class PlateauSchedule(Schedule):
    """torch's ReduceLROnPlateau on the held-out NLL, stepped after each epoch.

    `patience` counts as in Keras, which the paper's authors used: the rate falls at the end of the
    patience-th epoch in a row without improvement. torch's falls one epoch later.

    Examples:
        >>> from mixkd import PlateauSchedule
        >>> schedule = PlateauSchedule(0.1, factor=0.5, patience=1)
        >>> for nll in (2.0, 1.5, 1.6):
        ...     schedule.epoch_ended(nll)
        >>> schedule.rate()
        0.05
    """

    def __init__(
        self, lr: float, *, factor: float, patience: int, min_delta: float = 0.0,
        min_lr: float = 0.0,
    ) -> None:  # fmt: skip
        self._holder = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=lr)
        self._plateau = ReduceLROnPlateau(
            self._holder,
            factor=factor,
            patience=patience - 1,
            threshold=min_delta,
            threshold_mode="abs",
            min_lr=min_lr,
        )

    def rate(self, epoch: int = 0, step: int = 0, steps: int = 1) -> float:
        """Return the rate as it stands."""
        return float(self._holder.param_groups[0]["lr"])

    def epoch_ended(self, nll: float) -> None:
        """Lower the rate if the NLL has stopped falling."""
        self._plateau.step(nll)

    def state_dict(self) -> dict[str, Any]:
        """Return the rate and the plateau's counters."""
        return {"lr": self.rate(), "plateau": self._plateau.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._holder.param_groups[0]["lr"] = state["lr"]
        self._plateau.load_state_dict(state["plateau"])


def make_schedule(
    cfg: ConstantConfig
    | CosineConfig
    | PlateauConfig
    | PiecewiseConfig
    | MultistepConfig
    | OneCycleConfig,
    lr: float,
    epochs: int,
) -> Schedule:
    """Return the configured schedule of so many epochs, whose peak rate is `lr`."""
    match cfg:
        case ConstantConfig():
            return FixedSchedule([lr] * epochs)
        case CosineConfig():
            return _shaped(partial(cosine_rate, cfg, lr, epochs), cfg.by, epochs)
        case PiecewiseConfig():
            return _shaped(partial(piecewise_rate, cfg, epochs), cfg.by, epochs)
        case MultistepConfig():
            return FixedSchedule([multistep_rate(cfg, lr, epochs, e) for e in range(epochs)])
        case OneCycleConfig():
            return _shaped(partial(onecycle_rate, cfg, lr, epochs), cfg.by, epochs)
        case PlateauConfig():
            return PlateauSchedule(lr, **cfg.model_dump(exclude={"name"}))


def _shaped(rate_at: Callable[[int, int], float], by: str, epochs: int) -> Schedule:
    if by == "step":
        return SteppedSchedule(rate_at)
    return FixedSchedule([rate_at(epoch, 1) for epoch in range(epochs)])


def cosine_rate(cfg: CosineConfig, lr: float, epochs: int, position: int, unit: int) -> float:
    """Return the rate at a position: lr * (p + 1) / (w + 1) in warm-up, then half a cosine.

    The cosine would reach min_lr at the position after the last.

    Args:
        cfg: the warm-up, in epochs, and the rate at the end.
        lr: the peak.
        epochs: of the whole training.
        position: p, counted from 0: an epoch or a step.
        unit: positions in an epoch; w is the warm-up in positions.
    """
    warmup, total = min(cfg.warmup_epochs, epochs - 1) * unit, epochs * unit
    if position < warmup:
        return lr * (position + 1) / (warmup + 1)
    return half_cosine(lr, cfg.min_lr, (position - warmup) / max(total - warmup, 1))


def piecewise_rate(cfg: PiecewiseConfig, epochs: int, position: int, unit: int) -> float:
    """Return the rate at a position under the paper's piecewise schedule.

    With `stretch`, the first position is at the schedule's epoch 0 and the last at its epoch
    `length` - 1. Arguments as of `cosine_rate`.
    """
    share = (cfg.length - 1) / max(epochs * unit - 1, 1) if cfg.stretch else 1 / unit
    at = position * share
    for segment in cfg.segments:
        if segment.start <= at <= segment.end:
            done = (at - segment.start) / (segment.end - segment.start)
            if segment.shape == "linear":
                return segment.lr0 + (segment.lr1 - segment.lr0) * done
            return half_cosine(segment.lr0, segment.lr1, done)
    return cfg.segments[-1].lr1


def multistep_rate(cfg: MultistepConfig, lr: float, epochs: int, epoch: int) -> float:
    """Return the rate of an epoch, counted from 0: lr * gamma^m after m milestones.

    A milestone is the first epoch of the lower rate. With `stretch`, it is as far along the
    training as in one of `length` epochs.
    """
    unit = epochs / cfg.length if cfg.stretch else 1
    passed = sum(epoch >= milestone * unit for milestone in cfg.milestones)
    return float(lr * cfg.gamma**passed)


def onecycle_rate(cfg: OneCycleConfig, lr: float, epochs: int, position: int, unit: int) -> float:
    """Return the rate at a position, as torch's OneCycleLR with cosines; momentum stays as it is.

    It rises from lr / div_factor to lr during the share pct_start of the training, then falls to
    lr / div_factor / final_div_factor. Arguments as of `cosine_rate`.
    """
    first, total = lr / cfg.div_factor, epochs * unit
    last, top = first / cfg.final_div_factor, cfg.pct_start * total - 1
    if position < top:
        return half_cosine(first, lr, position / top)
    return half_cosine(lr, last, (position - top) / (total - 1 - top))


def optimization(cfg: FinetuneConfig | DistillConfig, network: torch.nn.Module) -> dict[str, Any]:
    """Return how a network learns as configured, as keyword arguments of `Learner`.

    Raises:
        UserError: if the user's own optimizer or schedule is none: both are made once, to see.
    """
    trial = make_optimizer(cfg.optimizer, network.parameters())
    schedule: Any = cfg.schedule
    options: dict[str, Any] = {
        "optimizer": partial(make_optimizer, cfg.optimizer),
        "seed": cfg.seed,
        "clip_norm": cfg.trainer.clip_norm,
        "ema": cfg.trainer.ema,
    }
    if not isinstance(schedule, OwnScheduleConfig):
        peak = max(group["lr"] for group in trial.param_groups)
        return options | {"schedule": make_schedule(schedule, peak, cfg.trainer.max_epochs)}

    def scheduler(optimizer: Optimizer, total_steps: int) -> LRScheduler:
        scheduler = made(schedule, "schedule", optimizer, total_steps=total_steps)
        return checked_scheduler(scheduler, schedule.factory)

    scheduler(trial, cfg.trainer.max_epochs)
    return options | {"schedule": scheduler, "schedule_by": schedule.by}


def half_cosine(first: float, last: float, done: float) -> float:
    """Return the rate a share `done` in [0, 1] of the way along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
