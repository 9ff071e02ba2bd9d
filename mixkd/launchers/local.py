"""Jobs on this machine: each in processes of its own, one process a device, several side by side.

The processes of a job are a group of their own for Lightning, started here, so that Lightning
starts none. They are forked from a server that has imported everything once. The first one that
fails ends its job; a job that ends, however it ends, leaves the others alone.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

from mixkd.console import NOTE, note, on_signal, tell
from mixkd.launchers.job import Job, Outcome, causes, interrupted, with_inventory, write_end
from mixkd.launchers.process import Place, work

# Seconds that the other processes of a job have to say something once one has failed; and that all
# have to write what they hold after an interruption.
GRACE, GOODBYE = 10.0, 60.0


def run_jobs(
    jobs: Sequence[Job],
    parallel: int = 1,
    fail_fast: bool = False,
    ended: Callable[[int, Outcome, float], None] = lambda number, outcome, seconds: None,
) -> list[Outcome | None]:
    """Run jobs in this order; return how each ended, None for those that were not started.

    Devices and CPU cores are shared out among those at work. `fail_fast` interrupts them at the
    first failure. `ended` is called with a job's number, how it ended and the seconds it took.
    """
    context = _fork_server({job.command for job in jobs})
    outcomes: list[Outcome | None] = [None] * len(jobs)
    running: dict[int, ActiveJob] = {}
    pending, stopping, was_interrupted = list(range(len(jobs))), False, False
    with (
        on_signal(signal.default_int_handler, signal.SIGTERM),  # as Ctrl-C
        TemporaryDirectory(prefix="mixkd-") as folder,
    ):
        jobs = with_inventory(jobs, Path(folder) / "images.npz")
        try:
            while running or (pending and not stopping):
                try:
                    while pending and len(running) < parallel and not stopping:
                        busy = {active.slot for active in running.values()}
                        slot = min(set(range(parallel)) - busy)
                        number = pending.pop(0)
                        running[number] = ActiveJob(jobs[number], slot)
                        running[number].start(context, parallel)
                    _listen(running.values())
                    for number, active in list(running.items()):
                        if (outcome := active.ended()) is not None:
                            del running[number]
                            outcomes[number] = outcome
                            ended(number, outcome, time.monotonic() - active.started)
                            if fail_fast and outcome.status not in (0, 130):
                                stopping = True
                                for active in running.values():
                                    active.interrupt()
                except KeyboardInterrupt:
                    if was_interrupted:
                        raise  # twice: at once, then
                    stopping = was_interrupted = True
                    for active in running.values():
                        active.interrupt()
        finally:
            for active in running.values():
                active.kill()
                write_end(active.job, interrupted(active.job))
    if was_interrupted:
        return [o or interrupted(job) for job, o in zip(jobs, outcomes, strict=True)]
    return outcomes


def _fork_server(commands: set[str]) -> Any:
    """Return what starts processes: forks of a server that has imported what the commands need.

    It does not hear Ctrl-C or SIGTERM, which are the launcher's to pass on.
    """
    context: Any = multiprocessing.get_context("forkserver")
    tasks = [f"mixkd.tasks.{command}" for command in sorted(commands)]
    context.set_forkserver_preload(["mixkd.launchers.process", *tasks])
    with on_signal(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
        forkserver.ensure_running()
    return context


@dataclass
class ActiveJob:
    """A job that runs, in one process a device; times are in seconds."""

    job: Job
    slot: int  # its place among the jobs that run at once
    processes: list[Any] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    outcomes: dict[int, Outcome] = field(default_factory=dict)  # by rank, as they are sent
    deadline: float | None = None  # when what is left of it is ended
    first: int | None = None  # the rank of its first process to fail
    hung: set[int] = field(default_factory=set)  # the ranks that had to be ended at the deadline

    @property
    def alive(self) -> list[Any]:
        """Its processes that have not ended."""
        return [process for process in self.processes if process.is_alive()]

    def start(self, context: Any, parallel: int) -> None:
        """Start its processes, while `parallel` jobs at most run at once."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]  # a free one
        for rank in range(self.job.devices):
            receiver, sender = context.Pipe(duplex=False)
            place = Place(rank, self.job.devices, port, self.slot, parallel)
            # The environment goes along: the server's is that of its start.
            process = context.Process(target=work, args=(self.job, place, dict(os.environ), sender))
            process.start()
            sender.close()
            self.processes.append(process)
            self.connections.append(receiver)

    def hear(self, rank: int) -> None:
        """Take one message of a process: a line to print, or how the job ended."""
        try:
            kind, content = self.connections[rank].recv()
        except (EOFError, OSError, UnpicklingError):  # its end, or one within a message
            self.connections[rank].close()
            return
        if kind == "outcome":
            self.outcomes[rank] = content
        elif kind == "err" and content.startswith(NOTE):  # each job has the same to say
            note(content.removeprefix(NOTE))
        else:
            stream = sys.stdout if kind == "out" else sys.stderr
            line = content.rstrip("\r").rpartition("\r")[2]  # of a progress bar the last state
            tell(f"{self.job.label}{line}", stream)

    def ended(self) -> Outcome | None:
        """Return how it ended, or None while it goes on; end it if one of its processes has."""
        failed = [
            rank
            for rank, process in enumerate(self.processes)
            if process.exitcode not in (None, 0)
            or (rank in self.outcomes and self.outcomes[rank].status)
        ]
        if self.deadline is None and failed:
            self.first, self.deadline = failed[0], time.monotonic() + GRACE
        elif self.deadline is None and len(self.outcomes) == len(self.processes):
            self.deadline = time.monotonic() + GOODBYE  # to leave, with nothing left to do
        if self.alive:
            if self.deadline is not None and time.monotonic() > self.deadline:
                self.hung |= {rank for rank, p in enumerate(self.processes) if p.is_alive()}
                self.kill()
            return None
        for rank, connection in enumerate(self.connections):
            while not connection.closed and connection.poll():
                self.hear(rank)
            connection.close()
        self.kill()  # what its processes have started and left
        outcome = self._outcome()
        write_end(self.job, outcome)
        return outcome

    def _outcome(self) -> Outcome:
        """Return how it ended, once all of its processes have."""
        if self.first is None:
            return self.outcomes.get(0, interrupted(self.job))
        failures = [outcome for _, outcome in sorted(self.outcomes.items()) if outcome.status]
        silent = [
            rank
            for rank, process in enumerate(self.processes)
            if process.exitcode and rank not in self.outcomes and rank not in self.hung
        ]
        if silent and not causes(failures):
            rank = self.first if self.first in silent else silent[0]
            return Outcome("failed", self.job.path, text=self._death(rank))
        return next(iter(causes(failures) or failures), interrupted(self.job))

    def _death(self, rank: int) -> str:
        """Return what is said of a process that ended without a word."""
        code, count = self.processes[rank].exitcode, len(self.processes)
        how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
        if code == -signal.SIGKILL:
            how += " (by hand, or for want of memory)"
        who = f"process {rank} of {count}" if count > 1 else "its process"
        return f"mixkd {self.job.command}: failed: {who} was ended by {how}"

    def interrupt(self) -> None:
        """Ask it to stop, and give it a while to do so."""
        if self.deadline is None:
            self.deadline = time.monotonic() + GOODBYE
            for process in self.alive:
                _signal(process, signal.SIGINT)

    def kill(self) -> None:
        """End its processes, and those that they have started, at once."""
        for process in self.processes:
            _signal(process, signal.SIGKILL)
            process.join()


def _listen(jobs: Iterable[ActiveJob]) -> None:
    """Print what jobs say until something ends or half a second is over."""
    sources: dict[Connection, tuple[ActiveJob, int]] = {}
    ends: list[int] = []
    for active in jobs:
        ends += [process.sentinel for process in active.alive]
        for rank, connection in enumerate(active.connections):
            if not connection.closed:
                sources[connection] = (active, rank)
    for ready in wait([*sources, *ends], timeout=0.5):
        if isinstance(ready, Connection):
            active, rank = sources[ready]
            active.hear(rank)


def _signal(process: Any, number: signal.Signals) -> None:
    """Signal a process and, if it is to end at once, those that it has started."""
    try:
        if os.getpgid(process.pid) != process.pid:
            process.kill()  # it has not come so far as to hear, or to start any
        elif number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:  # it has ended; what it has started may be left
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
