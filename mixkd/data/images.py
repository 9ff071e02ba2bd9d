"""Labelled images in memory, and the splits that every task works on."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from mixkd.errors import UserError


@dataclass(frozen=True)
class Images:
    """Labelled images.

    Attributes:
        pixels: uint8, shape [n, 3, height, width].
        labels: int64, shape [n].
        index: int64, shape [n], the positions in the data set's own order.
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor

    @classmethod
    def of(cls, pixels: np.ndarray, labels: np.ndarray) -> "Images":
        """Return all images of a data set.

        Args:
            pixels: uint8, shape [n, height, width, channels] with one or three channels.
            labels: integers, shape [n].
        """
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        if tensor.shape[1] == 1:
            tensor = tensor.expand(-1, 3, -1, -1).contiguous()
        index = torch.arange(len(labels))
        return cls(tensor, torch.as_tensor(np.asarray(labels, dtype=np.int64)), index)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, positions: np.ndarray) -> "Images":
        """Return the images at `positions`, in that order."""
        at = torch.from_numpy(positions)
        return Images(self.pixels[at], self.labels[at], self.index[at])


@dataclass(frozen=True)
class Splits:
    """What a task trains on, selects by and reports on; class names in label order."""

    train: Images
    val: Images
    test: Images
    classes: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of class names, pixels, labels and positions of every split."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for part in (self.train, self.val, self.test):
            for tensor in (part.pixels, part.labels, part.index):
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def __getitem__(self, split: str) -> Images:
        images: Images = getattr(self, split)
        return images


def stratified(images: Images, count: int, seed: int, key: str) -> tuple[Images, Images]:
    """Split images at random into `count` and the rest, each class in proportion.

    Both parts keep the order of the data set. A class too rare for its share may be missing from
    the smaller part.

    Raises:
        UserError: naming `key`, if either part is smaller than the number of classes, or a class
            has a single image.
    """
    classes = int(images.labels.bincount().count_nonzero())
    rest = len(images) - count
    if count < classes or rest < classes:
        raise UserError.of(
            key,
            f"asks for {count} of {len(images)} images; takes {classes} to {len(images) - classes},"
            f" so that both parts can hold the {classes} classes",
        )
    single = (images.labels.bincount() == 1).nonzero().flatten().tolist()
    if single:
        raise UserError.of(key, f"classes {single} have a single image, which cannot be split")
    positions = np.arange(len(images))
    chosen, others = train_test_split(
        positions,
        train_size=count,
        test_size=rest,
        random_state=seed,
        stratify=images.labels.numpy(),
    )
    return images.take(np.sort(chosen)), images.take(np.sort(others))
