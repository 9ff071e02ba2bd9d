"""Array files of strangers: headers are checked before arrays are read; damage is one error."""

import io
import os
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mixkd.files.arrays import HEADER, map_npy, open_npz, read_npz
from mixkd.files.reading import Damaged

PATH = Path("a.npz")


def as_npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def write_npz(**members: bytes) -> None:
    with zipfile.ZipFile(PATH, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


def header_of(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_any_order_and_width_are_read_as_the_machines_own(
    save: Callable[..., None],
) -> None:
    values = np.array([[0.5, -2.0, 3.25], [1.0, 1e-3, 7.0]])
    arrays = {
        "big": values.astype(">f8"),
        "half": values.astype(">f2"),
        "wide": values.astype(np.longdouble),
        "wide_big": values.astype(np.dtype(np.longdouble).newbyteorder(">")),
        "fortran": np.asfortranarray(values),
        "whole": np.array([1, 2, 300], ">u4"),
        "text": np.array(["a", "日本"], ">U2"),
        "none": np.empty((0, 3)),
        "single": np.array(2.5),
    }
    save(PATH, **arrays)
    arrays_read = read_npz(PATH, [*arrays, "absent"])
    assert arrays_read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert arrays_read[name].dtype.isnative
        assert arrays_read[name].dtype.itemsize <= 8
        assert arrays_read[name].shape == array.shape
        assert np.array_equal(arrays_read[name], array)
    assert arrays_read["half"].dtype == np.float16


def test_what_is_too_large_for_float64_becomes_infinite() -> None:
    if np.finfo(np.longdouble).maxexp <= 1024:
        pytest.skip("long double is float64 here")
    np.savez(PATH, a=np.array([np.longdouble("1e4000"), 1]))
    assert read_npz(PATH, ["a"])["a"].tolist() == [np.inf, 1]


def test_a_bomb_is_recognised_by_its_header_and_other_arrays_stay_on_disk() -> None:
    zeros = header_of(f"({2**26},)", "'<f8'")  # half a GB
    with zipfile.ZipFile(PATH, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("good.npy", as_npy(np.arange(3)))
        with file.open("bomb.npy", "w") as member:
            member.write(zeros)
            for _ in range(2**9):
                member.write(bytes(2**20))
    assert PATH.stat().st_size < 3e6
    tracemalloc.start()
    assert read_npz(PATH, ["good"])["good"].tolist() == [0, 1, 2]
    with pytest.raises(Damaged, match=r"bomb, float64 \[67108864\], is 0.537 GB in"):
        read_npz(PATH, ["bomb"])
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_what_memory_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(PATH, a=np.ones(1000), b=np.ones(1000))
    monkeypatch.setattr("mixkd.files.arrays.available_memory", lambda: 12_000)
    assert len(read_npz(PATH, ["a"])["a"]) == 1000
    with pytest.raises(Damaged, match=r"takes 1.6e-05 GB of memory; 1.2e-05 GB are available"):
        read_npz(PATH, ["a", "b"])


def test_a_header_says_what_an_array_is_without_reading_it() -> None:
    np.savez(PATH, a=np.zeros((4, 3), np.float32))
    with open_npz(PATH) as archive:
        assert archive.names == ["a"]
        assert str(archive.header("a")) == "float32 [4, 3]"


LONG = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 2 * HEADER

DAMAGED = {
    "nothing": b"",
    "no array": b"hello",
    "no shape": header_of("None"),
    "a negative shape": header_of("(-1, -4)") + bytes(16),
    "an immense shape": header_of("(1000000000000,)") + bytes(16),
    "an overflowing shape": header_of("(4294967296, 4294967296, 4294967296)"),
    "no bytes a number": header_of("(1000000000000,)", "'|S0'"),
    "objects": header_of("(1,)", "'|O'") + b"cos\nsystem\n(S'true'\ntR.",
    "records": header_of("(1,)", "[('a', '<f4')]") + bytes(4),
    "dates": header_of("(1,)", "'<M8[s]'") + bytes(8),
    "an unknown type": header_of("(1,)", "'<q9'"),
    "deep nesting": header_of("(" * 4000),
    "half a text": header_of("'''"),
    "a long header": LONG,
    "another version": b"\x93NUMPY\x09\x00" + bytes(20),
    "too few": as_npy(np.arange(9.0))[:-1],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_of_any_kind_is_one_error(name: str) -> None:
    write_npz(a=DAMAGED[name])
    with pytest.raises(Damaged):
        read_npz(PATH, ["a"])
    Path("a.npy").write_bytes(DAMAGED[name])
    with pytest.raises(Damaged):
        map_npy(Path("a.npy"))


def test_any_change_of_an_archive_is_one_error_or_none() -> None:
    np.savez_compressed(PATH, a=np.arange(40.0), b=np.array(["x", "yy"]))
    content, rng = PATH.read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        data = bytearray(content)
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            data[position] = rng.choice([0, 1, 255, rng.integers(256)])
        PATH.write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.1 else data)
        try:
            arrays = read_npz(PATH, ["a", "b"])
        except Damaged:
            continue
        assert all(isinstance(array, np.ndarray) for array in arrays.values())


def test_pipes_folders_and_nothing_are_no_archives() -> None:
    os.mkfifo("pipe.npz")
    for path, message in (
        ("pipe.npz", "no file"),
        (".", "no file"),
        ("absent.npz", "no such file"),
    ):
        for read in (lambda p: read_npz(p, ["a"]), map_npy):
            with pytest.raises(Damaged, match=message):
                read(Path(path))
    np.save("one.npy", np.arange(3))
    Path("one.npy").rename(PATH)
    with pytest.raises(Damaged, match=r"an .npy file of one array"):
        read_npz(PATH, ["a"])
    np.savez(PATH, a=np.arange(3))
    with pytest.raises(Damaged, match="an archive of arrays"):
        map_npy(PATH)


def test_other_compression_is_refused() -> None:
    with zipfile.ZipFile(PATH, "w", zipfile.ZIP_LZMA) as file:
        file.writestr("a.npy", as_npy(np.zeros(9)))
    with pytest.raises(Damaged, match=r"compressed as numpy.savez does not"):
        read_npz(PATH, ["a"])


def test_arrays_are_mapped_where_they_are() -> None:
    array = np.arange(24, dtype=">i4" if sys.byteorder == "little" else "<i4").reshape(2, 3, 4)
    np.save("a.npy", np.asfortranarray(array))
    mapped = map_npy(Path("a.npy"))
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, array)
    np.save("a.npy", np.empty((0, 2)))
    assert map_npy(Path("a.npy")).shape == (0, 2)
