"""Corrupted test images in their published forms: CIFAR-10-C, CIFAR-100-C, ImageNet-C.

Hendrycks and Dietterich (2019). CIFAR's are one `.npy` file a corruption, uint8 [5n, 32, 32, 3],
severity 1 first, and `labels.npy`, integers [5n]; they are read in place. ImageNet's are folders,
<corruption>/<severity>/<class>/*. make_corrupted.py gives other data the same forms.
"""

import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets.utils import download_and_extract_archive

from mixkd.config.data import CorruptedDataConfig
from mixkd.config.sources import SOURCES, Arrays
from mixkd.data.contents import arrays_folder
from mixkd.data.corruption_names import SEVERITIES
from mixkd.data.folder import list_classes, raise_all, read_listings, tell_left_out
from mixkd.data.images import AnyImages, StoredImages
from mixkd.data.listing import LeftOut, class_folders
from mixkd.data.sources import cache_lock, new_folder, safe_extraction
from mixkd.errors import UserError, nearest
from mixkd.files.arrays import map_npy
from mixkd.files.reading import Damaged
from mixkd.files.writing import file_fingerprint


def load_corrupted(cfg: CorruptedDataConfig) -> tuple[AnyImages, tuple[str, ...]]:
    """Return the images of one corruption and severity, and the class names in label order."""
    arrays = SOURCES[cfg.source].arrays
    if arrays is None:
        return read_folders(Path(cfg.root or ""), cfg)
    classes = arrays.classes
    return read_arrays(make_arrays(cfg), cfg.corruption, cfg.severity, len(classes)), classes


def read_arrays(folder: Path, corruption: str, severity: int, classes: int) -> StoredImages:
    """Return the images of one corruption and severity, which stay in FOLDER/<corruption>.npy."""
    names = sorted(p.stem for p in folder.glob("*.npy") if p.stem != "labels")
    if corruption not in names:
        text = f"got {corruption}{nearest(corruption, names)}; {folder} has {', '.join(names)}"
        raise UserError.of("data.corruption", text)
    pixels, of_labels = folder / f"{corruption}.npy", folder / "labels.npy"
    labels, array = _array(of_labels), _array(pixels)
    n, *shape = array.shape or (0,)
    fault = ""
    if array.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        kind = f"{array.dtype} {list(array.shape)}"
        fault = f"{pixels} is {kind}; takes uint8 [n, height, width, 3]"
    elif n == 0 or n % SEVERITIES:
        fault = f"{pixels} has {n} images; takes as many of each of {SEVERITIES} severities"
    elif labels.dtype.kind not in "iu" or labels.shape != (n,):
        fault = f"{of_labels} is {labels.dtype} {list(labels.shape)}; takes integers [{n}]"
    elif labels.min() < 0 or labels.max() >= classes:
        span = f"from {labels.min()} to {labels.max()}"
        fault = f"{of_labels} goes {span}; takes labels from 0 to {classes - 1}"
    if fault:
        raise UserError.of("data.root", fault)
    count = n // SEVERITIES
    rows = np.arange(count) + count * (severity - 1)
    return StoredImages.of(Rows(pixels, (shape[0], shape[1])), rows, np.asarray(labels[rows]))


def read_folders(
    root: Path, cfg: CorruptedDataConfig, *, by_content: bool = True
) -> tuple[AnyImages, tuple[str, ...]]:
    """Return the images of ROOT/<corruption>/<severity>/<class>/*, and the class names.

    Their fingerprint knows what the files contain if `by_content`.
    """
    # The archives are of four groups, noise/, blur/ and so on, which some keep as folders.
    groups = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    firsts = (path for group in groups for path in sorted(group.glob("*/1")) if path.is_dir())
    places = {path.parent.name: path.parent.relative_to(root) for path in firsts}
    if cfg.corruption not in places:
        text = f"got {cfg.corruption}{nearest(cfg.corruption, places)}; {root} has "
        raise UserError.of("data.corruption", text + (", ".join(sorted(places)) or "none"))
    place = places[cfg.corruption] / str(cfg.severity)
    if not (root / place).is_dir():
        raise UserError.of("data.severity", f"got {cfg.severity}; there is no {root / place}")
    problems: list[str] = []
    classes = class_folders(root / place)
    left_out = LeftOut()
    listing = list_classes(root, place.as_posix(), classes, problems, left_out)
    raise_all(problems)
    tell_left_out(root, left_out)
    images = read_listings(cfg, root, {"test": listing}, by_content=by_content)
    return images["test"], classes


@dataclass(frozen=True)
class Rows:
    """Reads rows of a `.npy` file, uint8 [n, *stored, 3], in place: an `images.Reader`."""

    path: Path
    stored: tuple[int, int]
    are_files = False

    def read(self, rows: np.ndarray) -> Tensor:
        """Return images by their rows: uint8 [n, 3, height, width]."""
        # Mapped anew each time: pages that were read are given back, so that memory stays flat.
        return torch.from_numpy(_array(self.path)[rows]).permute(0, 3, 1, 2)

    @cached_property
    def content(self) -> str:
        """The sha256 of the file."""
        return file_fingerprint(self.path)


def _array(path: Path) -> np.ndarray:
    if not path.exists():
        raise UserError.of("data.root", f"{path} is missing")
    try:
        return map_npy(path)
    except Damaged as error:
        text = f"{path} cannot be read as an array: {error.why}"
        raise UserError.of("data.root", text) from error


def make_arrays(cfg: CorruptedDataConfig) -> Path:
    """Return the folder of the arrays of a published set: downloaded, where it is not there."""
    root, arrays = Path(cfg.root or ""), SOURCES[cfg.source].arrays
    assert arrays is not None
    name = arrays.folder
    if cfg.download:
        try:
            with cache_lock(cfg):
                if arrays_folder(cfg.source, cfg.root) is None:
                    _download(arrays, root)
        except (RuntimeError, OSError, tarfile.TarError) as error:
            text = f"no {name} in {str(root)!r}, and the download failed ({error}); put "
            raise UserError.of("data.root", f"{text}{arrays.url} there yourself") from error
    if (folder := arrays_folder(cfg.source, cfg.root)) is None:
        text = f"no {name}/*.npy in {str(root)!r}; data.download=true fetches it (2.9 GB)"
        raise UserError.of("data.root", text)
    return folder


def _download(arrays: Arrays, root: Path) -> None:
    with safe_extraction(), new_folder(root / arrays.folder) as partial:
        download_and_extract_archive(arrays.url, str(root), str(partial), md5=arrays.md5)
        inner = partial / arrays.folder
        for array in inner.iterdir():
            array.rename(partial / array.name)
        inner.rmdir()
