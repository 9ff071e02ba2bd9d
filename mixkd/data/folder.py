"""A folder of images: ROOT/train/<class>/*, with ROOT/val, ROOT/test or both in the same form.

They are decoded once, into one uint8 file in `data.cache_dir` that later starts map into memory;
or, with `data.resident=false`, they stay where they are and are decoded as they are needed.
"""

import hashlib
import json
import os
import unicodedata
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixkd.config.data import DataConfig
from mixkd.config.fields import MOST_SIDE
from mixkd.config.sources import SPLITS
from mixkd.console import available_memory, note, say
from mixkd.data.contents import File, contents, first_bytes, split_files, summary
from mixkd.data.decode import DECODING, Files, decode, measure
from mixkd.data.images import AnyImages, Images, StoredImages
from mixkd.data.listing import (
    FORMATS,
    LeftOut,
    class_folders,
    count_stray,
    image_files,
    renamings,
    to_rename,
    unread_folders,
)
from mixkd.errors import Problem, UserError
from mixkd.files.arrays import map_npy
from mixkd.files.reading import Damaged
from mixkd.files.writing import replacing

MOST_SHOWN = 5
LARGE = 1e9  # bytes of memory from which on it is told


class Listing(NamedTuple):
    """The files of a split: names, bytes [n]; labels, int64 [n]; sha256s, uint8 [n, 32]."""

    names: np.ndarray  # their paths under the root
    labels: np.ndarray
    contents: np.ndarray | None = None  # None where they have not been read


def load_folder(cfg: DataConfig) -> tuple[dict[str, AnyImages], tuple[str, ...]]:
    """Return the images of each split that the folder has, and the class names in label order."""
    root, splits = Path(cfg.root or ""), SPLITS[cfg.source]
    folders = [split for split in splits if (root / split).is_dir()]
    rename = renamings(root, splits)
    if "train" not in folders or len(folders) < 2:
        names = sorted(p.name for p in root.iterdir() if p.is_dir())[:MOST_SHOWN]
        text = f"{root} holds {', '.join(names) or 'no folders'}; "
        text += "takes train/ with val/, test/ or both, each with a folder for every class"
        raise UserError.of("data.root", text + to_rename(rename))
    if rename:
        text = f"{root} holds a split by another name, which would not be read"
        raise UserError.of("data.root", text + to_rename(rename, ", or move it elsewhere"))
    left_out = LeftOut()
    classes = class_folders(root / "train")
    problems: list[str] = []
    listings = {s: list_classes(root, s, classes, problems, left_out) for s in folders}
    raise_all(problems)
    count_stray(root, left_out)
    tell_left_out(root, left_out, unread_folders(root, splits))
    return read_listings(cfg, root, listings), classes


def read_listings(
    cfg: DataConfig, root: Path, splits: dict[str, Listing], *, by_content: bool = True
) -> dict[str, AnyImages]:
    """Return the images of each split, in memory or on disk as configured.

    The fingerprints of images on disk know what the files contain if `by_content`.
    """
    names = np.concatenate([listing.names for listing in splits.values()])
    ends = np.cumsum([len(listing.names) for listing in splits.values()])
    parts = list(zip(splits.items(), np.split(np.arange(len(names)), ends), strict=False))
    side = cfg.resize or cfg.size
    files = [(name, root / name) for name in map(os.fsdecode, names)]
    marks, content = None, ""
    if by_content or cfg.resident:
        read = [listing.contents for listing in splits.values() if listing.contents is not None]
        is_read = len(read) == len(splits)
        hashes = np.concatenate(read) if is_read else contents(files, cfg.cache_dir, root)
        marks = first_bytes(hashes)
        if cfg.resident:
            pixels = _decoded(cfg, root, files, hashes, side)
            return {
                split: Images.of(pixels[rows[0] : rows[-1] + 1], listing.labels, marks[rows])
                for (split, listing), rows in parts
            }
        content = summary(files, hashes)
    assert side is not None
    reader = Files(root, names, side, content)
    return {
        split: StoredImages.of(reader, rows, listing.labels, None if marks is None else marks[rows])
        for (split, listing), rows in parts
    }


def tell_left_out(root: Path, left_out: LeftOut, folders: Sequence[str] = ()) -> None:
    """Say in one line, once a command, what is not read of a folder."""
    parts = [f"{left_out} (images are {', '.join(FORMATS)})"] if left_out.kinds else []
    if folders:
        more = f" and {len(folders) - MOST_SHOWN} more" if len(folders) > MOST_SHOWN else ""
        parts.append(f"beside train/: {', '.join(f'{f!r}' for f in folders[:MOST_SHOWN])}{more}")
    if parts:
        note(f"data.root: not read in {root}: {'; '.join(parts)}", about=f"left out of {root}")


def list_classes(
    root: Path, place: str, classes: tuple[str, ...], problems: list[str], left_out: LeftOut
) -> Listing:
    """Return the image files of each class under ROOT/PLACE.

    What is wrong is added to `problems`, and what is not read is counted by `left_out`.
    """
    folder = root / place
    class_folders(folder, left_out)  # which counts what lies beside them
    split = split_files(root, place)
    if not problems:  # told once, not of each split
        if len(classes) < 2:
            problems.append(f"{folder} holds {len(classes)} class folders; takes 2 or more")
        problems += [
            f"{folder} holds a class folder {os.fsencode(name)!r}; takes names in UTF-8 without "
            "control characters: rename it"
            for name in classes
            if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)
        ]
    if not split.names and any(image_files(folder)):
        problems.append(f"{folder} holds images; takes a folder for each class, with its images")
        return Listing(np.array([]), np.array([]))
    problems += [f"{folder}: no folder for class {c!r}" for c in classes if c not in split.names]
    more = sorted({*split.names} - {*classes})
    problems += [f"{folder / c}: train/ has no such class" for c in more]
    present = [name for name in classes if name in split.names]
    for name in present:
        names, ignored = split.names[name], split.left_out[name]
        unread = ~split.contents[name].any(axis=1) if split.contents else slice(None)
        paths = [root / os.fsdecode(path) for path in names[unread]]
        problems += [f"{path} is no file" for path in paths if not path.is_file()]
        if not len(names):
            instead = f", but {ignored}" if ignored.kinds else ""
            problems.append(f"{folder / name}: no images in this class folder{instead}")
        left_out.include(ignored)
    is_read = split.contents and present
    counts = [len(split.names.get(name, ())) for name in classes]
    return Listing(
        np.concatenate([np.zeros(0, dtype=bytes), *(split.names[name] for name in present)]),
        np.repeat(np.arange(len(classes)), counts),
        np.concatenate([split.contents[name] for name in present]) if is_read else None,
    )


def raise_all(problems: list[str]) -> None:
    """Raise a UserError of all that is wrong, the first few in words."""
    shown = problems[:MOST_SHOWN]
    if len(problems) > MOST_SHOWN:
        shown.append(f"and {len(problems) - MOST_SHOWN} more like these")
    if shown:
        raise UserError(*(Problem("data.root", text) for text in shown))


def _decoded(
    cfg: DataConfig, root: Path, files: Sequence[File], hashes: np.ndarray, side: int | None
) -> np.ndarray:
    """Return every image, uint8 [n, height, width, 3], from the cache where it is there.

    The cache knows them by their contents, uint8 [n, 32].
    """
    paths = [path for _, path in files]
    key = hashlib.sha256(json.dumps([DECODING, side]).encode() + hashes.tobytes())
    cache = Path(cfg.cache_dir) / f"{key.hexdigest()[:24]}.npy"
    try:
        cached = map_npy(cache) if cache.exists() else None
        if cached is not None and (cached.dtype != np.uint8 or len(cached) != len(files)):
            raise Damaged(cache, f"it holds {cached.dtype} {list(cached.shape)}")
    except Damaged:
        say(f"{cache} is damaged; making it anew")
        cached = None
    shape = (side, side) if side else _size_of_all(paths) if cached is None else cached.shape[1:3]
    memory = check_memory(len(paths), *shape, is_resized=side is not None)
    if cached is not None:
        return cached
    say(f"decoding {len(paths):,} images of {root}{memory} (once; kept in {cache})")
    pixels = _decode_all(paths, side, shape)
    if not np.array_equal(contents(files, cfg.cache_dir, root), hashes):
        raise UserError.of("data.root", f"files in {root} changed while they were read; try again")
    try:
        with replacing(cache, others="[0-9a-f]{24}") as temporary, open(temporary, "wb") as file:
            np.save(file, pixels, allow_pickle=False)
    except OSError as error:  # the next start decodes them again
        say(f"{error} (data.cache_dir); going on without")
        return pixels
    return map_npy(cache)  # which takes no memory beside what is made of it


def _decode_all(paths: list[Path], side: int | None, shape: tuple[int, int]) -> np.ndarray:
    """Return images, uint8 [n, *shape, 3]; refuse any that are damaged or have another size."""
    pixels = np.empty((len(paths), *shape, 3), np.uint8)
    problems = []
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.filterwarnings("ignore", module="PIL")  # of tags; they name no file
        for row, result in enumerate(pool.map(lambda path: decode(path, side), paths)):
            if isinstance(result, str):
                problems.append(result)
            elif result.shape[1:] == shape:
                pixels[row] = result.permute(1, 2, 0).numpy()
            else:
                pool.shutdown(cancel_futures=True)
                sizes = sorted({size for path in paths if (size := measure(path))})
                smallest, largest = (f"{size[1]}x{size[0]}" for size in (sizes[0], sizes[-1]))
                raise UserError.of(
                    "data.size",
                    f"images have {len(sizes)} sizes, from {smallest} to {largest}; takes the "
                    "number of pixels to resize and crop them all to",
                )
    raise_all(problems)
    return pixels


def _size_of_all(paths: list[Path]) -> tuple[int, int]:
    """Return the height and width of the first image that has any: all need the same."""
    for path in paths:
        height, width = measure(path) or (0, 0)
        if max(height, width) > MOST_SIDE:
            text = f"{path} has {width}x{height} pixels; takes a size up to {MOST_SIDE} for all"
            raise UserError.of("data.size", text)
        if not isinstance(image := decode(path, None), str):
            return image.shape[1], image.shape[2]
    return 1, 1  # what is wrong is told of each


def check_memory(count: int, height: int, width: int, *, is_resized: bool) -> str:
    """Refuse what takes more memory than is available; return a remark on what takes much."""
    size, available = count * height * width * 3, available_memory()
    if size > available:
        remedy = "data.resident=false, which leaves them on disk"
        if not is_resized:
            remedy += ", with data.size=PIXELS, or that alone, which resizes them"
        text = f"{count:,} images of {width}x{height} take {size / 1e9:,.1f} GB of memory, "
        text += f"{available / 1e9:,.1f} GB are available; takes {remedy}"
        raise UserError.of("data.resident", text)
    return f", {size / 1e9:,.1f} GB of memory," if size > LARGE else ""
