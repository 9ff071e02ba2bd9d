"""Images that an ordinary loader gives: how many, each once, and those of drawn pairs."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DistributedSampler

from mixkd.data.batches import EvaluationBatch
from mixkd.data.pairs import draw_pairs


class Labelled(NamedTuple):
    """Images [b, ...], their int64 labels [b], and int64 positions in the data set [b]."""

    images: Tensor
    label: Tensor
    position: Tensor


def labelled(batch: Any) -> tuple[Tensor, Tensor]:
    """Return the images and the int64 labels of a batch.

    Raises:
        ValueError: if it is no pair of images [b, ...] and whole numbers [b].
    """
    if isinstance(batch, EvaluationBatch):
        return batch.view, batch.label
    pair = batch[:2] if isinstance(batch, (list, tuple)) else ()
    if len(pair) < 2 or not all(isinstance(part, Tensor) for part in pair):
        raise ValueError(f"got a batch of type {type(batch).__name__}; takes (images, labels)")
    images, label = pair
    is_whole = not (label.is_floating_point() or label.is_complex() or label.dtype == torch.bool)
    if label.shape != images.shape[:1] or not is_whole:
        got = f"{label.dtype} {list(label.shape)}"
        raise ValueError(f"got labels {got}; takes whole numbers [{len(images)}], one an image")
    return images, label.long()


def first_loader(loaders: Any) -> Any:
    """Return the first of what may be one loader, or several in a list or a mapping."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return first_loader(loaders[0]) if isinstance(loaders, (list, tuple)) and loaders else loaders


class Share:
    """Which images of a data set a loader gives to this process, each counted once.

    Lightning shares a loader out among processes, and repeats images so that all have as many: what
    is repeated is left out.

    Attributes:
        n: how many there are; None where the loader does not tell.

    Args:
        loader: whatever gives batches.
        batches: of which so many are asked for, at most.
    """

    def __init__(self, loader: Any, batches: float = math.inf) -> None:
        self.n, self._first, self._step, self._seen = _size(loader, batches), 0, 1, 0
        self._limit = math.inf
        sampler: Any = getattr(loader, "sampler", None)
        if isinstance(sampler, DistributedSampler) and hasattr(sampler, "total_size"):
            self._first, self._step = sampler.rank, sampler.num_replicas
            dataset: Any = sampler.dataset
            self._limit = len(range(self._first, len(dataset), self._step))
            self.n = self.n and min(self.n, self._limit)

    def take(self, batch: Any) -> Labelled:
        """Return what of the next batch counts.

        Raises:
            ValueError: if it is no batch of images and labels.
        """
        images, label = labelled(batch)
        count = int(min(len(images), self._limit - self._seen))
        position = self._first + self._step * torch.arange(self._seen, self._seen + count)
        self._seen += count
        if isinstance(batch, EvaluationBatch):
            position = batch.index.cpu()
        return Labelled(images[:count], label[:count], position)


def _size(loader: Any, batches: float) -> int | None:
    """Return how many images a DataLoader gives to this process; None where it does not tell."""
    sampler: Any = getattr(loader, "batch_sampler", None)
    if not isinstance(sampler, BatchSampler) or not hasattr(sampler.sampler, "__len__"):
        return None  # as of an IterableDataset
    order: Any = sampler.sampler
    n = len(order) - (len(order) % sampler.batch_size if sampler.drop_last else 0)
    return int(min(n, batches * sampler.batch_size))


class PairImages:
    """Keeps the images of drawn pairs, on the CPU, of all that come batch by batch.

    Args:
        n: how many will come; None: all are kept until that is known.
        count: how many pairs `draw_pairs` draws of them, at most.
        seed: of the draw.
    """

    def __init__(self, n: int | None, count: int, seed: int) -> None:
        self._n, self._draw = n, partial(draw_pairs, count=count, seed=seed)
        self._needed = None if n is None else np.sort(np.concatenate(self._draw(n)))
        self._kept: list[Tensor] = []
        self._seen = 0

    def add(self, images: Tensor) -> None:
        """Keep what is needed of the next images, [b, ...]."""
        start, self._seen = self._seen, self._seen + len(images)
        if self._needed is not None:
            low, high = np.searchsorted(self._needed, [start, self._seen])
            rows = torch.from_numpy(self._needed[low:high] - start)
            images = images[rows.to(images.device)]
        self._kept.append(images.detach().cpu())

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return the images of the pairs, [pairs, ...] each, of those whose images both came.

        Raises:
            ValueError: if no images came.
        """
        if not self._seen:
            raise ValueError("no images were given")
        kept = torch.cat(self._kept)
        i, j = self._draw(self._seen if self._n is None else self._n)
        if self._needed is not None:
            i, j = (np.searchsorted(self._needed, side) for side in (i, j))
        came = (i < len(kept)) & (j < len(kept))
        return kept[torch.from_numpy(i[came])], kept[torch.from_numpy(j[came])]
