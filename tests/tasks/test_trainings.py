"""Tasks are functions of a configuration, as a notebook calls them, and make one run each."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from mixkd.config.tasks import DistillConfig, EvaluateConfig, FinetuneConfig
from mixkd.launchers.job import run_job
from mixkd.request import accept_export, compose, request
from mixkd.runs.run import Run
from mixkd.tasks.distill import distill
from mixkd.tasks.evaluate import evaluate
from mixkd.tasks.export import export
from mixkd.tasks.finetune import finetune

pytestmark = pytest.mark.integration

SMALL = ["network=resnet20", "network.args.depth=8"]
STUDENT = ["student=resnet20", "student.args.depth=8"]
TEACHER = "runs/imagefolder/finetune"


@pytest.fixture
def data(image_folder: Path) -> list[str]:
    return ["data=imagefolder", f"data.root={image_folder}", "data.batch_size=16",
            "trainer.max_epochs=1", "callbacks=none"]  # fmt: skip


@pytest.fixture
def runs_made(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    runs: list[Run] = []
    original = Run.__init__

    def recorded(self: Run, *arguments: Any) -> None:
        runs.append(self)
        original(self, *arguments)

    monkeypatch.setattr(Run, "__init__", recorded)
    return runs


def test_a_process_group_of_one_is_closed(data: list[str]) -> None:
    before = dict(os.environ)
    for seed in (0, 1):
        config = request("finetune", [*data, *SMALL, "trainer.strategy=ddp", f"seed={seed}"])
        assert isinstance(config, FinetuneConfig)
        assert "test/ece" in finetune(config)
        assert not torch.distributed.is_initialized()
        assert {name for name in os.environ if "RANK" in name or "MASTER" in name} <= before.keys()


def test_a_task_takes_a_configuration_and_returns_metrics(
    data: list[str], runs_made: list[Run]
) -> None:
    config = request("finetune", [*data, *SMALL])
    assert isinstance(config, FinetuneConfig)
    metrics = finetune(config)
    (teacher,) = Path(TEACHER).iterdir()
    assert json.loads((teacher / "metrics.json").read_text()) == metrics
    assert finetune(config) == metrics  # of the finished run

    config = request("distill", [*data, *STUDENT, f"teacher.run={teacher}"])
    assert isinstance(config, DistillConfig)
    metrics = distill(config)
    student = runs_made[-1].path
    config = request("evaluate", [f"network.run={student}"])
    assert isinstance(config, EvaluateConfig)
    evaluation = evaluate(config)
    assert evaluation["test/accuracy"] == pytest.approx(metrics["test/accuracy"])
    assert len(runs_made) == 4
    assert "out: " in export(
        accept_export(compose("export", [f"network.run={student}", "out=out"]))
    )


@pytest.mark.parametrize("command", ["finetune", "evaluate"])
def test_a_job_makes_its_run_once(command: str, data: list[str], runs_made: list[Run]) -> None:
    overrides = [*data, *SMALL]
    if command == "evaluate":
        assert run_job("finetune", [*overrides, "run.dir=teacher"]).status == 0
        overrides = ["network.run=teacher"]
        runs_made.clear()
    outcome = run_job(command, overrides)
    assert outcome.state == "finished"
    (run,) = runs_made
    assert outcome.path == str(run.path)
    assert run_job(command, overrides).state == "skipped"
    assert len(runs_made) == 2
