"""Callbacks, loggers and metrics that users bring, from the command line."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torchmetrics import Metric

from mixkd.callbacks.recorder import Recorder

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
HERE = __name__
LIGHTNING = "lightning.pytorch"
TRAIN = ["finetune", "network=resnet20", "network.args.depth=8", "data.limit_train=100",
         "data.limit_test=40", "data.batch_size=20", "callbacks=none"]  # fmt: skip
# Nothing improves as much: training stops at the second epoch.
STOP = [f"callbacks.stop._target_={LIGHTNING}.callbacks.EarlyStopping",
        "callbacks.stop.monitor=val/accuracy", "callbacks.stop.patience=1",
        "callbacks.stop.min_delta=2"]  # fmt: skip
KEEP = [f"callbacks.keep._target_={LIGHTNING}.callbacks.ModelCheckpoint",
        "callbacks.keep.monitor=val/ece", "callbacks.keep.save_last=true"]  # fmt: skip
COUNT = [f"callbacks.count.factory={HERE}.Count"]


class Count(Callback):
    """Counts the epochs that it has seen, in its state too."""

    seen: list[int] = []  # noqa: RUF012  # of all that were made

    def __init__(self) -> None:
        self.epochs = 0

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.epochs += 1
        self.seen.append(self.epochs)

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = state_dict["epochs"]


class Unreadable(Count):
    """Its state holds an object of its own."""

    def state_dict(self) -> dict[str, Any]:
        return {"self": Count()}


class Logs(Callback):
    """Logs values of its own: at each step, and at the end of every second epoch."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *others: Any) -> None:
        pl_module.log("mine", float(trainer.current_epoch), on_step=False, on_epoch=True)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch % 2:
            pl_module.log("now and then", 7.0)


class Looks(Callback):
    """Looks for a metric that nothing logs."""

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        _ = trainer.callback_metrics["val/f1"]


class Keeps(Logger):
    """Keeps what is logged, by process, as a service of its own would."""

    runs: list[dict[int, set[str]]] = []  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.runs.append({})

    @property
    def name(self) -> str:
        return "keeps"

    @property
    def version(self) -> str:
        return "0"

    def log_hyperparams(self, params: Any, *args: Any, **options: Any) -> None:
        """Nothing."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        assert step is not None
        self.runs[-1].setdefault(step, set()).update(metrics)


class Margin(Metric):
    """The mean difference of the two largest logits, by two names."""

    made = 0

    def __init__(self, num_classes: int, factor: float = 1.0) -> None:
        super().__init__()
        Margin.made += 1
        self.classes, self.factor = num_classes, factor
        for name in ("total", "n"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.total: Tensor
        self.n: Tensor

    def update(self, logits: Tensor, label: Tensor) -> None:
        assert (logits.dtype, label.dtype) == (torch.float32, torch.int64)
        assert logits.shape[1] == self.classes
        top = logits.topk(2).values
        self.total += self.factor * (top[:, 0] - top[:, 1]).double().sum()
        self.n += len(label)

    def compute(self) -> dict[str, Tensor]:
        return {"mean": self.total / self.n, "n": self.n}


def no_logger() -> object:
    return object()


def history(run: str) -> list[dict[str, str]]:
    with open(Path(run, "history.csv"), newline="") as file:
        return list(csv.DictReader(file))


def interrupted(monkeypatch: pytest.MonkeyPatch, epoch: int, *, saved: bool) -> None:
    """Let the next training be interrupted at the end of an epoch, once it is saved or before."""
    original = Recorder.on_train_epoch_end

    def stops(self: Recorder, trainer: Any, module: Any) -> None:
        if trainer.current_epoch != epoch or saved:
            original(self, trainer, module)
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "on_train_epoch_end", stops)


def test_a_training_that_is_stopped_early_is_finished(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*TRAIN, *STOP, *KEEP, "trainer.max_epochs=9"]
    assert mixkd(*arguments, "run.dir=whole") == 0
    assert [row["epoch"] for row in history("whole")] == ["0", "1"]
    assert "test/ece" in json.loads(Path("whole/metrics.json").read_text())
    assert mixkd(*arguments, "run.dir=whole") == 0
    assert "finished before" in capsys.readouterr().out
    # ModelCheckpoint writes beside mixkd's own, which are continued from.
    assert Path("whole/callbacks/keep/last.ckpt").is_file()

    with monkeypatch.context() as patch:  # after the checkpoint of the epoch that was the last
        interrupted(patch, 1, saved=True)
        assert mixkd(*arguments, "run.dir=resumed") == 130
    assert mixkd(*arguments, "run.dir=resumed") == 0
    for name in ("history.csv", "metrics.json", "weights.safetensors"):
        assert Path("resumed", name).read_bytes() == Path("whole", name).read_bytes(), name


def test_the_state_of_a_callback_is_resumed(mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*TRAIN, *COUNT, *KEEP, "trainer.max_epochs=3", "run.dir=run"]
    monkeypatch.setattr(Count, "seen", [])
    with monkeypatch.context() as patch:
        interrupted(patch, 1, saved=False)
        assert mixkd(*arguments) == 130
    assert mixkd(*arguments) == 0
    assert Count.seen == [1, 2, 2, 3]


@pytest.mark.parametrize("logger", ["logger=none", "logger=csv"])
def test_what_a_callback_logs_is_in_the_history(
    mixkd: Mixkd, logger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*TRAIN, f"callbacks.logs.factory={HERE}.Logs", logger, "trainer.max_epochs=3"]
    assert mixkd(*arguments, "run.dir=run") == 0
    rows = history("run")
    assert [float(row["mine"]) for row in rows] == [0.0, 1.0, 2.0]
    assert [row["now and then"] for row in rows] == ["nan", "7.0", "nan"]
    with monkeypatch.context() as patch:
        interrupted(patch, 1, saved=True)
        assert mixkd(*arguments, "run.dir=resumed") == 130
    assert mixkd(*arguments, "run.dir=resumed") == 0
    assert history("resumed") == rows


def test_a_logger_that_begins_anew_gets_the_epochs_before(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        *TRAIN,
        f"logger.keeps.factory={HERE}.Keeps",
        "trainer.max_epochs=3",
        "run.dir=run",
    ]
    monkeypatch.setattr(Keeps, "runs", [])
    with monkeypatch.context() as patch:
        interrupted(patch, 1, saved=True)
        assert mixkd(*arguments) == 130
    assert mixkd(*arguments) == 0
    first, second = Keeps.runs
    (step, *_), steps = first, [int(row["step"]) - 1 for row in history("run")]
    assert step == steps[0]
    for step in steps:
        assert {"train/loss", "val/ece"} <= second[step]


def test_metrics_are_measured_by_name_on_each_split(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Margin, "made", 0)
    metrics = [
        f"metrics.margin.factory={HERE}.Margin", "metrics.margin.args.factor=2",
        "metrics.f1._target_=torchmetrics.F1Score", "metrics.f1.average=macro",
    ]  # fmt: skip
    assert mixkd(*TRAIN, *metrics, "trainer.max_epochs=1", "run.dir=run") == 0
    assert Margin.made == 1
    trained = json.loads(Path("run/metrics.json").read_text())
    assert trained["test/margin_n"] == 40
    assert float(history("run")[0]["val/margin_mean"]) == trained["val/margin_mean"]
    words = ["splits=[val,test]", "network.run=run", "run.dir=again"]
    assert mixkd("evaluate", *metrics, *words) == 0
    again = json.loads(Path("again/metrics.json").read_text())
    for key in ("test/margin_mean", "test/f1", "val/margin_mean", "val/f1"):
        assert again[key] == pytest.approx(trained[key], rel=1e-5), key


def test_a_logger_gets_a_folder_of_the_run(mixkd: Mixkd) -> None:
    logger = [f"logger.mine._target_={LIGHTNING}.loggers.CSVLogger", "logger.mine.version=one"]
    corrupted = ["callbacks.corruption.every_n_epochs=1", "callbacks.corruption.names=[fog]"]
    assert mixkd(*TRAIN, *logger, *corrupted, "trainer.max_epochs=1", "run.dir=run") == 0
    with open("run/loggers/mine/run/one/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = history("run")
    key = "corruption/val/fog/3/accuracy"
    logged = [float(line[key]) for line in rows if line[key]]
    assert logged == pytest.approx([float(row[key])], rel=1e-5)
    assert any(line.get("final/test/ece") for line in rows)
    assert Path("run/figures/corruption-training.svg").is_file()
    assert mixkd(*TRAIN, "trainer.max_epochs=1", "run.dir=run", "run.force=true") == 0
    assert not Path("run/loggers").exists()


@pytest.mark.parametrize(
    ("words", "message", "is_made"),
    [
        ([f"logger.mine._target_={LIGHTNING}.loggers.MLFlowLogger"], "logger.mine: ", True),
        ([f"logger.mine.factory={HERE}.no_logger"], "logger.mine.factory: ", True),
        ([f"callbacks.mine.factory={HERE}.Unreadable"], "callbacks: the state of Unreadable", True),
        ([f"callbacks.mine.factory={HERE}.no_logger"], "callbacks.mine.factory: ", False),
        ([f"metrics.mine.factory={HERE}.Count"], "metrics.mine: got Count, which is no Met", False),
        (["metrics.mine._target_=torchmetrics.F1Score", "metrics.mine.average=none"],
         "metrics.mine: compute gives Tensor [10]; takes a number", False),
        ([*STOP[:1], "callbacks.stop.monitor=val/acuracy"],
         "callbacks.stop: got monitor='val/acuracy' (did you mean val/accuracy?); takes lr, "
         "train/ce, train/loss, val/accuracy, val/brier", True),
        ([*KEEP[:1], "callbacks.keep.monitor=nothing"],
         "callbacks.keep: got monitor='nothing'; takes lr, train/ce, ", True),
        ([f"callbacks.mine.factory={HERE}.Looks"],
         "callbacks.mine: fails: KeyError: 'val/f1'; the metrics are val/accuracy, val/br", True),
        (["callbacks.corruption.every_n_epochs=1", "callbacks.corruption.names=[foggy]"],
         "callbacks.corruption: names: got 'foggy'", False),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_message(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str], words: list[str], message: str, is_made: bool
) -> None:
    assert mixkd(*TRAIN, *words, "trainer.max_epochs=1", "run.dir=run") == 2
    captured = capsys.readouterr().err
    assert message in captured
    assert "Traceback" not in captured
    assert Path("run").exists() == is_made
