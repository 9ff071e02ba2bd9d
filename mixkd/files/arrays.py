"""Array files from anywhere, .npy and .npz: looked at before they are read, never unpickled.

What cannot be read, or does not fit into memory, raises Damaged.
"""

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np

from mixkd.console import available_memory
from mixkd.errors import shortened
from mixkd.files.reading import Damaged, opened

HEADER = 12 + 10_000  # bytes, at most, that NumPy takes for a header, and that are read for it
LARGE = 2**28  # bytes from which on an array has to be what it says
COMPRESSION = 100  # of a large array at most: measurements do not shrink so far, zeros do
CHUNK = 2**20


class Header(NamedTuple):
    """What an array says that it is, and after how many bytes its data start."""

    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal["F", "C"]
    start: int

    @property
    def bytes(self) -> int:
        """The size of its data."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __str__(self) -> str:
        """Return such as `float32 [600, 5]`."""
        return f"{self.dtype} {list(self.shape)}"


class Archive:
    """An open .npz file, and the names of its arrays."""

    def __init__(self, path: Path, file: ZipFile, size: int) -> None:
        self._path, self._file, self._size = path, file, size
        members = (info for info in file.infolist() if info.filename.endswith(".npy"))
        self._members = {info.filename.removesuffix(".npy"): info for info in members}
        self.names = list(self._members)

    def header(self, name: str) -> Header:
        """Return what an array is, without reading it; refuse one that cannot be what it says."""
        info = self._members[name]
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise Damaged(self._path, f"{name} is compressed as numpy.savez does not")
        with reading(self._path, name), self._file.open(info) as member:
            header = _header(member)
        if header.start + header.bytes != info.file_size or info.compress_size > self._size:
            raise Damaged(self._path, f"{name} says that it is {header}, and is not")
        if header.bytes > max(LARGE, COMPRESSION * info.compress_size):
            text = f"{header.bytes / 1e9:.3g} GB in {info.compress_size:,} bytes of the file"
            why = f"{name}, {header}, is {text}; takes no array that compresses so far"
            raise Damaged(self._path, why)
        return header

    def read(self, name: str) -> np.ndarray:
        """Return an array: native byte order, and float64 in place of longer floats."""
        header = self.header(name)
        _check_memory(self._path, header.bytes, f"{name}, {header},")
        with reading(self._path, name), self._file.open(self._members[name]) as member:
            member.read(header.start)
            data = np.empty(header.bytes, np.uint8)
            for start in range(0, header.bytes, CHUNK):
                part = data[start : start + CHUNK]
                part[:] = np.frombuffer(member.read(len(part)), np.uint8)
            return _native(data.view(header.dtype).reshape(header.shape, order=header.order))


@contextmanager
def open_npz(path: Path) -> Iterator[Archive]:
    """Open an .npz file."""
    with reading(path):
        size, head = _regular(path)
        if head.startswith(np.lib.format.MAGIC_PREFIX):
            raise ValueError("it is an .npy file of one array; takes an .npz file")
        file = ZipFile(path)
    with file:
        yield Archive(path, file, size)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return those arrays of an .npz file, of the names, that are there; the rest is not read."""
    with open_npz(path) as archive:
        names = [name for name in names if name in archive.names]
        _check_memory(path, sum(archive.header(name).bytes for name in names), "it")
        return {name: archive.read(name) for name in names}


def read_arrays(
    path: Path, names: Sequence[str], within: Path | None = None
) -> dict[str, np.ndarray]:
    """Return arrays as `read_npz` does, of a file that is no link out of the folder `within`."""
    opened(path, within).close()
    return read_npz(path, names)


def map_npy(path: Path, mode: Literal["r", "r+"] = "r") -> np.ndarray:
    """Map an .npy file into memory, in the order of bytes that it has."""
    with reading(path):
        size, head = _regular(path)
        if head.startswith(b"PK"):
            raise ValueError("it is an archive of arrays; takes one array")
        with open(path, "rb") as file:
            header = _header(file)
        if header.start + header.bytes > size:
            raise ValueError(f"it says that it is {header}, which its {size:,} bytes do not hold")
        if not header.bytes:
            return np.empty(header.shape, header.dtype)
        return np.memmap(path, header.dtype, mode, header.start, header.shape, header.order)


def _native(array: np.ndarray) -> np.ndarray:
    """Return an array in the machine's order of bytes; floats longer than float64 in float64."""
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # infinite, then, which whoever takes it says
            return array.astype(np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_memory(path: Path, size: int, what: str) -> None:
    if size > (available := available_memory()):
        text = f"{what} takes {size / 1e9:.3g} GB of memory; {available / 1e9:.3g} GB are available"
        raise Damaged(path, text)


@contextmanager
def reading(path: Path, name: str = "") -> Iterator[None]:
    """Turn all that NumPy, zipfile and zlib raise of a damaged file, or array, into Damaged.

    Theirs are a dozen kinds, which change with versions: struct.error, tokenize.TokenError, ...
    """
    try:
        yield
    except Damaged:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = shortened(" ".join(reason.split()))
        raise Damaged(path, f"{name}: {reason}" if name else reason) from error


def _regular(path: Path) -> tuple[int, bytes]:
    """Return the size of a file and its first bytes; a pipe would be waited for."""
    if not path.is_file():
        raise ValueError("no such file" if not path.exists() else "it is no file")
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_size, file.read(6)


def _header(file: IO[bytes]) -> Header:
    """Read a header; of what says that it is long, no more than NumPy takes."""
    head = io.BytesIO(file.read(HEADER))
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(head)
    elif version == (2, 0):
        shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(head)
    else:
        raise ValueError(f"it is of version {version} of NumPy's format, for arrays of records")
    if dtype.kind not in "biufcUS" or not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"it holds {dtype} {list(shape)}; takes numbers or text")
    return Header(shape, dtype, "F" if is_fortran else "C", head.tell())
