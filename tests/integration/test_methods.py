"""Methods of the field on one stream: a sweep of them with a tape, and runs that are killed."""

import csv
import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.network import FrozenTeacher
from tests.processes import started

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
DATA = ["data=digits", "data.limit_train=200", "data.limit_test=60", "data.batch_size=50",
        "data.size=16", "callbacks=none"]  # fmt: skip
STEPS = 8  # of two epochs


@pytest.fixture(scope="module")
def words(run_once: Mixkd, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What students of a small teacher are asked for by."""
    teacher = tmp_path_factory.mktemp("teacher") / "run"
    network = ["network=resnet20", "network.args.depth=8", "trainer.max_epochs=1"]
    assert run_once("finetune", *network, *DATA, f"run.dir={teacher}") == 0
    student = ["student=resnet20", "student.args.depth=8"]
    return [f"teacher.run={teacher}", *student, *DATA]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches of this process that a teacher is asked about."""
    sizes: list[int] = []
    original = FrozenTeacher.__call__

    def counted(self: FrozenTeacher, view: Tensor) -> Tensor:
        sizes.append(len(view))
        return original(self, view)

    monkeypatch.setattr(FrozenTeacher, "__call__", counted)
    return sizes


def columns(run: Path) -> list[str]:
    with open(run / "history.csv", newline="") as file:
        return next(csv.reader(file))


def test_a_sweep_of_methods_asks_a_teacher_once_a_stream(
    mixkd: Mixkd, words: list[str], asked: list[int]
) -> None:
    words = [*words, "trainer.max_epochs=2"]
    tape = ["teacher.tape=tapes", "teacher.tape_precision=float32"]
    grid = ["divergence=kl,dkd", "hint=none,rkd", "method=kd,kd_mixup"]
    assert mixkd("distill", "-m", *words, *tape, *grid) == 0
    runs = {run.name.split("-")[1]: run for run in Path("runs/digits/distill").iterdir()}
    assert set(runs) == {f"{method}{divergence}{hint}" for method in ("kd", "kd_mixup")
                         for divergence in ("", "+dkd") for hint in ("", "+rkd")}  # fmt: skip
    losses = [json.loads((run / "metrics.json").read_text())["test/nll"] for run in runs.values()]
    assert len(set(losses)) == 8
    assert all(("train/hint" in columns(run)) == ("rkd" in name) for name, run in runs.items())
    assert len(list(Path("tapes").iterdir())) == 2  # of views, and of mixed images

    # Another loss on the same stream asks no more; a hint asks for features, and once to be tried.
    assert mixkd("distill", *words, *tape, "divergence=dist", "run.dir=dist") == 0
    assert asked == []
    assert mixkd("distill", *words, *tape, "hint=sp", "run.dir=sp") == 0
    assert asked.count(50) == STEPS
    assert len(asked) == STEPS + 1

    # The stream is the same without a tape.
    arguments = ["divergence=dkd", "hint=rkd", "method=kd_mixup", "run.dir=alone"]
    assert mixkd("distill", *words, *arguments) == 0
    for name in ("weights.safetensors", "history.csv"):
        taped = (runs["kd_mixup+dkd+rkd"] / name).read_bytes()
        assert taped == Path("alone", name).read_bytes()


@pytest.mark.parametrize(
    "method",
    [["hint=crd", "hint.args.negatives=64"], ["hint=fitnet", "divergence=none", "method.alpha=1"]],
    ids=["crd", "fitnet"],
)
def test_a_hint_that_was_killed_ends_bit_identical(
    mixkd: Mixkd, words: list[str], method: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*words, *method, "trainer.max_epochs=6", "checkpoint.every_n_steps=3",
                 "trainer.threads=1"]  # fmt: skip
    assert mixkd("distill", *arguments, "run.dir=whole") == 0
    with started("distill", *arguments, "run.dir=killed") as process:
        while not Path("killed/checkpoints/last.ckpt").is_file() and process.poll() is None:
            pass
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert not Path("killed/metrics.json").exists()
    capsys.readouterr()
    assert mixkd("distill", *arguments, "run.dir=killed") == 0
    assert "resuming from" in capsys.readouterr().err
    for name in ("weights.safetensors", "history.csv", "metrics.json"):
        assert Path("killed", name).read_bytes() == Path("whole", name).read_bytes()
    names = load_file("whole/weights.safetensors").keys()
    assert names == CifarResNet(8, 10).state_dict().keys()  # nothing of the hint
