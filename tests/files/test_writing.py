"""Files are written whole or not at all; a failure says which file, why and what to do."""

import errno
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from mixkd.errors import NotWritten
from mixkd.files.writing import (
    replacing,
    replacing_folder,
    write_array,
    write_json,
    write_text,
    writing,
)


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Let no file be larger: a full disk that an ordinary user can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_does_not_fit_leaves_the_file_before_it() -> None:
    write_text(path := Path("place/file.txt"), "before")
    with (
        file_limit(100),
        pytest.raises(NotWritten, match=r"^place/file.txt cannot be written: File too large; "),
    ):
        write_text(path, "after" * 100)
    assert path.read_text() == "before"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_full_disk_says_how_much_is_free() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = (
        r"^a/b cannot be written: No space left on device; [\d,.]+ MB are free there. Make room"
    )
    with pytest.raises(NotWritten, match=message), writing(Path("a/b")):
        raise full
    # Other errors are told as they are, and one that was told is told once.
    with pytest.raises(FileNotFoundError), writing(Path("a/b")):
        Path("nowhere").read_text()
    with pytest.raises(NotWritten, match=r"^inner$"), replacing(Path("outer")):
        raise NotWritten("inner")


def test_what_is_written_has_the_usual_form() -> None:
    write_array(Path("a.npy"), (3, 2, 4), np.float16(np.nan))
    array = np.load("a.npy", mmap_mode="r+", allow_pickle=False)
    assert (array.shape, array.dtype) == ((3, 2, 4), np.float16)
    assert np.isnan(array).all()
    assert os.stat("a.npy").st_blocks * 512 >= array.nbytes  # its space is taken
    with file_limit(100), pytest.raises(OSError, match="too large"):
        write_array(Path("b.npy"), (1000, 10), np.uint8(0))
    write_json(Path("c.json"), {"a": 0.1})
    assert Path("c.json").read_text() == '{\n  "a": 0.1\n}\n'


def leftovers(path: Path) -> list[str]:
    """Write a file, be killed meanwhile, and return what is left beside it."""
    child = os.fork()
    if child == 0:
        with replacing(path) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    return sorted(p.name for p in path.parent.iterdir() if p.name[0] == ".")


def test_the_next_writer_removes_what_a_killed_one_has_left() -> None:
    path = Path("cache/0a1b.npy")
    assert len(leftovers(path)) == 1
    other = Path("cache/.other-abcdefgh.npy")  # of another file, or the user's
    long = Path("cache/.0a1b-abcdefghi.npy")
    for file in (other, long):
        file.write_text("mine")
    with replacing(path) as mine, replacing(path) as theirs:  # both are alive
        assert mine.is_file()
        assert theirs.is_file()
        assert len(list(path.parent.glob(".0a1b-????????.npy"))) == 2
        mine.write_text("first")
        theirs.write_text("second")
    assert path.read_text() == "first"  # which was renamed last
    assert sorted(path.parent.iterdir()) == sorted([path, other, long])
    # A cache's name is of its contents: others of its kind will not be written again.
    leftovers(Path("cache/0a1c.npy"))
    with replacing(path, others="[0-9a-f]{4}") as temporary:
        temporary.write_text("x")
    assert sorted(path.parent.iterdir()) == sorted([path, other, long])


def test_a_folder_that_a_killed_writer_had_moved_away_comes_back() -> None:
    path = Path("export/a")
    path.mkdir(parents=True)
    (path / "file").write_text("before")
    child = os.fork()
    if child == 0:
        with replacing_folder(path) as new:
            path.rename(new.parent / "old")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert not path.exists()
    with pytest.raises(ValueError, match="stopped"), replacing_folder(path) as new:
        raise ValueError("stopped")
    assert (path / "file").read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_a_text_that_is_no_unicode_is_written_by_its_code() -> None:
    write_text(path := Path("a.html"), "é\udcff")
    assert path.read_bytes() == "é\\udcff".encode()
