"""One function a data set: configuration -> training and test images as uint8.

A new data set is a function here, its name in `SOURCES` and in config.Data.source, and a file in
conf/data/.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torchvision
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mixkd.config import Data
from mixkd.data.folder import load_folder
from mixkd.data.images import Images
from mixkd.errors import UserError


@dataclass(frozen=True)
class Source:
    """A data set as it comes. `val` is None where the data set has no images for selection."""

    train: Images
    test: Images
    classes: tuple[str, ...]
    val: Images | None = None


def digits(cfg: Data) -> Source:
    """Return scikit-learn's 8x8 digits, enlarged to 32x32 or `data.size`; a quarter is the test."""
    bunch = load_digits()
    size = cfg.size or 32
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


def cifar(cfg: Data) -> Source:
    """Return CIFAR-10 or CIFAR-100 through torchvision, which downloads and checks the files.

    Raises:
        UserError: if the files are absent or damaged and cannot be downloaded.
    """
    kind: Any = {
        "cifar10": torchvision.datasets.CIFAR10,
        "cifar100": torchvision.datasets.CIFAR100,
    }[cfg.source]
    root = cfg.root or "datasets"
    try:
        with warnings.catch_warnings():
            # torchvision's unpickling of label names warns under new NumPy versions.
            warnings.simplefilter("ignore")
            train = kind(root, train=True, download=cfg.download)
            test = kind(root, train=False, download=cfg.download)
    except (RuntimeError, OSError) as error:
        hint = (
            f"the download failed; put {kind.filename} from {kind.url} there yourself"
            if cfg.download
            else "data.download=true fetches it"
        )
        raise UserError.of(
            "data.root", f"no intact {cfg.source} in {root!r}: {error}. {hint}"
        ) from error
    return Source(
        Images.of(train.data, np.asarray(train.targets)),
        Images.of(test.data, np.asarray(test.targets)),
        tuple(train.classes),
    )


def imagefolder(cfg: Data) -> Source:
    """Return the images of any folder; see mixkd/data/folder.py for its layout."""
    parts, classes = load_folder(cfg)
    test = parts.get("test", parts.get("val"))
    val = parts["val"] if "test" in parts and "val" in parts else None
    assert test is not None
    return Source(parts["train"], test, classes, val)


SOURCES: dict[str, Callable[[Data], Source]] = {
    "digits": digits,
    "cifar10": cifar,
    "cifar100": cifar,
    "imagefolder": imagefolder,
}
