"""Images of arrays, and of any torch `Dataset` of (image, label), held against what they can be.

An image is a PIL image, a tensor [c, h, w] or an array [h, w(, c)], uint8 or floats in [0, 1], with
one channel or three; a label is a whole number from 0.
"""

import hashlib
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mixkd.config.data import DataConfig
from mixkd.console import cores
from mixkd.data.decode import fitted, rgb
from mixkd.data.folder import check_memory
from mixkd.data.images import AnyImages, Images, StoredImages
from mixkd.errors import UserError, first_line, shown

ASKED_TWICE = 8  # images, to see whether they are the same


@dataclass(frozen=True)
class Items(Dataset[Any]):
    """Reads the images of a data set by their rows: an `images.Reader`.

    Attributes:
        dataset: gives (image, label) by position.
        side: of the square that each image is fitted to, in pixels; None: as it comes.
        key: which messages begin with.
        split: what the data set is called in them.
        content: a sha256 of all that there is to read.
    """

    dataset: Any
    side: int | None
    key: str
    split: str
    content: str = ""
    are_files = False

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width in pixels, as they are read."""
        assert self.side is not None
        return self.side, self.side

    def read(self, rows: np.ndarray) -> Tensor:
        """Return images by their rows, int64 [n]: uint8 [n, 3, *stored]."""
        return torch.stack([self.given(self[int(row)])[0] for row in rows])

    def __getitem__(self, row: int) -> tuple[Tensor, int] | str:
        """Return pixels, uint8 [3, h, w], and label; or what is wrong: this runs in workers too."""
        try:
            item = self.dataset[row]
        except Exception as error:  # of whatever kind a user's code has
            return f"item {row} of {self.split} cannot be read: {first_line(error)}"
        return self.parsed(item, row)

    def parsed(self, item: Any, row: int) -> tuple[Tensor, int] | str:
        """Return what an item holds, or what is wrong with it."""
        what = f"item {row} of {self.split}"
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            return f"{what} is {type(item).__name__}; takes (image, label)"
        try:
            pixels, label = pixels_of(item[0]), label_of(item[1])
        except ValueError as error:
            return f"{what} has {error}"
        return (pixels if self.side is None else fitted(pixels, self.side)), label

    def given(self, item: tuple[Tensor, int] | str) -> tuple[Tensor, int]:
        """Return pixels and label; a UserError says what is wrong with them."""
        if isinstance(item, str):
            raise UserError.of(self.key, item)
        return item


def read_dataset(dataset: Any, cfg: DataConfig, key: str, split: str) -> AnyImages:
    """Return the images of a data set, read once: in memory, or by their positions as configured.

    Raises:
        UserError: naming `key`, for an item that is no image with a label, one that is not the same
            whenever it is asked for, or a data set that has no length; naming data.size, if images
            are of several sizes.
    """
    items = Items(dataset, cfg.resize or cfg.size, key, split)
    try:
        count = len(dataset)
    except TypeError as error:
        text = f"{split} is {type(dataset).__name__}, which has no __len__"
        raise UserError.of(key, f"{text}; takes a torch Dataset of (image, label)") from error
    if count == 0:
        raise UserError.of(key, f"{split} holds no images")
    by_position = not isinstance(dataset, IterableDataset)
    if by_position and not hasattr(dataset, "__getitem__"):
        text = f"{split} is {type(dataset).__name__}, which has no __getitem__"
        raise UserError.of(key, f"{text}; takes a torch Dataset of (image, label)")
    if by_position:
        _refuse_random(items, min(count, ASKED_TWICE))
    elif not cfg.resident:
        raise UserError.of("data.resident", f"got false; {split} cannot be read by positions")
    read = map(items.given, _read(items, count, cfg) if by_position else _iterated(items))
    return _in_memory(read, items, count) if cfg.resident else _on_demand(read, items)


def _read(items: Items, count: int, cfg: DataConfig) -> Iterable[Any]:
    workers = cfg.workers
    if workers is None:
        workers = 0 if cfg.resident else cores()
    return DataLoader(
        items, batch_size=None, sampler=range(count), num_workers=min(workers, count),
        collate_fn=_unchanged,
    )  # fmt: skip


def _unchanged(item: Any) -> Any:
    return item


def _iterated(items: Items) -> Iterator[Any]:
    for row, item in enumerate(items.dataset):
        yield items.parsed(item, row)


def _refuse_random(items: Items, count: int) -> None:
    for row in range(count):
        first, second = (items.given(items[row])[0] for _ in range(2))
        if not torch.equal(first, second):
            text = f"item {row} of {items.split} is another image each time that it is asked for; "
            text += "leave random transforms out: data.pad and data.flip make the views"
            raise UserError.of(items.key, text)


def _in_memory(read: Iterable[tuple[Tensor, int]], items: Items, count: int) -> Images:
    labels: list[int] = []
    whole = torch.empty(0)
    for pixels, label in read:
        shape = pixels.shape[1:]
        if not labels:
            check_memory(count, *shape, is_resized=items.side is not None)
            whole = torch.empty((count, *pixels.shape), dtype=torch.uint8)
        if shape != whole.shape[2:]:
            sizes = " and ".join(f"{size[1]}x{size[0]}" for size in (whole.shape[2:], shape))
            text = f"images of {items.split} have several sizes, such as {sizes}; takes the "
            text += "number of pixels to resize and crop them all to"
            raise UserError.of("data.size", text)
        if len(labels) < count:
            whole[len(labels)] = pixels
        labels.append(label)
    if len(labels) != count:
        text = f"{items.split} gives {len(labels)} items, and its length is {count}"
        raise UserError.of(items.key, text)
    return Images(whole, torch.tensor(labels), torch.arange(count))


def _on_demand(read: Iterable[tuple[Tensor, int]], items: Items) -> StoredImages:
    labels, hashes = [], []
    for pixels, label in read:
        labels.append(label)
        hashes.append(hashlib.sha256(pixels.numpy().tobytes()).digest())
    content = hashlib.sha256(f"{items.side}\0".encode() + b"".join(hashes)).hexdigest()
    marks = np.array([int.from_bytes(digest[:8], "big") for digest in hashes], dtype=np.uint64)
    rows = np.arange(len(labels))
    return StoredImages.of(replace(items, content=content), rows, np.array(labels), marks)


def pixels_of(image: Any) -> Tensor:
    """Return an image as uint8 [3, height, width].

    Raises:
        ValueError: if it is no image, in words that go on after "has".
    """
    if isinstance(image, Image.Image):
        return torch.from_numpy(rgb(image).copy()).permute(2, 0, 1)
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        values = torch.tensor(np.atleast_3d(image)).permute(2, 0, 1)
    elif isinstance(image, Tensor):
        values = image
    else:
        kind = type(image).__name__
        raise ValueError(
            f"an image that is {kind}; takes a PIL image, a tensor [c, h, w] or an array [h, w, c]"
        )
    if values.ndim != 3 or values.shape[0] not in (1, 3) or 0 in values.shape:
        raise ValueError(
            f"an image of shape {list(image.shape)}; takes tensors [c, h, w] and arrays "
            "[h, w] or [h, w, c], of 1 or 3 channels"
        )
    return as_bytes(values).expand(3, -1, -1).contiguous()


def as_bytes(values: Tensor) -> Tensor:
    """Return pixels, uint8 or floats in [0, 1], as uint8; a ValueError says what else they are."""
    if values.dtype == torch.uint8:
        return values
    if not values.is_floating_point():
        raise ValueError(f"pixels that are {values.dtype}; takes uint8, or floats in [0, 1]")
    if values.numel() and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(
            f"pixels from {values.min():.3g} to {values.max():.3g}; takes uint8, or floats in "
            "[0, 1]: networks bring their own normalisation"
        )
    return values.float().mul(255).round().to(torch.uint8)


def label_of(label: Any) -> int:
    """Return a label, a whole number or a scalar of one; a ValueError says what it is instead."""
    try:
        number: Any = label.item() if isinstance(label, (np.ndarray, Tensor)) else label
        return operator.index(number)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the label {shown(label)}; takes a whole number") from error


def images_of_arrays(given: tuple[Any, ...], split: str) -> Images:
    """Return (images, labels), arrays or tensors, as images of one channel or three.

    They are uint8 or floats in [0, 1], [n, h, w, c] or [n, c, h, w], and integers [n].

    Raises:
        UserError: naming `split`, if they are no images, or not with a label for each.
    """
    try:
        pixels, integers = map(torch.as_tensor, given)
    except (TypeError, ValueError, RuntimeError) as error:
        text = f"takes (images, labels), arrays or tensors, or a torch Dataset: {first_line(error)}"
        raise UserError.of(split, text) from error
    if pixels.ndim == 4 and pixels.shape[1] not in (1, 3) and pixels.shape[3] in (1, 3):
        pixels = pixels.permute(0, 3, 1, 2)
    fault = ""
    if pixels.ndim != 4 or pixels.shape[1] not in (1, 3) or 0 in pixels.shape:
        fault = f"got images {list(pixels.shape)}; takes [n, h, w, c] or [n, c, h, w] of 1 or 3 "
        fault += "channels"
    elif integers.shape != pixels.shape[:1] or integers.is_floating_point():
        fault = f"got labels {integers.dtype} {list(integers.shape)}; takes integers "
        fault += f"[{len(pixels)}]"
    if fault:
        raise UserError.of(split, fault)
    try:
        pixels = as_bytes(pixels).expand(-1, 3, -1, -1).contiguous()
    except ValueError as error:
        raise UserError.of(split, f"has {error}") from error
    return Images(pixels.cpu(), integers.to("cpu", torch.int64), torch.arange(len(pixels)))


def class_names(dataset: Any) -> tuple[str, ...]:
    """Return the names of the classes that a data set has, in label order; () where it has none.

    Of several with one name, as ImageNet's cranes, no name tells them apart: then it has none.
    """
    while isinstance(dataset, torch.utils.data.Subset):
        dataset = dataset.dataset
    reader = getattr(dataset, "reader", None)  # timm's
    for holder in (dataset, reader):
        names = getattr(holder, "classes", None)
        by_name = getattr(holder, "class_to_idx", None)
        if not isinstance(names, (list, tuple)) and isinstance(by_name, dict):
            names = sorted(by_name, key=by_name.__getitem__)
        if isinstance(names, (list, tuple)) and len(names):
            texts = [", ".join(map(str, n)) if isinstance(n, tuple) else str(n) for n in names]
            return tuple(texts) if len(set(texts)) == len(texts) else ()
    return ()


def classes_of(names: tuple[str, ...], splits: dict[str, AnyImages], key: str) -> tuple[str, ...]:
    """Return the names of classes, by default their labels; refuse labels that are of none.

    Raises:
        UserError: naming `key`.
    """
    count = len(names)
    if not names:
        present = np.unique(splits["train"].labels.numpy())
        count = len(present)
        if present[0] != 0 or present[-1] != count - 1:
            text = f"labels of train are {', '.join(map(str, present[:10]))}"
            text += " ..." if count > 10 else ""
            raise UserError.of(key, f"{text}; takes 0 to {count - 1}, of {count} classes")
    if count < 2:
        raise UserError.of(key, f"train holds {count} class; takes 2 or more")
    for split, images in splits.items():
        lowest, highest = int(images.labels.min()), int(images.labels.max())
        if lowest < 0 or highest >= count:
            text = f"labels of {split} go from {lowest} to {highest}"
            raise UserError.of(key, f"{text}; takes 0 to {count - 1}, of {count} classes")
    return names or tuple(map(str, range(count)))
