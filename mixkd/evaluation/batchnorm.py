"""BatchNorm's statistics, estimated anew on images that are not mixed."""

from dataclasses import replace

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from mixkd.config.tasks import EvaluateConfig
from mixkd.data.batches import EvaluationBatch
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits
from mixkd.errors import UserError
from mixkd.networks.network import Network

Norm = nn.modules.batchnorm._BatchNorm


class BatchNormEstimation(LightningModule):
    """Replaces BatchNorm's running statistics by the mean of those of the batches it is shown.

    A network that learned on mixed images has the statistics of mixed images, whose variance is
    about two thirds of the clean ones'. Everything but BatchNorm stays in eval mode. As torch's
    `update_bn`, but also over several processes. The network is changed in place.

    Raises:
        UserError: if it has no BatchNorm with running statistics.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self._norms = [
            module
            for module in network.modules()
            if isinstance(module, Norm) and module.track_running_stats
        ]
        if not self._norms:
            text = "got true; the network has no BatchNorm with running statistics"
            raise UserError.of("reestimate_batchnorm", text)
        self._momenta: list[float | None] = []

    def on_test_epoch_start(self) -> None:
        """Forget the statistics; take a plain mean of those to come."""
        self._momenta = [norm.momentum for norm in self._norms]
        for norm in self._norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()

    def test_step(self, batch: EvaluationBatch, batch_idx: int) -> None:
        """Show the network a batch."""
        self.network(batch.view)

    def on_test_epoch_end(self) -> None:
        """Share what all processes found."""
        for norm, momentum in zip(self._norms, self._momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
            for statistic in (norm.running_mean, norm.running_var):
                assert isinstance(statistic, torch.Tensor)
                statistic.copy_(self.trainer.strategy.reduce(statistic, reduce_op="mean"))


def estimate(
    trainer: Trainer, estimation: BatchNormEstimation, splits: Splits, cfg: EvaluateConfig
) -> None:
    """Estimate statistics on training images, in batches of a training step."""
    batch = cfg.data.batch_size
    data = ImageDataModule(
        shuffled(splits, batch, cfg.trainer.devices),
        cfg.data.model_copy(update={"eval_batch_size": batch}),
    )
    data.tested = "train"
    trainer.test(estimation, data, verbose=False)


def shuffled(splits: Splits, batch: int, devices: int) -> Splits:
    """Return the training images in a random order, as many as make whole batches.

    In the order of a folder a batch would hold a class or two, and show none of the variance.
    """
    n = len(splits.train)
    whole = n // (batch * devices) * (batch * devices)
    order = np.random.default_rng(0).permutation(n)[: whole or n]
    return replace(splits, train=splits.train.take(order))
