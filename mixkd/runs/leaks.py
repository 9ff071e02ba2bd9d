"""Which images a network was trained on, and whether those that are held out are among them.

A training leaves the marks of its images beside the weights, in its run directory.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixkd.config.data import DataConfig
from mixkd.config.network import NetworkConfig
from mixkd.config.sources import GIVEN_BY, SPLITS
from mixkd.console import say
from mixkd.data.splits import Splits
from mixkd.errors import Problem, UserError
from mixkd.files.arrays import map_npy
from mixkd.files.layout import TRAINED_ON
from mixkd.files.reading import Damaged
from mixkd.files.writing import replacing
from mixkd.networks.origin import SAVED, other_split, same_images, same_source, saved_config

UNKNOWN = "if these weights have seen the held-out images in training,"


def write_marks(folder: Path, marks: np.ndarray) -> None:
    """Write into a run directory which images its network has seen: uint64 [n, 2]."""
    with replacing(folder / TRAINED_ON) as temporary, open(temporary, "wb") as file:
        np.save(file, marks, allow_pickle=False)


def read_marks(weights: str | Path) -> np.ndarray | None:
    """Return the marks beside a file of weights; None where there are none."""
    path = Path(weights).with_name(TRAINED_ON)
    if not os.path.isfile(path):
        return None
    try:
        marks = map_npy(path)
    except Damaged:
        return None
    return marks if marks.dtype == np.uint64 and marks.shape[1:] == (2,) else None


def seen(marks: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Return which images, by their marks [n, 2], are among those trained on: bool [n]."""
    of_file, of_pixels = ((marks[:, k] != 0) & np.isin(marks[:, k], trained[:, k]) for k in (0, 1))
    return np.asarray(of_file | of_pixels)


def leak(
    network: NetworkConfig, data: DataConfig, images: Mapping[str, str], splits: Splits
) -> str | None:
    """Return how a network has seen the images that select; "" if it has not; None: nothing says.

    A training has written down its images, so that only those count which it has seen. An export
    says of which folder it is, as a whole. `images` are the sha256 of each split, where the images
    are files.
    """
    if (file := _started_from(network)) is None:
        return ""
    saved = _saved_data(network)
    one_source = saved is not None and same_source(saved["data"], data.model_dump())
    if saved is not None and one_source:
        differs = other_split(saved["data"], data.model_dump())
        if data.source not in SPLITS and (differs or data.source not in GIVEN_BY):
            text = f"may have trained on the images that select here: its {differs}"
            return text if differs else ""
        if not differs and same_images(saved["images"], images):
            return ""
    trained = read_marks(file)
    if trained is not None:
        marks, others = splits.marks("val"), splits.marks("train")
        # What is among the training images too selects no better without such a network.
        count = int((seen(marks, trained) & ~seen(marks, others)).sum())
        if count:
            return f"was trained on {count} of the {len(marks)} images that select here"
        # Copies in another format are known by their pixels, of one size and in memory alone.
        is_comparable = (
            saved is not None
            and all(saved["data"].get(key) == getattr(data, key) for key in ("size", "resize"))
            and bool(marks[:, 1].all() and trained[:, 1].all())
        )
        return "" if is_comparable or seen(others, trained).any() else None
    if saved is None or not one_source or data.source in GIVEN_BY:
        return None
    text = "may have trained on images that select here: it is of another folder or of another"
    return f"{text} split, and does not say which images those were"


def _started_from(network: NetworkConfig) -> str | None:
    """Return the file that a network has its weights from; None of timm's own, and of new ones."""
    files = (network.weights, network.pretrained)
    return next((file for file in files if isinstance(file, str) and file != "pretrained"), None)


def _saved_data(network: NetworkConfig) -> dict[str, Any] | None:
    """Return the data and the images that the network's run or export says that it is of."""
    kind = next((kind for kind in SAVED if getattr(network, kind) is not None), None)
    if kind is None or network.weights is None:
        return None
    try:
        saved = saved_config(Path(network.weights).with_name(SAVED[kind]))
    except ValueError:
        return None
    return saved if saved["data"] else None


def tell_seen_tests(key: str, network: NetworkConfig, splits: Splits) -> None:
    """Say of how many test images it is known that a network was trained on them."""
    trained = None if network.weights is None else read_marks(network.weights)
    if trained is not None and (count := int(seen(splits.marks("test"), trained).sum())):
        say(f"{key}: it was trained on {count} of the {len(splits.test)} test images")


def refuse_leaks(
    networks: Mapping[str, NetworkConfig],
    data: DataConfig,
    images: Mapping[str, str],
    splits: Splits,
) -> np.ndarray:
    """Refuse to train with networks that have seen the images that select.

    Returns:
        The marks of the training images and of those that the networks have seen: uint64 [n, 2].
    """
    problems = []
    marks = [splits.marks("train")]
    for key, network in networks.items():
        fault = leak(network, data, images, splits)
        if fault:
            kinds = ("run", "export", "weights", "pretrained")
            kind = next(kind for kind in kinds if getattr(network, kind))
            text = f"{getattr(network, kind)} {fault}; take the same images and split, or a network"
            text += " that `mixkd finetune` makes of these"
            problems.append(Problem(f"{key}.{kind}", text))
        elif fault is None:
            say(f"{key}: {UNKNOWN} they select too well")
        file = _started_from(network)
        if file is not None and (trained := read_marks(file)) is not None:
            marks.append(np.asarray(trained))
    if problems:
        raise UserError(*problems)
    return marks[0] if len(marks) == 1 else np.unique(np.concatenate(marks), axis=0)
