"""One function a data set: configuration -> training and test images as uint8.

What is known of it beforehand is in config/sources.py. The corrupted ones are in corrupted.py.
"""

import os
import shutil
import tarfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
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
from mixkd.config.parts import PartConfig
from mixkd.config.sources import SOURCES, SPLITS
from mixkd.console import say
from mixkd.data.contents import to_unpack
from mixkd.data.datasets import class_names, classes_of, images_of_arrays, read_dataset
from mixkd.data.folder import load_folder
from mixkd.data.images import AnyImages, Images
from mixkd.data.listing import renamings, to_rename
from mixkd.errors import UserError, nearest
from mixkd.files.writing import writing
from mixkd.parts import import_callable, made, parameters_of


@dataclass(frozen=True)
class Source:
    """A data set as it comes.

    `val` is None where the data set has no images for selection, and `test` where it is one whole.
    """

    train: AnyImages
    test: AnyImages | None
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


def own(cfg: DataConfig) -> Source:
    """Return the images of what `data.factory` makes; see `made_splits` and datasets.py."""
    assert cfg.factory is not None
    part = PartConfig(factory=cfg.factory, args=cfg.args or {})
    return read_splits(made_splits(part, cfg, "data.factory"), cfg, "data.factory")


# What timm reads data sets with, by the beginning of their names.
PACKAGES = {"hfds": "datasets", "tfds": "tensorflow_datasets"}


def timm_dataset(cfg: DataConfig) -> Source:
    """Return the images of a data set of Hugging Face's, of TensorFlow's or of torchvision.

    Raises:
        UserError: if there is no such data set, or what reads it is not installed.
    """
    assert cfg.dataset is not None
    reader, _, name = cfg.dataset.partition("/")
    package = PACKAGES.get(reader)
    # A folder of that name beside the runs, where data are kept, is a package without an origin.
    if package is not None and getattr(find_spec(package), "origin", None) is None:
        text = f"got {cfg.dataset!r}, which {package} reads; `pip install {package}`"
        raise UserError.of("data.dataset", text)
    args = cfg.args or {}
    part = PartConfig(factory="timm.data.create_dataset", args={"name": cfg.dataset, **args})
    if reader == "torch" and name not in ("folder", "image_folder"):  # timm knows a few of them
        kinds = {kind.lower(): kind for kind in torchvision.datasets.__all__}
        if (kind := kinds.get(name.replace("_", "").lower())) is None:
            text = f"got {cfg.dataset!r}; torchvision has no such data set{nearest(name, kinds)}"
            raise UserError.of("data.dataset", text)
        part = PartConfig(factory=f"torchvision.datasets.{kind}", args=args)
    return read_splits(made_splits(part, cfg, "data.dataset"), cfg, "data.dataset")


# What factories call the images to train on, and those to report on.
TRAIN_SPLITS, TEST_SPLITS = ("train", "trainval"), ("test", "validation", "val")


def made_splits(part: PartConfig, cfg: DataConfig, key: str) -> dict[str, Any]:
    """Return the data sets that a factory makes, by split: `train`, and `test` and `val` if any.

    One that takes `split` is called with the names of splits, one that takes `train` with true and
    false, any other once: for one data set, a pair or three of train, test and val, or a mapping.
    It is offered `root` and `download`.

    Raises:
        UserError: if there is no such factory, or it gives something else.
    """
    parameters = parameters_of(import_callable(part.factory, "data.factory")) or {}
    offered: dict[str, Any] = {"download": cfg.download}
    offered |= {} if cfg.root is None else {"root": cfg.root}

    def make(**more: Any) -> Any:
        with cache_lock(cfg), safe_extraction():
            return made(part, "data", **offered, **more)

    asked = [name for name in ("split", "train") if name in parameters and name not in part.args]
    if not asked:
        return _by_split(make(), key)
    if asked[0] == "train":
        return {"train": make(train=True), "test": make(train=False)}
    train = _first(make, TRAIN_SPLITS)
    return {"train": train, "test": _first(make, TEST_SPLITS, class_names(train))}


def _first(
    make: Callable[..., Any], names: Sequence[str], classes: tuple[str, ...] | None = None
) -> Any:
    """Return the first of some splits that there is, of the classes that it has to have."""
    errors = []
    for name in names:
        try:
            dataset = make(split=name)
        except UserError as error:
            errors.append(error)
        else:
            # Another split's folder gives the names of splits for those of classes.
            if classes is None or class_names(dataset) == classes:
                return dataset
            errors.append(UserError.of("data.root", f"{name} has other classes than train"))
    raise errors[0]


def _by_split(given: Any, key: str) -> dict[str, Any]:
    """Return what a factory gives when it is called once, by split."""
    splits = {"train": given}
    if isinstance(given, tuple):
        splits = dict(zip(("train", "test", "val"), given, strict=False))
        if len(given) not in (2, 3):
            text = (
                f"gives {len(given)} data sets; takes one, train and test, or train, test and val"
            )
            raise UserError.of(key, text)
    elif isinstance(given, Mapping):
        splits = dict(given)
        if "train" not in splits or splits.keys() - {"train", "test", "val"}:
            text = f"gives {', '.join(map(str, splits)) or 'none'}; takes train, test and val"
            raise UserError.of(key, text)
    return splits


def read_splits(datasets: Mapping[str, Any], cfg: DataConfig, key: str) -> Source:
    """Return the images of data sets, or of pairs of arrays (images, labels), by split.

    Raises:
        UserError: naming `key`, if they are no labelled images.
    """
    images = {
        split: images_of_arrays(given, split)
        if isinstance(given, tuple)
        else read_dataset(given, cfg, key, split)
        for split, given in datasets.items()
    }
    sizes = {split: part.stored for split, part in images.items()}
    if len(set(sizes.values())) > 1:
        shown_sizes = ", ".join(f"{split} {w}x{h}" for split, (h, w) in sizes.items())
        text = f"images have several sizes, {shown_sizes}; takes the number of pixels to resize "
        raise UserError.of("data.size", text + "and crop them all to")
    classes = classes_of(class_names(datasets["train"]), images, key)
    return Source(images["train"], images.get("test"), classes, images.get("val"))


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
    "own": own,
    "timm": timm_dataset,
}
