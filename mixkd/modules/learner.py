"""What every training shares: optimizer, schedule, reseeding, the epoch's mean losses."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from mixkd.losses import Losses
from mixkd.modules.classifier import Classifier
from mixkd.networks import Network
from mixkd.optimization import Schedule
from mixkd.vicinal import VicinalBatch

MakeOptimizer = Callable[[Iterable[torch.nn.Parameter]], Optimizer]


class Learner(Classifier, ABC):
    """A classifier that learns; a method says in `losses` what from.

    Args:
        network: what learns.
        optimizer: makes the optimizer of its parameters.
        schedule: the learning rate of each epoch.
        seed: of what is random within a step, such as dropout.
    """

    def __init__(
        self, network: Network, optimizer: MakeOptimizer, schedule: Schedule, seed: int
    ) -> None:
        super().__init__(network)
        self.make_optimizer, self.schedule, self.seed = optimizer, schedule, seed
        self._sums: Tensor | None = None
        self._images = 0
        self._started = self._ended = 0.0

    @abstractmethod
    def losses(self, batch: VicinalBatch) -> Losses:
        """Return the losses of a batch; `loss` is minimised."""

    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer; rates are set at the start of each epoch."""
        return self.make_optimizer(self.network.parameters())

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate."""
        rate = self.schedule.rate(self.current_epoch)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate
        self.values["lr"] = rate
        self._sums, self._images, self._started = None, 0, time.perf_counter()

    def on_train_batch_start(self, batch: VicinalBatch, batch_idx: int) -> None:
        """Reseed, so that a resumed run draws what an uninterrupted one would have drawn."""
        at = [self.seed, self.current_epoch, batch_idx, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(at).generate_state(1, np.uint64)[0]))

    def training_step(self, batch: VicinalBatch, batch_idx: int) -> Tensor:
        """Return the loss; add it to the epoch's sums without waiting for the device."""
        losses = self.losses(batch)
        parts = torch.stack([x.detach() for x in losses if x is not None])
        self._sums = parts if self._sums is None else self._sums + parts
        return losses.loss

    def on_train_batch_end(self, outputs: Any, batch: VicinalBatch, batch_idx: int) -> None:
        """Count the images and the time that training takes, without the validation after it."""
        self._images += len(batch.label) * self.trainer.world_size
        self._ended = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        """Log the mean train/loss, train/ce and train/kd; tell the schedule how the epoch ended."""
        assert self._sums is not None
        steps = self.trainer.num_training_batches
        means = (self.trainer.strategy.reduce(self._sums, reduce_op="mean") / steps).tolist()
        found = dict(zip(("train/loss", "train/ce", "train/kd"), means, strict=False))
        self.values |= found
        self.log_dict({**found, "lr": self.values["lr"]}, rank_zero_only=True)
        self.values["images_per_second"] = self._images / (self._ended - self._started)
        self.schedule.epoch_ended(self.values["val/nll"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the schedule's state."""
        checkpoint["schedule"] = self.schedule.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the schedule."""
        self.schedule.load_state_dict(checkpoint["schedule"])
