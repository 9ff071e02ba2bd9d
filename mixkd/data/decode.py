"""Image files -> uint8 pixels."""

import hashlib
import io
import os
import threading
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from mixkd.data.contents import MOST_BYTES
from mixkd.data.listing import FORMATS
from mixkd.errors import UserError, shortened

# Part of what names decoded images in a cache: raise it when their pixels come out anew.
DECODING = 2

# Of an image, Pillow's own limit: with more, a decoded one alone would take a gigabyte.
MOST_PIXELS = 89_478_485
# With more than so many, one image of a process is decoded at a time.
MANY_PIXELS = 2**24
_turn = threading.Lock()

# What EXIF says of how the camera was held.
LYING = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
UPRIGHT = LYING | {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
}


def decode(path: Path, size: int | None) -> Tensor | str:
    """Return an image as uint8 [3, height, width], upright; or what is wrong with the file.

    Grey, palette and CMYK images become RGB, and of several frames the first is taken. The middle
    square is resized to `size` pixels of a side; None leaves the image as it is.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it is of {path.stat().st_size:,} bytes; takes up to {MOST_BYTES:,}")
        with open(path, "rb") as opened:
            data = opened.read()
        with open_image(io.BytesIO(data)) as file:
            is_large = file.width * file.height > MANY_PIXELS
            with _turn if is_large else nullcontext():
                pixels = _pixels(file, data)
                return pixels if size is None else fitted(pixels, size)
    except UnidentifiedImageError:  # its message has the address of the buffer
        why = f"it is none of {', '.join(FORMATS)}, or its beginning is damaged"
    except Exception as error:  # Pillow's plugins say in a dozen ways that a file is damaged
        kind = "" if isinstance(error, (OSError, SyntaxError, ValueError)) else type(error).__name__
        why = " ".join(f"{kind} {getattr(error, 'strerror', None) or error}".split())
    return f"{path} cannot be decoded: {shortened(why) or 'it is damaged'}"


def open_image(file: IO[bytes]) -> Image.Image:
    """Read the header of an image; raise one of many exceptions if it is damaged or too large."""
    image = Image.open(file, formats=list(FORMATS))
    if image.width * image.height > MOST_PIXELS:
        size = f"{image.width} x {image.height}"
        raise ValueError(f"it has {size} pixels; takes up to {MOST_PIXELS:,}")
    return image


def measure(path: Path) -> tuple[int, int] | None:
    """Return the height and width that an image has upright, by its header; None if damaged."""
    try:
        with open(path, "rb") as opened, open_image(opened) as file:
            # Pillow gives a TIFF file's as they are upright, and decodes a PNG file for late tags.
            turns = file.format not in ("TIFF", "PNG") or "exif" in file.info
            is_lying = turns and _turning(file) in LYING.values()
            return (file.width, file.height) if is_lying else (file.height, file.width)
    except Exception:  # whoever decodes it says why
        return None


def _pixels(file: Image.Image, data: bytes) -> Tensor:
    # Before its pixels: else Pillow turns a TIFF file itself, and fails where it cannot write its
    # tags anew. A PNG file's tags may come after its pixels.
    turning = None if file.format == "PNG" else _turning(file)
    if file.format == "JPEG" and turning is None:
        # torchvision decodes the same pixels in less time. What it cannot read Pillow may, or says
        # what is wrong with it.
        with suppress(RuntimeError):
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            return torch.as_tensor(decode_jpeg(encoded, mode=ImageReadMode.RGB))
    file.load()
    if file.format == "PNG":
        turning = _turning(file)
    image = file if turning is None else file.transpose(turning)
    values = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(MANY_PIXELS // image.width, 1)
    for top in range(0, image.height, rows):  # most images are of one part
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        values[top : top + rows] = rgb(part)
    return torch.from_numpy(values).permute(2, 0, 1)


def _turning(file: Image.Image) -> Image.Transpose | None:
    """Return what turns an image upright; let go of its tags, which Pillow would look into later.

    Tags that cannot be read say nothing: cameras and editors write any nonsense into them, and the
    pixels are whole all the same.
    """
    exif, turning = Image.Exif(), None
    try:
        exif = file.getexif()
        turning = UPRIGHT.get(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # of a dozen kinds
        exif = file.getexif()  # as far as it was read
    for tag in list(exif):
        del exif[tag]
    return turning


def rgb(image: Image.Image) -> np.ndarray:
    """Return a decoded image as uint8 [height, width, 3].

    Raises:
        ValueError: if it is grey, of values beyond 16 bits.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        image = _eight_bits(image)
    return np.asarray(image.convert("RGB"))


def fitted(pixels: Tensor, size: int) -> Tensor:
    """Resize the middle square of an image, uint8 [3, height, width], antialiased, in bytes."""
    height, width = pixels.shape[-2:]
    side = min(height, width)
    if (height, width) == (size, size):
        return pixels
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[None, :, top : top + side, left : left + side]
    square = square.contiguous(memory_format=torch.channels_last)  # the order of its bytes already
    return F.interpolate(square, (size, size), mode="bilinear", antialias=True)[0]


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits a pixel in 8; convert() would clip it to white."""
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError("its values are not 8 or 16 bits a pixel")
    return Image.fromarray((values / 257).round().astype(np.uint8))


@dataclass(frozen=True)
class Files:
    """Reads image files of a folder, each resized to a square of `size`: an `images.Reader`.

    `names`, bytes [n], are the files' paths under the root; `summary` their contents' sha256.
    """

    root: Path
    names: np.ndarray
    size: int
    summary: str
    are_files = True

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width in pixels, as they are read."""
        return self.size, self.size

    def read(self, rows: np.ndarray) -> Tensor:
        """Return images by their rows, uint8 [n, 3, size, size]; refuse damaged ones."""
        images = []
        for row in rows:
            image = decode(self.root / os.fsdecode(self.names[row]), self.size)
            if isinstance(image, str):
                raise UserError.of("data.root", image)
            images.append(image)
        # As they are in memory, a pixel's three bytes together: the device reorders them faster.
        return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)

    @property
    def content(self) -> str:
        """The sha256 of what the files contain, and of how they are decoded."""
        return hashlib.sha256(f"{DECODING}\0{self.size}\0{self.summary}".encode()).hexdigest()
