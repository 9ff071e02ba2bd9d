from typing import Any

import numpy as np
import pytest
import torch

from mixkd.config.data import DataConfig
from mixkd.data.images import Images
from mixkd.data.splits import load_splits, stratified
from mixkd.errors import UserError
from mixkd.request import request


def data(**keys: Any) -> DataConfig:
    overrides = [f"data.{k}={v}" for k, v in keys.items()]
    return request("finetune", ["network=resnet20", *overrides]).data


def images(counts: list[int]) -> Images:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.zeros((len(labels), 4, 4, 3), dtype=np.uint8)
    return Images.of(pixels, labels)


def test_stratified_keeps_the_share_of_each_class() -> None:
    chosen, rest = stratified(images([60, 30, 10]), 50, 0, "data.limit_train")
    assert chosen.labels.bincount().tolist() == [30, 15, 5]
    assert rest.labels.bincount().tolist() == [30, 15, 5]
    indices = torch.cat([chosen.index, rest.index])
    assert indices.sort().values.tolist() == list(range(100))


def test_stratified_depends_on_its_seed_alone() -> None:
    first, repeated = (stratified(images([40, 40]), 20, 7, "k")[0].index for _ in range(2))
    other = stratified(images([40, 40]), 20, 8, "k")[0].index
    assert torch.equal(first, repeated)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("count", [0, 1, 99, 100])
def test_a_part_that_cannot_hold_every_class_is_refused(count: int) -> None:
    with pytest.raises(UserError, match=r"data\.limit_test: asks for .* takes 2 to 98"):
        stratified(images([50, 50]), count, 0, "data.limit_test")


def test_a_class_of_one_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"classes \[1\] have a single image"):
        stratified(images([50, 1]), 10, 0, "data.holdout")


def test_val_images_are_never_trained_on_whatever_the_limit() -> None:
    whole, limited = load_splits(data()), load_splits(data(limit_train=200, limit_test=100))
    assert len(limited.train) == 200
    assert len(limited.test) == 100
    val = set(whole.val.index.tolist())
    assert not val & set(limited.train.index.tolist())
    assert set(limited.val.index.tolist()) <= val
    assert len(limited.val) == round(135 * 200 / 1212)


def test_the_split_has_its_own_seed() -> None:
    one, other = load_splits(data(split_seed=0)), load_splits(data(split_seed=1))
    assert not torch.equal(one.val.index, other.val.index)
    assert torch.equal(one.test.index, other.test.index)


def test_selection_on_the_test_images_trains_on_all_others() -> None:
    splits = load_splits(data(selection="test"))
    assert torch.equal(splits.val.index, splits.test.index)
    assert len(splits.train) == 1347
