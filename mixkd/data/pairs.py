"""Pairs of images for vicinal analysis: drawn, or read from a file."""

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from mixkd.errors import UserError
from mixkd.files import replacing


class ImagePairs(NamedTuple):
    """Positions in a split, int64, shape [pairs]: image i of each pair, and image j."""

    i: np.ndarray
    j: np.ndarray


def draw_pairs(n: int, count: int, seed: int) -> ImagePairs:
    """Return pairs of n images of which no two share an image, so that they are independent.

    Args:
        n: number of images, 2 or more.
        count: number of pairs; at most n // 2 are drawn.
        seed: of the draw.
    """
    count = min(count, n // 2)
    order = np.random.default_rng(seed).permutation(n)[: 2 * count]
    return ImagePairs(order[:count], order[count:])


def load_pairs(path: Path, sizes: dict[str, int], count: int, seed: int) -> ImagePairs:
    """Read pairs from a file; draw them and write the file where it does not exist.

    Args:
        path: npz with int64 `i` and `j`.
        sizes: images of each split that the pairs are for; they are drawn from the smallest.
        count: as in `draw_pairs`.
        seed: as in `draw_pairs`.

    Raises:
        UserError: if the file holds no such pairs, or one reaches beyond a split.
    """
    if not path.exists():
        pairs = draw_pairs(min(sizes.values()), count, seed)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, i=pairs.i, j=pairs.j)
        return pairs
    try:
        with np.load(path, allow_pickle=False) as saved:
            pairs = ImagePairs(saved["i"], saved["j"])
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        AttributeError,
        TypeError,
        BadZipFile,
    ) as error:
        raise UserError.of("vicinal.pairs", f"{path} holds no pairs: {error}") from error
    for name, value in pairs._asdict().items():
        if value.dtype.kind not in "iu" or value.ndim != 1 or len(value) != len(pairs.i):
            got = f"{value.dtype} {list(value.shape)}"
            raise UserError.of("vicinal.pairs", f"{path}: {name} is {got}; takes int64 [pairs]")
    lowest, highest = min(map(np.min, pairs)), max(map(np.max, pairs))
    for split, n in sizes.items():
        if lowest < 0 or highest >= n:
            raise UserError.of(
                "vicinal.pairs",
                f"{path} names images {lowest} to {highest}; {split} has {n}",
            )
    return ImagePairs(*(value.astype(np.int64) for value in pairs))
