"""A folder of images: ROOT/train/<class>/*, with ROOT/val, ROOT/test or both in the same form.

Decoded images are kept once, as one uint8 file named by the folder's fingerprint, in
`data.cache_dir`; later starts map that file into memory.
"""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mixkd.config import Data
from mixkd.console import say
from mixkd.data.images import Images
from mixkd.errors import Problem, UserError
from mixkd.files import replacing
from mixkd.fingerprints import IMAGE_EXTENSIONS

SPLITS = ("train", "val", "test")
MOST_SHOWN = 5


def load_folder(cfg: Data) -> tuple[dict[str, Images], tuple[str, ...]]:
    """Return the images of each split that the folder has, and the class names in label order.

    Raises:
        UserError: for a missing split, an empty or unmatched class folder, files that cannot be
            decoded, or images of several sizes without `data.size`.
    """
    root = Path(cfg.root or "")
    files, classes = list_files(root)
    pixels = _decoded(cfg, root, files)
    parts, start = {}, 0
    for split, pairs in files.items():
        labels = np.array([label for _, label in pairs])
        parts[split] = Images.of(pixels[start : start + len(pairs)], labels)
        start += len(pairs)
    return parts, classes


def list_files(root: Path) -> tuple[dict[str, list[tuple[Path, int]]], tuple[str, ...]]:
    """Return {split: [(file, label)]}, sorted by class and file name, and the class names."""
    folders = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if "train" not in folders or len(folders) < 2:
        found = sorted(p.name for p in root.iterdir() if p.is_dir())[:MOST_SHOWN]
        raise UserError.of(
            "data.root",
            f"{root} holds {', '.join(found) or 'no folders'}; takes train/ with val/, test/ or "
            "both, each with a folder for every class",
        )
    classes = tuple(sorted(p.name for p in _visible(folders["train"]) if p.is_dir()))
    problems: list[str] = []
    if len(classes) < 2:
        problems.append(f"{folders['train']} holds {len(classes)} class folders; takes 2 or more")
    files: dict[str, list[tuple[Path, int]]] = {}
    for split, folder in folders.items():
        here = {p.name for p in _visible(folder) if p.is_dir()}
        problems += [f"{folder}: no folder for class {c!r}" for c in classes if c not in here]
        problems += [f"{folder / c}: train/ has no such class" for c in sorted(here - {*classes})]
        files[split] = []
        for label, name in enumerate(classes):
            images = sorted(
                p for p in _visible(folder / name) if p.suffix.lower() in IMAGE_EXTENSIONS
            )
            if name in here and not images:
                problems.append(f"{folder / name}: no images in this class folder")
            problems += [f"{path} is no file" for path in images if not path.is_file()]
            files[split] += [(path, label) for path in images]
    _raise_all(problems)
    return files, classes


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _raise_all(problems: list[str]) -> None:
    if not problems:
        return
    shown = [Problem("data.root", text) for text in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        shown.append(Problem("data.root", f"and {len(problems) - MOST_SHOWN} more like these"))
    raise UserError(*shown)


def _decoded(cfg: Data, root: Path, files: dict[str, list[tuple[Path, int]]]) -> np.ndarray:
    """Return every image, uint8 [n, height, width, 3], from the cache where it is there."""
    paths = [path for pairs in files.values() for path, _ in pairs]
    key = hashlib.sha256(json.dumps(cfg.size).encode() + os.fsencode(root.resolve()))
    for path in paths:
        stat = path.stat()
        key.update(os.fsencode(path.relative_to(root).as_posix()))
        key.update(f"\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
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
        results = list(pool.map(lambda path: _decode(path, cfg.size), paths))
    _raise_all([result for result in results if isinstance(result, str)])
    images = [result for result in results if isinstance(result, np.ndarray)]
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        (small, large) = sizes[0], sizes[-1]
        raise UserError.of(
            "data.size",
            f"images have {len(sizes)} sizes, from {small[1]}x{small[0]} to {large[1]}x{large[0]}; "
            "takes the number of pixels to resize and crop them all to",
        )
    pixels = np.stack(images)
    with replacing(cache) as temporary, open(temporary, "wb") as file:
        np.save(file, pixels, allow_pickle=False)
    return pixels


def _decode(path: Path, size: int | None) -> np.ndarray | str:
    """Return an image as uint8 [height, width, 3], upright; or what is wrong with the file."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):  # 16 bits a pixel; convert() would clip them to white
                image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
            image = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f"{path} cannot be decoded: {error}"
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)
