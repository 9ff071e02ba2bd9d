"""A folder of images: ROOT/train/<class>/*, with ROOT/val, ROOT/test or both in the same form.

Either they are decoded whole, once, into one uint8 file in `data.cache_dir` that later starts map
into memory; or, with `data.resident=false`, they stay where they are and are decoded as they are
needed.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixkd.config import Data
from mixkd.console import say
from mixkd.data.contents import File, contents, first_bytes, summary
from mixkd.data.decode import DECODING, Files, decode
from mixkd.data.images import AnyImages, Images, StoredImages
from mixkd.data.listing import image_files
from mixkd.errors import NotWritten, Problem, UserError
from mixkd.files import replacing

SPLITS = ("train", "val", "test")
MOST_SHOWN = 5


class Listing(NamedTuple):
    """The files of a split: bytes [n], their paths under the root; int64 [n], their labels."""

    names: np.ndarray
    labels: np.ndarray


def load_folder(
    cfg: Data, splits: tuple[str, ...] = SPLITS
) -> tuple[dict[str, AnyImages], tuple[str, ...]]:
    """Return the images of each split that the folder has, and the class names in label order.

    Raises:
        UserError: for a missing split, an empty or unmatched class folder, files that cannot be
            decoded, or images of several sizes without `data.size`.
    """
    root = Path(cfg.root or "")
    listings, classes = list_splits(root, splits)
    return read_listings(cfg, root, listings), classes


def read_listings(
    cfg: Data, root: Path, splits: dict[str, Listing], *, by_content: bool = True
) -> dict[str, AnyImages]:
    """Return the images of each split, in memory or on disk as configured.

    Args:
        cfg: how to read them.
        root: where they are.
        splits: their files and labels.
        by_content: whether the fingerprints of images on disk know what the files contain.
    """
    names = np.concatenate([listing.names for listing in splits.values()])
    ends = np.cumsum([len(listing.names) for listing in splits.values()])
    rows = dict(zip(splits, np.split(np.arange(len(names)), ends), strict=False))
    side = cfg.resize or cfg.size
    files = [(name, root / name) for name in map(os.fsdecode, names)]
    if not (by_content or cfg.resident):
        assert side is not None
        reader = Files(root, names, side, "")
        return {k: StoredImages.of(reader, rows[k], one.labels) for k, one in splits.items()}
    found = contents(files, cfg.cache_dir, root)
    marks = first_bytes(found)
    if cfg.resident:
        pixels = _decoded(cfg, root, files, found, side)
        return {
            split: Images.of(
                pixels[rows[split][0] : rows[split][-1] + 1], listing.labels, marks[rows[split]]
            )
            for split, listing in splits.items()
        }
    assert side is not None
    reader = Files(root, names, side, summary(files, found))
    return {
        split: StoredImages.of(reader, rows[split], listing.labels, marks[rows[split]])
        for split, listing in splits.items()
    }


def list_splits(
    root: Path, splits: tuple[str, ...] = SPLITS
) -> tuple[dict[str, Listing], tuple[str, ...]]:
    """Return the files of each split, sorted by class and name, and the class names."""
    folders = [split for split in splits if (root / split).is_dir()]
    if "train" not in folders or len(folders) < 2:
        found = sorted(p.name for p in root.iterdir() if p.is_dir())[:MOST_SHOWN]
        raise UserError.of(
            "data.root",
            f"{root} holds {', '.join(found) or 'no folders'}; takes train/ with val/, test/ or "
            "both, each with a folder for every class",
        )
    classes = class_folders(root / "train")
    problems: list[str] = []
    listings = {s: list_classes(root, s, classes, problems) for s in folders}
    raise_all(problems)
    return listings, classes


def class_folders(folder: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder, sorted, hidden ones left out."""
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != "."))


def list_classes(root: Path, place: str, classes: tuple[str, ...], problems: list[str]) -> Listing:
    """Return the image files of each class under ROOT/PLACE; add to `problems` what is wrong."""
    folder = root / place
    here = set(class_folders(folder))
    if len(classes) < 2 and not problems:  # told once, not of each split
        problems.append(f"{folder} holds {len(classes)} class folders; takes 2 or more")
    if not here and any(image_files(folder)):
        problems.append(f"{folder} holds images; takes a folder for each class, with its images")
        return Listing(np.array([]), np.array([]))
    problems += [f"{folder}: no folder for class {c!r}" for c in classes if c not in here]
    problems += [f"{folder / c}: train/ has no such class" for c in sorted(here - {*classes})]
    names: list[bytes] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if name not in here:
            continue
        found = sorted(image_files(folder / name))
        problems += [f"{path} is no file" for _, path in found if not path.is_file()]
        images = [image for image, _ in found]
        if not images:
            problems.append(f"{folder / name}: no images in this class folder")
        names += [os.fsencode(f"{place}/{name}/{image}") for image in images]
        labels += [label] * len(images)
    return Listing(np.array(names), np.array(labels, dtype=np.int64))


def raise_all(problems: list[str]) -> None:
    """Raise a UserError of all that is wrong, the first few in words."""
    if not problems:
        return
    shown = [Problem("data.root", text) for text in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        shown.append(Problem("data.root", f"and {len(problems) - MOST_SHOWN} more like these"))
    raise UserError(*shown)


def _decoded(
    cfg: Data, root: Path, files: Sequence[File], found: np.ndarray, side: int | None
) -> np.ndarray:
    """Return every image, uint8 [n, height, width, 3], from the cache where it is there.

    Args:
        cfg: how to decode them, and where the cache is.
        root: where they are, for messages.
        files: which.
        found: their contents, uint8 [n, 32], by which the cache knows them.
        side: pixels of a side; None: as they are.
    """
    paths = [path for _, path in files]
    key = hashlib.sha256(json.dumps([DECODING, side]).encode() + found.tobytes())
    cache = Path(cfg.cache_dir) / f"{key.hexdigest()[:24]}.npy"
    try:
        cached: np.ndarray = np.load(cache, mmap_mode="r", allow_pickle=False)
        return cached
    except FileNotFoundError:
        pass
    except (ValueError, EOFError, OSError):
        say(f"{cache} is damaged; making it anew")
    say(f"decoding {len(paths):,} images of {root} (once; kept in {cache})")
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda path: decode(path, side), paths))
    raise_all([result for result in results if isinstance(result, str)])
    images = [result for result in results if isinstance(result, Tensor)]
    sizes = sorted({tuple(image.shape[1:]) for image in images})
    if len(sizes) > 1:
        (small, large) = sizes[0], sizes[-1]
        raise UserError.of(
            "data.size",
            f"images have {len(sizes)} sizes, from {small[1]}x{small[0]} to {large[1]}x{large[0]}; "
            "takes the number of pixels to resize and crop them all to",
        )
    if not np.array_equal(contents(files, cfg.cache_dir, root), found):
        raise UserError.of("data.root", f"files in {root} changed while they were read; try again")
    pixels = torch.stack([image.permute(1, 2, 0) for image in images]).numpy()
    try:
        with replacing(cache, others="[0-9a-f]{24}") as temporary, open(temporary, "wb") as file:
            np.save(file, pixels, allow_pickle=False)
    except NotWritten as error:  # the next start decodes them again
        say(f"{error} (data.cache_dir); going on without")
    return pixels
