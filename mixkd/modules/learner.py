"""What every training shares: optimizer, schedule, reseeding, the epoch's mean losses."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mixkd.data.batches import EvaluationBatch
from mixkd.data.module import ImageDataModule
from mixkd.errors import NotFinite
from mixkd.losses.distillation import Losses
from mixkd.metrics.calibration import Calibration
from mixkd.modules.optimization import Optimization
from mixkd.networks.network import Network
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


class Learner(LightningModule, ABC):
    """A network that learns; a method says in `losses` what from.

    Its held-out metrics are logged as `val/...`, and kept in `values` as Python floats: Lightning's
    own go through float32. `seed` is of what is random within a step, such as dropout.
    """

    mixing: Mixing | None = None  # of the images that it learns from

    def __init__(self, network: Network, optimization: Optimization, seed: int) -> None:
        super().__init__()
        self.network = network
        self.validation = Calibration()
        self.values: dict[str, float] = {}  # of the epoch
        self.reliability: list[dict[str, Any]] = []  # of the held-out images
        self.optimization, self.schedule, self.seed = optimization, optimization.schedule, seed
        self.average: AveragedModel | None = None
        if optimization.ema is not None:
            decay = get_ema_multi_avg_fn(optimization.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
            self.average.eval().requires_grad_(False)
        self._sums: Tensor | None = None
        self._images = 0
        self._started = self._ended = 0.0
        self._finite = FiniteWatch()
        self.watched: dict[str, Tensor] = {}  # of this step, what has to be finite

    @abstractmethod
    def losses(self, batch: VicinalBatch) -> Losses:
        """Return the losses of a batch; `loss` is minimised."""

    @property
    def outcome(self) -> Network:
        """The network that is measured and kept: what learns, or its moving average."""
        if self.average is None:
            return self.network
        assert isinstance(self.average.module, Network)
        return self.average.module

    def forward(self, view: Tensor) -> Tensor:
        """Map views, float [b, 3, h, w] in [0, 1], to logits [b, classes]."""
        logits: Tensor = (self.network if self.training else self.outcome)(view)
        if self.training:
            self.watched[LOGITS] = logits
        return logits

    def train(self, mode: bool = True) -> "Learner":
        """Switch modes; the average is always in eval mode."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        return self

    def learning(self) -> list[nn.Parameter]:
        """Return the parameters that learn."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer, whose rate the schedule sets."""
        return self.optimization.optimizer(self.learning())

    def on_train_epoch_start(self) -> None:
        """Begin the epoch's sums."""
        self.values = {}
        self._sums, self._images, self._started = None, 0, time.perf_counter()
        self._finite.reset()

    def on_train_batch_start(self, batch: VicinalBatch, batch_idx: int) -> None:
        """Set the step's learning rate. Reseed, so that a resumed run draws as a whole one."""
        accumulate = self.trainer.accumulate_grad_batches
        steps = -(-int(self.trainer.num_training_batches) // accumulate)
        self.values["lr"] = self.schedule.rate(self.current_epoch, batch_idx // accumulate, steps)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.values["lr"]
        place = [self.seed, self.current_epoch, batch_idx, self.global_rank]
        seed = int(np.random.SeedSequence(place).generate_state(1, np.uint64)[0])
        # Not torch.manual_seed, which takes half a millisecond over accelerators that are not used.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def training_step(self, batch: VicinalBatch, batch_idx: int) -> Tensor:
        """Return the loss; add it to the epoch's sums without waiting for the device.

        Raises:
            NotFinite: if the logits, the teacher's or the loss are not; on an accelerator a few
                steps later.
        """
        losses = self.losses(batch)
        self._finite.check(batch_idx, {**self.watched, LOSS: losses.loss})
        self.watched.clear()
        self._stop_if_not_finite()
        parts = torch.stack([x.detach() for x in losses if x is not None])
        self._sums = parts if self._sums is None else self._sums.to(parts.device) + parts
        return losses.loss

    def _stop_if_not_finite(self, wait: bool = False) -> None:
        if (fault := self._finite.fault(wait)) is None:
            return
        quantity, number = fault
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageDataModule)
        index = data.training_index(self.current_epoch, number).tolist()
        shown = ", ".join(map(str, index[:IMAGES_SHOWN]))
        more = f" and {len(index) - IMAGES_SHOWN} more" if len(index) > IMAGES_SHOWN else ""
        step = number // self.trainer.accumulate_grad_batches + 1
        raise NotFinite(
            f"{quantity} {'is' if quantity == LOSS else 'are'} not finite in {self._now(step)}, "
            f"on the training images {shown}{more}; "
            f"{LOOK_AT_TEACHER if quantity == TEACHER else LOWER}"
        )

    def _now(self, step: int) -> str:
        rate = self.values["lr"]
        return f"epoch {self.current_epoch + 1}, step {step}, at a learning rate of {rate:g}"

    def on_validation_start(self) -> None:
        """Stop here if a step was not finite: what the held-out images show is its consequence."""
        self._stop_if_not_finite(wait=True)

    def validation_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Count a batch of held-out images."""
        self.validation.update(self(batch.view), batch.label)

    def on_validation_epoch_end(self) -> None:
        """Log val/accuracy, val/confidence and so on."""
        try:
            metrics = self.validation.compute()
        except NotFinite as error:
            steps = int(self.trainer.num_training_batches) // self.trainer.accumulate_grad_batches
            text = f"{LOGITS} are not finite on the held-out images after {self._now(steps)}"
            raise NotFinite(f"{text}; {LOWER}") from error
        self.reliability = self.validation.reliability()
        self.validation.reset()
        logged = {f"val/{name}": value for name, value in metrics.items() if name != "n"}
        self.values |= logged
        self.log_dict(logged, rank_zero_only=True)  # already summed over all processes

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradients. (Lightning's own clipping refuses fused optimizers under bf16.)"""
        if self.optimization.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.learning(), self.optimization.clip_norm)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and bring the average along."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            self.average.update_parameters(self.network)

    def on_train_batch_end(self, outputs: Any, batch: VicinalBatch, batch_idx: int) -> None:
        """Count the images and the time that training takes, without the validation after it."""
        self._images += len(batch.label) * self.trainer.world_size
        self._ended = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Log the mean train/loss, train/ce and train/kd; tell the schedule how the epoch ended."""
        assert self._sums is not None
        steps = self.trainer.num_training_batches
        means = (self.trainer.strategy.reduce(self._sums, reduce_op="mean") / steps).tolist()
        losses = dict(zip(("train/loss", "train/ce", "train/kd"), means, strict=False))
        self.values |= losses
        self.log_dict({**losses, "lr": self.values["lr"]}, rank_zero_only=True)
        self.values["images_per_second"] = self._images / (self._ended - self._started)
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
                f"epoch {self.current_epoch + 1} at a learning rate of {self.values['lr']:g}; "
                f"{LOWER}"
            )
        checkpoint["schedule"] = self.schedule.state_dict()
        sums = self._sums
        if sums is not None:
            all_sums = [sums]
            if self.trainer.world_size > 1:
                all_sums = [torch.empty_like(sums) for _ in range(self.trainer.world_size)]
                torch.distributed.all_gather(all_sums, sums.to(self.device))
            sums = torch.stack(all_sums).cpu()
        checkpoint["epoch_so_far"] = {"sums": sums, "lr": self.values["lr"]}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the schedule, and the epoch if the checkpoint is from within one."""
        for state in checkpoint["optimizer_states"]:
            in_format_of(self.learning(), state["state"])
        self.schedule.load_state_dict(checkpoint["schedule"])
        so_far = checkpoint["epoch_so_far"]
        sums = so_far["sums"]
        self._sums = None if sums is None else sums[self.global_rank].clone()
        self.values = {"lr": so_far["lr"]}
        self._images, self._started = 0, time.perf_counter()


def in_format_of(parameters: Sequence[nn.Parameter], state: dict[int, dict[str, Any]]) -> None:
    """Give an optimizer's tensors, as in its `state_dict`, their parameters' memory format.

    Fused optimizers take both in the order in which they lie in memory, which is not the same where
    a run goes on with another `trainer.channels_last`.
    """
    for position, tensors in state.items():
        parameter = parameters[position]
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
