"""Files are written whole or not at all."""

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixkd.errors import NotWritten, UserError
from mixkd.files.reading import Damaged, read_mapping

if TYPE_CHECKING:
    import numpy as np

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise NotWritten in place of an OSError of a full disk, or a folder that is closed to us."""
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        reason = f"{path} cannot be written: {error.strerror}"
        if error.errno in FULL:
            place = next(p for p in path.absolute().parents if p.is_dir())
            free = shutil.disk_usage(place).free / 1e6
            reason += f"; {free:,.1f} MB are free there. Make room: the same command goes on"
        elif error.errno in CLOSED:
            reason += "; take a folder that you may write to"
        else:
            raise
        raise NotWritten(reason) from error


@contextmanager
def replacing(path: Path, others: str = "") -> Iterator[Path]:
    """Give a temporary name beside `path`; on success flush it to disk and rename it to `path`.

    It is removed on any error, such as NotWritten; `others` is as of `temporary_beside`.
    """
    with writing(path), temporary_beside(path, others=others) as temporary:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)


@contextmanager
def temporary_beside(path: Path, is_folder: bool = False, others: str = "") -> Iterator[Path]:
    """Give an empty file or folder beside `path`, hidden, and remove it at the end.

    It is locked as long as its writer lives; those that killed writers of `path` have left, which
    nobody locks, are removed first; and those of files whose names, without the suffix, match the
    regular expression `others`.
    """
    stem, suffix = (path.name, "") if is_folder else (path.stem, path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    stems = f"{re.escape(stem)}|{others or re.escape(stem)}"
    _remove_left(path, re.compile(rf"\.(?:{stems})-[a-z0-9_]{{8}}{re.escape(suffix)}"))
    while True:
        if is_folder:
            temporary = Path(tempfile.mkdtemp(suffix, f".{stem}-", path.parent))
        else:
            made, name = tempfile.mkstemp(suffix, f".{stem}-", path.parent)
            os.close(made)
            temporary = Path(name)
        with _locked(temporary) as is_ours:
            if is_ours is False:
                continue  # another writer has just taken it for one that was left
            try:
                yield temporary
            finally:
                _remove(temporary)
            return


def _remove_left(path: Path, names: re.Pattern[str]) -> None:
    """Remove what killed writers have left beside a path."""
    for name in filter(names.fullmatch, os.listdir(path.parent)):
        left = path.parent / name
        with _locked(left) as is_left:
            if is_left:
                former = left / "old"  # the writer was killed between taking it away and renaming
                if former.is_dir() and not path.exists():
                    os.replace(former, path)
                _remove(left)


@contextmanager
def _locked(path: Path) -> Iterator[bool | None]:
    """Lock a temporary file or folder; yield whether it is there and no other process has it.

    None: its disk knows no locks.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # it is gone, or no file of ours
        yield False
        return
    try:
        is_ours: bool | None = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_ours = False
        except OSError:
            is_ours = None
        yield is_ours and path.exists() and os.path.samestat(os.fstat(handle), path.stat())
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_array(path: Path, shape: tuple[int, ...], value: "np.generic") -> None:
    """Write a `.npy` file of one value, to be mapped into memory and filled.

    All its space is taken now: on a full disk the pages of a sparse file would end the process.
    """
    import numpy as np  # `--cfg job` needs this module, and no arrays

    descr = np.lib.format.dtype_to_descr(value.dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    row = np.full(shape[1:], value).tobytes()
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(shape[0]):
            file.write(row)


def write_npz(path: Path, arrays: Mapping[str, "np.ndarray"]) -> None:
    """Write arrays by name into a compressed `.npz` file."""
    import numpy as np

    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; on success it takes its place, and what was there goes.

    It is removed on any error, such as NotWritten.
    """
    path = path.absolute()
    with writing(path), temporary_beside(path, is_folder=True) as temporary:
        try:
            new = temporary / "new"
            new.mkdir()
            yield new
            if path.is_dir():
                os.replace(path, temporary / "old")
            os.replace(new, path)
        finally:
            if (temporary / "old").is_dir() and not path.is_dir():
                os.replace(temporary / "old", path)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8; what is no Unicode, as in some names, by its code."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8", "backslashreplace")


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
    """Read a JSON object that mixkd wrote; raise a UserError that names `key` if it is none."""
    try:
        return read_mapping(path)
    except Damaged as error:
        text = f"{path} is damaged ({error.why}); mend or remove it"
        raise UserError.of(key, text) from error
