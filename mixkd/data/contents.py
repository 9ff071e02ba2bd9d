"""Which image files a folder holds, and what they contain, as sha256: listed and read once.

Within `listed_once` a listing holds while its folders, and every hundredth of its files, are as
they were; outside, folders are listed whenever they are asked for.

Names, sizes and times can be equal where images are not, as in an archive that sets every time.
So all files are read, once; later starts ask for each file's size, times and inode, and read what
has changed.
"""

import hashlib
import json
import os
import stat
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mixkd.config.sources import SOURCES, SPLITS
from mixkd.console import say
from mixkd.data.listing import LeftOut, class_folders, image_files, state_of
from mixkd.errors import NotWritten
from mixkd.files.arrays import map_npy
from mixkd.files.reading import Damaged
from mixkd.files.writing import file_fingerprint, replacing

File = tuple[str, Path]  # a name, and where it is

MANY_FILES, MANY_BYTES = 20_000, 2**30  # to be read, of which a line tells
EVERY = 30.0  # seconds between lines of progress
READERS = 16  # at once: more than cores, as files may come over a network

# A file that was changed just now may change again without another time of change: file systems
# count time in steps, of up to this many nanoseconds.
STEP = 2 * 10**9

MOST_BYTES = 2**30  # of an image's file: more than as many pixels as are read take in any format

STATE, CONTENT = 16, 32  # bytes of a row of the cache

SAMPLED = 100  # of so many listed files one is looked at again

# What the sha256 of a split's images is called among the fingerprints of a run: IMAGES + split.
IMAGES = "images/"


def contents(files: Sequence[File], cache_dir: str | Path, of: str | Path) -> np.ndarray:
    """Return the sha256 of files' contents: uint8 [n, 32]; zeros for what cannot be read.

    The cache has a file for each folder `of` files; one that cannot be written costs time alone.
    """
    started = time.time_ns()
    place = hashlib.sha256(os.fsencode(os.path.realpath(of))).hexdigest()[:24]
    cache = Path(cache_dir) / "contents" / f"{place}.npy"
    try:
        cached = map_npy(cache)
    except Damaged:
        cached = np.zeros(0)
    if cached.dtype != np.uint8 or cached.shape[1:] != (STATE + CONTENT,):
        cached = np.zeros((0, STATE + CONTENT), dtype=np.uint8)
    states, sizes, changed = _states(files)
    hashes = np.zeros((len(files), CONTENT), dtype=np.uint8)
    is_cached = np.zeros(len(files), dtype=bool)
    if len(cached):
        at = np.minimum(np.searchsorted(first_bytes(cached), first_bytes(states)), len(cached) - 1)
        is_cached = (cached[at, :STATE] == states).all(axis=1) & states.any(axis=1)
        hashes[is_cached] = cached[at[is_cached], STATE:]
    missing = np.flatnonzero(~is_cached & (sizes >= 0))
    if not len(missing):
        return hashes
    is_long = len(missing) > MANY_FILES or sizes[missing].sum() > MANY_BYTES
    if is_long:
        total = sizes[missing].sum() / 1e9
        say(f"reading {len(missing):,} files of {of}, {total:.3g} GB (once; kept in {cache})")
    line_at = time.monotonic()
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(_content, [files[int(row)][1] for row in missing])
        for done, (row, content) in enumerate(zip(missing, read, strict=True), start=1):
            hashes[row] = np.frombuffer(content, dtype=np.uint8)
            if is_long and time.monotonic() - line_at > EVERY:
                line_at = time.monotonic()
                say(f"  {done:,} of {len(missing):,}")
    is_settled = (changed[missing] < started - STEP) & hashes[missing].any(axis=1)
    new = np.concatenate([states[missing], hashes[missing]], axis=1)[is_settled]
    if len(new):
        new = np.concatenate([cached, new])
        try:
            with replacing(cache) as temporary, open(temporary, "wb") as file:
                np.save(file, new[np.argsort(first_bytes(new), kind="stable")], allow_pickle=False)
        except (NotWritten, OSError) as error:
            if is_long:
                say(f"{error} (data.cache_dir); going on without")
    return hashes


def summary(files: Sequence[File], hashes: np.ndarray) -> str:
    """Return the sha256 of files' names and contents, uint8 [n, 32], whatever their order."""
    digest = hashlib.sha256()
    for (name, _), content in sorted(zip(files, hashes, strict=True), key=lambda pair: pair[0][0]):
        digest.update(os.fsencode(name) + b"\0" + content.tobytes())
    return digest.hexdigest()


@dataclass
class SplitFiles:
    """The image files in the class folders of a split.

    By class folder: `names`, their paths under the root, bytes [n], sorted; what is `left_out`; and
    `contents`, the sha256 of each file, uint8 [n, 32], empty until read. By path, `states` is what
    the file system says of the folders and of a sample of the files. `summary` is the sha256 of
    names and contents; "" until those are read.
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
        rest = split.left_out
        classes = [(c, len(n), rest[c].kinds, rest[c].example) for c, n in split.names.items()]
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
    splits: dict[tuple[str, str], SplitFiles] = {}
    start = 0
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names, contents = arrays["names"], arrays["contents"]
            records: list[dict[str, Any]] = json.loads(str(arrays["records"]))
        for record in records:
            split = SplitFiles(states=record["states"], summary=record["summary"])
            for name, count, kinds, example in record["classes"]:
                split.names[name] = names[start : start + count]
                split.contents[name] = contents[start : start + count]
                split.left_out[name] = LeftOut(Counter(kinds), example)
                start += count
            root, place = record["key"]
            splits[root, place] = split
    except (OSError, EOFError, BadZipFile, KeyError, TypeError, ValueError):
        return {}
    return splits


def split_contents(source: str, root: str | None, cache_dir: str) -> dict[str, str]:
    """Return the sha256 of the names and contents of each split's images; none of other sources.

    Names are relative to the root: the same images elsewhere have the same sha256.
    """
    place = Path(root or "")
    names = [s for s in SPLITS.get(source, ()) if root is not None and (place / s).is_dir()]
    splits = {name: split_files(place, name) for name in names}
    if unread := [split for split in splits.values() if not split.summary]:
        listed = [split.files(place) for split in unread]
        hashes = contents(list(chain(*listed)), cache_dir, place)
        for split, files in zip(unread, listed, strict=True):
            part, hashes = hashes[: len(files)], hashes[len(files) :]
            split.summary = summary(files, part)
            ends = np.cumsum([len(paths) for paths in split.names.values()])
            split.contents = dict(zip(split.names, np.split(part, ends), strict=False))
    return {name: split.summary for name, split in splits.items()}


def to_unpack(source: str, root: str | None) -> list[str]:
    """Return the splits of a source that are there as an archive alone."""
    folder, archives = Path(root or ""), SOURCES[source].archives
    archived = [split for split, name in archives.items() if (folder / name).is_file()]
    return [split for split in archived if not (folder / split).is_dir()]


def arrays_folder(source: str, root: str | None) -> Path | None:
    """Return the folder of a source's published arrays: the one in its root, or the root itself."""
    folder, arrays = Path(root or ""), SOURCES[source].arrays
    places = (folder / arrays.folder, folder) if arrays is not None else ()
    return next((place for place in places if any(place.glob("*.npy"))), None)


def first_bytes(rows: np.ndarray) -> np.ndarray:
    """Return the first eight bytes of rows, uint8 [n, 8 or more], as numbers: uint64 [n]."""
    return np.ascontiguousarray(rows[:, :8]).view(np.uint64).ravel()


def _content(path: Path) -> bytes:
    try:
        return bytes.fromhex(file_fingerprint(path))
    except OSError:  # whoever needs it says so
        return bytes(CONTENT)


def _states(files: Sequence[File]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what tells files from others, uint8 [n, 16]; sizes in bytes; times of change in ns.

    The size of what is not to be read, such as a pipe or a file too large for an image, is -1.
    """
    states = bytearray()
    sizes = np.full(len(files), -1, dtype=np.int64)
    changed = np.zeros(len(files), dtype=np.int64)
    for row, (name, path) in enumerate(files):
        try:
            status = os.stat(path)
        except OSError:
            states += bytes(STATE)
            continue
        # The time of change cannot be set, as the time of modification can.
        times = (status.st_mtime_ns, status.st_ctime_ns)
        numbers = (status.st_size, *times, status.st_ino, status.st_dev)
        states += hashlib.sha256(os.fsencode(name) + f"\0{numbers}".encode()).digest()[:STATE]
        changed[row] = status.st_ctime_ns
        if stat.S_ISREG(status.st_mode) and status.st_size <= MOST_BYTES:
            sizes[row] = status.st_size
    return np.frombuffer(bytes(states), dtype=np.uint8).reshape(-1, STATE), sizes, changed
