"""`-m sweep.trials=N`: a search by Optuna."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from mixkd.errors import UserError
from mixkd.launchers import search
from mixkd.launchers.job import Job, Outcome
from mixkd.launchers.search import open_study, run_search, space_of

OVERRIDES = ["network=resnet20", "sweep.trials=6", "optimizer.lr=tag(log,interval(0.001,0.1))",
         "method=erm,mixup"]  # fmt: skip


def test_overrides_become_a_search_space() -> None:
    overrides = [
        *OVERRIDES,
        "seed=range(3)",
        "trainer.max_epochs=int(interval(1,8))",
        "data.root='a,b'",
    ]
    fixed, searched = space_of("finetune", overrides)
    assert fixed == ["network=resnet20", "sweep.trials=6", "data.root='a,b'"]
    assert searched == {
        "optimizer.lr": FloatDistribution(0.001, 0.1, log=True),
        "method": CategoricalDistribution(["erm", "mixup"]),
        "seed": CategoricalDistribution(["0", "1", "2"]),
        "trainer.max_epochs": IntDistribution(1, 8),
    }
    with pytest.raises(UserError, match="nothing is searched"):
        space_of("finetune", ["seed=1"])


Rows = list[tuple[Job, Outcome | None]]
stop: dict[str, int] = {}  # at which job the user interrupts


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Have no job run: accuracy is best at a high rate, ECE at a low one; mixup fails."""
    tried: list[tuple[str, ...]] = []
    stop.clear()

    def carry_out(plan, settings, plan_again) -> Rows:  # type: ignore[no-untyped-def]
        rows: Rows = []
        for planned in plan:
            overrides = planned.job.overrides
            tried.append(overrides)
            rate = float(
                next(w for w in overrides if w.startswith("optimizer.lr=")).partition("=")[2]
            )
            outcome = Outcome("finished", "run", {"val/accuracy": rate, "val/ece": rate**2})
            if "method=mixup" in overrides:
                outcome = Outcome("failed", text="failed")
            if len(tried) == stop.get("at"):
                outcome = Outcome("interrupted")
            rows.append((planned.job, outcome))
        return rows

    monkeypatch.setattr(search, "carry_out", carry_out)
    return tried


def test_trials_are_counted_kept_and_continued(jobs: list[tuple[str, ...]]) -> None:
    status = run_search("finetune", OVERRIDES)
    failed = [job for job in jobs if "method=mixup" in job]
    assert len(jobs) == 6 + len(failed)  # those that fail do not count
    assert status == (1 if failed else 0)
    count = len(jobs)
    (table,) = Path("runs/.sweep").glob("finetune-*.csv")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    # The better in accuracy, the worse in ECE: all are on the front.
    assert [row["front"] for row in rows] == ["*"] * 6
    assert {row["method"] for row in rows} == {"erm"}
    assert all(row["run"] == "run" for row in rows)
    assert run_search("finetune", OVERRIDES) == 0  # there are enough
    assert len(jobs) == count


def test_other_objectives_and_what_is_refused(
    jobs: list[tuple[str, ...]],
    mixkd: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = [*OVERRIDES[:3], "sweep.objectives=[accuracy]"]
    assert mixkd("finetune", "-m", *overrides) == 0
    table = capsys.readouterr().err
    assert table.count("*") == 1  # one objective, one best
    assert mixkd("evaluate", "-m", "network.run=x", "sweep.trials=2") == 2
    assert "`mixkd evaluate` trains nothing" in capsys.readouterr().err
    assert mixkd("finetune", "-m", *overrides[:2], "sweep.objectives=[acuracy]", "seed=0,1") == 2
    assert "sweep.objectives[0]: got 'acuracy'" in capsys.readouterr().err


def test_an_interrupted_trial_is_continued(jobs: list[tuple[str, ...]]) -> None:
    overrides = [*OVERRIDES[:3], "sweep.trials=3"]
    stop["at"] = 2
    assert run_search("finetune", overrides) == 130
    interrupted = jobs[-1]
    assert len(jobs) == 2
    stop.clear()
    assert run_search("finetune", overrides) == 0
    assert jobs[2] == interrupted
    assert len(jobs) == 4
    assert run_search("finetune", [*overrides[:-1], "sweep.trials=4"]) == 0  # one more of the same
    assert len(jobs) == 5


def distinct_trials(jobs: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return what was tried, in order, each once: an interrupted job is run again."""
    return list(dict.fromkeys(job[-1:] for job in jobs))


@pytest.mark.parametrize(("parallel", "job_number"), [(1, 12), (2, 12)])
def test_an_interrupted_search_chooses_what_a_whole_one_does(
    jobs: list[tuple[str, ...]], parallel: int, job_number: int
) -> None:
    """Past the first ten trials, which are drawn without looking at others."""
    overrides = [*OVERRIDES[:1], OVERRIDES[2], f"launcher.parallel={parallel}"]
    search_overrides = [*overrides, "sweep.trials=13"]
    run_search("finetune", [*search_overrides, "run.root=whole"])
    uninterrupted = distinct_trials(jobs)
    jobs.clear()
    stop["at"] = job_number
    assert run_search("finetune", [*search_overrides, "run.root=resumed"]) == 130
    stop.clear()
    assert run_search("finetune", [*search_overrides, "run.root=resumed"]) == 0
    assert distinct_trials(jobs) == uninterrupted
    assert len(uninterrupted) == 13
    (journal,) = Path("resumed/.sweep").glob("*.log")
    study = open_study(journal, journal.stem, ["accuracy", "ece"])
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 13
    jobs.clear()
    for trials in ("sweep.trials=11", "sweep.trials=13"):
        assert run_search("finetune", [*overrides, trials, "run.root=grown"]) == 0
    assert distinct_trials(jobs) == uninterrupted


def test_a_search_that_was_killed_while_it_wrote_goes_on(jobs: list[tuple[str, ...]]) -> None:
    overrides = [*OVERRIDES[:1], OVERRIDES[2], "sweep.trials=3"]
    assert run_search("finetune", overrides) == 0
    (journal,) = Path("runs/.sweep").glob("*.log")
    content = journal.read_bytes()
    lines = content.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])  # half of its last line
    Path(f"{journal}.lock").symlink_to(journal)  # Optuna's own lock, which nobody holds
    assert run_search("finetune", overrides) == 0
    assert len(distinct_trials(jobs)) == 3
    journal.write_bytes(b"nothing\n" + content)
    with pytest.raises(UserError, match=r"sweep.trials: .*\.log is damaged"):
        run_search("finetune", overrides)
