"""Fixtures: small image folders of the true form, and commands run as the shell runs them."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image

from mixkd import cli
from mixkd.console import on_signal

if TYPE_CHECKING:
    from playwright.sync_api import Browser

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: a thread each, as children have
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_xdist_auto_num_workers() -> int:
    """Return one worker more than there are cores: while one waits for a process, another works."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: each stays on one worker."""
    items.sort(
        key=lambda item: (
            item.path.name != "test_reproduction.py",
            "integration" not in item.keywords,
        )
    )


@pytest.fixture(autouse=True)
def _separate_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, with its own cache and secret."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # of W&B in this process
    torch.manual_seed(0)


def write_images(folder: Path, count: int, colour: tuple[int, int, int], size: int = 16) -> None:
    """Write `count` noisy JPEG images of a colour, named 0000.jpg onwards."""
    folder.mkdir(parents=True, exist_ok=True)
    # The same for a test wherever its temporary folder is.
    rng = np.random.default_rng(crc32("/".join(folder.parts[-3:]).encode()))
    for number in range(count):
        noise = rng.integers(-40, 40, (size, size, 3))
        pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:04d}.jpg", quality=95)


@pytest.fixture(scope="session", name="write_images")
def _write_images() -> Callable[..., None]:
    """Give `write_images`."""
    return write_images


COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


def write_image_folder(root: Path) -> Path:
    """Write train/ and test/ of three easy classes, 20 and 6 images each, 16x16."""
    for name, colour in COLOURS.items():
        write_images(root / "train" / name, 20, colour)
        write_images(root / "test" / name, 6, colour)
    return root


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A folder as `write_image_folder` writes it."""
    return write_image_folder(tmp_path / "images")


def _write_imagenet(root: Path) -> Path:
    """Write train/<wnid>/ and val/<wnid>/ of three classes as ImageNet has them.

    Eight and three images a class, of odd sizes, among them a grey, a CMYK and a rotated one.
    """
    rng = np.random.default_rng(0)
    classes = zip(("n01440764", "n01443537", "n01484850"), COLOURS.values(), strict=True)
    for wnid, colour in classes:
        for split, count in (("train", 8), ("val", 3)):
            folder = root / split / wnid
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                height, width = (int(x) for x in rng.integers(50, 120, 2))
                noise = rng.integers(-40, 40, (height, width, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                image, exif = Image.fromarray(pixels), Image.Exif()
                if split == "train" and number < 3:
                    image = image.convert(("L", "CMYK", "RGB")[number])
                    exif[0x0112] = (1, 1, 6)[number]  # the third is lying on its side
                image.save(folder / f"{number:04d}.JPEG", quality=90, exif=exif)
    return root


@pytest.fixture
def write_imagenet() -> Callable[[Path], Path]:
    """Give `_write_imagenet`."""
    return _write_imagenet


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium or Google's Chrome, without a window.

    It is no Python package, so that `make setup` cannot install it; .ci/run does.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"needs one of {', '.join(names)} on the path, such as Debian's chromium")
    options = ("--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--disable-component-update")  # fmt: skip
    from playwright.sync_api import sync_playwright  # unit tests need none of it

    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=options)
        yield chromium
        chromium.close()


def _run(*arguments: str) -> int:
    before = signal.getsignal(signal.SIGINT)  # a command that was interrupted leaves without it
    with pytest.MonkeyPatch.context() as patch, on_signal(before, signal.SIGINT):
        patch.setattr("sys.argv", ["mixkd", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return int(stopped.value.code or 0)


@pytest.fixture
def mixkd() -> Callable[..., int]:
    """Run `mixkd ARGUMENTS` in this process; return its exit status."""
    return _run


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., int]]:
    """Run `mixkd ARGUMENTS` in this process for all tests of a module, with a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield _run
