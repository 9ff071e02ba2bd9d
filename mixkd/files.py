"""Files are written whole or not at all."""

import csv
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixkd.errors import NotWritten, UserError

if TYPE_CHECKING:
    import numpy as np

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what is wrong with the disk while a file or a folder is written.

    Raises:
        NotWritten: in place of an OSError of a full disk, or of a folder that is closed to us.
    """
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        said = f"{path} cannot be written: {error.strerror}"
        if error.errno in FULL:
            place = next(p for p in path.absolute().parents if p.is_dir())
            free = shutil.disk_usage(place).free / 1e6
            said += f"; {free:,.1f} MB are free there. Make room: the same command goes on"
        elif error.errno in CLOSED:
            said += "; take a folder that you may write to"
        else:
            raise
        raise NotWritten(said) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success flush it to disk and rename it to `path`.

    Raises:
        NotWritten: if the disk is full or the folder closed. The temporary file is removed on any
            error.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_array(path: Path, shape: tuple[int, ...], value: "np.generic") -> None:
    """Write a `.npy` file of one value, to be mapped into memory and filled.

    All its space is taken now: on a full disk the pages of a sparse file would end the process.
    """
    import numpy as np  # `--cfg job` needs this module, and no arrays

    header = {
        "descr": np.lib.format.dtype_to_descr(value.dtype),
        "fortran_order": False,
        "shape": shape,
    }
    row = np.full(shape[1:], value).tobytes()
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(shape[0]):
            file.write(row)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; on success it takes its place, and what was there goes.

    Raises:
        NotWritten: if the disk is full or the place closed. The temporary folder is removed on any
            error.
    """
    path = path.absolute()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
        try:
            new = beside / "new"
            new.mkdir()
            yield new
            if path.is_dir():
                os.replace(path, beside / "old")
            os.replace(new, path)
        finally:
            if (beside / "old").is_dir() and not path.is_dir():
                os.replace(beside / "old", path)
            shutil.rmtree(beside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file atomically, with the keys of the first row as its columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically, indented; numbers keep every digit, and are finite."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def file_fingerprint(path: str | Path) -> str:
    """Return the sha256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, key: str) -> dict[str, Any]:
    """Read a JSON object that mixkd wrote.

    Raises:
        UserError: naming `key`, if it is something else.
    """
    try:
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except ValueError as error:
        raise UserError.of(key, f"{path} is damaged ({error}); mend or remove it") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
