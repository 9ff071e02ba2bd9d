"""Corrupted test images in their published forms: CIFAR-10-C, CIFAR-100-C, ImageNet-C.

Hendrycks and Dietterich (2019). CIFAR's are one `.npy` file a corruption, uint8 [5n, 32, 32, 3],
severity 1 first, and `labels.npy`, integers [5n]; they are read in place. ImageNet's are folders,
<corruption>/<severity>/<class>/*. What is made here of other data, by make_corrupted.py, has the
same forms.
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
from mixkd.data.class_names import CIFAR10, CIFAR100
from mixkd.data.corruption_names import SEVERITIES, arrays_folder
from mixkd.data.folder import list_classes, raise_all, read_listings, tell_left_out
from mixkd.data.images import AnyImages, StoredImages
from mixkd.data.listing import LeftOut, class_folders
from mixkd.data.sources import cache_lock, new_folder, safe_extraction
from mixkd.errors import UserError, nearest
from mixkd.files.arrays import map_npy
from mixkd.files.reading import Damaged
from mixkd.files.writing import file_fingerprint


@dataclass(frozen=True)
class Published:
    """Where corrupted CIFAR images are published: the archive, its md5 and the folder in it."""

    url: str
    md5: str
    folder: str
    classes: tuple[str, ...]


PUBLISHED = {
    "cifar10_c": Published(
        "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar",
        "56bf5dcef84df0e2308c6dcbcbbd8499",
        "CIFAR-10-C",
        CIFAR10,
    ),
    "cifar100_c": Published(
        "https://zenodo.org/records/3555552/files/CIFAR-100-C.tar",
        "11f0ed0f1191edbf9fa23466ae6021d3",
        "CIFAR-100-C",
        CIFAR100,
    ),
}


def load_corrupted(cfg: CorruptedDataConfig) -> tuple[AnyImages, tuple[str, ...]]:
    """Return the images of one corruption and severity, and the class names in label order.

    Raises:
        UserError: if they are absent, cannot be downloaded, or are not of the published form.
    """
    if cfg.source == "imagenet_c":
        return read_folders(Path(cfg.root or ""), cfg)
    classes = PUBLISHED[cfg.source].classes
    return read_arrays(make_arrays(cfg), cfg.corruption, cfg.severity, len(classes)), classes


def read_arrays(folder: Path, corruption: str, severity: int, classes: int) -> StoredImages:
    """Return the images of one corruption and severity, which stay in FOLDER/<corruption>.npy.

    Raises:
        UserError: if there are none, or they are not of the published form.
    """
    names = sorted(p.stem for p in folder.glob("*.npy") if p.stem != "labels")
    if corruption not in names:
        close = nearest(corruption, names)
        raise UserError.of(
            "data.corruption", f"got {corruption}{close}; {folder} has {', '.join(names)}"
        )
    pixels, labels = folder / f"{corruption}.npy", _array(folder / "labels.npy")
    array = _array(pixels)
    n, *shape = array.shape or (0,)
    fault, of_labels = "", folder / "labels.npy"
    if array.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        got = f"{array.dtype} {list(array.shape)}"
        fault = f"{pixels} is {got}; takes uint8 [n, height, width, 3]"
    elif n == 0 or n % SEVERITIES:
        fault = f"{pixels} has {n} images; takes as many of each of {SEVERITIES} severities"
    elif labels.dtype.kind not in "iu" or labels.shape != (n,):
        fault = f"{of_labels} is {labels.dtype} {list(labels.shape)}; takes integers [{n}]"
    elif labels.min() < 0 or labels.max() >= classes:
        got = f"from {labels.min()} to {labels.max()}"
        fault = f"{of_labels} goes {got}; takes labels from 0 to {classes - 1}"
    if fault:
        raise UserError.of("data.root", fault)
    count = n // SEVERITIES
    rows = np.arange(count) + count * (severity - 1)
    reader = Rows(pixels, (shape[0], shape[1]))
    return StoredImages.of(reader, rows, np.asarray(labels[rows]))


def read_folders(
    root: Path, cfg: CorruptedDataConfig, *, by_content: bool = True
) -> tuple[AnyImages, tuple[str, ...]]:
    """Return the images of one corruption and severity under a folder, and the class names.

    They are in ROOT/<corruption>/<severity>/<class>/, as ImageNet-C has them.

    Args:
        root: the folder.
        cfg: which, and how to read them.
        by_content: whether their fingerprint knows what the files contain.
    """
    # The archives are of four groups, noise/, blur/ and so on, which some keep as folders.
    groups = ["", *(p.name for p in sorted(root.iterdir()) if p.is_dir())]
    places = {
        p.parent.name: p.parent.relative_to(root)
        for group in groups
        for p in sorted((root / group).glob("*/1"))
        if p.is_dir()
    }
    if cfg.corruption not in places:
        close = nearest(cfg.corruption, places)
        raise UserError.of(
            "data.corruption",
            f"got {cfg.corruption}{close}; {root} has {', '.join(sorted(places)) or 'none'}",
        )
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
    """Reads rows of a `.npy` file of images in place: an `images.Reader`.

    Attributes:
        path: the file, uint8 [n, height, width, 3].
        stored: height and width in pixels.
    """

    path: Path
    stored: tuple[int, int]

    def read(self, rows: np.ndarray) -> Tensor:
        """Return images by their rows: uint8 [n, 3, height, width]."""
        # Mapped anew each time: pages that were read are given back, so that memory stays flat.
        array = _array(self.path)
        return torch.from_numpy(array[rows]).permute(0, 3, 1, 2)

    def fingerprint(self) -> str:
        """Return the sha256 of the file."""
        return self._content

    @cached_property
    def _content(self) -> str:
        return file_fingerprint(self.path)


def _array(path: Path) -> np.ndarray:
    """Map a `.npy` file into memory.

    Raises:
        UserError: if it is absent, damaged, or holds Python objects, which are never unpickled.
    """
    if not path.exists():
        raise UserError.of("data.root", f"{path} is missing")
    try:
        return map_npy(path)
    except Damaged as error:
        text = f"{path} cannot be read as an array: {error.why}"
        raise UserError.of("data.root", text) from error


def make_arrays(cfg: CorruptedDataConfig) -> Path:
    """Return the folder of the arrays of a published set: downloaded, where it is not there.

    Raises:
        UserError: if it is absent, or cannot be downloaded.
    """
    root, published = Path(cfg.root or ""), PUBLISHED[cfg.source]
    if cfg.download:
        try:
            with cache_lock(cfg):
                if arrays_folder(cfg.source, cfg.root) is None:
                    _download(published, root, root / published.folder)
        except (RuntimeError, OSError, tarfile.TarError) as error:
            raise UserError.of(
                "data.root",
                f"no {published.folder} in {str(root)!r}, and the download failed ({error}); put "
                f"{published.url} there yourself",
            ) from error
    if (folder := arrays_folder(cfg.source, cfg.root)) is None:
        raise UserError.of(
            "data.root",
            f"no {published.folder}/*.npy in {str(root)!r}; data.download=true fetches it (2.9 GB)",
        )
    return folder


def _download(published: Published, root: Path, folder: Path) -> None:
    with safe_extraction(), new_folder(folder) as partial:
        download_and_extract_archive(published.url, str(root), str(partial), md5=published.md5)
        inner = partial / published.folder
        for array in inner.iterdir():
            array.rename(partial / array.name)
        inner.rmdir()
