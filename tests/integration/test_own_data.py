"""Data that users bring, through the commands: the digits as another's data set."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
Capture = pytest.CaptureFixture[str]

MINE = """
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Digits:
    classes = tuple("0123456789")

    def __init__(self, train=True, invert=False, side=32):
        bunch = load_digits()
        parts = train_test_split(
            np.arange(1797), test_size=0.25, random_state=0, stratify=bunch.target
        )
        rows = np.sort(parts[0 if train else 1])
        grey = np.round(bunch.images[rows] * (255 / 16)).astype(np.uint8)
        grey = 255 - grey if invert else grey
        large = [Image.fromarray(g).resize((side, side), Image.Resampling.BICUBIC) for g in grey]
        self.items = list(zip(large, bunch.target[rows]))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


class Again(Digits):
    pass
"""
SMALL = ["network=resnet20", "network.args.depth=8", "data.limit_train=200", "data.limit_test=60"]
TRAINING = [*SMALL, "data.batch_size=64", "trainer.max_epochs=1", "callbacks=none"]
VIEWS = ["data.pad=2", "data.flip=false"]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Write a module beside the runs; return the overrides that name its data set."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_digits", raising=False)
    (tmp_path / "own_digits.py").write_text(MINE)
    return ["data.factory=own_digits.Digits", *VIEWS]


def history(run: Path) -> list[dict[str, Any]]:
    timed = "images_per_second"
    with open(run / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != timed} for row in csv.DictReader(file)]


def test_own_data_give_the_numbers_of_the_same_within(mixkd: Mixkd, own: list[str]) -> None:
    assert mixkd("finetune", *TRAINING, "run.dir=within") == 0
    assert mixkd("finetune", *TRAINING, *own, "run.dir=own") == 0
    assert history(Path("own")) == history(Path("within"))
    prints = [json.loads(Path(d, "provenance.json").read_text()) for d in ("own", "within")]
    assert prints[0]["fingerprints"]["data"] == prints[1]["fingerprints"]["data"]
    saved = yaml.safe_load(Path("own/config.yaml").read_text())["data"]
    assert (saved["name"], saved["factory"]) == ("Digits", "own_digits.Digits")

    evaluation = ["splits=[val,test]", "corruptions=true", "corruptions.names=[fog]"]
    results = []
    for run in ("own", "within"):
        out = f"of_{run}"
        assert mixkd("evaluate", f"network.run={run}", *evaluation, f"run.dir={out}") == 0
        results.append(json.loads(Path(out, "metrics.json").read_text()))
    assert results[0] == results[1]
    assert "corruption/mean/accuracy" in results[0]


def test_images_read_by_position_give_the_same(mixkd: Mixkd, own: list[str]) -> None:
    more = ["data.size=32", "data.resident=false", "data.workers=1"]
    assert mixkd("finetune", *TRAINING, *own, "data.size=32", "run.dir=memory") == 0
    assert mixkd("finetune", *TRAINING, *own, *more, "run.dir=disk") == 0
    assert history(Path("disk")) == history(Path("memory"))
    evaluation = ["corruptions=true", "corruptions.names=[fog]", "corruptions.severities=[1]"]
    results = []
    for run in ("disk", "memory"):
        out = f"of_{run}"
        assert mixkd("evaluate", f"network.run={run}", *evaluation, f"run.dir={out}") == 0
        results.append(json.loads(Path(out, "metrics.json").read_text()))
    assert results[0] == results[1]


def test_changed_images_do_not_pass_for_those_before(
    mixkd: Mixkd, own: list[str], capsys: Capture, tmp_path: Path
) -> None:
    assert mixkd("finetune", *TRAINING, *own, "run.dir=a") == 0
    status = json.loads(Path("a/status.json").read_text()) | {"state": "interrupted"}
    Path("a/status.json").write_text(json.dumps(status))
    assert mixkd("finetune", *TRAINING, *own, "data.args.side=32", "run.dir=a") == 2
    assert "holds another experiment" in capsys.readouterr().err
    import own_digits  # type: ignore[import-not-found]

    images = [(np.asarray(image)[::-1].copy(), label) for image, label in own_digits.Digits().items]
    before = own_digits.Digits.__getitem__
    own_digits.Digits.__getitem__ = lambda self, row: images[row % len(images)]
    try:
        assert mixkd("finetune", *TRAINING, *own, "run.dir=a") == 2
    finally:
        own_digits.Digits.__getitem__ = before
    assert "a began on other images" in capsys.readouterr().err


def test_a_student_learns_from_a_teacher_of_the_same_data(
    mixkd: Mixkd, own: list[str], capsys: Capture
) -> None:
    assert mixkd("finetune", *TRAINING, *own) == 0
    student = ["student=mobilenetv2", "student.args.width=0.35", "temperature=2"]
    training = [*TRAINING[2:], *own, *student]
    assert mixkd("distill", *training, "teacher=resnet20", "teacher.args.depth=8") == 0
    assert mixkd("distill", *training, "teacher=resnet20", "data.split_seed=1") == 2
    error = capsys.readouterr().err
    assert "no finished run of resnet20 on Digits" in error
    assert "data=_own" not in error
    assert "data.factory=own_digits.Digits" in error


def test_a_teacher_that_has_seen_what_selects_is_refused(
    mixkd: Mixkd, own: list[str], capsys: Capture
) -> None:
    assert mixkd("finetune", *TRAINING, *own, "run.dir=seen") == 0
    student = ["student=mobilenetv2", "student.args.width=0.35", "temperature=2"]
    training = [*TRAINING[2:], *own, *student, "teacher.run=seen", "data.split_seed=2"]
    assert mixkd("distill", *training) == 2
    assert "may have trained on the images that select here" in capsys.readouterr().err
    assert mixkd("distill", *training, "data.factory=own_digits.Again") == 2
    assert "images that select here; take the same" in capsys.readouterr().err


def test_what_is_wrong_is_said_in_one_line(mixkd: Mixkd, own: list[str], capsys: Capture) -> None:
    assert mixkd("finetune", *TRAINING, *own, "data.args.sid=3") == 2
    error = capsys.readouterr().err
    assert "data.args.sid: own_digits.Digits has no such argument (did you mean side?)" in error
    assert "Traceback" not in error
