"""One job: compose, validate, run the task. Whoever asked for it prints how it went."""

import gc
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

from omegaconf import DictConfig

from mixkd.console import say, tell
from mixkd.data.contents import hand_over, listed_once
from mixkd.errors import InUse, NotFinite, UserError
from mixkd.redact import redact
from mixkd.request import accept, compose
from mixkd.runs.run import Metrics, Run
from mixkd.runs.status import is_held, read_status, wait_until_free, write_status
from mixkd.task import open_run

State = Literal["finished", "skipped", "submitted", "failed", "refused", "interrupted"]
STATUS = {"failed": 1, "refused": 2, "interrupted": 130}  # of the other states it is 0


@dataclass(frozen=True)
class Job:
    """What is to be run: finetune, distill or evaluate with the user's overrides."""

    command: str
    overrides: tuple[str, ...]
    devices: int = 1
    label: str = ""  # put before each line that it prints, where there are several jobs
    more: tuple[str, ...] = ()  # further overrides, such as the sweep's name
    path: str = ""  # of its run directory, where that is known
    waits: bool = False  # as in `run_job`
    inventory: str = ""  # a file of what has been listed of its images

    def continued(self) -> "Job":
        """Return the job that continues this one: without run.force once it has started over.

        A finished run that is still at its path has yet to be removed.
        """
        if not self.path or read_status(Path(self.path)).get("state") == "finished":
            return self
        unforced = [o for o in self.overrides if o.lstrip("+").partition("=")[0] != "run.force"]
        return replace(self, overrides=tuple(unforced))

    @property
    def advice(self) -> str:
        """What a user types to continue it."""
        forced = self.continued() != self
        return f"the same command {'without run.force ' if forced else ''}continues it"


def with_inventory(jobs: Sequence[Job], path: Path) -> list[Job]:
    """Let jobs know what this process has listed of their images, by a file that is written."""
    return [replace(job, inventory=str(path)) for job in jobs] if hand_over(path) else [*jobs]


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    It has finished now; was skipped, as it had finished before; was submitted to SLURM, without
    waiting for it; failed while it worked; was refused, as what was asked cannot be done; or was
    interrupted.
    """

    state: State
    path: str = ""  # of the run directory, where it came to have one
    metrics: Metrics = field(default_factory=dict)
    text: str = ""  # what to say of a failure, for standard error

    @property
    def status(self) -> int:
        """The exit status that says so."""
        return STATUS.get(self.state, 0)

    @property
    def reason(self) -> str:
        """The failure in one line."""
        lines = [line.strip() for line in self.text.splitlines()]
        return next((line for line in reversed(lines) if line), "")

    def show(self) -> None:
        """Print the results to standard output, or the failure to standard error."""
        if self.text:
            tell(self.text, sys.stderr)
            return
        before = "finished before, run.force=true starts over"
        tell(f"{before if self.state == 'skipped' else self.state}: {self.path}")
        for name, value in self.metrics.items():
            if name.count("/") < 2:  # metrics.json has them all
                tell(f"  {name:<24} {value:.6g}")


def interrupted(job: Job) -> Outcome:
    """Return the outcome of a job that the user stopped."""
    text = f"mixkd {job.command}: interrupted; {job.advice}"
    return Outcome("interrupted", job.path, text=text)


def causes(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the failures of a job's processes that say why; the others saw a peer leave."""
    return [o for o in outcomes if o.status and "by peer" not in o.text]


def write_end(job: Job, outcome: Outcome) -> None:
    """Write how a job ended into its directory where its processes could not."""
    path = outcome.path or job.path
    directory = Path(path)
    silent = path and outcome.status and not is_held(directory)
    if silent and read_status(directory).get("state") == "running":
        state = "interrupted" if outcome.state == "interrupted" else "failed"
        write_status(directory, state, error=outcome.reason)


def run_in_process(job: Job) -> Outcome:
    """Run a job, or its share of one, in a process that was started for it."""
    sys.argv = ["mixkd", job.command, *job.overrides]  # for provenance.json: what to type again
    overrides = [*job.overrides, *job.more]
    with listed_once(job.inventory):
        return run_job(job.command, overrides, makes_teacher=False, waits=job.waits)


def run_job(
    command: str, overrides: Sequence[str], makes_teacher: bool = True, waits: bool = False
) -> Outcome:
    """Run one job in this process, as `perform` does; return how it ended, also where it failed."""
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    path = ""

    def opened(run: Run) -> None:
        nonlocal path
        path = str(run.path)

    try:
        return perform(command, overrides, makes_teacher, waits, opened)
    except UserError as error:
        return Outcome("refused", path, text=explain(command, error, full))
    except KeyboardInterrupt:
        return interrupted(Job(command, tuple(overrides), path=path))
    except (Exception, SystemExit) as error:  # a stranger's module may exit when imported
        # A full disk, a network that diverged or another process that ended, and said why, is no
        # fault of the program's: no traceback.
        peer = isinstance(error, RuntimeError) and "by peer" in str(error)
        expected = peer or isinstance(error, (OSError, NotFinite))
        trace = "".join(traceback.format_exception(error)) if full or not expected else ""
        return Outcome("failed", path, text=redact(f"{trace}mixkd {command}: failed: {error}"))


def perform(
    command: str,
    overrides: Sequence[str],
    makes_teacher: bool = True,
    waits: bool = False,
    opened: Callable[[Run], None] = lambda run: None,
) -> Outcome:
    """Do the work of a command; raise what goes wrong.

    Args:
        command: finetune, distill or evaluate.
        overrides: the user's.
        makes_teacher: whether a teacher that is missing is trained first where `teacher.auto` asks
            for it; one of several processes does not.
        waits: for another process that works on the same run: what that one made is taken or, if
            it ended without, this goes on from there.
        opened: is told the run, once it is known.
    """
    cfg = compose(command, overrides)
    try:
        config = accept(cfg)
    except UserError as error:
        if not (makes_teacher and (remedy := missing_teacher(cfg, error))):
            raise
        say(f"teacher.auto: mixkd finetune {shlex.join(remedy)}")
        teacher = run_job("finetune", remedy, waits=True)
        if teacher.status:
            return teacher
        config = accept(cfg)
    run = open_run(config)
    opened(run)
    while True:
        if waits:
            wait_until_free(run.path)
        if (metrics := run.finished_metrics()) is not None:
            return Outcome("skipped", str(run.path), metrics)
        task = getattr(_imported(f"mixkd.tasks.{command}"), command)
        try:
            return Outcome("finished", str(run.path), task(config, run))
        except InUse:  # since just now
            if not waits:
                raise


def missing_teacher(cfg: DictConfig, error: UserError) -> tuple[str, ...]:
    """Return the overrides of the finetune that `teacher.auto` asks for, if no more is wrong."""
    may_train = len(error.problems) == 1 and cfg.get("teacher") and cfg.teacher.auto
    return error.problems[0].remedy if may_train else ()


def _imported(name: str) -> ModuleType:
    """Import a task, and with it torch and Lightning, a third faster than Python by itself.

    They make a million objects that live as long as the process: nothing is gained by looking
    through them for garbage, now and when the process ends.
    """
    if "torch" in sys.modules or not gc.isenabled():
        return import_module(name)  # what else there is by now may yet be garbage
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def explain(command: str, error: UserError, full: bool = False) -> str:
    """Return the message of a user's mistake, with a traceback if one was asked for."""
    trace = "".join(traceback.format_exception(error)) if full else ""
    count = len(error.problems)
    head = f"mixkd {command}: {count} problem{'s' if count > 1 else ''}"
    return redact(trace + "\n".join([head, *(f"  {problem}" for problem in error.problems)]))
