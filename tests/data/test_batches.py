from typing import Any

import pytest
import torch

from mixkd.config.data import DataConfig
from mixkd.data.batches import make_stream, ordinary_batch, vicinal_batches
from mixkd.data.splits import load_splits
from mixkd.errors import UserError
from mixkd.request import request
from mixkd.vicinal import Mixing, VicinalStream


def data(**keys: Any) -> DataConfig:
    overrides = [f"data.{k}={v}" for k, v in keys.items()]
    return request("finetune", ["network=resnet20", *overrides]).data


def test_a_batch_larger_than_the_training_set_is_refused() -> None:
    cfg = data(limit_train=100, batch_size=101)
    with pytest.raises(UserError, match=r"data.batch_size: got 101; takes at most the 100"):
        make_stream(cfg, load_splits(cfg), None, 0)


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    cfg = data(batch_size=63)
    with pytest.raises(UserError, match=r"data.batch_size: got 63, which 2 devices cannot share"):
        make_stream(cfg, load_splits(cfg), None, 0, devices=2)


def test_a_share_of_no_image_is_refused() -> None:
    cfg = data(batch_size=64)
    with pytest.raises(UserError, match=r"method.mix.prob: got 0.005, which mixes none of 64"):
        make_stream(cfg, load_splits(cfg), Mixing(prob=0.005), 0)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_share_of_an_ordinary_batch_is_mixed(kind: str) -> None:
    images, label = torch.rand(10, 3, 4, 4), torch.arange(10)
    batch = ordinary_batch(images, label, Mixing(kind=kind, prob=0.3), seed=0, epoch=1, step=2)
    mixed = batch.partner_label != label
    assert mixed.sum() == 3
    assert torch.equal(batch.mixed[~mixed], images[~mixed])
    assert (batch.lam[~mixed] == 1).all()


def test_ordinary_batches_switch_between_mixup_and_cutmix() -> None:
    images, label = torch.rand(6, 3, 4, 4), torch.arange(6)
    kinds: dict[str, list[torch.Tensor]] = {}
    for kind in ("switch", "mixup", "cutmix"):
        batches = (
            ordinary_batch(images, label, Mixing(kind=kind), seed=0, epoch=0, step=step)
            for step in range(30)
        )
        kinds[kind] = [batch.mixed for batch in batches]
    pure = zip(kinds["mixup"], kinds["cutmix"], strict=True)
    taken = [
        [torch.equal(mixed, one) for one in both]
        for mixed, both in zip(kinds["switch"], pure, strict=True)
    ]
    assert all(sum(row) == 1 for row in taken)
    assert 8 <= sum(row[0] for row in taken) <= 22


@pytest.mark.parametrize(
    ("images", "label", "epoch"),
    [
        (torch.rand(8, 3, 4, 4), torch.rand(8), 0),
        (torch.rand(8, 3, 4, 4), torch.zeros(8, 2, dtype=torch.int64), 0),
        (torch.rand(8, 48), torch.zeros(8, dtype=torch.int64), 0),
        (torch.rand(7, 3, 4, 4), torch.zeros(7, dtype=torch.int64), 0),
        (torch.rand(8, 3, 4, 4), torch.zeros(8, dtype=torch.int64), -1),
    ],
)
def test_what_makes_no_vicinal_batches_is_refused(
    images: torch.Tensor, label: torch.Tensor, epoch: int
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        next(vicinal_batches(VicinalStream(8, 4, 0, None), images, label, epoch))
