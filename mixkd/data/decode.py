"""Image files -> uint8 pixels."""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from mixkd.errors import UserError

# Part of what names decoded images in a cache: raise it when their pixels come out anew.
DECODING = 2


def decode(path: Path, size: int | None) -> Tensor | str:
    """Return an image as uint8 [3, height, width], upright; or what is wrong with the file.

    Args:
        path: of any format that Pillow reads; grey, palette and CMYK images become RGB.
        size: pixels of a side; the middle square of the image is resized to it. None: as it is.
    """
    try:
        with open(path, "rb") as opened:
            data = opened.read()
        with Image.open(io.BytesIO(data)) as file:  # reads the header, and refuses immense images
            is_upright = file.getexif().get(ExifTags.Base.Orientation, 1) == 1
            pixels = _jpeg(data) if file.format == "JPEG" and is_upright else None
            if pixels is None:
                pixels = _pixels(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{path} cannot be decoded: {error}"
    return pixels if size is None else _fitted(pixels, size)


def _jpeg(data: bytes) -> Tensor | None:
    """Return the pixels as Pillow would, in less time; None for what torchvision does not read."""
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        pixels: Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except RuntimeError:
        return None  # Pillow reads it all the same, or says what is wrong with it
    return pixels


def _pixels(file: Image.Image) -> Tensor:
    image = ImageOps.exif_transpose(file)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _fitted(pixels: Tensor, size: int) -> Tensor:
    """Resize the middle square, antialiased, in bytes."""
    height, width = pixels.shape[-2:]
    side = min(height, width)
    if (height, width) == (size, size):
        return pixels
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[None, :, top : top + side, left : left + side]
    # Its bytes are in this order already.
    square = square.contiguous(memory_format=torch.channels_last)
    return F.interpolate(square, (size, size), mode="bilinear", antialias=True)[0]


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
        content: a sha256 of what all the files contain.
    """

    root: Path
    names: np.ndarray
    size: int
    content: str

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
        # As they are in memory, a pixel's three bytes together: the device reorders them faster.
        return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)

    def fingerprint(self) -> str:
        """Return the sha256 of what the files contain, and of how they are decoded."""
        return hashlib.sha256(f"{DECODING}\0{self.size}\0{self.content}".encode()).hexdigest()
