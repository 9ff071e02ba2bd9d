"""The DataModule of images that live on the device whole: no workers, no per-image Python."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from mixkd.config import Data, Mix
from mixkd.data.images import Images, Splits, stratified
from mixkd.data.sources import SOURCES
from mixkd.data.views import crop_and_flip, to_unit
from mixkd.errors import UserError
from mixkd.vicinal import Mixing, Plan, VicinalBatch, VicinalStream, cut, mix


class Step(NamedTuple):
    """What the training loader yields: a position in the stream."""

    epoch: int
    step: int


class Range(NamedTuple):
    """What an evaluation loader yields: images [start, stop) of a split."""

    split: str
    start: int
    stop: int


@dataclass(frozen=True)
class EvaluationBatch:
    """Views as they are: float32 [b, 3, h, w] in [0, 1]; int64 labels and positions, [b]."""

    view: Tensor
    label: Tensor
    index: Tensor


class Positions:
    """What a loader yields, made as it goes. (Lightning takes a list for several loaders.)"""

    def __init__(self, length: int, at: Callable[[int], Step | Range]) -> None:
        self.length, self.at = length, at

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Step | Range]:
        return map(self.at, range(self.length))


class ImageDataModule(LightningDataModule):
    """Serves vicinal batches for training and every image once for evaluation.

    Loaders yield positions only; batches are made on the device that the trainer uses.

    Args:
        splits: the images.
        cfg: batch sizes and views.
        stream: the vicinal stream of training; None where nothing is trained.
    """

    def __init__(self, splits: Splits, cfg: Data, stream: VicinalStream | None = None) -> None:
        super().__init__()
        self.splits, self.cfg, self.stream = splits, cfg, stream
        self.tested = "test"  # the split that the next test goes over
        self._resident: dict[str, Images] = {}

    def train_dataloader(self) -> Positions:
        """Return the positions of one epoch of the stream, the one that the trainer is in."""
        assert self.stream is not None
        assert self.trainer is not None
        trainer = self.trainer
        return Positions(self.stream.steps_per_epoch, lambda k: Step(trainer.current_epoch, k))

    def val_dataloader(self) -> Positions:
        """Return the ranges of the held-out images that this process evaluates."""
        return self.ranges("val")

    def test_dataloader(self) -> Positions:
        """Return the ranges of the split `tested` that this process evaluates."""
        return self.ranges(self.tested)

    def ranges(self, split: str) -> Positions:
        """Return the ranges of a split that this process evaluates; together they hold it once."""
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        n, size = len(self.splits[split]), self.cfg.eval_batch_size
        first, last = n * rank // world, n * (rank + 1) // world
        starts = range(first, last, size)
        return Positions(
            len(starts), lambda k: Range(split, starts[k], min(starts[k] + size, last))
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make a batch from its position, on the device."""
        if isinstance(batch, Step):
            return self._vicinal_batch(batch)
        if isinstance(batch, Range):
            images = self._on_device(batch.split)
            at = slice(batch.start, batch.stop)
            return EvaluationBatch(to_unit(images.pixels[at]), images.labels[at], images.index[at])
        return batch

    def _vicinal_batch(self, position: Step) -> VicinalBatch:
        assert self.stream is not None
        assert self.trainer is not None
        plan = self.stream.plan(position.epoch, position.step)
        share = self.stream.batch_size // self.trainer.world_size
        rows = torch.arange(share) + share * self.trainer.global_rank
        return vicinal_batch(self._on_device("train"), plan, rows, self.cfg.pad)

    def _on_device(self, split: str) -> Images:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        images = self._resident.get(split)
        if images is None or images.labels.device != device:
            whole = self.splits[split]
            images = Images(
                whole.pixels.to(device), whole.labels.to(device), whole.index.to(device)
            )
            self._resident[split] = images
        return images


def vicinal_batch(images: Images, plan: Plan, rows: Tensor, pad: int) -> VicinalBatch:
    """Return `rows` of a planned batch.

    Args:
        images: the training images, on any device.
        plan: the global batch.
        rows: int64 [b], this process's rows of it, on the CPU.
        pad: pixels of padding of the crops.
    """
    device = images.pixels.device
    # A partner may be another process's row: make each view that is needed, once.
    both = torch.cat([rows, plan.partner[rows]])
    needed, where = torch.unique(both, return_inverse=True)
    own, partner = where.to(device).chunk(2)
    image, top, left, flip = (
        x[needed].to(device) for x in (plan.image, plan.top, plan.left, plan.flip)
    )
    pixels = crop_and_flip(images.pixels.index_select(0, image), top, left, flip, pad)
    view, label, index = to_unit(pixels), images.labels[image], images.index[image]
    lam = plan.lam[rows]
    # The check is on the CPU: it waits for nothing.
    if bool((lam == 1).all()):
        mixed, lam = view[own], lam.to(device)
    elif plan.centre is None:
        lam = lam.to(device)
        mixed = mix(view[own], view[partner], lam)
    else:
        mixed, lam = cut(view[own], view[partner], lam.to(device), plan.centre[rows].to(device))
    return VicinalBatch(mixed, lam, label[own], label[partner], index[own], index[partner])


def load_splits(cfg: Data) -> Splits:
    """Load a data set and split it as configured.

    The held-out images depend on `data.split_seed` alone, so that no run trains on another's;
    `data.limit_train` shortens the training and the held-out images in the same proportion.

    Raises:
        UserError: if the data cannot be read or split.
    """
    source = SOURCES[cfg.source](cfg)
    train, test, val = source.train, source.test, source.val
    if cfg.limit_test is not None and cfg.limit_test < len(test):
        test, _ = stratified(test, cfg.limit_test, cfg.split_seed, "data.limit_test")
    if cfg.selection == "test":
        val = test
    elif val is None:
        count = round(len(train) * cfg.holdout)
        val, train = stratified(train, count, cfg.split_seed, "data.holdout")
    if cfg.limit_train is not None and cfg.limit_train < len(train):
        share = cfg.limit_train / len(train)
        train, _ = stratified(train, cfg.limit_train, cfg.split_seed, "data.limit_train")
        count = max(round(len(val) * share), len(source.classes))
        if cfg.selection != "test" and count < len(val) - len(source.classes):
            val, _ = stratified(val, count, cfg.split_seed, "data.limit_train")
    return Splits(train, val, test, source.classes)


def make_stream(cfg: Data, splits: Splits, mixing: Mix | None, seed: int) -> VicinalStream:
    """Return the vicinal stream over the training images.

    Raises:
        UserError: if a batch is larger than the training set.
    """
    if cfg.batch_size > len(splits.train):
        raise UserError.of(
            "data.batch_size",
            f"got {cfg.batch_size}; takes at most the {len(splits.train)} training images",
        )
    given = None if mixing is None else Mixing(mixing.lam, mixing.a, mixing.per, mixing.kind)
    return VicinalStream(
        len(splits.train), cfg.batch_size, seed, given, slack=2 * cfg.pad, flip=cfg.flip
    )
