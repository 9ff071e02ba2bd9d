"""An analysis is a file of mixkd/evaluation/ and one of conf/analysis/: nothing else names it."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

ANALYSIS = '''
"""How bright the test images are, and how many of them a network takes for one class."""

from mixkd.config.analyses import AnalysisConfig
from mixkd.config.fields import Count
from mixkd.errors import UserError
from mixkd.evaluation.analysis import Analysis


class ToyConfig(AnalysisConfig):
    """Brightness."""

    prefix = "toy/"
    files = ("toy.csv",)

    label: Count
    passes: Count

    def identity(self, keys):
        return {"label": self.label}  # more passes are no other experiment

    def forward_images(self, sizes):
        return self.passes * sizes["test"]


class ToyAnalysis(Analysis[ToyConfig]):
    """Counts."""

    def prepare(self, cfg, splits):
        if self.section.label >= len(splits.classes):
            raise UserError.of("toy.label", "no such class")

    def measure(self, context):
        from mixkd.evaluation.one_pass import run_pass
        from mixkd.files.writing import write_csv

        network, seen = context.networks[context.evaluated], []

        def update(batch):
            taken = network(batch.view).argmax(dim=1) == self.section.label
            seen.append((float(batch.view.mean()), int(taken.sum())))

        context.data.tested = "test"
        run_pass(context.trainer, context.data, [network], update, lambda: None)
        if context.writes:
            write_csv(context.run.path / "toy.csv", [{"brightness": b, "n": n} for b, n in seen])
        taken = sum(n for _, n in seen)
        return {"toy/brightness": sum(b for b, _ in seen) / len(seen), "toy/network/taken": taken}
'''
KEYS = """# toy=true: how bright the images are
enabled: false           # toy=true does it, or any key below
label: 3                 # the class that is counted
passes: 2                # for what it costs
"""
PROGRAM = """
import contextlib, io, json, sys
from mixkd.cli import main

said = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["mixkd", *words]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as exited:
            status = exited.code
    said.append([status, out.getvalue(), err.getvalue()])
print(json.dumps(said))
"""
SMALL = ["network=resnet20", "network.args.depth=8", "data.limit_train=80", "data.limit_test=61"]
TRAIN = ["finetune", *SMALL, "data.batch_size=16", "trainer.max_epochs=1", "callbacks=none"]
EVALUATE = ["evaluate", "network.run=runs/one", "trainer.accelerator=cpu"]
PLAN = ["reproduce", "toys", "scale=smoke", "seeds=0", "plan=true"]
ARTEFACT = '''
"""A toy artefact."""


def runs(study):
    for student in study.from_labels("cifar100", "erm"):
        yield study.evaluated(student, "toy")


def render(*_):
    return ()
'''


@pytest.fixture
def toy(tmp_path: Path) -> Callable[..., list[tuple[int, str, str]]]:
    """Return a function that runs commands of a checkout with the two files more."""
    checkout = tmp_path / "checkout"
    for name in ("mixkd", "conf", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    (checkout / "mixkd" / "evaluation" / "toy.py").write_text(ANALYSIS)
    (checkout / "conf" / "analysis" / "toy.yaml").write_text(KEYS)
    (checkout / "experiments" / "toys.py").write_text(ARTEFACT)  # not needed but for a plan

    def run(*commands: list[str]) -> list[tuple[int, str, str]]:
        process = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(commands)],
            env={"PYTHONPATH": str(checkout), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
                 "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert process.returncode == 0, process.stderr
        return [(status, out, err) for status, out, err in json.loads(process.stdout)]

    return run


def test_a_new_analysis_is_two_files(toy: Callable[..., list[tuple[int, str, str]]]) -> None:
    job, trained, measured, again, wrong, typed, reported, *plans = toy(
        ["evaluate", "--cfg", "job", "toy.label=2"],
        [*TRAIN, "run.dir=runs/one"],
        [*EVALUATE, "toy=true", "data.cache_dir=cache"],
        [*EVALUATE, "toy.passes=7", "data.cache_dir=cache"],
        [*EVALUATE, "toy.label=10", "run.dir=wrong"],
        [*EVALUATE, "toy.label=none", "toy.pases=1"],
        ["report", "out=report"],
        PLAN,
        [*PLAN, "toy.passes=100000000"],
    )
    keys = yaml.safe_load(job[1])
    assert keys["toy"] == {"enabled": True, "label": 2, "passes": 2}
    assert list(keys).index("toy") == list(keys).index("features") + 1

    assert (trained[0], measured[0]) == (0, 0), trained[2] + measured[2]
    (run,) = Path("runs/digits/evaluate").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    assert 0 < metrics["toy/brightness"] < 1
    assert 0 <= metrics["toy/network/taken"] <= 61
    assert (run / "toy.csv").is_file()
    assert yaml.safe_load((run / "config.yaml").read_text())["toy"]["enabled"] is True
    assert "finished before" in again[1]  # what costs more time names no other experiment

    assert (wrong[0], "toy.label: no such class" in wrong[2]) == (2, True), wrong[2]
    assert not Path("wrong").exists()
    assert typed[0] == 2
    assert "toy.label: got 'none'; takes a whole number, 1 or more" in typed[2]
    assert "toy.pases: no such key (did you mean passes?)" in typed[2]

    assert reported[0] == 0, reported[2]
    with open("report/analysis_toy.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["toy_brightness"]) == pytest.approx(metrics["toy/brightness"])
    assert float(row["toy_taken"]) == metrics["toy/network/taken"]
    assert "Analysis: toy" in Path("report/index.html").read_text()

    assert [plan[0] for plan in plans] == [0, 0], plans
    lines = [re.search(r"^toys +(\d+) +(\d+) +([\d.]+)", plan[1], re.MULTILINE) for plan in plans]
    cheap, dear = (line.groups() for line in lines if line is not None)
    assert cheap[:2] == dear[:2] == ("2", "2")  # a training, and what measures it
    assert float(dear[2]) > float(cheap[2]) + 1  # 10,000 times as many hours as the training
