"""What the class folders of images hold, listed once for all the jobs of a sweep.

Within `listed_once` a listing holds while its folders, and every hundredth of its files, are as
they were; outside, folders are listed whenever they are asked for.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mixkd.data.listing import LeftOut, class_folders, image_files, state_of
from mixkd.files.writing import replacing

SAMPLED = 100  # of so many files one is looked at again


@dataclass
class SplitFiles:
    """The image files in the class folders of a split.

    Attributes:
        names: by class folder, their paths under the root: bytes [n], sorted.
        left_out: by class folder, what is not read.
        states: by path, what the file system says of the folders and of a sample of the files.
        contents: by class folder, the sha256 of each file: uint8 [n, 32]; empty until read.
        summary: the sha256 of names and contents; "" until those are read.
    """

    names: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    states: dict[str, list[int]] = field(default_factory=dict)
    contents: dict[str, np.ndarray] = field(default_factory=dict)
    summary: str = ""

    def files(self, root: Path) -> list[tuple[str, Path]]:
        """Return the name under the root and the path of every file."""
        names = (os.fsdecode(name) for names in self.names.values() for name in names)
        return [(name, root / name) for name in names]


_kept: dict[tuple[str, str], SplitFiles] | None = None


@contextmanager
def listed_once(handed_over: str = "") -> Iterator[None]:
    """Keep what is listed from here on, and begin with what another process has handed over.

    A file of `hand_over` that is damaged or gone costs time alone.
    """
    global _kept
    before = _kept
    _kept = {} if before is None else before
    if handed_over:
        _kept |= _read(handed_over)
    try:
        yield
    finally:
        _kept = before


def split_files(root: Path, place: str) -> SplitFiles:
    """Return the image files of ROOT/PLACE, listed unless that was done before."""
    key, folder = (os.path.abspath(root), place), root / place
    split = None if _kept is None else _kept.get(key)
    if split is not None and all(state_of(path) == state for path, state in split.states.items()):
        return split
    split = SplitFiles(states={os.path.abspath(folder): state_of(folder)})
    for name in class_folders(folder):
        left_out = split.left_out[name] = LeftOut()
        under = f"{place}/{name}/"
        files = sorted(image_files(folder / name, under, left_out=left_out, states=split.states))
        split.names[name] = np.array([os.fsencode(file) for file, _ in files], dtype=bytes)
        split.states |= {os.path.abspath(path): state_of(path) for _, path in files[::SAMPLED]}
    if _kept is not None:
        _kept[key] = split
    return split


def hand_over(path: Path) -> bool:
    """Write what has been listed and read for other processes; return whether there is anything."""
    ready = {key: split for key, split in (_kept or {}).items() if split.summary}
    if not ready:
        return False
    records = []
    for key, split in ready.items():
        others = split.left_out
        classes = [(c, len(n), others[c].kinds, others[c].example) for c, n in split.names.items()]
        record = {"classes": classes, "states": split.states, "summary": split.summary}
        records.append({"key": key, **record})
    names = [paths for split in ready.values() for paths in split.names.values()]
    contents = [split.contents[name] for split in ready.values() for name in split.names]
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            records=np.array(json.dumps(records)),
            names=np.concatenate([np.zeros(0, dtype=bytes), *names]),
            contents=np.concatenate([np.zeros((0, 32), dtype=np.uint8), *contents]),
        )
    return True


def _read(path: str) -> dict[tuple[str, str], SplitFiles]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, contents = arrays["names"], arrays["contents"]
            records: list[dict[str, Any]] = json.loads(str(arrays["records"]))
    except (OSError, EOFError, BadZipFile, KeyError, ValueError):
        return {}
    splits, start = {}, 0
    for record in records:
        split = SplitFiles(states=record["states"], summary=record["summary"])
        for name, count, kinds, example in record["classes"]:
            split.names[name] = names[start : start + count]
            split.contents[name] = contents[start : start + count]
            split.left_out[name] = left_out = LeftOut()
            left_out.kinds, left_out.example = Counter(kinds), example
            start += count
        root, place = record["key"]
        splits[root, place] = split
    return splits
