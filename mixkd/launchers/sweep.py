"""`-m`: a job for each combination of values; what has finished is skipped, what fails is told."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from mixkd.compose import compose, diagnose, expand
from mixkd.config import EvaluateLogits, Slurm, SweepSettings, sweep_settings, validate
from mixkd.errors import UserError
from mixkd.launchers.job import Outcome, explain
from mixkd.launchers.local import Job, run_jobs
from mixkd.run import Run


@dataclass(frozen=True)
class Planned:
    """A job of a sweep: how it ended already, or what it needs before it can run."""

    job: Job
    outcome: Outcome | None = None
    teacher: tuple[str, ...] = ()


def run_sweep(command: str, words: Sequence[str]) -> int:
    """Run every job of a sweep; print a table of how they ended; return the worst exit status.

    Raises:
        UserError: if a word is no override, or the same sweep is running.
    """
    combinations = jobs_of(command, words)
    name = sweep_name(command, words)
    plan = [
        _planned(command, own, name, k, len(combinations)) for k, own in enumerate(combinations)
    ]
    if all(planned.outcome is not None and planned.outcome.status for planned in plan):
        return _all_refused(command, plan)
    settings = _settings(command, combinations)
    lock = FileLock(Path(settings.run.root) / ".sweep" / f"{name}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError.of("-m", f"the same sweep is running ({lock.lock_file} is held)") from None
    try:
        return _run(command, combinations, plan, name, settings)
    finally:
        lock.release()


def _settings(command: str, combinations: Sequence[tuple[str, ...]]) -> SweepSettings:
    """Return how the jobs are to be launched, as the first of them that can be composed says."""
    for own in combinations:
        try:
            cfg = compose(command, own)
        except UserError:
            continue
        return sweep_settings(cfg)
    raise AssertionError("a job that was planned can be composed")


def jobs_of(command: str, words: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the overrides of each job: the product of the values of every word.

    Raises:
        UserError: for what is no override.
    """
    choices: list[list[str]] = []
    parser = OverridesParser.create()
    for word in words:
        try:
            parsed = parser.parse_override(expand(command, [word], sweep=True)[0])
            if parsed.is_sweep_override():
                key = word.partition("=")[0]
                choices.append([f"{key}={value}" for value in parsed.sweep_string_iterator()])
            else:
                choices.append([word])
        except HydraException as error:
            raise UserError(*diagnose(command, words, error)) from error
    return list(product(*choices))


def sweep_name(command: str, words: Sequence[str]) -> str:
    """Return the name of a sweep, the same for the same command line."""
    key = json.dumps([command, *sorted(words)]).encode()
    return f"{command}-{hashlib.sha256(key).hexdigest()[:8]}"


def _planned(command: str, own: tuple[str, ...], name: str, number: int, count: int) -> Planned:
    job = Job(command, own, label=f"[{number + 1}/{count}] ", more=(f"sweep.name={name}",))
    cfg = None
    try:
        cfg = compose(command, [*own, *job.more])
        config = validate(cfg)
        devices = 1 if isinstance(config, EvaluateLogits) else config.trainer.devices
        run = Run(config)
        job = replace(job, devices=devices, path=str(run.path))
        metrics = run.finished_metrics()
        outcome = None if metrics is None else Outcome("skipped", job.path, metrics)
        return Planned(job, outcome)
    except UserError as error:
        remedy = error.problems[0].remedy
        if cfg is not None and len(error.problems) == 1 and remedy and cfg.teacher.auto:
            return Planned(job, teacher=remedy)
        return Planned(job, Outcome("refused", text=explain(command, error)))


def _run(
    command: str,
    combinations: list[tuple[str, ...]],
    rows: list[Planned],
    name: str,
    settings: SweepSettings,
) -> int:
    count = len(combinations)
    if teachers := list(dict.fromkeys(planned.teacher for planned in rows if planned.teacher)):
        jobs = [
            Job("finetune", words, label=f"[teacher {k}/{len(teachers)}] ")
            for k, words in enumerate(teachers, start=1)
        ]
        _launch(jobs, settings)
        rows = [_planned(command, own, name, k, count) for k, own in enumerate(combinations)]
    seen: dict[str, int] = {}
    for k, planned in enumerate(rows):
        if planned.outcome is None and planned.job.path in seen:
            text = f"mixkd {command}: the same experiment as job {seen[planned.job.path] + 1}"
            rows[k] = replace(planned, outcome=Outcome("skipped", planned.job.path, text=text))
        seen.setdefault(planned.job.path, k)
    for planned in rows:
        if planned.outcome is not None and planned.outcome.text:
            _say(planned.job, planned.outcome)
    waiting = [k for k, planned in enumerate(rows) if planned.outcome is None]
    refused = any(planned.outcome is not None and planned.outcome.status for planned in rows)
    outcomes = [planned.outcome for planned in rows]
    if not (refused and settings.sweep.fail_fast):
        launched = _launch([rows[k].job for k in waiting], settings)
        for k, outcome in zip(waiting, launched, strict=True):
            outcomes[k] = outcome
    print(table([planned.job for planned in rows], outcomes), file=sys.stderr, flush=True)
    return max((1 if o is None else o.status for o in outcomes), default=0)


def _launch(jobs: Sequence[Job], settings: SweepSettings) -> list[Outcome | None]:
    def ended(number: int, outcome: Outcome, seconds: float) -> None:
        _say(jobs[number], outcome, f" after {seconds:.0f} s")

    launcher, fail_fast = settings.launcher, settings.sweep.fail_fast
    if isinstance(launcher, Slurm):
        from mixkd.launchers.slurm import submit_jobs

        return submit_jobs(jobs, launcher, Path(settings.run.root) / ".sweep", fail_fast, ended)
    return run_jobs(jobs, launcher.parallel, fail_fast, ended)


def _say(job: Job, outcome: Outcome, more: str = "") -> None:
    text = outcome.text or f"{outcome.state}{more}: {outcome.path}"
    for line in [*text.splitlines(), *([f"  {' '.join(job.words)}"] if outcome.status else [])]:
        print(f"{job.label}{line}", file=sys.stderr, flush=True)


def _all_refused(command: str, plan: list[Planned]) -> int:
    for text in dict.fromkeys(p.outcome.text for p in plan if p.outcome is not None):
        print(text, file=sys.stderr)
    print(f"mixkd {command}: none of {len(plan)} jobs can be run", file=sys.stderr)
    return 2


def table(jobs: Sequence[Job], outcomes: Sequence[Outcome | None]) -> str:
    """Return a line a job: how it ended, its accuracy and ECE or why it failed, and its words."""
    shared = set.intersection(*(set(job.words) for job in jobs)) if len(jobs) > 1 else set()
    lines = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        state = "not run" if outcome is None else outcome.state
        found = {} if outcome is None else outcome.metrics
        shown = [
            f"{k} {found[f'test/{k}']:.4f}" for k in ("accuracy", "ece") if f"test/{k}" in found
        ]
        told = "  ".join(shown) or ("" if outcome is None else outcome.reason)
        own = " ".join(word for word in job.words if word not in shared)
        lines.append((job.label.strip(), state, own, told))
    widths = [max(len(line[k]) for line in lines) for k in range(3)]
    states = [line[1] for line in lines]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    rows = (
        "  ".join([*(c.ljust(w) for c, w in zip(line[:3], widths, strict=True)), line[3]])
        for line in lines
    )
    return "\n".join([*(row.rstrip() for row in rows), counts])
