from typing import Any

import pytest

from mixkd.config.data import DataConfig
from mixkd.data.batches import make_stream
from mixkd.data.splits import load_splits
from mixkd.errors import UserError
from mixkd.request import request


def data(**keys: Any) -> DataConfig:
    overrides = [f"data.{k}={v}" for k, v in keys.items()]
    return request("finetune", ["network=resnet20", *overrides]).data


def test_a_batch_larger_than_the_training_set_is_refused() -> None:
    cfg = data(limit_train=100, batch_size=101)
    with pytest.raises(UserError, match=r"data.batch_size: got 101; takes at most the 100"):
        make_stream(cfg, load_splits(cfg), None, 0)
