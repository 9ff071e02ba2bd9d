"""`-m`: a job for each combination of values; what has finished is skipped, what fails is told."""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep
from hydra.errors import HydraException
from tabulate import tabulate

from mixkd.config.compose import expand
from mixkd.config.launcher import SlurmConfig
from mixkd.config.tasks import EvaluateLogitsConfig, SweepSettings
from mixkd.config.validation import sweep_settings
from mixkd.console import tell
from mixkd.data.contents import listed_once
from mixkd.errors import UserError
from mixkd.launchers.job import Job, Outcome, explain, interrupted, missing_teacher
from mixkd.launchers.local import run_jobs
from mixkd.redact import redact
from mixkd.request import accept, compose, refused
from mixkd.runs.identity import lacks_data
from mixkd.runs.run import Run

MOST_JOBS = 10_000  # of a sweep


@dataclass(frozen=True)
class Planned:
    """A job, and what is known of it before it runs."""

    job: Job
    outcome: Outcome | None = None  # where it has ended already
    teacher: tuple[str, ...] = ()  # the overrides of the finetune run that has to be made first
    experiment: str = ""
    twin: int | None = None  # the number, in its plan, of an earlier job of the same experiment


@listed_once()
def run_sweep(command: str, overrides: Sequence[str]) -> int:
    """Run every job of a sweep; print a table of how they ended; return the worst exit status."""
    combinations, name = jobs_of(command, overrides), sweep_name(command, overrides)
    plan = plan_jobs(command, combinations, name)
    refusals = [p.outcome.text for p in plan if p.outcome is not None and p.outcome.status]
    if len(refusals) == len(plan):
        summary = f"mixkd {command}: none of {len(plan)} jobs can be run"
        tell("\n".join([*dict.fromkeys(refusals), summary]), sys.stderr)
        return 2
    settings = settings_of(command, combinations)
    if settings.sweep.trials is not None:  # of a preset
        from mixkd.launchers.search import run_search

        return run_search(command, overrides)
    with held(Path(settings.run.root), name):
        rows = carry_out(plan, settings, lambda: plan_jobs(command, combinations, name))
    tell(table(rows), sys.stderr)
    return worst(outcome for _, outcome in rows)


def worst(outcomes: Iterable[Outcome | None]) -> int:
    """Return the worst exit status: of failures, 1 for jobs not run; else of interruptions."""
    statuses = {1 if outcome is None else outcome.status for outcome in outcomes}
    return max(statuses - {130}, default=0) or (130 if 130 in statuses else 0)


@contextmanager
def held(root: Path, name: str, key: str = "-m") -> Iterator[None]:
    """Hold a sweep with runs in `root`; refuse one, by its key, that a living process holds."""
    path = root / ".sweep" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        kind = "sweep" if key == "-m" else "reproduction"
        raise UserError.of(key, f"the same {kind} is running ({path} is held)") from None
    try:
        yield
    finally:
        lock.release()


def settings_of(command: str, combinations: Sequence[tuple[str, ...]]) -> SweepSettings:
    """Return how the jobs are to be launched, as the first of them that can be composed says."""
    for overrides in combinations:
        try:
            cfg = compose(command, overrides)
        except UserError:
            continue
        return sweep_settings(cfg)
    raise UserError.of("-m", "none of the jobs can be composed")


def jobs_of(command: str, overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the overrides of each job: the product of the values of all keys."""
    choices: list[list[str]] = []
    parser = OverridesParser.create()
    for override in overrides:
        try:
            parsed = parser.parse_override(expand(command, [override], sweep=True)[0])
            if isinstance(parsed.value(), (Glob, IntervalSweep)):
                key, _, value = override.partition("=")
                text = f"got {value}; takes values, {key}=a,b,c (sweep.trials=N takes intervals)"
                raise UserError.of(key, text)
            if parsed.is_sweep_override():
                key = override.partition("=")[0]
                values = islice(parsed.sweep_string_iterator(), MOST_JOBS + 1)
                choices.append([f"{key}={value}" for value in values])
            else:
                choices.append([override])
        except HydraException as error:
            raise refused(command, overrides, error) from error
    if math.prod(map(len, choices)) > MOST_JOBS:
        longest = max(choices, key=len)
        key = longest[0].partition("=")[0]
        raise UserError.of(key, f"asks for more than {MOST_JOBS:,} jobs in all; takes fewer values")
    return list(product(*choices))


def sweep_name(command: str, overrides: Sequence[str]) -> str:
    """Return the name of a sweep: of its command line, but for how many trials there are."""
    named = sorted(override for override in overrides if not override.startswith("sweep.trials="))
    key = json.dumps([command, *named]).encode()
    return f"{command}-{hashlib.sha256(key).hexdigest()[:8]}"


def plan_jobs(
    command: str,
    combinations: Sequence[tuple[str, ...]],
    name: str,
    first: int = 0,
    total: int | None = None,
) -> list[Planned]:
    """Plan each job of a sweep: whether it can be run, has finished, lacks a teacher.

    The labels of jobs that are not all of the sweep begin after `first`, and name its `total`.
    """
    total = len(combinations) if total is None else total
    more = (f"sweep.name={name}",)
    jobs = [
        Job(command, overrides, label=f"[{number}/{total}] ", more=more)
        for number, overrides in enumerate(combinations, start=first + 1)
    ]
    return with_twins([plan_job(job) for job in jobs])


def with_twins(plan: Sequence[Planned]) -> list[Planned]:
    """Mark the jobs of one experiment; refuse those of another in the same directory."""
    first: dict[str, int] = {}
    marked: list[Planned] = []
    for number, planned in enumerate(plan):
        path = planned.job.path
        earlier = first.setdefault(path, number) if path else number
        if earlier != number and plan[earlier].experiment == planned.experiment:
            planned = replace(planned, twin=earlier)
        elif earlier != number:
            text = f"{path} is another job's of this sweep; take run.root=DIR"
            text = f"mixkd {planned.job.command}: {text}"
            planned = replace(planned, outcome=Outcome("refused", path, text=text))
        marked.append(planned)
    return marked


def plan_job(job: Job) -> Planned:
    """Plan a job without running it."""
    cfg = None
    try:
        cfg = compose(job.command, [*job.overrides, *job.more])
        config = accept(cfg)
        devices = 1 if isinstance(config, EvaluateLogitsConfig) else config.trainer.devices
        if lacks_data(config):  # fetched or unpacked by the job, which then has a name
            return Planned(replace(job, devices=devices))
        run = Run(config)
        job = replace(job, devices=devices, path=str(run.path))
        metrics = run.finished_metrics()
        outcome = None if metrics is None else Outcome("skipped", job.path, metrics)
        return Planned(job, outcome, experiment=run.experiment)
    except UserError as error:
        if cfg is not None and (teacher := missing_teacher(cfg, error)):
            return Planned(job, teacher=teacher)
        return Planned(job, Outcome("refused", job.path, text=explain(job.command, error)))


@listed_once()
def run_one(command: str, overrides: Sequence[str]) -> Outcome:
    """Run a single job of several devices, and before it its teacher where that is missing."""
    planned = plan_job(Job(command, tuple(overrides)))
    if planned.teacher:
        (teacher,) = run_jobs([Job("finetune", planned.teacher, waits=True)])
        assert teacher is not None
        if teacher.status:
            return teacher
        planned = plan_job(planned.job)
    if planned.outcome is not None:
        return planned.outcome
    (outcome,) = run_jobs([planned.job])
    assert outcome is not None
    return outcome


def carry_out(
    plan: list[Planned], settings: SweepSettings, plan_again: Callable[[], list[Planned]]
) -> list[tuple[Job, Outcome | None]]:
    """Run jobs, and before them the teachers that they lack; return how each ended.

    `plan_again` plans the jobs once more when their teachers have been made.
    """
    if teachers := list(dict.fromkeys(planned.teacher for planned in plan if planned.teacher)):
        jobs = [
            Job("finetune", overrides, label=f"[teacher {k}/{len(teachers)}] ", waits=True)
            for k, overrides in enumerate(teachers, start=1)
        ]
        teacher_outcomes = _launch(jobs, settings, waits=True)
        states = [outcome.state for outcome in teacher_outcomes if outcome is not None]
        if "interrupted" in states and not {"failed", "refused"} & {*states}:
            return [(planned.job, planned.outcome or interrupted(planned.job)) for planned in plan]
        plan = plan_again()
    outcomes = [planned.outcome for planned in plan]
    for k, planned in enumerate(plan):
        if planned.teacher:
            text = f"mixkd {planned.job.command}: failed: its teacher could not be made"
            outcomes[k] = Outcome("failed", text=text)
        if (outcome := outcomes[k]) is not None and outcome.text:
            _say(planned.job, outcome)
    bad = any(outcome is not None and outcome.status for outcome in outcomes)
    waiting = [k for k, p in enumerate(plan) if outcomes[k] is None and p.twin is None]
    if not (bad and settings.sweep.fail_fast):
        launched = _launch([plan[k].job for k in waiting], settings)
        for k, outcome in zip(waiting, launched, strict=True):
            outcomes[k] = outcome
    for k, planned in enumerate(plan):
        if planned.twin is not None:
            outcome = outcomes[planned.twin]
            if outcome is not None and outcome.state == "finished":
                outcome = replace(outcome, state="skipped")
            outcomes[k] = outcome
    return [(planned.job, outcome) for planned, outcome in zip(plan, outcomes, strict=True)]


def _launch(
    jobs: Sequence[Job], settings: SweepSettings, *, waits: bool = False
) -> list[Outcome | None]:
    def ended(number: int, outcome: Outcome, seconds: float) -> None:
        _say(jobs[number], outcome, f" after {seconds:.0f} s")

    launcher, fail_fast = settings.launcher, settings.sweep.fail_fast
    if isinstance(launcher, SlurmConfig):
        from mixkd.launchers.slurm import submit_jobs

        if waits:
            launcher = launcher.model_copy(update={"wait": True})
        return submit_jobs(jobs, launcher, Path(settings.run.root) / ".sweep", fail_fast, ended)
    return run_jobs(jobs, launcher.parallel, fail_fast, ended)


def _say(job: Job, outcome: Outcome, more: str = "") -> None:
    text = outcome.text or f"{outcome.state}{more}: {outcome.path}"
    for line in [*text.splitlines(), *([f"  {' '.join(job.overrides)}"] if outcome.status else [])]:
        tell(redact(f"{job.label}{line}"), sys.stderr)


def table(rows: Sequence[tuple[Job, Outcome | None]]) -> str:
    """Return a line a job: how it ended, what is its own of its overrides, and metrics or why."""
    overrides = [set(job.overrides) for job, _ in rows]
    shared = set.intersection(*overrides) if len(overrides) > 1 else set()
    states = ["not run" if outcome is None else outcome.state for _, outcome in rows]
    lines = []
    for (job, outcome), state in zip(rows, states, strict=True):
        varied = " ".join(override for override in job.overrides if override not in shared)
        metrics = outcome.metrics if outcome else {}
        values = {name: metrics.get(f"test/{name}") for name in ("accuracy", "ece")}
        result = "  ".join(f"{name} {v:.4f}" for name, v in values.items() if v is not None)
        result = result or (outcome.reason if outcome else "")
        lines.append((job.label.strip(), state, varied, result))
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    return redact(f"{tabulate(lines, tablefmt='plain', disable_numparse=True)}\n{counts}")
