"""Corrupted images made of a data set's test images, read by the readers of published ones."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixkd.config.data import CorruptedDataConfig, DataConfig
from mixkd.config.sources import CIFAR10
from mixkd.config.tasks import EvaluateConfig
from mixkd.data import make_corrupted as module
from mixkd.data.corrupted import load_corrupted, read_arrays, read_folders
from mixkd.data.corruption_names import SEVERITIES
from mixkd.data.corruptions import corrupt
from mixkd.data.images import Images, StoredImages
from mixkd.data.make_corrupted import make_corrupted
from mixkd.request import request

N = 23
NAMES = ("gaussian_noise", "contrast")


def data(*overrides: str) -> DataConfig | CorruptedDataConfig:
    torch.save({}, "w.pth")
    network = ["network=resnet20", "network.weights=w.pth"]
    cfg = request("evaluate", [*network, "data=digits", *overrides])
    assert isinstance(cfg, EvaluateConfig)
    return cfg.data


def images(seed: int = 0, n: int = N) -> Images:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    return Images.of(pixels, rng.integers(0, 10, n))


def test_arrays_hold_every_severity_and_the_official_reader_takes_them(tmp_path: Path) -> None:
    clean = images()
    folder = make_corrupted(clean, CIFAR10, NAMES, data(), seed=3)
    array = np.load(folder / "gaussian_noise.npy")
    assert array.dtype == np.uint8
    assert array.shape == (SEVERITIES * N, 32, 32, 3)
    pixels = clean.pixels.permute(0, 2, 3, 1).numpy()
    for severity in range(1, SEVERITIES + 1):
        for name in NAMES:
            stored = read_arrays(folder, name, severity, 10)
            assert torch.equal(stored.labels, clean.labels)
            corrupted = stored.read(np.arange(N)).permute(0, 2, 3, 1).numpy()
            index = np.arange(N)
            expected = corrupt(name, severity, pixels, index, seed=3, parameters="cifar")
            assert np.array_equal(corrupted, expected)
    # All severities differ from one another and from the clean images.
    parts = [pixels, *np.split(array, SEVERITIES)]
    assert len({part.tobytes() for part in parts}) == SEVERITIES + 1
    record = json.loads((folder / "provenance.json").read_text())
    assert record["n"] == N
    assert record["seed"] == 3
    assert record["parameters"]["gaussian_noise"] == [0.04, 0.06, 0.08, 0.09, 0.1]
    assert record["test_images"] == clean.fingerprint()

    # As CIFAR-10-C, through the reader of the published set.
    overrides = ["data=cifar10_c", f"data.root='{folder}'", "data.corruption=contrast"]
    cfg = data(*overrides, "data.download=false", "data.severity=5")
    assert isinstance(cfg, CorruptedDataConfig)
    official, classes = load_corrupted(cfg)
    assert isinstance(official, StoredImages)
    assert classes == CIFAR10
    most_severe = np.load(folder / "contrast.npy")[-N:]
    assert np.array_equal(official.read(np.arange(N)).permute(0, 2, 3, 1).numpy(), most_severe)


def test_chunks_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_corrupted(images(), CIFAR10, NAMES, data("data.cache_dir=one"), seed=0)
    monkeypatch.setattr(module, "PIXELS", 5 * 32 * 32)  # chunks of five images
    two = make_corrupted(images(), CIFAR10, NAMES, data("data.cache_dir=two"), seed=0)
    for name in (*NAMES, "labels"):
        assert (one / f"{name}.npy").read_bytes() == (two / f"{name}.npy").read_bytes()


def test_what_is_made_is_kept_and_only_what_is_missing_is_made() -> None:
    cfg = data()
    folder = make_corrupted(images(), CIFAR10, NAMES[:1], cfg, seed=0)
    before = (folder / f"{NAMES[0]}.npy").stat().st_mtime_ns
    assert make_corrupted(images(), CIFAR10, NAMES, cfg, seed=0) == folder
    assert (folder / f"{NAMES[0]}.npy").stat().st_mtime_ns == before
    assert (folder / f"{NAMES[1]}.npy").is_file()
    others = {
        make_corrupted(images(), CIFAR10, NAMES[:1], cfg, seed=1),
        make_corrupted(images(seed=1), CIFAR10, NAMES[:1], cfg, seed=0),
        folder,
    }
    assert len(others) == 3


def test_images_on_disk_become_folders_as_imagenet_c(image_folder: Path) -> None:
    from mixkd.data.splits import load_splits

    overrides = ["data=imagefolder", f"data.root={image_folder}", "data.resident=false"]
    cfg = data(*overrides, "data.size=80")  # above 64 pixels: ImageNet's parameters
    splits = load_splits(cfg)
    assert isinstance(splits.test, StoredImages)
    folder = make_corrupted(splits.test, splits.classes, ["brightness"], cfg, seed=0)
    assert len(list((folder / "brightness" / "5" / "red").glob("*.jpg"))) == 6
    record = json.loads((folder / "provenance.json").read_text())
    assert record["parameters"]["brightness"] == [0.1, 0.2, 0.3, 0.4, 0.5]
    official = data(
        "data=imagenet_c", f"data.root='{folder}'", "data.corruption=brightness",
        "data.severity=4", "data.size=80",
    )  # fmt: skip
    assert isinstance(official, CorruptedDataConfig)
    stored, classes = read_folders(folder, official)
    assert classes == splits.classes
    assert torch.equal(stored.labels, splits.test.labels)
    assert isinstance(stored, StoredImages)
    clean = splits.test.read(np.arange(18)).permute(0, 2, 3, 1).numpy()
    expected = corrupt("brightness", 4, clean, np.arange(18), seed=0, parameters="imagenet")
    corrupted = stored.read(np.arange(18)).permute(0, 2, 3, 1).numpy()
    # JPEG of quality 85 stands between them.
    assert np.abs(corrupted.astype(int) - expected).mean() < 5
    assert np.abs(clean.astype(int) - expected).mean() > 20
    first = folder / "brightness" / "4" / "blue" / "00000000.jpg"
    with Image.open(first) as image:
        assert image.size == (80, 80)


def test_images_on_disk_are_made_anew_for_another_size_or_content(image_folder: Path) -> None:
    from mixkd.data.splits import load_splits

    def make(root: Path, size: int) -> Path:
        overrides = ["data=imagefolder", f"data.root='{root}'", "data.resident=false"]
        cfg = data(*overrides, f"data.size={size}")
        splits = load_splits(cfg)
        return make_corrupted(splits.test, splits.classes, ["brightness"], cfg, seed=0)

    copy = image_folder.with_name("copy")
    shutil.copytree(image_folder, copy)
    small, large = make(image_folder, 16), make(image_folder, 80)
    assert make(copy, 16) == small != large
    file = next((copy / "test" / "red").glob("*.jpg"))
    content, times = bytearray(file.read_bytes()), file.stat()
    content[content.index(b"\xff\xdb") + 5] += 9  # of equal name, size and time
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    remade = make(copy, 16)
    assert remade not in (small, large)
    assert make(image_folder, 16) == small
    with Image.open(large / "brightness" / "1" / "red" / "00000012.jpg") as image:
        assert image.size == (80, 80)
