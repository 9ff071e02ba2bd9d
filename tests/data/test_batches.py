from typing import Any

import pytest
import torch

from mixkd.config.data import DataConfig
from mixkd.data.batches import make_stream, vicinal_batches
from mixkd.data.splits import load_splits
from mixkd.errors import UserError
from mixkd.request import request
from mixkd.vicinal import VicinalStream


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
