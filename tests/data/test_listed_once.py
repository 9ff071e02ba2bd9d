"""Folders of images are listed once a sweep; those that have changed are listed again."""

import json
import os
from collections.abc import Callable
from multiprocessing import process
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixkd.config.data import DataConfig
from mixkd.data.contents import hand_over, listed_once, split_contents
from mixkd.data.folder import load_folder
from mixkd.request import request
from tests.conftest import write_images
from tests.processes import forked, run_command

Counts = Callable[[], dict[str, int]]


@pytest.fixture
def lookups(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Count how often the file system is asked what lies in a class folder, and of an image."""
    counts = {"folders": 0, "files": 0}
    scandir, stat = os.scandir, os.stat

    def counted_scandir(path: str = ".") -> object:
        counts["folders"] += Path(path).parent.parent == image_folder
        return scandir(path)

    def counted_stat(path: str, **options: object) -> os.stat_result:
        counts["files"] += str(image_folder) in str(path) and str(path).endswith(".jpg")
        return stat(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "scandir", counted_scandir)
    monkeypatch.setattr(os, "stat", counted_stat)

    def counts_since() -> dict[str, int]:
        latest = dict(counts)
        counts.update(folders=0, files=0)
        return latest

    return counts_since


@pytest.fixture
def cfg(image_folder: Path) -> DataConfig:
    overrides = ["network=resnet20", "data=imagefolder", f"data.root={image_folder}"]
    data = request("finetune", overrides).data
    assert isinstance(data, DataConfig)
    return data


def listing(cfg: DataConfig) -> dict[str, str]:
    return split_contents(cfg.source, cfg.root, cfg.cache_dir)


def test_what_has_been_listed_is_not_listed_again(cfg: DataConfig, lookups: Counts) -> None:
    first, (images, classes) = listing(cfg), load_folder(cfg)
    lookups()
    with listed_once():
        assert listing(cfg) == first
        assert lookups()["folders"] == 6  # three classes, twice
        assert listing(cfg) == first
        cached_images, cached_classes = load_folder(cfg)
        assert lookups() == {"folders": 0, "files": 2 * 6}  # the first of each class
    assert cached_classes == classes
    for split in ("train", "test"):
        assert np.array_equal(cached_images[split].pixels, images[split].pixels)  # type: ignore[union-attr]
        assert np.array_equal(cached_images[split].labels, images[split].labels)
        assert cached_images[split].fingerprint() == images[split].fingerprint()
    lookups()
    listing(cfg)
    assert lookups()["folders"] == 6  # outside, each time


@pytest.mark.parametrize("change", ["one more", "one less", "another class", "other content"])
def test_what_has_changed_is_listed_again(cfg: DataConfig, image_folder: Path, change: str) -> None:
    red = image_folder / "train" / "red"
    with listed_once():
        first = listing(cfg)
        match change:
            case "one more":
                (red / "deeper").mkdir()
                listing(cfg)
                write_images(red / "deeper", 1, (0, 0, 0))
            case "one less":
                (red / "0007.jpg").unlink()
            case "another class":
                write_images(image_folder / "train" / "cyan", 2, (0, 200, 200))
            case "other content":  # of all, as when a data set is made anew
                write_images(red, 20, (1, 2, 3))
        assert listing(cfg)["train"] != first["train"]
        assert listing(cfg)["test"] == first["test"]


def test_a_listing_is_handed_over(cfg: DataConfig, image_folder: Path, lookups: Counts) -> None:
    (image_folder / "train" / "red" / "notes.txt").write_text("of no format")
    (image_folder / "test" / "red" / os.fsdecode(b"\xff.jpg")).write_bytes(
        (image_folder / "test" / "red" / "0000.jpg").read_bytes()
    )
    with listed_once():
        assert not hand_over(Path("listed.npz"))  # nothing yet
        first, (images, _) = listing(cfg), load_folder(cfg)
        assert hand_over(Path("listed.npz"))
    lookups()
    with listed_once("listed.npz"):
        assert listing(cfg) == first
        cached_images, _ = load_folder(cfg)
        assert lookups()["folders"] == 0
    assert cached_images["test"].fingerprint() == images["test"].fingerprint()
    # Whoever is handed another listing, or none, lists.
    for damaged in (b"", b"PK\x03\x04", Path("listed.npz").read_bytes()[:-100]):
        Path("damaged.npz").write_bytes(damaged)
        for name in ("damaged.npz", "gone.npz"):
            with listed_once(name):
                assert listing(cfg) == first
    Path(image_folder / "test" / "red" / "0000.jpg").unlink()
    with listed_once("listed.npz"):
        assert listing(cfg)["test"] != first["test"]


def count_listings(images: Path, *arguments: str) -> None:
    """Run `mixkd ARGUMENTS`; write how often it, and each process that it starts, lists a class."""
    counts, scandir, bootstrap = [0], os.scandir, process.BaseProcess._bootstrap  # type: ignore[attr-defined]

    def counted(path: Any = ".") -> object:
        counts[0] += not isinstance(path, int) and Path(path).parent.parent == images
        return scandir(path)

    def write() -> None:
        with open("listings.txt", "a") as file:
            file.write(f"{counts[0]}\n")

    def started(*positional: object, **named: object) -> object:
        counts[0] = 0
        try:
            return bootstrap(*positional, **named)
        finally:
            write()

    os.scandir, process.BaseProcess._bootstrap = counted, started  # type: ignore
    try:
        run_command(*arguments)
    finally:
        write()


@pytest.mark.integration
def test_a_sweep_of_jobs_of_two_processes_lists_once(image_folder: Path) -> None:
    arguments = [
        "finetune", "-m", "seed=0,1", "network=resnet20", "network.args.depth=8",
        "data=imagefolder", f"data.root={image_folder}", "data.batch_size=16", "callbacks=none",
        "trainer.max_epochs=1", "trainer.devices=2", "trainer.accelerator=cpu",
    ]  # fmt: skip
    with forked(count_listings, image_folder, *arguments) as launcher:
        errors = launcher.stderr.read()
        assert launcher.wait() == 0, errors
    listings = sorted(map(int, Path("listings.txt").read_text().split()))
    assert listings[-1] == 6  # the launcher: three classes of two splits
    assert not any(listings[:-1])
    assert len(listings) >= 5
    runs = list(Path("runs").glob("*/*/*/provenance.json"))
    fingerprints = [json.loads(run.read_text())["fingerprints"] for run in runs]
    assert len(fingerprints) == 2
    assert all(p["images/train"] == fingerprints[0]["images/train"] != "" for p in fingerprints)
