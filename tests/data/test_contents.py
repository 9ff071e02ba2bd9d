"""Fingerprints of files: computed once, and again whenever a file may have changed."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from mixkd.data import contents as module
from mixkd.data.contents import contents, split_contents, summary


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []
    original = module.file_fingerprint

    def read(path: str | Path) -> str:
        names.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(module, "file_fingerprint", read)
    return names


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files that were just written count as old."""
    monkeypatch.setattr(module, "STEP", -(10**12))


def write(root: Path, count: int = 4) -> list[tuple[str, Path]]:
    for k in range(count):
        (root / "train" / "a").mkdir(parents=True, exist_ok=True)
        (root / "train" / "a" / f"{k}.png").write_bytes(bytes([k]) * 100)
    return sorted((str(p.relative_to(root)), p) for p in root.rglob("*.png"))


def test_contents_are_the_sha256_of_files(tmp_path: Path) -> None:
    import hashlib

    files = write(tmp_path / "root")
    digests = contents(files, tmp_path / "cache", tmp_path / "root")
    for row, (_, path) in enumerate(files):
        assert digests[row].tobytes() == hashlib.sha256(path.read_bytes()).digest()
    assert contents([], tmp_path / "cache", tmp_path / "root").shape == (0, 32)


@pytest.mark.usefixtures("settled")
def test_what_has_not_changed_is_not_read_again(tmp_path: Path, reads: list[str]) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    files = write(root)
    first = contents(files, cache, root)
    assert len(reads) == 4
    assert np.array_equal(contents(files, cache, root), first)
    assert np.array_equal(contents(files[::-1], cache, root), first[::-1])
    assert len(reads) == 4
    (root / "train" / "a" / "new.png").write_bytes(b"new")
    (root / "train" / "a" / "1.png").unlink()
    files = write(root, 1)
    reads.clear()
    contents(files, cache, root)
    assert sorted(reads) == ["0.png", "new.png"]  # write() has written the first anew
    contents(files[1:], cache, root)  # of some of them: the others stay known
    contents(files, cache, root)
    assert len(reads) == 2


@pytest.mark.usefixtures("settled")
def test_equal_names_sizes_and_times_hide_no_change(tmp_path: Path) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    files = write(root)
    first = contents(files, cache, root)
    path = files[2][1]
    times = path.stat()
    time.sleep(0.02)  # the file system's clock goes on
    path.write_bytes(b"\xff" * 100)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (100, times.st_mtime_ns)
    digests = contents(files, cache, root)
    assert (digests != first).any(axis=1).tolist() == [False, False, True, False]


def test_what_has_just_changed_is_not_relied_on(tmp_path: Path, reads: list[str]) -> None:
    files = write(tmp_path / "root")
    contents(files, tmp_path / "cache", tmp_path / "root")
    contents(files, tmp_path / "cache", tmp_path / "root")
    assert len(reads) == 8


@pytest.mark.usefixtures("settled")
def test_a_cache_that_cannot_be_used_only_costs_time(tmp_path: Path, reads: list[str]) -> None:
    root, cache = tmp_path / "root", tmp_path / "cache"
    files = write(root)
    first = contents(files, cache, root)
    (cache_file,) = (cache / "contents").iterdir()
    for damaged in (b"", b"half a file", cache_file.read_bytes()[:-7]):
        cache_file.write_bytes(damaged)
        assert np.array_equal(contents(files, cache, root), first)
    np.savez(open(cache_file, "wb"), x=np.zeros(3))  # noqa: SIM115
    assert np.array_equal(contents(files, cache, root), first)
    shutil.rmtree(cache)
    cache.write_text("a file")
    reads.clear()
    for _ in range(2):
        assert np.array_equal(contents(files, cache, root), first)
    assert len(reads) == 8


def test_pipes_and_what_is_not_there_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to("nowhere")
    files = [("pipe.png", tmp_path / "pipe.png"), ("link.png", tmp_path / "link.png")]
    assert not contents(files, tmp_path / "cache", tmp_path).any()


def test_reading_many_files_reports_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(tmp_path / "root")
    contents(files, tmp_path / "cache", tmp_path / "root")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(module, "MANY_FILES", 3)
    monkeypatch.setattr(module, "EVERY", -1)
    contents(files, tmp_path / "cache", tmp_path / "root")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith(f"reading 4 files of {tmp_path / 'root'}, ")
    assert lines[-1] == "  4 of 4"


def test_splits_are_known_by_names_and_contents_wherever_they_lie(tmp_path: Path) -> None:
    root, cache = tmp_path / "root", str(tmp_path / "cache")
    write(root)

    def contents_of(root: Path) -> dict[str, str]:
        return split_contents("imagefolder", str(root), cache)

    first = contents_of(root)
    assert first.keys() == {"train"}
    shutil.copytree(root, tmp_path / "copy")
    (tmp_path / "link").symlink_to(root)
    assert contents_of(tmp_path / "copy") == contents_of(tmp_path / "link") == first
    # Beside the splits, and beside the class folders, lies what is no data.
    (root / "runs" / "figures").mkdir(parents=True)
    for name in ("runs/figures/a.png", "cover.png", "train/cover.png"):
        (root / name).write_bytes(b"figure")
    assert contents_of(root) == first
    (root / "train" / "a" / "0.png").rename(root / "train" / "a" / "9.png")
    assert contents_of(root) != first
    assert split_contents("digits", None, cache) == split_contents("cifar10", "x", cache) == {}
    assert split_contents("imagefolder", None, cache) == {}


def test_summaries_do_not_depend_on_order() -> None:
    files = [("a", Path("a")), ("b", Path("b"))]
    digests = np.arange(64, dtype=np.uint8).reshape(2, 32)
    assert summary(files, digests) == summary(files[::-1], digests[::-1])
    assert summary(files, digests) != summary(files, digests[::-1])
