from typing import Any

import numpy as np
import torch

from mixkd.config.data import DataConfig
from mixkd.data.images import Images
from mixkd.data.splits import load_splits
from mixkd.request import request


def data(**keys: Any) -> DataConfig:
    overrides = [f"data.{k}={v}" for k, v in keys.items()]
    return request("finetune", ["network=resnet20", *overrides]).data


def test_grey_images_become_three_channels() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    pixels = Images.of(grey, np.array([0])).pixels
    assert pixels.shape == (1, 3, 4, 4)
    assert all(torch.equal(pixels[0, c], torch.from_numpy(grey[0, ..., 0])) for c in range(3))


def test_fingerprint_follows_the_images() -> None:
    original, repeated, resplit = (
        load_splits(data()),
        load_splits(data()),
        load_splits(data(split_seed=1)),
    )
    assert original.fingerprints == repeated.fingerprints != resplit.fingerprints
