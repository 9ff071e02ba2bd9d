"""What the comparisons work on: random images, configurations, networks with random weights."""

import numpy as np
import torch
from torch import nn

from mixkd.config.tasks import FinetuneConfig
from mixkd.data.batches import make_stream
from mixkd.data.images import Images
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits
from mixkd.modules.learner import Learner
from mixkd.networks.build import timm_core
from mixkd.networks.network import Network
from mixkd.request import request
from mixkd.training.fit import make_trainer, prepare
from mixkd.vicinal import VicinalStream


def random_images(n: int, side: int, classes: int = 10) -> Images:
    """Return images of noise: uint8 [n, 3, side, side]."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, 3, side, side), dtype=np.uint8)
    labels = torch.from_numpy(rng.integers(0, classes, n))
    return Images(torch.from_numpy(pixels), labels, torch.arange(n))


def random_splits(n: int, side: int, classes: int = 10) -> Splits:
    """Return n training images of noise, and one of each class to hold out and to test on."""
    few = random_images(classes, side, classes)
    return Splits(random_images(n, side, classes), few, few, tuple(map(str, range(classes))))


def configured(*overrides: str) -> FinetuneConfig:
    """Return the configuration of a training, as the command line would make it."""
    common = (
        "trainer.accelerator=cpu", "data=digits", "data.pad=4", "data.flip=true",
        "network=resnet20",
    )  # fmt: skip
    cfg = request("finetune", [*common, "method=mixup", "optimizer=adamw", *overrides])
    assert isinstance(cfg, FinetuneConfig)
    return cfg


def mixed_stream(cfg: FinetuneConfig, splits: Splits, seed: int = 0) -> VicinalStream:
    """Return the stream of the training images, mixed."""
    return make_stream(cfg.data, splits, cfg.method.mix, seed, devices=1)


def training_seconds(
    cfg: FinetuneConfig, splits: Splits, learner: Learner, stream: VicinalStream
) -> float:
    """Train through mixkd's DataModule and Lightning; return seconds spent in training steps.

    As a run's `images_per_second` counts them: without start and held-out images, of the last
    epoch.
    """
    data = ImageDataModule(splits, cfg.data, stream)
    trainer = make_trainer(cfg.trainer, max_epochs=cfg.trainer.max_epochs)
    trainer.fit(learner, data)
    images = stream.steps_per_epoch * stream.batch_size
    return images / learner.values["images_per_second"]


def linear(side: int, classes: int = 10) -> Network:
    """Return the cheapest network: what takes time is then all else."""
    return Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, classes)))


def timm_network(name: str, classes: int = 10, *overrides: str) -> Network:
    """Return a timm network with random weights, prepared as a run prepares it.

    Args:
        name: timm's.
        classes: how many.
        overrides: of a training, such as trainer.compile=true.
    """
    network = Network(timm_core(name, classes))
    side = 32  # any that it takes
    prepare(configured(*overrides).trainer, network, classes, (side, side), "network")
    return network
