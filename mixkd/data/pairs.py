"""Pairs of images for vicinal analysis: drawn, or read from a file."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixkd.errors import UserError
from mixkd.files.arrays import read_npz
from mixkd.files.reading import Damaged
from mixkd.files.writing import write_npz


class ImagePairs(NamedTuple):
    """Positions in a split, int64, shape [pairs]: image i of each pair, and image j."""

    i: np.ndarray
    j: np.ndarray


def draw_pairs(n: int, count: int, seed: int) -> ImagePairs:
    """Return `count` pairs of 2 or more images, at most n // 2, of which no two share an image."""
    count = min(count, n // 2)
    order = np.random.default_rng(seed).permutation(n)[: 2 * count]
    return ImagePairs(order[:count], order[count:])


def load_pairs(
    path: Path | None, sizes: dict[str, int], count: int, seed: int
) -> dict[str, ImagePairs]:
    """Draw the pairs of each split; or read them from a file, or write that if there is none.

    The file is an npz of int64 `i` and `j`, which serve for every split that has no `<split>_i` and
    `<split>_j` of its own. One that was drawn here also holds `drawn`: the seed and the count.
    `sizes` are the numbers of images of each split.

    Raises:
        UserError: if the file holds no such pairs, or one reaches beyond a split.
    """
    drawn = {split: draw_pairs(n, count, seed) for split, n in sizes.items()}
    if path is None:
        return drawn
    if not path.exists():
        arrays = {f"{s}_{k}": x for s, pairs in drawn.items() for k, x in pairs._asdict().items()}
        last = list(drawn.values())[-1]
        write_npz(path, {"i": last.i, "j": last.j, "drawn": np.array([seed, count]), **arrays})
        return drawn
    try:
        arrays = read_npz(path, ["i", "j", *(f"{s}_{name}" for s in sizes for name in "ij")])
        names = {s: [f"{s}_{k}" if f"{s}_{k}" in arrays else k for k in "ij"] for s in sizes}
        read = {s: ImagePairs(*(arrays[name] for name in names[s])) for s in sizes}
    except (Damaged, KeyError) as error:
        reason = error.why if isinstance(error, Damaged) else error
        raise UserError.of("vicinal.pairs", f"{path} holds no pairs: {reason}") from error
    for split, pairs in read.items():
        _check(pairs, split, sizes[split], path)
    was_drawn = are_drawn_pairs(path, seed, count)
    if was_drawn and not all(np.array_equal(read[split], drawn[split]) for split in sizes):
        text = f"{path} was drawn for other data of other sizes; take another file"
        raise UserError.of("vicinal.pairs", text)
    return {s: ImagePairs(*(x.astype(np.int64) for x in pairs)) for s, pairs in read.items()}


def are_drawn_pairs(path: Path, seed: int, count: int) -> bool:
    """Return whether a file of pairs says that it was drawn by mixkd with a seed and a count."""
    try:
        return bool(read_npz(path, ("drawn",))["drawn"].tolist() == [seed, count])
    except (Damaged, KeyError):
        return False  # whoever reads it says what is wrong


def _check(pairs: ImagePairs, split: str, n: int, path: Path) -> None:
    for name, value in pairs._asdict().items():
        if not (value.dtype.kind in "iu" and value.ndim == 1 and len(value) == len(pairs.i) > 0):
            kind = f"{value.dtype} {list(value.shape)}"
            raise UserError.of("vicinal.pairs", f"{path}: {name} is {kind}; takes int64 [pairs]")
    lowest, highest = min(map(np.min, pairs)), max(map(np.max, pairs))
    if lowest < 0 or highest >= n:
        text = f"{path} names images {lowest} to {highest}; {split} has {n}"
        raise UserError.of("vicinal.pairs", text)
    if (pairs.i == pairs.j).any():
        raise UserError.of("vicinal.pairs", f"{path} pairs an image with itself")
