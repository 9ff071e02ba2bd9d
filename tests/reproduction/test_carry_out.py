"""Carrying out a study with real runs: failures, what depends on them, and twins."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.paper.study import PaperStudy
from mixkd.errors import UserError
from mixkd.launchers.job import Job, Outcome
from mixkd.launchers.sweep import Planned, settings_of, with_twins, worst
from mixkd.reproduction.carry_out import _waiting, distinct, make, statuses
from mixkd.reproduction.scale import load_scale
from mixkd.reproduction.study import StudyRun

C = "cifar10"

# `bad` diverges while it trains; `wrong` cannot even be asked for.
SCALE = """
about: Three teachers.
seeds: [0]
datasets:
  cifar10:
    name: digits
    words: [data=digits, data.size=16, data.resize=null, data.limit_train=100, data.batch_size=50]
teachers:
  good: {name: Good, words: [network=resnet20, network.args.depth=8]}
  bad: {name: Bad, words: [network=resnet20, network.args.depth=8, optimizer.lr=1.0e+12]}
  wrong: {name: Wrong, words: [network=resnet20, trainer.max_epochs=0]}
student: {name: Student, network: resnet20, words: [args.depth=8, pretrained=false]}
teaching: &short [trainer.max_epochs=1, callbacks=none, trainer.accelerator=cpu]
learning: *short
vicinal: [vicinal.n_pairs=10, vicinal.lambdas=3, trainer.accelerator=cpu]
"""


def study_runs() -> dict[str, StudyRun]:
    """Return the runs of a student of each teacher, and an evaluation of each, by name."""
    study = PaperStudy(load_scale("scale.yaml"))
    runs = {}
    for name in ("good", "bad", "wrong"):
        runs[name] = study.teacher(C, name)
        (runs[f"of {name}"],) = study.distilled(C, name)
        runs[f"beside {name}"] = study.evaluated(runs[f"of {name}"], "vicinal", runs[name])
    # Other words for the same experiment.
    overrides = (*runs["of good"].overrides, "trainer.accumulate=1")
    runs["twin"] = replace(runs["of good"], overrides=overrides)
    ordered = distinct(runs.values())
    names = {run.job: name for name, run in runs.items()}
    return {names[run.job]: run for run in ordered}


def make_all() -> tuple[dict[str, list[Any]], int]:
    """Make the runs; return state, path, text and time of the end of each, and the exit status."""
    runs = study_runs()
    settings = settings_of("finetune", [("launcher.parallel=2", "run.root=runs")])
    done = make(list(runs.values()), Path("runs"), "reproduce-test", settings)
    ends = {}
    for name, run in runs.items():
        outcome = done[run.job]
        status = Path(outcome.path) / "status.json"
        time = status.stat().st_mtime_ns if outcome.path else 0
        ends[name] = [outcome.state, outcome.path, outcome.text, time]
    return ends, worst(done.values())


@pytest.fixture
def scale() -> None:
    Path("scale.yaml").write_text(SCALE)


@pytest.mark.integration
@pytest.mark.usefixtures("scale")
def test_what_uses_a_failed_run_is_not_run_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, _ = make_all()
    second, status = make_all()
    states = {name: state for name, (state, *_) in first.items()}
    assert states == {
        "good": "finished", "of good": "finished", "twin": "skipped", "beside good": "finished",
        "bad": "failed", "of bad": "failed", "beside bad": "failed",
        "wrong": "refused", "of wrong": "failed", "beside wrong": "failed",
    }  # fmt: skip
    assert status == 2  # a refusal is worse than a failure

    # Each says why.
    assert "the network's logits are not finite" in first["bad"][2]
    assert "trainer.max_epochs: got 0" in first["wrong"][2]
    for name in ("of bad", "beside bad", "of wrong", "beside wrong"):
        assert first[name][1:3] == ["", "not run: it uses a run that failed"]
    assert sorted(path.parent.name for path in Path("runs").glob("*/*/*")) == [
        "distill", "evaluate", "finetune", "finetune",
    ]  # fmt: skip

    # A run has the directories of those that it uses, and the reproduction's name.
    config = yaml.safe_load((Path(first["beside good"][1]) / "config.yaml").read_text())
    assert config["network"]["run"] == first["of good"][1] == first["twin"][1]
    assert config["teacher"]["run"] == first["good"][1]
    assert config["sweep"]["name"] == "reproduce-test"

    # The second time what has ended well is let be, and what failed is tried again.
    ended_well = ["good", "of good", "twin", "beside good"]
    assert [second[name] for name in ended_well] == [
        ["skipped", *first[name][1:]] for name in ended_well
    ]
    assert second["bad"][0] == "failed"
    assert second["bad"][3] > first["bad"][3]
    errors = capsys.readouterr().err
    assert [line for line in errors.splitlines() if line.startswith("stage")] == [
        "stage 1: 3 runs, 2 to do", "stage 2: 2 runs, 1 to do", "stage 3: 1 runs, 1 to do",
        "stage 1: 3 runs, 1 to do", "stage 2: 2 runs, 0 to do", "stage 3: 1 runs, 0 to do",
    ]  # fmt: skip

    # Looking at them finds the same, and where what has not been run would be.
    runs = study_runs()
    status_of = dict(zip(runs, statuses(runs.values(), Path("runs")), strict=True))
    assert [name for name, status in status_of.items() if status.is_finished] == [
        "good", "of good", "twin", "beside good",
    ]  # fmt: skip
    assert {name: status_of[name].path for name in ended_well} == {
        name: first[name][1] for name in ended_well
    }
    assert status_of["bad"].path == first["bad"][1]
    assert status_of["of bad"].planned is None
    assert status_of["of bad"].path == ""


@pytest.mark.usefixtures("scale")
def test_runs_of_which_none_can_be_composed_are_refused() -> None:
    runs = [run for name, run in study_runs().items() if name.endswith("wrong")]
    with pytest.raises(UserError, match=r"trainer\.max_epochs: got 0"):
        make(runs, Path("runs"), "reproduce-test", settings_of("finetune", [()]))
    assert not list(Path("runs").glob("*"))


@pytest.mark.usefixtures("scale")
def test_before_anything_is_run_only_what_uses_nothing_has_a_place() -> None:
    runs = study_runs()
    status_of = dict(zip(runs, statuses(runs.values(), Path("runs")), strict=True))
    assert [name for name, status in status_of.items() if status.path] == ["good", "bad"]
    assert not any(status.is_finished for status in status_of.values())


@pytest.mark.usefixtures("scale")
def test_what_uses_a_run_that_is_queued_waits_for_it() -> None:
    runs = study_runs()
    outcomes: dict[Any, Outcome] = {runs["good"].job: Outcome("submitted", "runs/x")}
    waiting = _waiting(runs["of good"], outcomes)
    assert (waiting.state, waiting.status) == ("submitted", 0)
    assert waiting.text == "it uses a run that is queued; the same command goes on"
    outcomes[runs["good"].job] = Outcome("refused", "runs/x")
    assert _waiting(runs["of good"], outcomes).state == "failed"


def test_runs_without_a_place_are_no_twins() -> None:
    plan = [Planned(Job("finetune", (str(n),), path=path)) for n, path in enumerate("aba")]
    plan += [Planned(Job("finetune", (str(n),))) for n in range(2)]
    assert [planned.twin for planned in with_twins(plan)] == [None, None, 0, None, None]
