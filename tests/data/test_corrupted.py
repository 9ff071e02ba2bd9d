"""CIFAR-10-C and CIFAR-100-C in their published form."""

import hashlib
import json
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from mixkd.config.data import CorruptedDataConfig
from mixkd.config.sources import CIFAR10, CIFAR100, SOURCES
from mixkd.config.tasks import EvaluateConfig
from mixkd.data import corrupted
from mixkd.data.images import StoredImages
from mixkd.data.splits import load_splits
from mixkd.errors import UserError
from mixkd.request import request

N = 12  # images a severity


def pixels(n: int = N, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (5 * n, 32, 32, 3), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "datasets" / "CIFAR-100-C"
    folder.mkdir(parents=True)
    np.save(folder / "fog.npy", pixels())
    np.save(folder / "contrast.npy", pixels(seed=1))
    np.save(folder / "labels.npy", np.tile(np.arange(N) * 8, 5))
    return tmp_path / "datasets"


def config(root: Path, *overrides: str, corruption: str = "fog") -> CorruptedDataConfig:
    torch.save({}, "w.pth")
    source = [f"data.root='{root}'", f"data.corruption={corruption}", "data.download=false"]
    network = ["network=resnet20", "network.weights=w.pth"]
    cfg = request("evaluate", [*network, "data=cifar100_c", *source, *overrides])
    assert isinstance(cfg, EvaluateConfig)
    assert isinstance(cfg.data, CorruptedDataConfig)
    return cfg.data


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_rows_of_a_severity_are_its_images(root: Path, severity: int) -> None:
    splits = load_splits(config(root, f"data.severity={severity}"))
    assert splits.classes == CIFAR100
    assert (len(splits.train), len(splits.val), len(splits.test)) == (0, 0, N)
    assert isinstance(splits.test, StoredImages)
    assert splits.test.labels.tolist() == [8 * k for k in range(N)]
    assert splits.test.index.tolist() == list(range(N))  # as in the clean test set
    images = splits.test.read(np.array([0, 11, 4]))
    expected = pixels()[(severity - 1) * N + np.array([0, 11, 4])].transpose(0, 3, 1, 2)
    assert torch.equal(images, torch.from_numpy(expected))


def test_limit_test_takes_some_of_the_images_of_a_severity(root: Path) -> None:
    np.save(root / "CIFAR-100-C" / "labels.npy", np.arange(5 * N) % 3)
    assert len(load_splits(config(root, "data.limit_test=6")).test) == 6


def test_the_arrays_may_lie_in_the_root_itself(root: Path) -> None:
    assert len(load_splits(config(root / "CIFAR-100-C")).test) == N


def save(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=True)


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return (_explode, ("exploded",))


def _explode(name: str) -> None:
    Path(name).touch()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        ("fog", lambda p: save(p, pixels()[..., :2]), "uint8 [60, 32, 32, 2]; takes uint8"),
        ("fog", lambda p: save(p, pixels().transpose(0, 3, 1, 2)), "[60, 3, 32, 32]; takes"),
        ("fog", lambda p: save(p, pixels() / 255.0), "is float64 [60, 32, 32, 3]; takes uint8"),
        ("fog", lambda p: save(p, pixels()[:-1]), "has 59 images; takes as many of each of 5"),
        ("fog", lambda p: save(p, pixels()[:0]), "has 0 images"),
        ("fog", lambda p: save(p, np.array(Bomb())), "cannot be read as an array"),
        ("fog", lambda p: p.write_bytes(pickle.dumps(Bomb())), "cannot be read as an array"),
        ("fog", lambda p: np.savez(p.open("wb"), a=pixels()), "is an archive of arrays"),
        ("fog", lambda p: p.write_bytes(b""), "cannot be read as an array"),
        ("fog", truncate, "cannot be read as an array"),
        ("labels", lambda p: p.unlink(), "labels.npy is missing"),
        ("labels", lambda p: save(p, np.zeros(N, int)), "labels.npy is int64 [12]; takes integers"),
        ("labels", lambda p: save(p, np.zeros(5 * N)), "is float64 [60]; takes integers [60]"),
        ("labels", lambda p: save(p, np.arange(5 * N) * 2), "from 0 to 118; takes labels from 0"),
        ("labels", lambda p: save(p, np.arange(5 * N) - 1), "goes from -1 to 58; takes labels"),
        ("labels", lambda p: save(p, np.array([Bomb()] * 5 * N)), "cannot be read as an array"),
    ],
)
def test_files_of_another_form_are_refused_and_never_unpickled(
    root: Path, file: str, damage: Callable[[Path], None], message: str
) -> None:
    damage(root / "CIFAR-100-C" / f"{file}.npy")
    with pytest.raises(UserError) as error:
        load_splits(config(root))
    assert message in str(error.value)
    assert error.value.problems[0].key == "data.root"
    assert not Path("exploded").exists()


def test_a_corruption_that_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(UserError, match=r"got fogg \(did you mean fog\?\); .* contrast, fog"):
        load_splits(config(root, corruption="fogg"))


def test_without_the_files_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no CIFAR-100-C/\*.npy in .*data.download=true"):
        load_splits(config(tmp_path))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of this machine alone that serves `tmp_path`."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_archive_is_downloaded_checked_and_unpacked(
    root: Path, tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "CIFAR-100-C.tar"
    with tarfile.open(archive, "w") as file:
        file.add(root / "CIFAR-100-C", "CIFAR-100-C")
    published = SOURCES["cifar100_c"].arrays
    assert published is not None
    assert published.url.startswith("https://zenodo.org/")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    for name, checksum in (("bad", "0" * 32), ("good", md5)):
        local = published._replace(url=f"{served}/CIFAR-100-C.tar", md5=checksum)
        monkeypatch.setitem(SOURCES, "cifar100_c", replace(SOURCES["cifar100_c"], arrays=local))
        cfg = config(tmp_path / name, "data.download=true")
        if name == "good":
            assert len(load_splits(cfg).test) == N
        else:
            with pytest.raises(UserError, match="the download failed"):
                load_splits(cfg)
            assert not list((tmp_path / name).rglob("*.npy"))


def test_a_half_unpacked_archive_is_unpacked_anew(
    root: Path, tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "CIFAR-100-C.tar"
    with tarfile.open(archive, "w") as file:
        file.add(root / "CIFAR-100-C", "CIFAR-100-C")
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    published = SOURCES["cifar100_c"].arrays
    assert published is not None
    local = published._replace(url=f"{served}/CIFAR-100-C.tar", md5=md5)
    monkeypatch.setitem(SOURCES, "cifar100_c", replace(SOURCES["cifar100_c"], arrays=local))
    original = corrupted.download_and_extract_archive

    def interrupted(url: str, root: str, extract_root: str, md5: str) -> None:
        original(url, root, extract_root, md5=md5)
        (Path(extract_root) / "CIFAR-100-C" / "labels.npy").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(corrupted, "download_and_extract_archive", interrupted)
    cfg = config(tmp_path / "fresh", "data.download=true")
    with pytest.raises(KeyboardInterrupt):
        load_splits(cfg)
    monkeypatch.setattr(corrupted, "download_and_extract_archive", original)
    assert len(load_splits(cfg).test) == N


MEASURE = """
import json, resource, sys
import numpy as np
import mixkd.tasks.evaluate
from mixkd.request import request
from mixkd.data.splits import load_splits
overrides = ["network=resnet20", "network.weights=w.pth", "data=cifar100_c", "data.corruption=fog",
         "data.severity=3", *sys.argv[1:]]
splits = load_splits(request("evaluate", overrides).data)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
total = 0
for start in range(0, len(splits.test), 500):
    total += int(splits.test.read(np.arange(start, min(start + 500, len(splits.test)))).sum())
splits.fingerprints
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([len(splits.test), total, (after - before) / 1024]))
"""


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    torch.save({}, "w.pth")
    memory = {}
    for n in (1_000, 20_000):
        folder = tmp_path / str(n)
        folder.mkdir()
        array = np.lib.format.open_memmap(
            folder / "fog.npy", "w+", dtype=np.uint8, shape=(5 * n, 32, 32, 3)
        )
        array[2 * n : 3 * n] = 1
        del array
        np.save(folder / "labels.npy", np.zeros(5 * n, dtype=np.int64))
        overrides = [f"data.root={folder}", "data.download=false"]
        completed = subprocess.run(
            [sys.executable, "-c", MEASURE, *overrides], capture_output=True, text=True, check=True
        )
        images, total, memory[n] = json.loads(completed.stdout)
        assert (images, total) == (n, n * 32 * 32 * 3)
    # 19,000 images more are 58 MB in this severity, 292 MB in the file.
    assert memory[20_000] - memory[1_000] < 15, memory


def test_class_names_are_those_of_the_label_files() -> None:
    assert len(CIFAR10) == 10
    assert len(CIFAR100) == 100
    assert list(CIFAR10) == sorted(CIFAR10)
    assert list(CIFAR100) == sorted(CIFAR100)
    assert (CIFAR10[3], CIFAR100[0], CIFAR100[52], CIFAR100[99]) == (
        "cat", "apple", "oak_tree", "worm",
    )  # fmt: skip
