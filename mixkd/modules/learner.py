"""What every training shares: optimizer, schedule, reseeding, the epoch's mean losses."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchmetrics import Metric

from mixkd.data.batches import ordinary_batch
from mixkd.data.loaders import Share, first_loader, labelled
from mixkd.data.module import ImageDataModule
from mixkd.errors import NotFinite, Unfit, check_that
from mixkd.metrics.calibration import Calibration
from mixkd.metrics.parts import NamedMetrics
from mixkd.modules.comparison import checked_scalar
from mixkd.modules.optimization import (
    PlateauSchedule,
    Schedule,
    checked_optimizer,
    checked_scheduler,
)
from mixkd.networks.network import logits_of
from mixkd.parts import takes_argument
from mixkd.vicinal import Mixing, VicinalBatch

LOGITS, TEACHER, LOSS = "the network's logits", "the teacher's answers", "the loss"

# What to try where something is not finite: the teacher's answers, or anything else.
LOOK_AT_TEACHER = (
    "look at its weights; teacher.precision=float32 and teacher.tape_precision=float32 "
    "hold larger numbers"
)
LOWER = (
    "take a lower optimizer.lr, trainer.clip_norm=1.0 or, if it is bf16, trainer.precision=float32"
)

IMAGES_SHOWN = 8
NEVER = 2**62  # no step


MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
MakeScheduler = Callable[..., LRScheduler]


def adamw(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return AdamW with its usual settings: rate 1e-3, weight decay 0.01."""
    return torch.optim.AdamW(parameters)


class Learner(LightningModule, ABC):
    """A network that learns; a method says in `losses` what from.

    It learns from batches of mixkd's data modules, or from ordinary ones, (images, labels), which
    it mixes itself. Its held-out metrics are logged as `val/...`.

    Args:
        network: gives logits.
        optimizer: makes the optimizer of the parameters that learn.
        schedule: the rate of each step; or makes a scheduler of torch's kind of the optimizer, and
            is given `total_steps` where it takes that. None: the optimizer's rate throughout.
        schedule_by: when a scheduler of torch's kind steps: every `epoch`, or every `step`.
        mixing: how images are mixed to learn from; None: not at all.
        seed: of what is random within a step, such as dropout, and of the mixing of ordinary
            batches.
        clip_norm: gradients of all parameters together are shortened to this l2 norm; None: never.
        ema: decay, each step, of an exponential moving average of the network, which then answers
            in its place wherever it is measured or kept; None: no average.
        metrics: further metrics of torchmetrics' kind by name, of logits [b, classes] and int64
            labels [b], logged as `val/NAME`.

    Raises:
        ValueError: for an option that is none of these.

    Attributes:
        values: the figures of the epoch by name, as Python floats: Lightning's own go through
            float32.
        reliability: of the held-out images: a row a bin.
        logged: the names of what was logged, by callbacks too, since an epoch was recorded.

    Examples:
        >>> from mixkd import Learner
        >>> class Squared(Learner):
        ...     def losses(self, batch):
        ...         target = nn.functional.one_hot(batch.label, 5).float()
        ...         return {"loss": (self(batch.mixed).softmax(dim=1) - target).square().mean()}
        >>> module = Squared(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        optimizer: MakeOptimizer = adamw,
        schedule: Schedule | MakeScheduler | None = None,
        schedule_by: Literal["epoch", "step"] = "epoch",
        mixing: Mixing | None = None,
        seed: int = 0,
        clip_norm: float | None = None,
        ema: float | None = None,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        check_that("network", network, lambda it: isinstance(it, nn.Module), "a torch.nn.Module")
        check_that("optimizer", optimizer, callable, "a function of parameters that makes one")
        is_schedule = isinstance(schedule, Schedule | None) or callable(schedule)
        text = "a Schedule, a function of an optimizer, or None"
        check_that("schedule", schedule, lambda it: is_schedule, text)
        check_that("schedule_by", schedule_by, lambda it: it in ("epoch", "step"), "epoch or step")
        check_that("mixing", mixing, lambda it: isinstance(it, Mixing | None), "a Mixing, or None")
        check_that("seed", seed, lambda it: it >= 0, "a whole number, 0 or more")
        check_that(
            "clip_norm", clip_norm, lambda it: it is None or it > 0, "a number above 0, or None"
        )
        check_that(
            "ema", ema, lambda it: it is None or 0 < it < 1, "a number above 0 and below 1, or None"
        )
        self.network = network
        self.make_optimizer, self.schedule, self.schedule_by = optimizer, schedule, schedule_by
        self.mixing, self.seed, self.clip_norm = mixing, seed, clip_norm
        self.validation = Calibration()
        self.further = NamedMetrics(metrics or {}).requires_grad_(False)
        self.values: dict[str, float] = {}
        self.reliability: list[dict[str, Any]] = []
        self.logged: dict[str, None] = {}
        self.average: AveragedModel | None = None
        if ema is not None:
            decay = get_ema_multi_avg_fn(ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
            self.average.eval().requires_grad_(False)
        self._parts: tuple[str, ...] = ()  # the names of the losses
        self._sums: Tensor | None = None
        self._images = self._batch_size = self._batches = 0
        self._started = self._ended = 0.0
        self._shares: list[float] = []  # of the rate, by group of the optimizer
        self._share = Share(())
        self._finite = FiniteWatch()
        self.watched: dict[str, Tensor] = {}  # of this step, what has to be finite

    @abstractmethod
    def losses(self, batch: VicinalBatch) -> Mapping[str, Tensor]:
        """Return the losses of a batch by name, scalars: `loss` is minimised, all are logged."""

    @property
    def outcome(self) -> nn.Module:
        """The network that is measured and kept: what learns, or its moving average."""
        return self.network if self.average is None else self.average.module

    def forward(self, view: Tensor) -> Tensor:
        """Map views, float [b, 3, h, w] in [0, 1], to logits [b, classes]."""
        logits: Tensor = logits_of((self.network if self.training else self.outcome)(view))
        if self.training:
            self.watched[LOGITS] = logits
        return logits

    def train(self, mode: bool = True) -> "Learner":
        """Switch modes; the average is always in eval mode."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        return self

    def log(self, name: str, *args: Any, **options: Any) -> None:
        """Log a value as Lightning does, and remember its name."""
        self.logged[name] = None
        super().log(name, *args, **options)

    def learning(self) -> list[nn.Parameter]:
        """Return the parameters that learn: of the network, and of what is learned beside it."""
        return [p for p in self.parameters() if p.requires_grad]

    def configure_optimizers(self) -> Any:
        """Return the optimizer, whose rate the schedule sets, with torch's scheduler if it is one.

        Raises:
            ValueError: if what was given makes none.
        """
        optimizer = checked_optimizer(self.make_optimizer(self.learning()))
        rates = [group["lr"] for group in optimizer.param_groups]
        self._shares = [rate / max(rates) if max(rates) else 1.0 for rate in rates]
        if self.schedule is None or isinstance(self.schedule, Schedule):
            return optimizer
        steps = {}
        if takes_argument(self.schedule, "total_steps"):
            steps["total_steps"] = self._total_steps()
        scheduler = checked_scheduler(self.schedule(optimizer, **steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": self.schedule_by},
        }

    def _total_steps(self) -> int:
        """Return how often a scheduler steps in the whole training.

        Raises:
            ValueError: if the training has no end.
        """
        trainer, steps = self.trainer, math.inf
        epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else math.inf
        data = getattr(trainer, "datamodule", None)
        if self.schedule_by == "epoch":
            steps = epochs
        elif isinstance(data, ImageDataModule):
            # Lightning would make the loader to know, whose epoch is that of the checkpoint, which
            # is not yet loaded.
            batches, limit = data.stream.steps_per_epoch * data.parts, trainer.limit_train_batches
            batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
            steps = -(-batches // trainer.accumulate_grad_batches) * epochs
            steps = min(steps, trainer.max_steps) if trainer.max_steps != -1 else steps
        else:
            steps = trainer.estimated_stepping_batches
        if steps == math.inf:
            raise ValueError("schedule takes total_steps; takes a Trainer with max_epochs")
        return int(steps)

    def on_fit_start(self) -> None:
        """See that the schedule hears what it waits for.

        Raises:
            ValueError: if it waits for held-out images, and there are none.
        """
        if isinstance(self.schedule, PlateauSchedule) and not self.trainer.enable_validation:
            raise ValueError("PlateauSchedule follows val/nll; takes a loader of held-out images")

    def on_train_start(self) -> None:
        """Bring what a checkpoint has of the optimizer to the network's memory format."""
        in_format_of(self.trainer.optimizers[0])

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's sums."""
        self.values = {}
        self._parts, self._sums = (), None
        self._images, self._started = 0, time.perf_counter()
        self._finite.reset()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the step's learning rate. Reseed, so that a resumed run draws as a whole one."""
        groups = self.trainer.optimizers[0].param_groups
        if isinstance(self.schedule, Schedule):
            accumulate, batches = self.trainer.accumulate_grad_batches, self._batches_per_epoch
            rate = self.schedule.rate(
                self.current_epoch, batch_idx // accumulate, -(-batches // accumulate)
            )
            # A callback may have added groups, whose rate is its own.
            for group, share in zip(groups, self._shares, strict=False):
                group["lr"] = rate * share
        self.values["lr"] = max(float(group["lr"]) for group in groups)
        place = [self.seed, self.current_epoch, batch_idx, self.global_rank]
        seed = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])
        # Not torch.manual_seed, which takes half a millisecond over accelerators that are not used.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss; add it to the epoch's sums without waiting for the device.

        Raises:
            NotFinite: if the logits, the teacher's or the loss are not; on an accelerator a few
                steps later.
            ValueError: if a batch is none, or the method does not give its losses by name.
        """
        vicinal = self._vicinal(batch, batch_idx)
        self._batch_size, self._batches = len(vicinal.label), batch_idx + 1
        losses = checked_losses(self.losses(vicinal), self._parts)
        self._finite.check(batch_idx, {**self.watched, LOSS: losses["loss"]})
        self.watched.clear()
        self._stop_if_not_finite()
        self._parts = tuple(losses)
        parts = torch.stack([value.detach() for value in losses.values()])
        self._sums = parts if self._sums is None else self._sums.to(parts.device) + parts
        return losses["loss"]

    @property
    def _batches_per_epoch(self) -> int:
        """How many batches an epoch has; 0 where the loader does not tell."""
        count = self.trainer.num_training_batches
        return 0 if count == math.inf else int(count)

    def _vicinal(self, batch: Any, batch_idx: int) -> VicinalBatch:
        """Return a batch as a method takes it; an ordinary one is mixed within itself."""
        if isinstance(batch, VicinalBatch):
            return batch
        images, label = labelled(batch)
        place = {"epoch": self.current_epoch, "step": batch_idx, "rank": self.global_rank}
        return ordinary_batch(images, label, self.mixing, seed=self.seed, **place)

    def _stop_if_not_finite(self, wait: bool = False) -> None:
        if (fault := self._finite.fault(wait)) is None:
            return
        quantity, number = fault
        data, images = getattr(self.trainer, "datamodule", None), ""
        if isinstance(data, ImageDataModule):
            index = data.training_index(self.current_epoch, number).tolist()
            more = f" and {len(index) - IMAGES_SHOWN} more" if len(index) > IMAGES_SHOWN else ""
            images = f", on the training images {', '.join(map(str, index[:IMAGES_SHOWN]))}{more}"
        step = number // self.trainer.accumulate_grad_batches + 1
        raise NotFinite(
            f"{quantity} {'is' if quantity == LOSS else 'are'} not finite in {self._now(step)}"
            f"{images}; {LOOK_AT_TEACHER if quantity == TEACHER else LOWER}"
        )

    def _now(self, step: int) -> str:
        return f"epoch {self.current_epoch + 1}, step {step}, {self._rate}"

    @property
    def _rate(self) -> str:
        return f"at a learning rate of {self.values.get('lr', math.nan):g}"

    def on_validation_start(self) -> None:
        """Stop here if a step was not finite: what the held-out images show is its consequence."""
        if self.trainer.state.fn == "fit":
            self._stop_if_not_finite(wait=True)

    def on_validation_epoch_start(self) -> None:
        """Begin to count held-out images, each once."""
        loader, count = self.trainer.val_dataloaders, self.trainer.num_val_batches[0]
        self._share = Share(first_loader(loader), count)

    def on_test_epoch_start(self) -> None:
        """Begin to count test images, each once."""
        loader, count = self.trainer.test_dataloaders, self.trainer.num_test_batches[0]
        self._share = Share(first_loader(loader), count)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Count a batch of held-out images: mixkd's, or (images, labels)."""
        view, label, _ = self._share.take(batch)
        if not len(label):
            return  # Lightning repeats images, so that all processes have as many
        logits = self(view)
        self.validation.update(logits, label)
        self.further.update(logits, label)

    def on_validation_epoch_end(self) -> None:
        """Log val/accuracy, val/confidence and so on."""
        try:
            measured = self._measured("val")
        except NotFinite as error:
            text = f"{LOGITS} are not finite on the held-out images"
            if self.trainer.state.fn == "fit":
                steps = self._batches_per_epoch // self.trainer.accumulate_grad_batches
                text += f" after {self._now(steps)}"
            raise NotFinite(f"{text}; {LOWER}") from error
        self.values |= measured
        self.log_dict(measured, sync_dist=True)  # the same in all processes

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Count a batch of test images."""
        self.validation_step(batch, batch_idx)

    def on_test_epoch_end(self) -> None:
        """Log test/accuracy, test/confidence and so on."""
        self.log_dict(self._measured("test"), sync_dist=True)

    def _measured(self, split: str) -> dict[str, float]:
        """Return what was measured of all processes' images, by name, and begin anew."""
        metrics = self.validation.compute()
        self.reliability = self.validation.reliability()
        self.validation.reset()
        metrics |= self.further.compute()
        self.further.reset()
        return {f"{split}/{name}": value for name, value in metrics.items() if name != "n"}

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradients. (Lightning's own clipping refuses fused optimizers under bf16.)"""
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.learning(), self.clip_norm)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and bring the average along."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the images and the time that training takes, without the validation after it."""
        self._images += self._batch_size * self.trainer.world_size
        self._ended = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Log the mean of each part of the loss; tell the schedule how the epoch ended."""
        assert self._sums is not None
        sums = self.trainer.strategy.reduce(self._sums, reduce_op="mean")
        means = (sums / self._batches).tolist()
        losses = {f"train/{name}": mean for name, mean in zip(self._parts, means, strict=True)}
        self.values |= losses
        self.log_dict({**losses, "lr": self.values["lr"]}, sync_dist=True)
        self.values["images_per_second"] = self._images / (self._ended - self._started)
        if isinstance(self.schedule, Schedule) and "val/nll" in self.values:
            self.schedule.epoch_ended(self.values["val/nll"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the schedule's state, and the epoch's sums, of each process, and rate so far.

        Weights that are not finite are refused: the checkpoint before stays.
        """
        self._stop_if_not_finite(wait=True)
        # After an update that broke them the next step would show it, too late.
        if not torch.stack([p.isfinite().all() for p in self.network.parameters()]).all():
            raise NotFinite(
                f"the network's weights are not finite after {self.trainer.global_step} steps, in "
                f"epoch {self.current_epoch + 1} {self._rate}; {LOWER}"
            )
        schedule = self.schedule
        checkpoint["schedule"] = schedule.state_dict() if isinstance(schedule, Schedule) else {}
        sums = self._sums
        if sums is not None:
            all_sums = [sums]
            if self.trainer.world_size > 1:
                all_sums = [torch.empty_like(sums) for _ in range(self.trainer.world_size)]
                torch.distributed.all_gather(all_sums, sums.to(self.device))
            sums = torch.stack(all_sums).cpu()
        so_far = {"sums": sums, "parts": list(self._parts), "lr": self.values.get("lr", 0.0)}
        checkpoint["epoch_so_far"] = so_far

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the schedule, and the epoch if the checkpoint is from within one."""
        if isinstance(self.schedule, Schedule):
            self.schedule.load_state_dict(checkpoint["schedule"])
        so_far = checkpoint["epoch_so_far"]
        self._parts = tuple(so_far.get("parts", ()))
        sums = so_far["sums"]
        self._sums = None if sums is None else sums[self.global_rank].clone()
        self.values = {"lr": so_far["lr"]}
        self._images, self._started = 0, time.perf_counter()


def checked_losses(losses: Any, before: Sequence[str]) -> dict[str, Tensor]:
    """Return losses by name, `loss` first.

    Args:
        losses: what a method gives of a batch.
        before: the names at the steps before; empty at the first.

    Raises:
        Unfit: if they are no scalars by name, `loss` is not among them, or the names are others.
    """
    if not isinstance(losses, Mapping) or "loss" not in losses:
        got = f"names {', '.join(map(str, losses))}" if isinstance(losses, Mapping) else losses
        text = f"losses(batch) gives {got}; takes scalars by name, {{'loss': ...}}"
        raise Unfit.of("method", text)
    for name, value in losses.items():
        checked_scalar(value, "method", f"losses(batch) gives as {name}")
    ordered = {"loss": losses["loss"], **losses}
    if before and before != tuple(ordered):
        text = f"losses(batch) gives {', '.join(ordered)}; takes the names of the steps before, "
        raise Unfit.of("method", text + ", ".join(before))
    return ordered


def in_format_of(optimizer: Optimizer) -> None:
    """Give an optimizer's tensors, as a checkpoint has them, their parameters' memory format.

    Fused optimizers take both in the order in which they lie in memory, which is not the same where
    a run goes on with another `trainer.channels_last`.
    """
    for parameter, tensors in optimizer.state.items():
        for name, value in tensors.items():
            if torch.is_tensor(value) and value.shape == parameter.shape:
                tensors[name] = (
                    torch.empty_like(parameter, device=value.device).copy_(value).detach()
                )


class FiniteWatch:
    """Remembers the first step at which each of some values was not finite.

    The memory is on the device. A host that does not wait reads a copy, which on an accelerator may
    be of a few steps before: it learns of a fault late, but then of its first step.
    """

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._first: Tensor | None = None
        self._copy: Tensor | None = None

    def reset(self) -> None:
        """Forget everything, as when an epoch begins."""
        for memory in (self._first, self._copy):
            if memory is not None:
                memory.fill_(NEVER)

    def check(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Look at the values of a step: floats of any shape, under the same names at each.

        Steps are in order, and the causes of others come first among the names.
        """
        # A sum takes one pass, and is finite where all are, unless they are beyond any use.
        sums = torch.stack([value.detach().float().sum() for value in values.values()])
        if self._first is None:
            self._names = tuple(values)
            self._first = torch.full((len(sums),), NEVER, device=sums.device)
            cpu = sums.device.type == "cpu"
            self._copy = None if cpu else self._first.cpu().pin_memory()
        now = torch.where(sums.isfinite(), NEVER, step)
        torch.minimum(self._first, now, out=self._first)
        if self._copy is not None:
            self._copy.copy_(self._first, non_blocking=True)

    def fault(self, wait: bool = False) -> tuple[str, int] | None:
        """Return what was not finite first, and at which step; None if nothing is known to be.

        With `wait` it waits for the device, to know of every step so far.
        """
        memory = self._first if wait or self._copy is None else self._copy
        if memory is None:
            return None
        steps = memory.tolist()
        first = min(steps)
        return None if first == NEVER else (self._names[steps.index(first)], first)
