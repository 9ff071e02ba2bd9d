"""The splits of a data set, which every task works on: loaded, held out, shortened."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from sklearn.model_selection import train_test_split

from mixkd.config.data import CorruptedDataConfig, DataConfig
from mixkd.data.corrupted import load_corrupted
from mixkd.data.images import AnyImages, Images
from mixkd.data.sources import READERS, Source
from mixkd.errors import UserError


@dataclass(frozen=True)
class Splits:
    """What a task trains on, selects by and reports on; class names in label order."""

    train: AnyImages
    val: AnyImages
    test: AnyImages
    classes: tuple[str, ...]
    _marks: dict[str, np.ndarray] = field(default_factory=dict, init=False, compare=False)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """The sha256 of class names and every split: `data`, or `data_files` of images on disk."""
        parts = [part.fingerprint() for part in (self.train, self.val, self.test)]
        digest = hashlib.sha256(json.dumps([self.classes, parts]).encode()).hexdigest()
        return {"data" if isinstance(self.test, Images) else "data_files": digest}

    def marks(self, split: str) -> np.ndarray:
        """Return the `image_marks` of a split, made once: every network is held against them."""
        if split not in self._marks:
            self._marks[split] = image_marks(self[split])
        return self._marks[split]

    def __getitem__(self, split: str) -> AnyImages:
        images: AnyImages = getattr(self, split)
        return images


def image_marks(images: AnyImages) -> np.ndarray:
    """Return two marks by which each image is known again: uint64 [n, 2]; 0 where there is none.

    They are the first bytes of the sha256 of its file, and of its pixels, which are the same in
    another format that loses nothing.
    """
    marks = np.zeros((len(images), 2), dtype=np.uint64)
    if images.files is not None:
        marks[:, 0] = images.files
    if isinstance(images, Images):
        shape = str(tuple(images.pixels.shape[1:])).encode()
        for row, pixels in enumerate(images.pixels.numpy()):
            digest = hashlib.sha256(shape + np.ascontiguousarray(pixels).tobytes()).digest()
            marks[row, 1] = int.from_bytes(digest[:8], "big")
    return marks


def load_splits(cfg: DataConfig) -> Splits:
    """Load a data set and split it as configured. Corrupted data are a test split alone.

    The held-out images depend on `data.split_seed` alone, so that no run trains on another's;
    `data.limit_train` shortens the training and the held-out images in the same proportion.

    Raises:
        UserError: if the data cannot be read or split.
    """

    if isinstance(cfg, CorruptedDataConfig):
        test, classes = load_corrupted(cfg)
        none = test.take(np.arange(0))
        return Splits(none, none, _shortened(test, cfg.limit_test, "data.limit_test", cfg), classes)
    return split(READERS[cfg.source](cfg), cfg)


def _shortened(images: AnyImages, limit: int | None, key: str, cfg: DataConfig) -> AnyImages:
    if limit is None or limit >= len(images):
        return images
    return stratified(images, limit, cfg.split_seed, key)[0]


def split(source: Source, cfg: DataConfig) -> Splits:
    """Split a data set as configured; of one that is whole a quarter is the test, always the same.

    Raises:
        UserError: if it cannot be split so.
    """
    train, val, test, classes = source.train, source.val, source.test, source.classes
    if test is None:
        test, train = stratified(train, len(train) // 4, 0, "data")
    test = _shortened(test, cfg.limit_test, "data.limit_test", cfg)
    if cfg.selection == "test":
        val = test
    elif val is None:
        count = round(len(train) * cfg.holdout)
        val, train = stratified(train, count, cfg.split_seed, "data.holdout")
    if cfg.limit_train is not None and cfg.limit_train < len(train):
        count = max(round(len(val) * (cfg.limit_train / len(train))), len(classes))
        train = _shortened(train, cfg.limit_train, "data.limit_train", cfg)
        if cfg.selection != "test" and count < len(val) - len(classes):
            val = _shortened(val, count, "data.limit_train", cfg)
    return Splits(train, val, test, classes)


def stratified(images: AnyImages, count: int, seed: int, key: str) -> tuple[AnyImages, AnyImages]:
    """Split images at random into `count` and the rest, each class in proportion.

    Both parts keep the order of the data set. A class too rare for its share may be missing from
    the smaller part.

    Raises:
        UserError: naming `key`, if a part is smaller than the number of classes, or a class has a
            single image.
    """
    counts = images.labels.bincount()
    classes, rest = int(counts.count_nonzero()), len(images) - count
    if len(images) < 2 * classes:
        more = "; take a val/ of its own, or data.selection=test" if key == "data.holdout" else ""
        text = f"{len(images)} images cannot be split so that both parts hold {classes} classes"
        raise UserError.of(key, text + more)
    if count < classes or rest < classes:
        text = f"asks for {count} of {len(images)} images; takes {classes} to "
        text += f"{len(images) - classes}, so that both parts can hold the {classes} classes"
        raise UserError.of(key, text)
    if single := (counts == 1).nonzero().flatten().tolist():
        raise UserError.of(key, f"classes {single} have a single image, which cannot be split")
    chosen, others = train_test_split(
        np.arange(len(images)), train_size=count, test_size=rest, random_state=seed,
        stratify=images.labels.numpy(),
    )  # fmt: skip
    return images.take(np.sort(chosen)), images.take(np.sort(others))
