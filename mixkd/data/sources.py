"""One function a data set: configuration -> training and test images as uint8.

What is known of it beforehand is in config/sources.py. The corrupted ones are in corrupted.py.
"""

import os
import shutil
import tarfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torchvision
from filelock import FileLock
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torchvision.datasets import imagenet as devkit

from mixkd.config.data import DataConfig
from mixkd.config.sources import SOURCES, SPLITS
from mixkd.console import say
from mixkd.data.contents import to_unpack
from mixkd.data.folder import load_folder
from mixkd.data.images import AnyImages, Images
from mixkd.data.listing import renamings, to_rename
from mixkd.errors import UserError
from mixkd.files.writing import writing


@dataclass(frozen=True)
class Source:
    """A data set as it comes. `val` is None where the data set has no images for selection."""

    train: AnyImages
    test: AnyImages
    classes: tuple[str, ...]
    val: AnyImages | None = None


def digits(cfg: DataConfig) -> Source:
    """Return scikit-learn's 8x8 digits, enlarged; a quarter of them is the test."""
    bunch = load_digits()
    size = cfg.resize or cfg.size or 32
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    large = [Image.fromarray(g).resize((size, size), Image.Resampling.BICUBIC) for g in grey]
    pixels = np.stack([np.asarray(image) for image in large])[..., None]
    # The data set has no split of its own: this one is part of its definition here.
    train, test = train_test_split(
        np.arange(len(pixels)), test_size=0.25, random_state=0, stratify=bunch.target
    )
    return Source(
        Images.of(pixels[np.sort(train)], bunch.target[np.sort(train)]),
        Images.of(pixels[np.sort(test)], bunch.target[np.sort(test)]),
        tuple(str(name) for name in bunch.target_names),
    )


def cifar(cfg: DataConfig) -> Source:
    """Return CIFAR-10 or CIFAR-100 through torchvision, which downloads and checks the files.

    Raises:
        UserError: if the files are absent or damaged and cannot be downloaded.
    """
    kind: Any = getattr(torchvision.datasets, cfg.source.upper())
    root = cfg.root or "datasets"
    try:
        with cache_lock(cfg), safe_extraction(), warnings.catch_warnings():
            # torchvision's unpickling of label names warns under new NumPy versions.
            warnings.simplefilter("ignore")
            train = kind(root, train=True, download=cfg.download)
            test = kind(root, train=False, download=cfg.download)
    except (RuntimeError, OSError, tarfile.TarError) as error:
        remedy = "data.download=true fetches it"
        if cfg.download:
            remedy = f"the download failed; put {kind.filename} from {kind.url} there yourself"
        text = f"no intact {cfg.source} in {root!r}: {error}. {remedy}"
        raise UserError.of("data.root", text) from error
    return Source(
        Images.of(train.data, np.asarray(train.targets)),
        Images.of(test.data, np.asarray(test.targets)),
        tuple(train.classes),
    )


def imagefolder(cfg: DataConfig) -> Source:
    """Return the images of any folder; see mixkd/data/folder.py for its layout."""
    parts, classes = load_folder(cfg)
    if "test" in parts:
        return Source(parts["train"], parts["test"], classes, parts.get("val"))
    return Source(parts["train"], parts["val"], classes)


def imagenet(cfg: DataConfig) -> Source:
    """Return ImageNet (ILSVRC 2012): its validation images are the test, the wnids its classes.

    `data.root` holds train/<wnid>/ and val/<wnid>/, or the three archives that torchvision takes,
    which are unpacked there once.

    Raises:
        UserError: if there is neither, or an archive is not the published one.
    """
    root = Path(cfg.root or "")
    unpack(cfg)
    splits, archives = SPLITS[cfg.source], SOURCES[cfg.source].archives
    missing = [split for split in splits if not (root / split).is_dir()]
    if missing:
        text = f"{root} lacks {' and '.join(f'{split}/' for split in missing)}; takes the folder "
        text += f"that holds train/ and val/, or the archives {', '.join(archives.values())}, "
        text += f"{DEVKIT} (https://image-net.org/download, after registering)"
        raise UserError.of("data.root", text + to_rename(renamings(root, splits)))
    return imagefolder(cfg)


DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


def unpack(cfg: DataConfig) -> None:
    """Unpack the archives, which are ImageNet's, whose folders are not there, if as published."""
    root = Path(cfg.root or "")
    with cache_lock(cfg):
        for split in to_unpack(cfg.source, cfg.root):
            archive = root / SOURCES[cfg.source].archives[split]
            say(f"unpacking {archive} (once)")
            try:
                with safe_extraction():
                    if split == "val":  # it comes as one folder; the devkit knows the classes
                        devkit.parse_devkit_archive(str(root))
                    with new_folder(root / split) as partial:
                        unpack = getattr(devkit, f"parse_{split}_archive")
                        unpack(str(root), folder=partial.name)
            except (RuntimeError, OSError, tarfile.TarError) as error:
                raise UserError.of("data.root", f"{archive} cannot be unpacked: {error}") from error


@contextmanager
def safe_extraction() -> Iterator[None]:
    """Let archives unpack within their folder only: no `..`, no links out of it, no devices.

    torchvision, which checks their md5 and unpacks them, sets no filter; nor do we before Python
    3.11.4, which has none.
    """
    data_filter = getattr(tarfile, "data_filter", None)
    former = getattr(tarfile.TarFile, "extraction_filter", None)
    tarfile.TarFile.extraction_filter = None if data_filter is None else staticmethod(data_filter)
    try:
        yield
    finally:
        tarfile.TarFile.extraction_filter = former if former is None else staticmethod(former)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a hidden name for a folder to fill; then move it there: what bears the name is whole."""
    partial = folder.with_name(f".{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    with writing(folder):
        try:
            yield partial
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def cache_lock(cfg: DataConfig) -> Iterator[None]:
    """Let one process at a time make files that others may be about to make too."""
    lock = FileLock(Path(cfg.cache_dir) / ".lock")
    try:
        Path(cfg.cache_dir).mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        text = f"got {cfg.cache_dir!r}, which cannot be written to ({error.strerror})"
        raise UserError.of("data.cache_dir", f"{text}; takes a folder that can") from error
    try:
        yield
    finally:
        lock.release()


READERS: dict[str, Callable[[DataConfig], Source]] = {
    "digits": digits,
    "cifar10": cifar,
    "cifar100": cifar,
    "imagefolder": imagefolder,
    "imagenet": imagenet,
}
