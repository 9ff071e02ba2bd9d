"""Corrupted versions of any data set's own test images, made once and kept in the published forms.

Images in memory become arrays as CIFAR-10-C's, those on disk folders of JPEG files as ImageNet-C's;
corrupted.py reads both.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mixkd.config.data import DataConfig
from mixkd.console import say
from mixkd.data.corruption_names import SEVERITIES
from mixkd.data.corruptions import PARAMETERS, Parameters, corrupt, parameters_for
from mixkd.data.images import AnyImages, Images, StoredImages
from mixkd.data.sources import cache_lock, new_folder
from mixkd.files.arrays import map_npy
from mixkd.files.writing import replacing, write_array, write_json

# Part of the cache's key, with the parameters: raise it when corruptions.py defines one anew.
DEFINITIONS = 1

PIXELS = 2**19  # of a chunk that is corrupted at once
QUALITY = 85  # of JPEG files, as ImageNet-C has them


def make_corrupted(
    images: AnyImages, classes: Sequence[str], names: Sequence[str], cfg: DataConfig, seed: int
) -> Path:
    """Return the folder of corrupted images, of all five severities; make those that are missing.

    What is made depends on the images, the corruption and the seed alone. One process makes it,
    others wait.

    Args:
        images: the test images.
        classes: their class names.
        names: of the corruptions.
        cfg: whose cache to use.
        seed: of the corruptions.
    """
    parameters = parameters_for(*images.stored)
    fingerprint = images.fingerprint()
    identity = {
        "images": fingerprint,
        "size": images.stored,
        "seed": seed,
        "parameters": PARAMETERS[parameters],
        "definitions": DEFINITIONS,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(cfg.cache_dir) / "corrupted" / f"{cfg.name}-{key}"
    with cache_lock(cfg):
        record = {
            "of": cfg.name,
            "test_images": fingerprint,
            "n": len(images),
            "seed": seed,
            "parameters": PARAMETERS[parameters],
            "definitions": "Hendrycks and Dietterich 2019, as mixkd/data/corruptions.py has them",
            "versions": {name: version(name) for name in ("mixkd", "numpy", "scipy", "pillow")},
        }
        for stale in folder.glob(".*-*.npy"):  # of a process that was killed while writing
            stale.unlink()
        if not (folder / "provenance.json").is_file():
            write_json(folder / "provenance.json", record)
        for number, name in enumerate(names, start=1):
            if isinstance(images, Images):
                missing = not (folder / f"{name}.npy").is_file()
            else:
                missing = not (folder / name).is_dir()
            if missing:
                say(f"corrupting {len(images):,} images, {number}/{len(names)} {name} (once)")
                if isinstance(images, Images):
                    _write_arrays(images, folder, name, parameters, seed)
                else:
                    _write_folders(images, classes, folder, name, parameters, seed)
    return folder


def _write_arrays(
    images: Images, folder: Path, name: str, parameters: Parameters, seed: int
) -> None:
    n = len(images)
    labels = np.tile(images.labels.numpy(), SEVERITIES)
    with replacing(folder / "labels.npy") as temporary:
        np.save(temporary, labels, allow_pickle=False)
    with replacing(folder / f"{name}.npy") as temporary:
        write_array(temporary, (SEVERITIES * n, *images.stored, 3), np.uint8(0))
        out = map_npy(temporary, "r+")
        for severity, at, pixels in _corrupted(images, name, parameters, seed):
            start = (severity - 1) * n
            out[start + at.start : start + at.stop] = pixels
        assert isinstance(out, np.memmap)
        out.flush()


def _write_folders(
    images: StoredImages, classes: Sequence[str], folder: Path, name: str, parameters: Parameters,
    seed: int,
) -> None:  # fmt: skip
    with new_folder(folder / name) as partial:
        for severity in range(1, SEVERITIES + 1):
            for label in classes:
                (partial / str(severity) / label).mkdir(parents=True)
        for severity, at, pixels in _corrupted(images, name, parameters, seed):
            chosen = range(at.start, at.stop)
            for position, image in zip(chosen, pixels, strict=True):
                label = classes[int(images.labels[position])]
                path = partial / str(severity) / label / f"{int(images.index[position]):08d}.jpg"
                Image.fromarray(image).save(path, quality=QUALITY, optimize=True)


def _corrupted(
    images: AnyImages, name: str, parameters: Parameters, seed: int
) -> Iterator[tuple[int, slice, np.ndarray]]:
    """Yield severity, positions and corrupted pixels, a chunk at a time."""
    height, width = images.stored
    size = max(PIXELS // (height * width), 1)
    chunks = [slice(k, min(k + size, len(images))) for k in range(0, len(images), size)]

    def work(at: slice) -> list[np.ndarray]:
        chosen = np.arange(at.start, at.stop)
        read = images.pixels[at] if isinstance(images, Images) else images.read(chosen)
        pixels = np.ascontiguousarray(read.permute(0, 2, 3, 1).numpy())
        index = images.index[at].numpy()
        return [
            corrupt(name, severity, pixels, index, seed=seed, parameters=parameters)
            for severity in range(1, SEVERITIES + 1)
        ]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        # A few at a time, so that memory stays flat.
        for first in range(0, len(chunks), 8):
            group = chunks[first : first + 8]
            for at, results in zip(group, pool.map(work, group), strict=True):
                for severity, pixels in enumerate(results, start=1):
                    yield severity, at, pixels
