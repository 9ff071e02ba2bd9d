"""The DataModule: what the trainer's loaders yield, and how it becomes batches on the device.

Images in memory live on the device whole: loaders yield positions, without workers or per-image
Python. Images on disk are decoded by workers, which send bytes; views and mixing are made on the
device all the same.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mixkd.config.data import CorruptedDataConfig, DataConfig
from mixkd.config.method import MixConfig
from mixkd.console import cores
from mixkd.data.corrupted import load_corrupted
from mixkd.data.images import AnyImages, Images, Splits, StoredImages, stratified
from mixkd.data.pairs import ImagePairs
from mixkd.data.sources import SOURCES
from mixkd.data.views import Views
from mixkd.errors import UserError
from mixkd.vicinal import Mixing, Plan, VicinalBatch, VicinalStream, cut, mix


class Step(NamedTuple):
    """A position in the stream, and which part of the step where it is taken in several."""

    epoch: int
    step: int
    part: int = 0


class Range(NamedTuple):
    """Images [start, stop) of a split."""

    split: str
    start: int
    stop: int


class PairRange(NamedTuple):
    """Pairs [start, stop) of those of a split."""

    split: str
    start: int
    stop: int


class Fetched(NamedTuple):
    """What was read from disk for a position: uint8 [n, 3, *stored], or why it could not be."""

    position: Step | Range | PairRange
    pixels: Tensor | str


@dataclass(frozen=True)
class EvaluationBatch:
    """Views as they are: float32 [b, 3, h, w] in [0, 1]; int64 labels and positions, [b]."""

    view: Tensor
    label: Tensor
    index: Tensor


@dataclass(frozen=True)
class PairBatch:
    """Views of pairs as they are: float32 [b, 3, h, w] each; int64 positions of the pairs, [b]."""

    first: Tensor
    second: Tensor
    position: Tensor


class Positions:
    """What a loader yields, made as it goes. (Lightning takes a list for several loaders.)

    Its length is that of a whole epoch, also where `first` says that one starts within it.
    """

    def __init__(
        self,
        length: int,
        at: Callable[[int], Step | Range | PairRange],
        first: Callable[[], int] = lambda: 0,
    ) -> None:
        self.length, self.at, self.first = length, at, first

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Step | Range | PairRange]:
        return map(self.at, range(self.first(), self.length))


class Fetching(Dataset[Fetched]):
    """Reads the images of a position; runs in a worker.

    Args:
        images: of a split.
        needed: the positions in it, int64 [n], of a step or a range.
    """

    def __init__(self, images: StoredImages, needed: Callable[[Any], Tensor]) -> None:
        self.images, self.needed = images, needed

    def __getitem__(self, position: Step | Range | PairRange) -> Fetched:
        """Return the images, or the message: an exception would come with a traceback."""
        try:
            return Fetched(position, self.images.read(self.needed(position).numpy()))
        except UserError as error:
            return Fetched(position, error.problems[0].text)


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ignore Ctrl-C and termination, which reach a whole group: the parent ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class ImageDataModule(LightningDataModule):
    """Serves vicinal batches for training and every image once for evaluation.

    Args:
        splits: the images.
        cfg: batch sizes and views.
        stream: the vicinal stream of training; None where nothing is trained.
        parts: how many batches a step of training is taken in, one after another.
    """

    def __init__(
        self, splits: Splits, cfg: DataConfig, stream: VicinalStream | None = None, parts: int = 1
    ) -> None:
        super().__init__()
        self.splits, self.cfg, self.stream, self.parts = splits, cfg, stream, parts
        self.views = make_views(cfg, splits)
        self.tested = "test"  # the split that the next test goes over
        self.pairs: ImagePairs | None = None  # of it, where the next test goes over pairs
        self._placed: dict[str, AnyImages] = {}

    def train_dataloader(self) -> Iterable[Step | Fetched]:
        """Return the epoch of the stream that the trainer is in, from where it is in it."""
        assert self.stream is not None
        assert self.trainer is not None
        # Not trainer.current_epoch: when a run is resumed, workers are sent their first positions
        # before Lightning counts the epoch that has ended.
        epochs: Any = self.trainer.fit_loop.epoch_progress.current
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        parts, length = self.parts, self.stream.steps_per_epoch * self.parts
        positions = Positions(
            length,
            lambda k: Step(epochs.processed, k // parts, k % parts),
            lambda: batches.processed % length,  # of an epoch that has ended all are processed
        )
        return self._loader("train", positions, self._needed)

    def val_dataloader(self) -> Iterable[Range | Fetched]:
        """Return the held-out images that this process evaluates."""
        return self.ranges("val")

    def test_dataloader(self) -> Iterable[Range | PairRange | Fetched]:
        """Return the images, or the pairs, of `tested` that this process evaluates."""
        if self.pairs is None:
            return self.ranges(self.tested)
        positions = self._shared_out(len(self.pairs.i), PairRange, self.tested)
        return self._loader(self.tested, positions, lambda r: self._of_pairs(r).flatten())

    def pair_batches(self, split: str, pairs: ImagePairs) -> Iterator[PairBatch]:
        """Yield this process's share of pairs, on the device, without workers: for a few pairs."""
        assert self.trainer is not None
        self.pairs, images = pairs, self.splits[split]
        for position in self._shared_out(len(pairs.i), PairRange, split):
            assert isinstance(position, PairRange)
            fetched: PairRange | Fetched = position
            if isinstance(images, StoredImages):
                pixels = images.read(self._of_pairs(position).flatten().numpy())
                fetched = Fetched(position, pixels.to(self.trainer.strategy.root_device))
            batch = self.on_after_batch_transfer(fetched, 0)
            assert isinstance(batch, PairBatch)
            yield batch
        self.pairs = None

    def ranges(self, split: str) -> Iterable[Range | Fetched]:
        """Return the ranges of a split that this process evaluates; together they hold it once."""
        positions = self._shared_out(len(self.splits[split]), Range, split)
        return self._loader(split, positions, lambda r: torch.arange(r.start, r.stop))

    def _shared_out(self, n: int, kind: type[Range] | type[PairRange], split: str) -> Positions:
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        size = self.cfg.eval_batch_size
        if 0 < n < world:  # of one without a batch the others would wait for ever
            of = "pairs of " if kind is PairRange else ""
            text = f"got {world}, which share {n} {of}{split} images; takes fewer"
            raise UserError.of("trainer.devices", text)
        first, last = n * rank // world, n * (rank + 1) // world
        starts = range(first, last, size)
        return Positions(len(starts), lambda k: kind(split, starts[k], min(starts[k] + size, last)))

    def _of_pairs(self, position: PairRange) -> Tensor:
        """Return where the images of pairs are in the split: int64, shape [2, pairs]."""
        assert self.pairs is not None
        at = slice(position.start, position.stop)
        return torch.from_numpy(np.stack([self.pairs.i[at], self.pairs.j[at]]))

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Send what was read to the device; a position has nothing to send."""
        if isinstance(batch, Fetched):
            return super().transfer_batch_to_device(batch, device, dataloader_idx)
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make a batch on the device, from a position or from what was read for it.

        Raises:
            UserError: if an image could not be read.
        """
        position, pixels = batch if isinstance(batch, Fetched) else (batch, None)
        if isinstance(pixels, str):
            raise UserError.of("data.root", pixels)
        if isinstance(position, Step):
            return self._vicinal_batch(position, pixels)
        if isinstance(position, Range):
            images, at = self._on_device(position.split), slice(position.start, position.stop)
            if pixels is None:
                assert isinstance(images, Images)
                pixels = images.pixels[at]
            view = self.views.evaluation(pixels)
            return EvaluationBatch(view, images.labels[at], images.index[at])
        if isinstance(position, PairRange):
            images = self._on_device(position.split)
            if pixels is None:
                assert isinstance(images, Images)
                where = self._of_pairs(position).flatten().to(images.pixels.device)
                pixels = images.pixels.index_select(0, where)
            first, second = self.views.evaluation(pixels).chunk(2)
            return PairBatch(first, second, torch.arange(position.start, position.stop))
        return batch

    def _vicinal_batch(self, position: Step, pixels: Tensor | None) -> VicinalBatch:
        plan, rows = self._plan(position)
        return vicinal_batch(self._on_device("train"), plan, rows, self.views, pixels)

    def _plan(self, position: Step) -> tuple[Plan, Tensor]:
        """Return a step of the stream, and the rows of it that this process takes."""
        assert self.stream is not None
        assert self.trainer is not None
        share = self.stream.batch_size // (self.trainer.world_size * self.parts)
        first = share * (self.trainer.global_rank * self.parts + position.part)
        return self.stream.plan(position.epoch, position.step), torch.arange(first, first + share)

    def training_index(self, epoch: int, number: int) -> Tensor:
        """Return which images a batch of training is of: int64 [b], in the data set's own order.

        Args:
            epoch: from 0.
            number: of the batch in the epoch, from 0, where each part of a step is one.
        """
        plan, rows = self._plan(Step(epoch, number // self.parts, number % self.parts))
        return self.splits.train.index[plan.image[rows]].cpu()

    def _needed(self, position: Step) -> Tensor:
        plan, rows = self._plan(position)
        return plan.image[needed_rows(plan, rows)[0]]

    def _loader(
        self, split: str, positions: Positions, needed: Callable[[Any], Tensor]
    ) -> Iterable[Any]:
        images = self.splits[split]
        if isinstance(images, Images):
            return positions
        assert self.trainer is not None
        workers = self.cfg.workers
        if workers is None:
            workers = max(cores() // self.trainer.world_size, 1)
        return DataLoader(
            Fetching(images, needed),
            batch_size=None,  # a position is a batch
            sampler=positions,
            num_workers=workers,
            worker_init_fn=_leave_signals_to_the_parent,
            # Not ended with each epoch: Python loses a Ctrl-C that comes while they are.
            persistent_workers=workers > 0,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )

    def _on_device(self, split: str) -> AnyImages:
        assert self.trainer is not None
        device = self.trainer.strategy.root_device
        images = self._placed.get(split)
        if images is None or images.labels.device != device:
            images = self._placed[split] = self.splits[split].to(device)
        return images


# Which of a batch's rows: int64 positions, or a slice, which takes them without a copy.
Chosen = Tensor | slice


def needed_rows(plan: Plan, rows: Tensor) -> tuple[Chosen, Chosen, Tensor]:
    """Return the rows of a batch that some rows of it need, their own and their partners', once.

    Args:
        plan: the global batch.
        rows: int64 [b], in order.

    Returns:
        The rows, and where in them each row and each partner is.
    """
    if len(rows) == len(plan.image):
        return slice(None), slice(None), plan.partner
    needed, where = torch.unique(torch.cat([rows, plan.partner[rows]]), return_inverse=True)
    own, partner = where.chunk(2)
    return needed, own, partner


def vicinal_batch(
    images: AnyImages, plan: Plan, rows: Tensor, views: Views, pixels: Tensor | None = None
) -> VicinalBatch:
    """Return `rows` of a planned batch.

    Args:
        images: the training images, on any device.
        plan: the global batch.
        rows: int64 [b], this process's rows of it, in order, on the CPU.
        views: how pixels become views.
        pixels: uint8, of the rows that are needed, where images stay on disk.
    """
    device = images.labels.device

    def sent(x: Tensor) -> Tensor:
        return x if device.type == "cpu" else x.pin_memory().to(device, non_blocking=True)

    # A partner may be another process's row: make each view that is needed, once.
    needed, own, other = needed_rows(plan, rows)
    mine = own if isinstance(own, slice) else rows
    own, other = own if isinstance(own, slice) else sent(own), sent(other)
    image, top, left, flip = (sent(x[needed]) for x in (plan.image, plan.top, plan.left, plan.flip))
    if pixels is None:
        assert isinstance(images, Images)
        pixels = images.pixels.index_select(0, image)
    view = views.training(pixels, top, left, flip)
    label, index = images.labels[image], images.index[image]
    lam = sent(plan.lam[mine])
    if not plan.mixes:
        mixed = view[own]
    elif plan.centre is None:
        mixed = mix(view[own], view.index_select(0, other), lam)
    else:
        centre = sent(plan.centre[mine])
        mixed, lam = cut(view[own], view.index_select(0, other), lam, centre)
    return VicinalBatch(
        mixed, lam, label[own], label[other], index[own], index[other],
        plan.epoch, plan.step, rows,
    )  # fmt: skip


def vicinal_batches(
    stream: VicinalStream, images: Tensor, label: Tensor, epoch: int = 0
) -> Iterator[VicinalBatch]:
    """Yield an epoch of a stream over images in memory, on their device.

    Args:
        stream: over as many images. Its slack is padding, half of it on each side.
        images: float32 in [0, 1] or uint8, shape [n, 3, height, width].
        label: int64, shape [n].
        epoch: from 0; each has an order and mixtures of its own.

    Raises:
        ValueError: if there are not as many images as the stream is over, or its slack is odd.

    Examples:
        >>> images, label = torch.rand(100, 3, 8, 8), torch.arange(100) % 10
        >>> stream = VicinalStream(100, 32, seed=0, mixing=Mixing("uniform"), slack=4, flip=True)
        >>> for batch in vicinal_batches(stream, images, label, epoch=1):
        ...     print(batch.step, batch.mixed.shape)
        0 torch.Size([32, 3, 8, 8])
        1 torch.Size([32, 3, 8, 8])
        2 torch.Size([32, 3, 8, 8])
    """
    if not len(images) == len(label) == stream.n:
        raise ValueError(f"{len(images)} images, {len(label)} labels, a stream over {stream.n}")
    if stream.slack % 2:
        raise ValueError(f"a slack of {stream.slack} cannot be shared by two sides")
    stored = Images(images, label, torch.arange(stream.n, device=label.device))
    views = Views(stored.stored, resize=None, size=None, pad=stream.slack // 2)
    rows = torch.arange(stream.batch_size)
    for step in range(stream.steps_per_epoch):
        yield vicinal_batch(stored, stream.plan(epoch, step), rows, views)


def make_views(cfg: DataConfig, splits: Splits) -> Views:
    """Return how the splits' images become views."""
    return Views(splits.test.stored, cfg.resize, cfg.size, cfg.pad)


def load_splits(cfg: DataConfig) -> Splits:
    """Load a data set and split it as configured. Corrupted data are a test split alone.

    The held-out images depend on `data.split_seed` alone, so that no run trains on another's;
    `data.limit_train` shortens the training and the held-out images in the same proportion.

    Raises:
        UserError: if the data cannot be read or split.
    """
    if isinstance(cfg, CorruptedDataConfig):
        test, classes = load_corrupted(cfg)
        if cfg.limit_test is not None and cfg.limit_test < len(test):
            test, _ = stratified(test, cfg.limit_test, cfg.split_seed, "data.limit_test")
        none = test.take(np.arange(0))
        return Splits(none, none, test, classes)
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


def make_stream(
    cfg: DataConfig,
    splits: Splits,
    mixing: MixConfig | None,
    seed: int,
    *,
    devices: int = 1,
    stage: int = 2,
) -> VicinalStream:
    """Return the vicinal stream over the training images.

    Images on disk are mixed within each of `devices` processes.

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
        len(splits.train),
        cfg.batch_size,
        seed,
        given,
        slack=make_views(cfg, splits).slack,
        flip=cfg.flip,
        stage=stage,
        groups=1 if isinstance(splits.train, Images) else devices,
    )
