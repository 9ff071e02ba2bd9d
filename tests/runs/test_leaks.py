"""Leaks: whether a network was trained on the images that select here."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixkd.config.network import NetworkConfig
from mixkd.config.tasks import FinetuneConfig
from mixkd.data.splits import Splits, image_marks, load_splits
from mixkd.request import request
from mixkd.runs.leaks import leak, write_marks

START = Path("before/weights.safetensors")
OTHER_MARKS = np.ones((1, 2), dtype=np.uint64)


@pytest.fixture
def cfg(image_folder: Path) -> FinetuneConfig:
    overrides = ["data=imagefolder", f"data.root={image_folder}", "network=resnet20"]
    START.parent.mkdir()
    START.write_bytes(b"weights")
    config = request("finetune", overrides)
    assert isinstance(config, FinetuneConfig)
    return config


@pytest.fixture
def splits(cfg: FinetuneConfig) -> Splits:
    return load_splits(cfg.data)


def leak_of(cfg: FinetuneConfig, splits: Splits, **data: object) -> str | None:
    """Return the leak of weights, which is also that of a backbone's file."""
    others = cfg.data.model_copy(update=data)
    leaks = [
        leak(cfg.network.model_copy(update={key: str(START)}), others, {}, splits)
        for key in ("weights", "pretrained")
    ]
    assert leaks[0] == leaks[1]
    return leaks[0]


def test_what_lies_beside_a_file_says_what_its_weights_have_seen(
    cfg: FinetuneConfig, splits: Splits
) -> None:
    assert leak_of(cfg, splits) is None  # nothing says
    write_marks(START.parent, image_marks(splits.val)[:2])
    assert (
        leak_of(cfg, splits) == f"was trained on 2 of the {len(splits.val)} images that select here"
    )
    write_marks(START.parent, image_marks(splits.train))
    assert leak_of(cfg, splits) == ""
    write_marks(START.parent, OTHER_MARKS)  # copies of another size would have other marks
    assert leak_of(cfg, splits) is None


@pytest.mark.parametrize(
    ("selection", "source", "expected"),
    [
        ("holdout", "imagefolder", "may have trained on images that select here"),
        ("test", "imagefolder", "may have trained on images that select here"),
        ("holdout", "imagenet", None),
    ],
)
def test_an_export_of_another_folder_may_have_seen_what_selects(
    cfg: FinetuneConfig, splits: Splits, selection: str, source: str, expected: str | None
) -> None:
    network: NetworkConfig = cfg.network.model_copy(
        update={"export": "before", "weights": "before/model.safetensors"}
    )
    record = {
        "network": network.model_dump(), "weights": "", "images": {"train": "others"},
        "data": cfg.data.model_dump() | {"source": source},
    }  # fmt: skip
    (START.parent / "config.json").write_text(json.dumps({"mixkd": record}))
    data = cfg.data.model_copy(update={"selection": selection})
    answer = leak(network, data, {"train": "these"}, splits)
    assert answer == expected if expected is None else str(answer).startswith(expected)
