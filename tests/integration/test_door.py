"""Parts from outside: the same numbers as the same code inside, resumed, swept, on two devices."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
Capture = pytest.CaptureFixture[str]

PARTS = """
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from mixkd import Distillation


def kl(student, teacher, *, temperature, weight=1.0):
    logs = [F.log_softmax(logits.float() / temperature, dim=1) for logits in (student, teacher)]
    return weight * F.kl_div(logs[0], logs[1], log_target=True, reduction="batchmean")


class Partners(torch.nn.Module):
    def __init__(self, gamma=0.0):
        super().__init__()
        self.gamma = gamma
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, student, teacher, *, label, partner, lam):
        assert label.shape == partner.shape == lam.shape == student.shape[:1]
        return self.gamma * (self.scale * student.norm(dim=1)).mean()


def constant(optimizer, factor=1.0):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor)


def detached(student, teacher):
    return (student - teacher).detach().square().mean()


def infinite(student, teacher):
    return (student - teacher).square().mean() / 0


def failing(student, teacher):
    return student @ teacher


def vector(student, teacher):
    return (student - teacher).square().mean(dim=1)


def nothing(*networks, **options):
    return 3


class Same(Distillation):
    def losses(self, batch):
        return dict(super().losses(batch))


class Stop(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        from pathlib import Path
        if trainer.current_epoch == self.epoch and batch_idx == 1 and not Path("stopped").exists():
            Path("stopped").touch()
            raise KeyboardInterrupt
"""

SMALL = ["student=resnet20", "student.args.depth=8", "data=digits", "data.limit_train=200",
         "data.limit_test=60", "data.batch_size=50", "data.size=16", "callbacks=none"]  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the weights of a teacher lie that `trained` has made."""
    return tmp_path_factory.mktemp("teacher") / "weights.safetensors"


@pytest.fixture
def distill(mixkd: Mixkd, teacher: Path) -> Callable[..., dict[str, float]]:
    """Train a student from a small teacher; return its metrics."""
    Path("outside.py").write_text(PARTS)
    if not teacher.is_file():
        data = [word for word in SMALL if not word.startswith("student")]
        network = ["network=resnet20", "network.args.depth=8", "trainer.max_epochs=1"]
        assert mixkd("finetune", *network, *data, "run.dir=teacher") == 0
        teacher.write_bytes(Path("teacher/weights.safetensors").read_bytes())

    def run(*words: str, name: str, epochs: int = 2, status: int = 0) -> dict[str, float]:
        given = ["teacher=resnet20", "teacher.args.depth=8", f"teacher.weights={teacher}"]
        length = [f"trainer.max_epochs={epochs}", f"run.dir={name}"]
        assert mixkd("distill", *given, *SMALL, *length, *words) == status
        path = Path(name, "metrics.json")
        metrics: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        return metrics

    return run


def columns(run: str) -> list[str]:
    with open(Path(run, "history.csv"), newline="") as file:
        return next(csv.reader(file))


def test_the_same_code_outside_gives_the_same_numbers(distill: Any) -> None:
    inside = ["optimizer=sgd", "schedule=constant"]
    expected = distill(*inside, name="inside")
    weights = Path("inside/weights.safetensors").read_bytes()
    sgd = ["lr=0.05", "momentum=0.9", "nesterov=true", "weight_decay=5e-4", "fused=true"]
    outside = {
        "divergence": ["divergence.factory=outside.kl", "divergence.args.weight=1.0"],
        "method": ["method._target_=outside.Same"],
        "optimizer": ["optimizer._target_=torch.optim.SGD", *(f"optimizer.{word}" for word in sgd)],
        "schedule": ["schedule.factory=outside.constant", "schedule.by=step"],
        "callback": ["callbacks.stop._target_=outside.Stop", "callbacks.stop.epoch=99"],
    }
    for name, words in outside.items():
        base = [w for w in inside if not w.startswith(name)]
        assert distill(*base, *words, name=name) == expected, name
        assert Path(name, "weights.safetensors").read_bytes() == weights, name


def test_a_hint_learns_is_resumed_and_stays_out_of_the_weights(
    distill: Any, capsys: Capture
) -> None:
    hint = ["hint._target_=outside.Partners", "hint.gamma=0.1", "hint.weight=0.5"]
    stop = ["callbacks.stop._target_=outside.Stop", "callbacks.stop.epoch=1"]
    distill(*hint, *stop, name="interrupted", status=130)
    assert Path("stopped").exists()
    resumed = distill(*hint, *stop, name="interrupted")
    whole = distill(*hint, *stop, name="whole")
    assert resumed == whole
    read = [Path(run, "weights.safetensors").read_bytes() for run in ("interrupted", "whole")]
    assert read[0] == read[1]
    assert b"scale" not in read[0]
    assert "train/hint" in columns("whole")
    with open("whole/history.csv", newline="") as file:
        hints = [float(row["train/hint"]) for row in csv.DictReader(file)]
    assert hints[1] < hints[0]  # it learns to be small
    tape = ["teacher.tape=tapes", "teacher.tape_precision=float32"]
    assert distill(*hint, *tape, name="taped") == whole
    assert "hint: the teacher is asked for its features all the same" in capsys.readouterr().err


def test_a_sweep_over_an_argument(distill: Any, mixkd: Mixkd, teacher: Path) -> None:
    distill(name="before")  # which writes the file
    words = ["divergence.factory=outside.kl", "divergence.args.weight=0.5,2",
             "teacher=resnet20", "teacher.args.depth=8", f"teacher.weights={teacher}"]  # fmt: skip
    assert mixkd("distill", "-m", *words, *SMALL, "trainer.max_epochs=1") == 0
    runs = sorted(Path("runs/digits/distill").glob("*+kl-*"))
    assert len(runs) == 2
    values = [json.loads((run / "metrics.json").read_text())["test/nll"] for run in runs]
    assert values[0] != values[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("divergence.factory=outside.kl divergence.args.wieght=2", "did you mean weight?"),
        ("divergence.factory=outside.k1", "divergence.factory: got 'outside.k1'"),
        ("method.factory=outside.nothing", "method.factory: outside.nothing gives int"),
        ("callbacks.mine.factory=outside.kl", "callbacks.mine"),
        ("metrics.mine.factory=outside.Stop metrics.mine.args.epoch=1", "metrics.mine"),
        ("optimizer.factory=outside.constant", "optimizer"),
        ("schedule.factory=torch.optim.SGD schedule.args.lr=1", "schedule"),
        ("optimizer=timm optimizer.name=lino", "optimizer.name"),
        ("schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau", "schedule=plateau"),
        ("hint.factory=outside.Partners hint.args.gama=1", "did you mean gamma?"),
        ("divergence.factory=outside.detached", "divergence: detached gives a number from which"),
        ("hint.factory=outside.detached", "hint: detached gives a number from which no gradient"),
        ("divergence.factory=outside.infinite", "divergence: infinite gives inf for random"),
        ("hint.factory=outside.infinite", "hint: infinite gives inf for random networks"),
        ("divergence.factory=outside.failing", "divergence: failing fails when it is called: Runt"),
        ("hint.factory=outside.failing", "hint: failing fails when it is called: RuntimeError: "),
        ("divergence.factory=outside.vector", "divergence: vector gives a Tensor of shape [4]; ta"),
        ("hint.factory=outside.vector", "hint: vector gives a Tensor of shape [4]; takes a scalar"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_made(
    distill: Any, capsys: Capture, words: str, message: str
) -> None:
    distill(*words.split(), name="run", status=2)
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors
    assert not Path("run").exists()
