"""Labelled images, in memory or on disk."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class _Labelled:
    """What images in memory and on disk have in common."""

    labels: Tensor
    index: Tensor
    files: np.ndarray | None

    def __len__(self) -> int:
        return len(self.labels)

    def _taken(self, positions: np.ndarray) -> dict[str, Any]:
        at = torch.from_numpy(positions)
        files = None if self.files is None else self.files[positions]
        return {"labels": self.labels[at], "index": self.index[at], "files": files}

    def _moved(self, device: torch.device) -> dict[str, Any]:
        return {"labels": self.labels.to(device), "index": self.index.to(device)}


@dataclass(frozen=True)
class Images(_Labelled):
    """Labelled images in memory.

    Attributes:
        pixels: uint8, shape [n, 3, height, width].
        labels: int64, shape [n].
        index: int64, shape [n], the positions in the data set's own order.
        files: uint64, shape [n], what tells the files that they are of by content, where they are.
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor
    files: np.ndarray | None = None
    are_files = False

    @classmethod
    def of(
        cls, pixels: np.ndarray, labels: np.ndarray, files: np.ndarray | None = None
    ) -> "Images":
        """Return all images of a data set.

        Args:
            pixels: uint8, shape [n, height, width, channels] with one or three channels.
            labels: integers, shape [n].
            files: uint64, shape [n], of images that are files.
        """
        tensor = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        if tensor.shape[1] == 1:
            tensor = tensor.expand(-1, 3, -1, -1).contiguous()
        return cls(tensor, *_labelled(labels), files)

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.pixels.shape[-2], self.pixels.shape[-1])

    def take(self, positions: np.ndarray) -> "Images":
        """Return the images at `positions`, int64 [k], in that order."""
        return Images(self.pixels[torch.from_numpy(positions)], **self._taken(positions))

    def to(self, device: torch.device) -> "Images":
        """Return the images on a device."""
        return replace(self, pixels=self.pixels.to(device), **self._moved(device))

    def fingerprint(self) -> str:
        """Return the sha256 of pixels, labels and positions."""
        return _sha256(self.pixels, self.labels, self.index)


class Reader(Protocol):
    """Reads images from where they are kept."""

    @property
    def are_files(self) -> bool:
        """Whether each image is a file in the folder of its class."""

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def content(self) -> str:
        """A sha256 of all that there is to read."""

    def read(self, rows: np.ndarray) -> Tensor:
        """Return images by their rows, int64 [n]: uint8 [n, 3, *stored].

        Raises:
            UserError: if a file is not what it was.
        """


@dataclass(frozen=True)
class StoredImages(_Labelled):
    """Labelled images that stay on disk: `rows` of a reader, int64 [n]; the rest as of `Images`."""

    reader: Reader
    rows: np.ndarray
    labels: Tensor
    index: Tensor
    files: np.ndarray | None = None

    @classmethod
    def of(
        cls, reader: Reader, rows: np.ndarray, labels: np.ndarray, files: np.ndarray | None = None
    ) -> "StoredImages":
        """Return images by their rows, in that order."""
        return cls(reader, rows, *_labelled(labels), files)

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width in pixels, as they are read."""
        return self.reader.stored

    @property
    def are_files(self) -> bool:
        """Whether each image is a file in the folder of its class."""
        return self.reader.are_files

    def take(self, positions: np.ndarray) -> "StoredImages":
        """Return the images at `positions`, int64 [k], in that order."""
        return StoredImages(self.reader, self.rows[positions], **self._taken(positions))

    def to(self, device: torch.device) -> "StoredImages":
        """Return the same, labels and positions on a device."""
        return replace(self, **self._moved(device))

    def read(self, positions: np.ndarray) -> Tensor:
        """Return the pixels at `positions`: uint8 [n, 3, *stored], on the CPU."""
        return self.reader.read(self.rows[positions])

    def fingerprint(self) -> str:
        """Return the sha256 of what the reader reads, rows, labels and positions."""
        rows = torch.from_numpy(self.rows)
        return _sha256(rows, self.labels, self.index, more=self.reader.content)


AnyImages = Images | StoredImages


def _labelled(labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return labels and positions in the data set's own order, both int64 [n]."""
    return torch.as_tensor(np.asarray(labels, dtype=np.int64)), torch.arange(len(labels))


def _sha256(*tensors: Tensor, more: str = "") -> str:
    digest = hashlib.sha256(more.encode())
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
