"""A job that several commands need: the second waits for the first, or takes over."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from mixkd.errors import InUse
from mixkd.launchers import job
from mixkd.launchers.job import run_job
from mixkd.request import request
from mixkd.runs.run import Run

OVERRIDES = ["network=resnet20", "trainer.max_epochs=1"]
METRICS = {"test/accuracy": 1.0}


@pytest.fixture
def run() -> Run:
    return Run(request("finetune", OVERRIDES))


class Task:
    """Stands for training: how often it began, and what it raises the first times."""

    def __init__(self, *errors: Exception) -> None:
        self.began, self.errors = 0, list(errors)

    def finetune(self, cfg: object, run: Run) -> dict[str, float]:
        self.began += 1
        if self.errors:
            raise self.errors.pop(0)
        return METRICS


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    task = Task()
    monkeypatch.setattr(job, "_imported", lambda name: SimpleNamespace(finetune=task.finetune))
    return task


@pytest.fixture
def hold_run(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Hold a run as the process that makes it does, until whoever waits has slept once."""

    def hold(action: Callable[[Path], object]) -> None:
        def sleep(seconds: float) -> None:
            action(run.path)
            lock.release()

        monkeypatch.setattr("mixkd.runs.status.time", SimpleNamespace(sleep=sleep))
        lock.acquire()
        (run.path / "status.json").write_text(json.dumps({"state": "running", "pid": 123}))
        (run.path / "provenance.json").write_text(json.dumps({"experiment": run.experiment}))

    run.path.mkdir(parents=True)
    lock = FileLock(run.path / ".lock")
    return hold


def finish(path: Path) -> None:
    (path / "metrics.json").write_text(json.dumps(METRICS))
    (path / "status.json").write_text(json.dumps({"state": "finished"}))


def test_what_another_process_makes_is_waited_for_and_taken(
    run: Run, task: Task, hold_run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    hold_run(finish)
    outcome = run_job("finetune", OVERRIDES, waits=True)
    assert (outcome.state, outcome.metrics, task.began) == ("skipped", METRICS, 0)
    message = capsys.readouterr().err
    assert message.splitlines() == [f"waiting for {run.path}, which process 123 makes"]


def test_what_another_process_leaves_unfinished_is_made(
    task: Task, hold_run: Callable[..., None]
) -> None:
    hold_run(lambda path: None)
    outcome = run_job("finetune", OVERRIDES, waits=True)
    assert (outcome.state, task.began) == ("finished", 1)


def test_who_starts_a_moment_too_late_waits_again(task: Task) -> None:
    task.errors = [InUse.of("run.dir", "in use")]
    assert run_job("finetune", OVERRIDES, waits=True).state == "finished"
    assert task.began == 2
    task.errors = [InUse.of("run.dir", "in use")]
    refused = run_job("finetune", OVERRIDES)
    assert (refused.state, task.began) == ("refused", 3)
    assert "in use" in refused.text
