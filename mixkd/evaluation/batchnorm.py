"""BatchNorm's statistics, estimated anew on images that are not mixed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import nn

from mixkd.config.tasks import EvaluateConfig
from mixkd.data.batches import EvaluationBatch
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits
from mixkd.errors import UserError
from mixkd.evaluation.one_pass import run_pass
from mixkd.networks.network import Network

Norm = nn.modules.batchnorm._BatchNorm


def batch_norms(network: Network) -> list[Norm]:
    """Return the parts of a network that keep running statistics; a UserError if it has none."""
    norms = [m for m in network.modules() if isinstance(m, Norm) and m.track_running_stats]
    if not norms:
        text = "got true; the network has no BatchNorm with running statistics"
        raise UserError.of("reestimate_batchnorm", text)
    return norms


def reestimate(
    trainer: Trainer, network: Network, norms: Sequence[Norm], data: ImageDataModule
) -> None:
    """Replace running statistics by the mean of those of the batches that `data` tests.

    A network that learned on mixed images has the statistics of mixed images, whose variance is
    about two thirds of the clean ones'. Everything but BatchNorm stays in eval mode. As torch's
    `update_bn`, but also over several processes.
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean

    def update(batch: EvaluationBatch) -> None:
        for norm in norms:
            norm.train()
        network(batch.view)

    def share() -> None:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
            for statistic in (norm.running_mean, norm.running_var):
                assert isinstance(statistic, torch.Tensor)
                statistic.copy_(trainer.strategy.reduce(statistic, reduce_op="mean"))

    run_pass(trainer, data, [network], update, share)


def training_batches(splits: Splits, cfg: EvaluateConfig) -> ImageDataModule:
    """Return training images to estimate on, in batches of a training step.

    So they are however many processes there are, and whatever the batches of the evaluation.
    """
    batch = cfg.data.batch_size
    images = shuffled(splits, batch, cfg.trainer.devices)
    data = ImageDataModule(images, cfg.data.model_copy(update={"eval_batch_size": batch}))
    data.tested = "train"
    return data


def shuffled(splits: Splits, batch: int, devices: int) -> Splits:
    """Return the training images in a random order, as many as make whole batches.

    In the order of a folder a batch would hold a class or two, and show none of the variance.
    """
    n = len(splits.train)
    whole = n - n % (batch * devices)
    order = np.random.default_rng(0).permutation(n)[: whole or n]
    return replace(splits, train=splits.train.take(order))
