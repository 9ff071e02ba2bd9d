"""Which images a network was trained on, and whether those that select are among them.

A training leaves two marks of each image in its run directory: the first bytes of the sha256 of
its file, and of its pixels, which are the same in another format that loses nothing.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from mixkd.data.images import AnyImages, Images
from mixkd.files.arrays import map_npy
from mixkd.files.layout import TRAINED_ON
from mixkd.files.reading import Damaged
from mixkd.files.writing import replacing


def image_marks(images: AnyImages) -> np.ndarray:
    """Return the marks of images: uint64 [n, 2], of file and pixels; 0 where there is none."""
    marks = np.zeros((len(images), 2), dtype=np.uint64)
    if images.files is not None:
        marks[:, 0] = images.files
    if isinstance(images, Images):
        shape = str(tuple(images.pixels.shape[1:])).encode()
        for row, pixels in enumerate(images.pixels.numpy()):
            digest = hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).digest()
            marks[row, 1] = int.from_bytes(digest[:8], "big")
    return marks


def write_marks(folder: Path, marks: np.ndarray) -> None:
    """Write into a run directory which images its network has seen: uint64 [n, 2]."""
    with replacing(folder / TRAINED_ON) as temporary, open(temporary, "wb") as file:
        np.save(file, marks, allow_pickle=False)


def read_marks(weights: str | Path) -> np.ndarray | None:
    """Return the marks beside a file of weights; None where there are none."""
    path = Path(weights).with_name(TRAINED_ON)
    if not os.path.isfile(path):
        return None
    try:
        marks = map_npy(path)
    except Damaged:
        return None
    return marks if marks.dtype == np.uint64 and marks.shape[1:] == (2,) else None


def seen(marks: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Return which images, by their marks [n, 2], are among those trained on: bool [n]."""
    of_file, of_pixels = ((marks[:, k] != 0) & np.isin(marks[:, k], trained[:, k]) for k in (0, 1))
    return np.asarray(of_file | of_pixels)
