"""Corrupted versions of any data set's own test images, made once and kept in the published forms.

Files that stay on disk become folders of JPEG files as ImageNet-C's, others arrays as CIFAR-10-C's;
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
from mixkd.data.corruption_names import PARAMETERS, SEVERITIES, Parameters
from mixkd.data.corruptions import corrupt, parameters_for
from mixkd.data.images import AnyImages, Images
from mixkd.data.sources import cache_lock, new_folder
from mixkd.files.arrays import map_npy
from mixkd.files.writing import replacing, write_array, write_json

# Part of the cache's key, with the parameters: raise it when corruptions.py defines one anew.
DEFINITIONS = 1

PIXELS = 2**19  # of a chunk that is corrupted at once
QUALITY = 85  # of JPEG files, as ImageNet-C has them

Chunk = tuple[int, np.ndarray, np.ndarray]  # severity, positions and corrupted pixels


def make_corrupted(
    images: AnyImages, classes: Sequence[str], names: Sequence[str], cfg: DataConfig, seed: int
) -> Path:
    """Return the folder of corrupted images, of all five severities; make those that are missing.

    What is made depends on the test images, the corruption and the seed alone. One process makes
    it, others wait.
    """
    parameters = parameters_for(*images.stored)
    fingerprint = images.fingerprint()
    settings = {"seed": seed, "parameters": PARAMETERS[parameters]}
    size = images.stored
    identity = {"images": fingerprint, "size": size, "definitions": DEFINITIONS, **settings}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    folder = Path(cfg.cache_dir) / "corrupted" / f"{cfg.name}-{key}"
    with cache_lock(cfg):
        record = {
            "of": cfg.name,
            "test_images": fingerprint,
            "n": len(images),
            **settings,
            "definitions": "Hendrycks and Dietterich 2019, as mixkd/data/corruptions.py has them",
            "versions": {name: version(name) for name in ("mixkd", "numpy", "scipy", "pillow")},
        }
        for stale in folder.glob(".*-*.npy"):  # of a process that was killed while writing
            stale.unlink()
        if not (folder / "provenance.json").is_file():
            write_json(folder / "provenance.json", record)
        for number, name in enumerate(names, start=1):
            path = folder / (name if images.are_files else f"{name}.npy")
            if not path.exists():
                say(f"corrupting {len(images):,} images, {number}/{len(names)} {name} (once)")
                chunks = _corrupted(images, name, parameters, seed)
                if images.are_files:
                    _write_folder(images, classes, path, chunks)
                else:
                    _write_arrays(images, path, chunks)
    return folder


def _write_arrays(images: AnyImages, path: Path, chunks: Iterator[Chunk]) -> None:
    n = len(images)
    labels = np.tile(images.labels.numpy(), SEVERITIES)
    with replacing(path.with_name("labels.npy")) as temporary:
        np.save(temporary, labels, allow_pickle=False)
    with replacing(path) as temporary:
        write_array(temporary, (SEVERITIES * n, *images.stored, 3), np.uint8(0))
        out = map_npy(temporary, "r+")
        for severity, positions, pixels in chunks:
            out[(severity - 1) * n + positions] = pixels
        assert isinstance(out, np.memmap)
        out.flush()


def _write_folder(
    images: AnyImages, classes: Sequence[str], folder: Path, chunks: Iterator[Chunk]
) -> None:
    with new_folder(folder) as partial:
        for severity in range(1, SEVERITIES + 1):
            for label in classes:
                (partial / str(severity) / label).mkdir(parents=True)
        for severity, positions, pixels in chunks:
            for position, image in zip(positions, pixels, strict=True):
                label = classes[int(images.labels[position])]
                path = partial / str(severity) / label / f"{int(images.index[position]):08d}.jpg"
                Image.fromarray(image).save(path, quality=QUALITY, optimize=True)


def _corrupted(images: AnyImages, name: str, parameters: Parameters, seed: int) -> Iterator[Chunk]:
    height, width = images.stored
    size = max(PIXELS // (height * width), 1)
    chunks = [np.arange(k, min(k + size, len(images))) for k in range(0, len(images), size)]

    def work(positions: np.ndarray) -> list[np.ndarray]:
        if isinstance(images, Images):
            read = images.pixels[torch.from_numpy(positions)]
        else:
            read = images.read(positions)
        pixels = np.ascontiguousarray(read.permute(0, 2, 3, 1).numpy())
        index = images.index[positions].numpy()
        return [
            corrupt(name, severity, pixels, index, seed=seed, parameters=parameters)
            for severity in range(1, SEVERITIES + 1)
        ]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        # A few at a time, so that memory stays flat.
        for first in range(0, len(chunks), 8):
            group = chunks[first : first + 8]
            for positions, results in zip(group, pool.map(work, group), strict=True):
                for severity, pixels in enumerate(results, start=1):
                    yield severity, positions, pixels
