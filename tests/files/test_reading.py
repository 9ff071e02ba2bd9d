"""Files of strangers are read in bounded time and memory, and only within their folder."""

import json
import os
import stat
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixkd.files.arrays import read_arrays
from mixkd.files.reading import MOST, Damaged, folders_with, read_mapping, read_rows, read_text

RUN = Path("run")


@pytest.fixture(autouse=True)
def _folder() -> None:
    RUN.mkdir()


def write(name: str, content: str | bytes) -> Path:
    (RUN / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return RUN / name


def link(name: str, target: str) -> Path:
    (RUN / name).symlink_to(target)
    return RUN / name


def test_plain_values_are_read() -> None:
    value = {"a": [1, 2.5, True, None, "x"], "b": {"c": -(2**63)}}
    assert read_mapping(write("a.json", json.dumps(value))) == value
    text = "base: &base [1, 2]\nagain: {<<: {x: *base}, y: 1.0e-3}\n"
    assert read_mapping(write("a.yaml", text)) == {
        "base": [1, 2], "again": {"x": [1, 2], "y": 1e-3},
    }  # fmt: skip
    assert read_rows(write("a.csv", "a,b\n1,2,3\n4\n")) == [
        {"a": "1", "b": "2"}, {"a": "4", "b": None},
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError):
        read_mapping(RUN / "none.json")
    with pytest.raises(FileNotFoundError):
        read_mapping(RUN / "a.json" / "b.json")


def sparse(name: str) -> Path:
    path = RUN / name
    with open(path, "wb") as file:
        file.truncate(2**31)
    return path


def fifo(name: str) -> Path:
    os.mkfifo(RUN / name)
    return RUN / name


def aliases(depth: int) -> str:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, depth)]
    return "\n".join(lines)


def merges(depth: int) -> str:
    lines = ["a0: &a0 {x: 1, y: 2}"]
    for k in range(1, depth):
        lines.append(f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * 10)}], z{k}: 1}}")
    return "\n".join(lines)


BAD: dict[str, tuple[Callable[[], Path], str]] = {
    "a deep list": (lambda: write("x.json", '{"a":' + "[" * 100_000), "nested more than"),
    "a deep mapping": (
        lambda: write("x.json", '{"a":' * 60 + "1" + "}" * 60),
        "it is nested more than 50 deep",
    ),
    "deep YAML": (lambda: write("x.yaml", "a: " + "[" * 100_000), "nest"),
    "YAML of 60 levels": (lambda: write("x.yaml", "{a: " * 60 + "1" + "}" * 60), "nested more"),
    "a deep YAML of dashes": (lambda: write("x.yaml", "- " * 5000 + "a"), "nested more"),
    "depth by aliases": (
        lambda: write("x.yaml", "a0: &a0 [1]\n" + "".join(
            f"a{k}: &a{k} [*a{k - 1}]\n" for k in range(1, 100))),
        "nested more than 50 deep",
    ),
    "a large number": (lambda: write("x.json", f'{{"a": 1{"0" * 400}}}'), "more than 64 bits"),
    "a huge number": (lambda: write("x.json", f'{{"a": 1{"0" * 9000}}}'), "4300 digits"),
    "a large number in YAML": (lambda: write("x.yaml", f"a: 1{'0' * 400}"), "401 letters"),
    "a number in base 60": (lambda: write("x.yaml", "a: 1" + ":1" * 300_000), "letters"),
    "a fraction in base 60": (lambda: write("x.yaml", "a: 1" + ":1" * 9000 + ".5"), "letters"),
    "an alias of itself": (lambda: write("x.yaml", "a: &a [*a]"), "within what it stands for"),
    "an alias bomb": (lambda: write("x.yaml", aliases(9)), "more than 50,000 values"),
    "a bomb of merges": (lambda: write("x.yaml", merges(9)), "more than 50,000 values"),
    "many values": (lambda: write("x.yaml", "a: [" + "1," * 60_000 + "]"), "more than 50,000"),
    "an object": (lambda: write("x.yaml", "a: !!python/object:os.system {}"), "constructor"),
    "a set": (lambda: write("x.yaml", "a: !!set {b}"), "constructor"),
    "bytes": (lambda: write("x.yaml", "a: !!binary aGk="), "constructor"),
    "a list": (lambda: write("x.json", "[1]"), "it holds no mapping"),
    "other bytes": (lambda: write("x.json", b"\xff\xfe{}"), "can't decode byte 0xff"),
    "a pipe": (lambda: fifo("x.json"), "it is no regular file"),
    "a folder": (lambda: (RUN / "x.json").mkdir() or RUN / "x.json", "it is no regular file"),  # type: ignore[func-returns-value]
    "a link out": (lambda: link("x.json", str(Path("outside.json").absolute())), "a link out of"),
    "a relative link out": (lambda: link("x.json", "../outside.json"), "a link out of"),
    "a link to a device": (lambda: link("x.json", "/dev/zero"), "a link out of"),
    "a link to itself": (lambda: link("x.json", "x.json"), "symbolic links"),
    "a sparse file": (lambda: sparse("x.json"), "it is larger than 8 MiB"),
    "a sparse YAML file": (lambda: sparse("x.yaml"), "it is larger than 1 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_would_take_long_or_is_elsewhere_is_refused(name: str) -> None:
    Path("outside.json").write_text('{"secret": 1}')
    make, message = BAD[name]
    path = make()
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(Damaged, match=rf"^run/x\..* is damaged: .*{message}") as caught:
        read_mapping(path)
    assert time.process_time() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
    assert "\n" not in str(caught.value)


def test_links_within_a_folder_are_files_of_it() -> None:
    write("a.json", "{}")
    assert read_mapping(link("b.json", "a.json")) == {}
    Path("named").symlink_to("run")  # the user's own
    assert read_mapping(Path("named/a.json")) == {}
    inner = RUN / "inner"
    inner.symlink_to("..")
    Path("c.json").write_text("{}")
    with pytest.raises(Damaged, match="a link out of"):
        read_mapping(inner / "c.json", RUN)


def test_a_download_of_the_hub_is_links_to_its_blobs() -> None:
    snapshot = Path("hub/models--me--kd/snapshots/abc")
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "blobs").mkdir()
    (snapshot.parents[1] / "blobs" / "sha").write_text('{"a": 1}')
    (snapshot / "config.json").symlink_to("../../blobs/sha")
    assert read_mapping(snapshot / "config.json") == {"a": 1}
    (snapshot.parents[1] / "other").write_text("{}")
    (snapshot / "x.json").symlink_to("../../other")
    with pytest.raises(Damaged, match="a link out of"):
        read_mapping(snapshot / "x.json")


def test_tables_are_of_bounded_size() -> None:
    wide = ",".join(f"c{k}" for k in range(3000)) + "\n" + "1\n" * 3000
    with pytest.raises(Damaged, match="more than 1,048,576 cells"):
        read_rows(write("x.csv", wide))
    with pytest.raises(Damaged, match="larger than 4 MiB"):
        read_rows(sparse("y.csv"))
    twice = "a," * 2000 + "\n" + "1\n" * 1000  # columns of one name count each
    with pytest.raises(Damaged, match="more than 1,048,576 cells"):
        read_rows(write("w.csv", twice))
    with pytest.raises(Damaged, match="field larger"):
        read_rows(write("z.csv", "a\n" + "x" * 200_000))


def test_arrays_are_of_bounded_size() -> None:
    np.savez_compressed(RUN / "a.npz", a=np.arange(3), logits=np.zeros(2**26))
    assert list(read_arrays(RUN / "a.npz", ["a"])) == ["a"]
    with pytest.raises(Damaged, match="takes no array that compresses so far"):
        read_arrays(RUN / "a.npz", ["a", "logits"])
    with pytest.raises(Damaged, match="no regular file"):
        read_arrays(fifo("b.npz"), ["a"])
    write("c.npz", b"PK")
    with pytest.raises(Damaged):
        read_arrays(RUN / "c.npz", ["a"])


def test_text_of_any_suffix_has_a_limit() -> None:
    with pytest.raises(Damaged, match="larger than 64 MiB"):
        read_text(sparse("notes"))
    assert max(MOST.values()) <= 2**24


def test_folders_are_found_however_deep_and_links_are_not_followed() -> None:
    deep = RUN
    for _ in range(1200):  # deeper than Python recurses; shorter than a path may be
        deep /= "a"
        os.mkdir(deep)
    (deep / "status.json").write_text("{}")
    (RUN / "circle").symlink_to(".")
    closed = RUN / "closed"
    closed.mkdir()
    closed.chmod(0)
    write("status.json", "{}")
    assert folders_with(("status.json",), RUN) == [RUN, deep]
    closed.chmod(stat.S_IRWXU)
    (deep / "status.json").unlink()
    for folder in (deep, *deep.parents[:1199]):  # pytest removes no tree that deep
        folder.rmdir()
