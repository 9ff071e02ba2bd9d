"""Stage 1 and stage 2 of a student with a pretrained backbone."""

import csv
import json
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from mixkd.callbacks.recorder import Recorder
from mixkd.runs.run import Run

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
QUICK = [
    "data.limit_train=60",
    "data.limit_test=30",
    "data.batch_size=16",
    "trainer.max_epochs=2",
    "callbacks=none",
]
STUDENT = ["student.args.width=0.35", "student.pretrained=backbone.pth", "stage1.epochs=2"]


DISTILL = ["distill", "teacher.run=teacher", *STUDENT, *QUICK]


@pytest.fixture(scope="module")
def trained(run_once: Mixkd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a backbone, a trained teacher, and `whole`: its student, never interrupted."""
    place = tmp_path_factory.mktemp("trained")
    torch.manual_seed(7)
    torch.save(timm.create_model("mobilenetv2_035").state_dict(), place / "backbone.pth")
    teacher = ["network=resnet20", "network.args.depth=8", "run.dir=teacher"]
    with chdir(place):
        assert run_once("finetune", *QUICK, *teacher) == 0
        assert run_once(*DISTILL, "run.dir=whole") == 0
    return place


@pytest.fixture
def arguments(trained: Path) -> list[str]:
    """The arguments of a distillation with a pretrained student, whose teacher is trained."""
    shutil.copytree(trained / "teacher", "teacher")
    shutil.copyfile(trained / "backbone.pth", "backbone.pth")
    return [*DISTILL]


def checkpoint(run: str, name: str) -> dict[str, Any]:
    return dict(torch.load(Path(run, "checkpoints", name), weights_only=True))


def core(run: str, name: str) -> dict[str, Tensor]:
    state = checkpoint(run, name)["state_dict"]
    return {k.removeprefix("network.core."): v for k, v in state.items()}


def test_stage_1_trains_the_head_alone_and_stage_2_everything(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    start = torch.load("backbone.pth", weights_only=True)
    first, second = core("whole", "stage1.ckpt"), core("whole", "last.ckpt")
    backbone = [name for name in start if not name.startswith("classifier")]
    assert len(backbone) > 200
    # Parameters and BatchNorm's statistics alike: the backbone was in eval mode.
    assert all(torch.equal(first[name], start[name]) for name in backbone)
    assert sum(not torch.equal(second[name], start[name]) for name in backbone) > 200
    assert first["classifier.1.num_batches_tracked"] == 2 * 3  # two epochs of three steps
    assert not torch.equal(first["classifier.4.weight"], second["classifier.4.weight"])

    # Each stage has its own optimizer: over the head's five parameters, then over all.
    states = [checkpoint("whole", n)["optimizer_states"] for n in ("stage1.ckpt", "last.ckpt")]
    counts = [len(state[0]["param_groups"][0]["params"]) for state in states]
    assert counts == [5, len([n for n in second if n.endswith(("weight", "bias"))])]
    assert {s["step"].item() for s in states[1][0]["state"].values()} == {6.0}
    with open("whole/stage1.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert "train/kd" not in rows[0]  # hard labels
    assert {float(row["lr"]) for row in rows} == {1e-3}
    with open("whole/history.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1"]


@pytest.mark.parametrize(("stage", "epoch"), [(1, 0), (1, 1), (2, 0), (2, 1)])
def test_an_interrupted_stage_resumes_and_ends_the_same(
    mixkd: Mixkd,
    trained: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    stage: int,
    epoch: int,
) -> None:
    original = Recorder.on_train_epoch_end
    epochs: list[int] = []

    def killed(self: Recorder, trainer, module) -> None:  # type: ignore[no-untyped-def]
        if (self.stage, trainer.current_epoch) == (stage, epoch):
            raise KeyboardInterrupt
        original(self, trainer, module)

    def watched(self: Recorder, trainer, module) -> None:  # type: ignore[no-untyped-def]
        epochs.append(10 * self.stage + trainer.current_epoch)
        original(self, trainer, module)

    monkeypatch.setattr(Recorder, "on_train_epoch_end", killed)
    assert mixkd(*arguments, "run.dir=run") == 130
    monkeypatch.setattr(Recorder, "on_train_epoch_end", watched)
    assert mixkd(*arguments, "run.dir=run") == 0
    assert epochs == [e for e in (10, 11, 20, 21) if e >= 10 * stage + epoch]
    for name in ("metrics.json", "weights.safetensors", "history.csv", "stage1.csv"):
        assert Path("run", name).read_bytes() == (trained / "whole" / name).read_bytes(), name


def test_a_random_backbone_has_no_stage_1(mixkd: Mixkd, arguments: list[str]) -> None:
    plain = [w for w in arguments if not w.startswith(("student.pretrained", "stage1"))]
    assert mixkd(*plain) == 0
    run = next(Path("runs/digits/distill").iterdir())
    assert not (run / "stage1.csv").exists()
    # It is the same experiment, however long the stage would have been.
    assert mixkd(*plain, "stage1.epochs=7") == 0
    assert len(list(Path("runs/digits/distill").iterdir())) == 1


def test_a_network_whose_head_is_not_known_has_no_stage_1(
    mixkd: Mixkd, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    del arguments[2:5]
    Path("headless.py").write_text(
        "from torch import nn\n"
        "def net(num_classes, pretrained):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))\n"
    )
    factory = ["student.factory=headless.net", "student.pretrained=true"]
    assert mixkd(*arguments, *factory, "stage1.epochs=1") == 2
    errors = capsys.readouterr().err
    assert "stage1.epochs: only timm networks say which part is their head; takes 0" in errors
    assert not Path("runs").exists()
    assert mixkd(*arguments, *factory, "stage1.epochs=0") == 0


def test_status_says_which_stage(
    mixkd: Mixkd, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    original = Run.status

    def watched(self: Run, state: str, **more: Any) -> None:
        if "stage" in more:
            seen.append((more["stage"], more["epoch"]))
        original(self, state, **more)

    monkeypatch.setattr(Run, "status", watched)
    assert mixkd(*arguments, "run.dir=run") == 0
    assert seen == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_the_run_outlives_the_file_that_it_started_from(mixkd: Mixkd, trained: Path) -> None:
    shutil.copytree(trained / "whole", "run")  # of a backbone.pth that is not here
    assert mixkd("evaluate", "network.run=run", "run.dir=measured") == 0
    metrics = [json.loads(Path(d, "metrics.json").read_text()) for d in ("run", "measured")]
    assert metrics[1]["test/nll"] == pytest.approx(metrics[0]["test/nll"], abs=1e-6)
