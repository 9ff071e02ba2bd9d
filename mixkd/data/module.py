"""The DataModule: what the trainer's loaders yield, and how it becomes batches on the device.

Images in memory live on the device whole: loaders yield positions, without workers or per-image
Python. Images on disk are decoded by workers, which send bytes; views and mixing are made on the
device all the same.
"""

import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from os import PathLike, fspath
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from mixkd.config.data import DataConfig, data_config
from mixkd.console import cores
from mixkd.data.batches import (
    EvaluationBatch,
    PairBatch,
    make_stream,
    make_views,
    needed_rows,
    vicinal_batch,
)
from mixkd.data.images import AnyImages, Images, StoredImages
from mixkd.data.pairs import ImagePairs
from mixkd.data.sources import read_splits
from mixkd.data.splits import Splits, load_splits, split
from mixkd.data.views import Views
from mixkd.errors import Problem, UserError
from mixkd.vicinal import Plan, VicinalStream


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


class PairRange(Range):
    """Pairs [start, stop) of those of a split."""


Position = Step | Range


class Fetched(NamedTuple):
    """What was read from disk for a position: uint8 [n, 3, *stored], or why it could not be."""

    position: Position
    pixels: Tensor | Problem


class Positions(DistributedSampler[Position]):
    """What a loader yields, made as it goes. (Lightning takes a list for several loaders.)

    Its length is that of a whole epoch, also where `first` says that one starts within it. Each
    process has its share of them already, by which name Lightning knows that it is not to share
    them out.
    """

    def __init__(
        self, length: int, position: Callable[[int], Position], first: Callable[[], int] = lambda: 0
    ) -> None:
        self.length, self.position, self.first = length, position, first

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Position]:
        return map(self.position, range(self.first(), self.length))


@dataclass(frozen=True)
class Portion:
    """Which images the batches of one process need: of `world` processes the one numbered `rank`.

    A step of the stream is taken in `parts`; `pairs` are those that are gone over, if any.
    """

    stream: VicinalStream | None
    rank: int
    world: int
    parts: int
    pairs: ImagePairs | None

    def plan(self, position: Step) -> tuple[Plan, Tensor]:
        """Return a step of the stream, and the rows of it that the process takes: int64 [b]."""
        assert self.stream is not None
        share = self.stream.batch_size // (self.world * self.parts)
        first = share * (self.rank * self.parts + position.part)
        return self.stream.plan(position.epoch, position.step), torch.arange(first, first + share)

    def images(self, position: Position) -> Tensor:
        """Return the images of its split that a batch needs, of pairs all first ones: int64 [n]."""
        if isinstance(position, Step):
            plan, rows = self.plan(position)
            return plan.image[needed_rows(plan, rows)[0]]
        if isinstance(position, PairRange):
            assert self.pairs is not None
            pairs = slice(position.start, position.stop)
            return torch.from_numpy(np.concatenate([self.pairs.i[pairs], self.pairs.j[pairs]]))
        return torch.arange(position.start, position.stop)


class Fetching(Dataset[Fetched]):
    """Reads the images that a position needs; runs in a worker."""

    def __init__(self, images: StoredImages, portion: Portion) -> None:
        self.images, self.portion = images, portion

    def __getitem__(self, position: Position) -> Fetched:
        """Return the images, or what is wrong: an exception would come with a traceback."""
        try:
            return Fetched(position, self.images.read(self.portion.images(position).numpy()))
        except UserError as error:
            return Fetched(position, error.problems[0])


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ignore Ctrl-C and termination: they reach the parent too, which ends its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class ImageDataModule(LightningDataModule):
    """Images for training and for evaluation, of a data set, of arrays or of torch `Dataset`s.

    `fit` sees views of the training images, padded, cropped and flipped as `options` say, in an
    order that `seed` fixes, whatever the network; `validate` and `fit` the held-out images, `test`
    the test images, each once, shared out among processes. Pixels are in [0, 1]: a network that
    takes others normalises them itself. Images in memory live on the device.

    What it gives depends on the module. One that has an attribute `mixing`, as `Supervised` and
    `Distillation`, gets a `VicinalBatch` of images mixed so (None: not mixed) to learn from, and
    an `EvaluationBatch` to be measured by. Any other gets (images, labels): float32
    [b, 3, height, width] and int64 [b].

    Args:
        splits: the images, or what loads them when they are first asked for.
        cfg: batch sizes and views.
        stream: the vicinal stream of training; None: that of `seed`, over the training images.
        parts: how many batches a step of training is taken in, one after another.
        seed: of the stream.

    Attributes:
        stage: of the training: stage 1 has a stream of its own.
        tested: the split that the next test goes over.
        pairs: of it, where the next test goes over pairs.

    Examples:
        >>> import numpy as np
        >>> from mixkd import ImageDataModule
        >>> images = np.zeros((60, 16, 16, 3), dtype=np.uint8)
        >>> data = ImageDataModule.of((images, np.arange(60) % 3), batch_size=8, pad=2)
        >>> # Trainer(max_epochs=10).fit(module, data)
    """

    def __init__(
        self,
        splits: Splits | Callable[[], Splits],
        cfg: DataConfig,
        stream: VicinalStream | None = None,
        parts: int = 1,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.cfg, self.parts, self.seed, self.stage = cfg, parts, seed, 2
        self.tested = "test"
        self.pairs: ImagePairs | None = None
        self._splits, self._stream = splits, stream
        self._placed: dict[str, AnyImages] = {}

    @staticmethod
    def of(
        train: Any, test: Any = None, val: Any = None, *, seed: int = 0, **options: Any
    ) -> "ImageDataModule":
        """Return data of arrays, or of any torch `Dataset` of (image, label).

        Args:
            train: images to train on: a pair (images, labels) of arrays or tensors, uint8 or floats
                in [0, 1], [n, h, w, c] or [n, c, h, w], with integers [n] from 0; or a Dataset of
                PIL images, tensors [c, h, w] or arrays [h, w, c], with a label each, which is read
                once.
            test: those to report on; None: a quarter of `train`.
            val: those to select by; None: the share `holdout` of `train`.
            seed: of the order, crops and flips, and of what is mixed.
            options: keys of the section `data`, such as batch_size, eval_batch_size, size, pad,
                flip, holdout, limit_train.

        Raises:
            ValueError: for a wrong option; and when they are read, if they are no labelled images.

        Examples:
            >>> images = torch.randint(0, 256, (40, 8, 8, 3), dtype=torch.uint8).numpy()
            >>> labels = np.arange(40) % 4
            >>> data = ImageDataModule.of((images, labels), batch_size=8, pad=1)
            >>> [len(data.splits[name]) for name in ("train", "val", "test")]
            [26, 4, 10]
        """
        cfg = data_config("_own", {"factory": "mixkd.ImageDataModule", "name": "own"}, options)
        given = {"train": train, "test": test, "val": val}
        datasets = {name: part for name, part in given.items() if part is not None}
        return ImageDataModule(partial(_split_of, datasets, cfg), cfg, seed=seed)

    @cached_property
    def splits(self) -> Splits:
        """The images, loaded when they are first asked for."""
        return self._splits() if callable(self._splits) else self._splits

    @cached_property
    def views(self) -> Views:
        """How images become views."""
        return make_views(self.cfg, self.splits)

    @property
    def stream(self) -> VicinalStream:
        """The vicinal stream of the module that learns.

        Raises:
            UserError: if the training images do not fill a batch, or processes cannot share it.
        """
        if self._stream is not None:
            return self._stream
        assert self.trainer is not None
        mixing = getattr(self.trainer.lightning_module, "mixing", None)
        return make_stream(
            self.cfg, self.splits, mixing, self.seed,
            devices=self.trainer.world_size, stage=self.stage,
        )  # fmt: skip

    def prepare_data(self) -> None:
        """Load the images; this downloads, or decodes, what is to be made once."""
        _ = self.splits

    def setup(self, stage: str) -> None:
        """Load the images."""
        _ = self.splits

    def train_dataloader(self) -> Iterable[Step | Fetched]:
        """Return the epoch of the stream that the trainer is in, from where it is in it."""
        trainer: Any = self.trainer
        # Not trainer.current_epoch: when a run is resumed, workers are sent their first positions
        # before Lightning counts the epoch that has ended.
        epochs = trainer.fit_loop.epoch_progress.current
        batches = trainer.fit_loop.epoch_loop.batch_progress
        parts, stream = self.parts, self.stream
        positions = Positions(
            stream.steps_per_epoch * parts,
            lambda k: Step(epochs.processed, k // parts, k % parts),
            lambda: 0 if batches.is_last_batch else batches.current.processed,
        )
        return self._loader("train", positions, stream)

    def val_dataloader(self) -> Iterable[Range | Fetched]:
        """Return the held-out images that this process evaluates."""
        return self.ranges("val")

    def test_dataloader(self) -> Iterable[Range | Fetched]:
        """Return the images, or the pairs, of `tested` that this process evaluates."""
        if self.pairs is None:
            return self.ranges(self.tested)
        return self._loader(self.tested, self._share(len(self.pairs.i), PairRange, self.tested))

    def pair_batches(self, split: str, pairs: ImagePairs) -> Iterator[PairBatch]:
        """Yield this process's share of pairs, on the device, without workers: for a few pairs."""
        assert self.trainer is not None
        self.pairs, images = pairs, self.splits[split]
        for position in self._share(len(pairs.i), PairRange, split):
            pixels = None
            if isinstance(images, StoredImages):
                pixels = images.read(self._portion().images(position).numpy())
                pixels = pixels.to(self.trainer.strategy.root_device)
            assert isinstance(position, PairRange)
            yield self._pair_batch(position, pixels)
        self.pairs = None

    def ranges(self, split: str) -> Iterable[Range | Fetched]:
        """Return the ranges of a split that this process evaluates; together they hold it once."""
        return self._loader(split, self._share(len(self.splits[split]), Range, split))

    def _share(self, n: int, kind: type[Range], split: str) -> Positions:
        """Return the ranges of n images or pairs of a split that this process takes."""
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        size = self.cfg.eval_batch_size
        if 0 < n < world:  # of one without a batch the others would wait for ever
            what = f"pairs of {split}" if kind is PairRange else split
            check_shares({what: n}, world)
        first, last = n * rank // world, n * (rank + 1) // world
        starts = range(first, last, size)
        return Positions(len(starts), lambda k: kind(split, starts[k], min(starts[k] + size, last)))

    def _portion(self, stream: VicinalStream | None = None) -> Portion:
        """Return what this process takes."""
        assert self.trainer is not None
        rank, world = self.trainer.global_rank, self.trainer.world_size
        return Portion(stream, rank, world, self.parts, self.pairs)

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
        if isinstance(pixels, Problem):
            raise UserError(pixels)
        if isinstance(position, Step):
            plan, rows = self._portion(self.stream).plan(position)
            batch = vicinal_batch(self._on_device("train"), plan, rows, self.views, pixels)
            return batch if self._is_for_mixing else (batch.mixed, batch.label)
        if isinstance(position, PairRange):
            return self._pair_batch(position, pixels)
        if isinstance(position, Range):
            images, part = self._on_device(position.split), slice(position.start, position.stop)
            if pixels is None:
                assert isinstance(images, Images)
                pixels = images.pixels[part]
            view = self.views.evaluation(pixels)
            if not self._is_for_mixing:
                return view, images.labels[part]
            return EvaluationBatch(view, images.labels[part], images.index[part])
        return batch

    @property
    def _is_for_mixing(self) -> bool:
        """Whether the module takes batches that say all of their images."""
        assert self.trainer is not None
        return hasattr(self.trainer.lightning_module, "mixing")

    def _pair_batch(self, position: PairRange, pixels: Tensor | None) -> PairBatch:
        if pixels is None:
            images = self._on_device(position.split)
            assert isinstance(images, Images)
            pixels = images.pixels.index_select(
                0, self._portion().images(position).to(images.pixels.device)
            )
        first, second = self.views.evaluation(pixels).chunk(2)
        return PairBatch(first, second, torch.arange(position.start, position.stop))

    def training_index(self, epoch: int, number: int) -> Tensor:
        """Return which images a batch of training is of: int64 [b], in the data set's own order.

        Batches are numbered from 0 in each epoch; each part of a step is one.
        """
        position = Step(epoch, number // self.parts, number % self.parts)
        plan, rows = self._portion(self.stream).plan(position)
        return self.splits.train.index[plan.image[rows]].cpu()

    def _loader(
        self, split: str, positions: Positions, stream: VicinalStream | None = None
    ) -> Iterable[Any]:
        images = self.splits[split]
        if isinstance(images, Images):
            return positions
        assert self.trainer is not None
        workers = self.cfg.workers
        if workers is None:
            workers = max(cores() // self.trainer.world_size, 1)
        return DataLoader(
            Fetching(images, self._portion(stream)),
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


def check_shares(sizes: Mapping[str, int], devices: int) -> None:
    """Raise a UserError if a split, by name and size, has fewer images than there are devices."""
    name, fewest = min(sizes.items(), key=lambda size: size[1])
    if fewest < devices:
        text = f"got {devices}, which share {fewest} {name} images; takes fewer"
        raise UserError.of("trainer.devices", text)


def _split_of(datasets: Mapping[str, Any], cfg: DataConfig) -> Splits:
    return split(read_splits(datasets, cfg, "train"), cfg)


class _Named(ImageDataModule):
    """A data set that mixkd ships, by the name of its file in conf/data."""

    def __init__(self, name: str, seed: int, given: dict[str, Any], options: Any) -> None:
        cfg = data_config(name, given, options)
        super().__init__(partial(load_splits, cfg), cfg, seed=seed)


Root = str | PathLike[str]


class CIFAR10(_Named):
    """CIFAR-10, which is downloaded to `root`; a tenth of the training images is held out.

    `options` are keys of the section `data`, as those of `ImageDataModule.of`.

    Examples:
        >>> from mixkd import CIFAR10
        >>> data = CIFAR10("datasets", batch_size=64, seed=1)
        >>> # trainer.fit(module, data); trainer.test(module, data)
    """

    def __init__(self, root: Root = "datasets", *, seed: int = 0, **options: Any) -> None:
        super().__init__("cifar10", seed, {"root": fspath(root)}, options)


class CIFAR100(_Named):
    """CIFAR-100, which is downloaded to `root`; see `CIFAR10`.

    Examples:
        >>> from mixkd import CIFAR100
        >>> data = CIFAR100("datasets", holdout=0.2)
    """

    def __init__(self, root: Root = "datasets", *, seed: int = 0, **options: Any) -> None:
        super().__init__("cifar100", seed, {"root": fspath(root)}, options)


class ImageNet(_Named):
    """ImageNet, of a folder that holds train/ and val/ or the archives; read from disk.

    Examples:
        >>> from mixkd import ImageNet
        >>> data = ImageNet("imagenet", size=224, batch_size=256)
    """

    def __init__(self, root: Root, *, seed: int = 0, **options: Any) -> None:
        super().__init__("imagenet", seed, {"root": fspath(root)}, options)


class ImageFolder(_Named):
    """Any folder of images: train/<class>/*, with val/ to select by, test/ to report on, or both.

    `size` is the side of the views in pixels, which images of several sizes need.

    Examples:
        >>> from mixkd import ImageFolder
        >>> data = ImageFolder("flowers", size=64, pad=8)
    """

    def __init__(self, root: Root, *, seed: int = 0, **options: Any) -> None:
        super().__init__("imagefolder", seed, {"root": fspath(root)}, options)


class CIFAR10C(_Named):
    """CIFAR-10's test images, corrupted: one corruption, such as fog, at a severity from 1 to 5.

    They are test images alone, downloaded to `root` (2.9 GB).

    Examples:
        >>> from mixkd import CIFAR10C
        >>> data = CIFAR10C("fog", severity=5)
        >>> # trainer.test(module, data)
    """

    def __init__(
        self, corruption: str, severity: int = 3, root: Root = "datasets", **options: Any
    ) -> None:
        given = {"root": fspath(root), "corruption": corruption, "severity": severity}
        super().__init__("cifar10_c", 0, given, options)


class CIFAR100C(_Named):
    """CIFAR-100's test images, corrupted; see `CIFAR10C`.

    Examples:
        >>> from mixkd import CIFAR100C
        >>> data = CIFAR100C("contrast", severity=1)
    """

    def __init__(
        self, corruption: str, severity: int = 3, root: Root = "datasets", **options: Any
    ) -> None:
        given = {"root": fspath(root), "corruption": corruption, "severity": severity}
        super().__init__("cifar100_c", 0, given, options)
