"""Doing what is missing of the runs of a study, those that others use first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mixkd.config.tasks import SweepSettings
from mixkd.console import say
from mixkd.errors import UserError
from mixkd.launchers.job import Job, Outcome
from mixkd.launchers.sweep import Planned, carry_out, plan_job, with_twins
from mixkd.reproduction.study import StudyRun

Done = dict[Any, Outcome]  # by StudyRun.job


@dataclass(frozen=True)
class RunStatus:
    """A run of a study and its job, which is None while runs that it uses are missing."""

    run: StudyRun
    planned: Planned | None

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished."""
        return self.planned is not None and _ended_well(self.planned.outcome)

    @property
    def path(self) -> str:
        """The run directory, or "" where that is not known yet."""
        return "" if self.planned is None else self.planned.job.path


def distinct(runs: Iterable[StudyRun]) -> list[StudyRun]:
    """Return each run once, with those that it uses, in the order in which they can be run."""
    by_job = {run.job: run for last in runs for run in last.with_those_before()}
    return sorted(by_job.values(), key=lambda run: run.depth)


def statuses(runs: Iterable[StudyRun], root: Path) -> list[RunStatus]:
    """Look at distinct runs, in the order in which they can be run, without running them."""
    by_job: dict[Any, RunStatus] = {}
    for run in runs:
        uses = {key: by_job[used.job] for key, used in run.uses}
        planned = None
        if all(used.is_finished for used in uses.values()):
            planned = _planned(run, {key: used.path for key, used in uses.items()}, root)
        by_job[run.job] = RunStatus(run, planned)
    return list(by_job.values())


def make(runs: Sequence[StudyRun], root: Path, name: str, settings: SweepSettings) -> Done:
    """Run what is missing; return how each run ended. What uses a run that failed is not run.

    Runs are distinct, in the order in which they can be run. One that is refused is told, and the
    others go on. `name` groups them in W&B.

    Raises:
        UserError: if none of the runs that are missing can be run.
    """
    done: Done = {}
    for depth in sorted({run.depth for run in runs}):
        layer = [run for run in runs if run.depth == depth]
        ready = [r for r in layer if all(_ended_well(done.get(used.job)) for _, used in r.uses)]
        done |= {run.job: _waiting(run, done) for run in layer if run not in ready}
        plan = []
        for number, run in enumerate(ready, start=1):
            paths = {key: done[used.job].path for key, used in run.uses}
            planned = _planned(run, paths, root, f"[{depth + 1}: {number}/{len(ready)}] ")
            # Another reproduction, or a user, may be at it: what it makes is taken.
            job = replace(planned.job, more=(f"sweep.name={name}",), waits=True)
            plan.append(replace(planned, job=job))
        plan = with_twins(plan)
        if not any(outcome.status == 0 for outcome in done.values()):
            _refuse_all(plan)  # nothing is lost
        missing = sum(p.outcome is None and p.twin is None for p in plan)
        say(f"stage {depth + 1}: {len(plan)} runs, {missing} to do")
        if not missing:
            outcomes = [p.outcome if p.twin is None else plan[p.twin].outcome for p in plan]
        else:
            outcomes = [outcome for _, outcome in carry_out(plan, settings, list)]
        for run, planned, outcome in zip(ready, plan, outcomes, strict=True):
            done[run.job] = outcome or Outcome("interrupted", planned.job.path, text="not run")
        states = {outcome.state for outcome in done.values()}
        if "interrupted" in states or (settings.sweep.fail_fast and "failed" in states):
            break
    return done


def _ended_well(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.state in ("finished", "skipped")


def _waiting(run: StudyRun, done: Done) -> Outcome:
    """Return the outcome of a run that is not run, as one that it uses has not finished."""
    states = {done[used.job].state for _, used in run.uses}
    if "submitted" in states:
        return Outcome("submitted", text="it uses a run that is queued; the same command goes on")
    return Outcome("failed", text="not run: it uses a run that failed")


def overrides_of(run: StudyRun, paths: Mapping[str, str], root: Path) -> tuple[str, ...]:
    """Return a run's overrides with the directories of the runs that it uses."""
    return (*run.overrides, *(f"{k}={p}" for k, p in paths.items()), f"run.root={root}")


def _planned(run: StudyRun, paths: Mapping[str, str], root: Path, label: str = "") -> Planned:
    return plan_job(Job(run.command, overrides_of(run, paths, root), label=label))


def _refuse_all(plan: Sequence[Planned]) -> None:
    """Raise what is wrong with the runs that are missing, if all of them are refused."""
    missing = [p.outcome for p in plan if p.outcome is None or p.outcome.state != "skipped"]
    texts = [outcome.text for outcome in missing if outcome is not None]
    if missing and len(texts) == len(missing):
        reasons = "\n".join(dict.fromkeys(texts))
        raise UserError.of("reproduce", f"none of {len(missing)} runs can be run:\n{reasons}")
