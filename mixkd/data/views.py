"""Views: augmented image batches in pixel space [0, 1], made on the images' own device."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Views:
    """How stored pixels become views.

    In training they are resized to a square of `resize`, padded, and cropped at random to `size`;
    in evaluation they are resized to `size` whole, as the paper's authors did.

    Attributes:
        stored: height and width of the images as they come.
        resize: pixels of a side before the crop; None: `size`.
        size: pixels of a side of the views; None: as large as the stored images.
        pad: pixels of zeros on each side before a training crop.
    """

    stored: tuple[int, int]
    resize: int | None
    size: int | None
    pad: int

    @property
    def whole(self) -> tuple[int, int]:
        """Height and width before the crop."""
        side = self.resize or self.size
        return self.stored if side is None else (side, side)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the views."""
        return self.whole if self.size is None else (self.size, self.size)

    @property
    def slack(self) -> int:
        """Pixels that a training crop may move along each axis."""
        return self.whole[0] + 2 * self.pad - self.shape[0]

    def training(self, pixels: Tensor, top: Tensor, left: Tensor, flip: Tensor) -> Tensor:
        """Return random crops, some flipped left to right.

        Args:
            pixels: uint8, shape [n, 3, *stored].
            top: int64, shape [n], in [0, slack]; `left` the same.
            flip: bool, shape [n].

        Returns:
            float32 in [0, 1], shape [n, 3, *shape].
        """
        whole = resized(pixels, self.whole)
        return to_unit(crop_and_flip(whole, top, left, flip, self.pad, self.shape))

    def evaluation(self, pixels: Tensor) -> Tensor:
        """Return each image as it is: float32 in [0, 1], shape [n, 3, *shape]."""
        return to_unit(resized(pixels, self.shape))


def resized(pixels: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return images of a height and width: bytes as they are, or float32 in [0, 1] if resized."""
    if pixels.shape[-2:] == shape:
        return pixels  # what follows is faster on bytes
    return F.interpolate(to_unit(pixels), shape, mode="bilinear", antialias=True)


def crop_and_flip(
    pixels: Tensor, top: Tensor, left: Tensor, flip: Tensor, pad: int, shape: tuple[int, int]
) -> Tensor:
    """Pad with zeros, crop at given offsets, and flip some left to right.

    Args:
        pixels: any dtype, shape [n, channels, height, width].
        top: int64, shape [n], in [0, height + 2 * pad - shape[0]].
        left: int64, shape [n], in [0, width + 2 * pad - shape[1]].
        flip: bool, shape [n].
        pad: pixels of padding on each side.
        shape: height and width of the crops.

    Returns:
        A tensor of the dtype of `pixels`, shape [n, channels, *shape].
    """
    n, channels, _, width = pixels.shape
    padded = F.pad(pixels, (pad, pad, pad, pad)) if pad else pixels
    rows = top[:, None] + torch.arange(shape[0], device=pixels.device)
    columns = torch.arange(shape[1], device=pixels.device)
    columns = left[:, None] + torch.where(flip[:, None], columns.flip(0), columns)
    # One flat index a pixel: a single gather, twice as fast as indexing by three tensors.
    at = rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    at = at.reshape(n, 1, shape[0] * shape[1]).expand(n, channels, -1)
    return padded.flatten(2).gather(2, at).reshape(n, channels, *shape)


def to_unit(pixels: Tensor) -> Tensor:
    """Return uint8 pixels as contiguous float32 in [0, 1]; what is float stays as it is."""
    if pixels.dtype != torch.uint8:
        return pixels
    return pixels.contiguous().to(torch.float32).div_(255)
