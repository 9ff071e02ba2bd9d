"""Image files -> uint8 arrays."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from mixkd.errors import UserError
from mixkd.fingerprints import listing_fingerprint


def decode(path: Path, size: int | None) -> np.ndarray | str:
    """Return an image as uint8 [height, width, 3], upright; or what is wrong with the file.

    Args:
        path: of any format that Pillow reads; grey, palette and CMYK images become RGB.
        size: pixels of a side; the middle square of the image is resized to it. None: as it is.
    """
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode == "F" or image.mode.startswith("I"):
                image = _eight_bits(image)
            image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{path} cannot be decoded: {error}"
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits a pixel in 8; convert() would clip it to white."""
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError("its values are not 8 or 16 bits a pixel")
    return Image.fromarray((values / 257).round().astype(np.uint8))


@dataclass(frozen=True)
class Files:
    """Reads image files of a folder, each resized to a square: an `images.Reader`.

    Attributes:
        root: the folder.
        names: bytes, shape [n], the files' paths under it.
        size: pixels of a side.
    """

    root: Path
    names: np.ndarray
    size: int

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width in pixels, as they are read."""
        return self.size, self.size

    def path(self, row: int) -> Path:
        """Return the path of a file."""
        return self.root / os.fsdecode(self.names[row])

    def read(self, rows: np.ndarray) -> Tensor:
        """Return images by their rows: uint8 [n, 3, size, size].

        Raises:
            UserError: if a file cannot be decoded.
        """
        images = []
        for row in rows:
            image = decode(self.path(row), self.size)
            if isinstance(image, str):
                raise UserError.of("data.root", image)
            images.append(image)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def fingerprint(self) -> str:
        """Return the sha256 of names and sizes in bytes; contents would take too long."""
        return self._listing

    def state(self) -> str:
        """Return the sha256 of the files' places, sizes and times, and of the size in pixels."""
        digest = hashlib.sha256(f"{self.size}\0".encode() + os.fsencode(self.root.resolve()))
        for row, name in enumerate(self.names):
            stat = self.path(row).stat()
            digest.update(bytes(name) + f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    @cached_property
    def _listing(self) -> str:
        files = ((os.fsdecode(name), self.path(row)) for row, name in enumerate(self.names))
        return listing_fingerprint(files)
