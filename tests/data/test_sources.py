from typing import Any

import torch

from mixkd.config.data import DataConfig
from mixkd.config.shipped import group_names, shipped_values
from mixkd.config.sources import CORRUPTED, SOURCES
from mixkd.data.sources import READERS
from mixkd.data.splits import load_splits
from mixkd.request import request


def data(**keys: Any) -> DataConfig:
    overrides = [f"data.{k}={v}" for k, v in keys.items()]
    return request("finetune", ["network=resnet20", *overrides]).data


def test_every_source_is_read_and_shipped() -> None:
    assert SOURCES.keys() - {"own"} == group_names("data").keys()
    assert shipped_values("data", "_own")["source"] == "own"
    assert READERS.keys() == SOURCES.keys() - {*CORRUPTED}


def test_digits_are_the_published_images() -> None:
    splits = load_splits(data())
    assert SOURCES["digits"].size == (len(splits.train) + len(splits.val), len(splits.test), 10, 32)
    assert [len(splits[s]) for s in ("train", "val", "test")] == [1212, 135, 450]
    assert splits.train.pixels.shape[1:] == (3, 32, 32)
    assert splits.train.pixels.dtype == torch.uint8
    assert splits.train.pixels.max() == 255
    assert splits.classes == tuple("0123456789")
    counts = splits.val.labels.bincount()
    assert counts.max() - counts.min() <= 1
