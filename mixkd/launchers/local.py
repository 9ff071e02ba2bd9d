"""Jobs on this machine: each in processes of its own, one process a device, several side by side.

The processes of a job are a group of their own for Lightning, started here, so that Lightning
starts none. They are forked from a server that has imported everything once. The first one that
fails ends its job; a job that ends, however it ends, leaves the others alone.
"""

import io
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import Any

from mixkd.console import NOTE, cores, note, on_signal, tell
from mixkd.data.inventory import hand_over, listed_once
from mixkd.launchers.job import Outcome, run_job, was_stopped
from mixkd.runs.status import is_held, read_status, write_status

# Seconds that the other processes of a job have to say something once one has failed; and that all
# have to write what they hold after an interruption.
GRACE, GOODBYE = 10.0, 60.0


@dataclass(frozen=True)
class Job:
    """What is to be run.

    Attributes:
        command: finetune, distill or evaluate.
        overrides: the user's.
        devices: how many processes.
        label: put before each line that it prints, where there are several jobs.
        more: further overrides, such as the sweep's name.
        path: of its run directory, where that is known.
        waits: as in `run_job`.
        inventory: a file of what has been listed of its images; "" where nothing has.
    """

    command: str
    overrides: tuple[str, ...]
    devices: int = 1
    label: str = ""
    more: tuple[str, ...] = ()
    path: str = ""
    waits: bool = False
    inventory: str = ""


def with_inventory(jobs: Sequence[Job], path: Path) -> list[Job]:
    """Let jobs know what this process has listed of their images, by a file that is written."""
    return [replace(job, inventory=str(path)) for job in jobs] if hand_over(path) else [*jobs]


@dataclass
class _ActiveJob:
    job: Job
    slot: int
    processes: list[Any] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    deadline: float | None = None
    first: int | None = None  # of its processes to fail
    hung: set[int] = field(default_factory=set)  # those that had to be ended for that

    @property
    def alive(self) -> list[Any]:
        return [process for process in self.processes if process.is_alive()]


def run_jobs(
    jobs: Sequence[Job],
    parallel: int = 1,
    fail_fast: bool = False,
    ended: Callable[[int, Outcome, float], None] = lambda number, outcome, seconds: None,
) -> list[Outcome | None]:
    """Run jobs; return how each ended, None for those that were not started.

    Args:
        jobs: what to run, in this order.
        parallel: how many at once; devices and CPU cores are shared out among them.
        fail_fast: whether to stop at the first failure, interrupting what runs.
        ended: told the number of a job, how it ended and the seconds it took, at once.
    """
    context = _fork_server({job.command for job in jobs})
    outcomes: list[Outcome | None] = [None] * len(jobs)
    running: dict[int, _ActiveJob] = {}
    pending, stopping, asked = list(range(len(jobs))), False, False
    with (
        on_signal(signal.default_int_handler, signal.SIGTERM),  # as Ctrl-C
        TemporaryDirectory(prefix="mixkd-") as folder,
    ):
        jobs = with_inventory(jobs, Path(folder) / "images.npz")
        try:
            while running or (pending and not stopping):
                try:
                    while pending and len(running) < parallel and not stopping:
                        taken = {other.slot for other in running.values()}
                        slot = min(set(range(parallel)) - taken)
                        number = pending.pop(0)
                        running[number] = active = _ActiveJob(jobs[number], slot)
                        _start(context, active, parallel)
                    _listen(running)
                    for number, active in list(running.items()):
                        if (outcome := _ended(active)) is not None:
                            del running[number]
                            outcomes[number] = outcome
                            ended(number, outcome, time.monotonic() - active.started)
                            if fail_fast and outcome.status not in (0, 130):
                                stopping = True
                                _interrupt(running)
                except KeyboardInterrupt:
                    if asked:
                        raise  # twice: at once, then
                    stopping = asked = True
                    _interrupt(running)
        finally:
            for active in running.values():
                _kill(active)
                _write_end(active.job, interrupted(active.job))
    if asked:
        return [o or interrupted(job) for job, o in zip(jobs, outcomes, strict=True)]
    return outcomes


def _fork_server(commands: set[str]) -> Any:
    """Return what starts processes: forks of a server that has imported what the commands need.

    It does not hear Ctrl-C or SIGTERM, which are the launcher's to pass on.
    """
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([f"mixkd.tasks.{command}" for command in sorted(commands)])
    with on_signal(signal.SIG_IGN, signal.SIGINT, signal.SIGTERM):
        forkserver.ensure_running()
    return context


def _start(context: Any, active: _ActiveJob, parallel: int) -> None:
    port, job = _free_port(), active.job
    for rank in range(job.devices):
        ours, theirs = context.Pipe(duplex=False)
        place = _Place(rank, job.devices, port, active.slot, parallel)
        # The environment goes along: the server's is that of its start.
        process = context.Process(target=_work, args=(job, place, dict(os.environ), theirs))
        process.start()
        theirs.close()
        active.processes.append(process)
        active.connections.append(ours)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listen(running: dict[int, _ActiveJob]) -> None:
    """Print what the jobs say until something ends or half a second is over."""
    sources: dict[Connection, tuple[_ActiveJob, int]] = {}
    for active in running.values():
        for rank, connection in enumerate(active.connections):
            if not connection.closed:
                sources[connection] = (active, rank)
    ends = [process.sentinel for active in running.values() for process in active.alive]
    for ready in wait([*sources, *ends], timeout=0.5):
        if isinstance(ready, Connection):
            active, rank = sources[ready]
            _hear(active, rank)


def _hear(active: _ActiveJob, rank: int) -> None:
    """Take one message of a process: a line to print, or how the job ended."""
    try:
        kind, content = active.connections[rank].recv()
    except (EOFError, OSError, UnpicklingError):  # its end, or one within a message
        active.connections[rank].close()
        return
    if kind == "outcome":
        active.outcomes[rank] = content
    elif kind == "err" and content.startswith(NOTE):  # each job has the same to say
        note(content.removeprefix(NOTE))
    else:
        stream = sys.stdout if kind == "out" else sys.stderr
        shown = content.rstrip("\r").rpartition("\r")[2]  # of a progress bar the last state
        tell(f"{active.job.label}{shown}", stream)


def _ended(active: _ActiveJob) -> Outcome | None:
    """Return how a job ended, or None while it goes on; end it if one of its processes has."""
    statuses = {rank: outcome.status for rank, outcome in active.outcomes.items()}
    failed = [
        rank
        for rank, process in enumerate(active.processes)
        if process.exitcode not in (None, 0) or statuses.get(rank)
    ]
    if active.deadline is None and failed:
        active.first, active.deadline = failed[0], time.monotonic() + GRACE
    elif active.deadline is None and len(statuses) == len(active.processes):
        active.deadline = time.monotonic() + GOODBYE  # to leave, with nothing left to do
    if active.alive:
        if active.deadline is not None and time.monotonic() > active.deadline:
            active.hung |= {rank for rank, p in enumerate(active.processes) if p.is_alive()}
            _kill(active)
        return None
    for rank, connection in enumerate(active.connections):
        while not connection.closed and connection.poll():
            _hear(active, rank)
        connection.close()
    _kill(active)  # what its processes have started and left
    outcome = _judged(active)
    _write_end(active.job, outcome)
    return outcome


def _write_end(job: Job, outcome: Outcome) -> None:
    """Write how a job ended into its directory where its processes could not."""
    path = outcome.path or job.path
    directory = Path(path)
    silent = path and outcome.status and not is_held(directory)
    if silent and read_status(directory).get("state") == "running":
        state = "interrupted" if outcome.state == "interrupted" else "failed"
        write_status(directory, state, error=outcome.reason)


def _judged(active: _ActiveJob) -> Outcome:
    """Return the outcome of a job whose processes have all ended."""
    if active.first is None:
        return active.outcomes.get(0, interrupted(active.job))
    failures = [active.outcomes[r] for r in sorted(active.outcomes) if active.outcomes[r].status]
    # Of several processes that failed one knows why; the others saw it leave.
    failures.sort(key=lambda outcome: "by peer" in outcome.text)
    silent = [r for r, p in enumerate(active.processes) if p.exitcode and r not in active.outcomes]
    silent = [rank for rank in silent if rank not in active.hung]
    if silent and not (failures and "by peer" not in failures[0].text):
        first = active.first if active.first in silent else silent[0]
        return Outcome("failed", active.job.path, text=_died(active, first))
    if not failures:
        return interrupted(active.job)
    return failures[0]


def interrupted(job: Job) -> Outcome:
    """Return the outcome of a job that the user stopped."""
    return Outcome("interrupted", job.path, text=was_stopped(job.command, job.overrides, job.path))


def _died(active: _ActiveJob, rank: int) -> str:
    code = active.processes[rank].exitcode
    how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
    if code == -signal.SIGKILL:
        how += " (by hand, or for want of memory)"
    count = len(active.processes)
    who = f"process {rank} of {count}" if count > 1 else "its process"
    return f"mixkd {active.job.command}: failed: {who} was ended by {how}"


def _interrupt(running: dict[int, _ActiveJob]) -> None:
    for active in running.values():
        if active.deadline is None:
            active.deadline = time.monotonic() + GOODBYE
            for process in active.alive:
                _signal(process, signal.SIGINT)


def _kill(active: _ActiveJob) -> None:
    for process in active.processes:
        _signal(process, signal.SIGKILL)
        process.join()


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


# What follows runs in the processes of a job.


@dataclass(frozen=True)
class _Place:
    """Where a process stands: in its job, and its job among those that run at once."""

    rank: int
    world: int
    port: int
    slot: int
    parallel: int


def _work(job: Job, place: _Place, environment: dict[str, str], parent: Connection) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores both
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    # The job's own processes, such as loaders' workers, start in the usual way, not as this one.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    os.environ.pop("WANDB_SERVICE", None)  # the launcher's own, if it logs too
    if place.world > 1:
        os.environ |= {
            "RANK": str(place.rank), "LOCAL_RANK": str(place.rank), "NODE_RANK": "0",
            "WORLD_SIZE": str(place.world), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(place.port),
        }  # fmt: skip
    lock = threading.RLock()
    streams = _Lines(parent, "out", lock), _Lines(parent, "err", lock)
    sys.stdout, sys.stderr = streams
    sys.argv = ["mixkd", job.command, *job.overrides]  # for provenance.json: what to type again
    _take_share(place)
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    overrides = [*job.overrides, *job.more]
    with listed_once(job.inventory):
        outcome = run_job(job.command, overrides, full, makes_teacher=False, waits=job.waits)
    for stream in streams:
        stream.end()
    if "wandb" in sys.modules:  # a process of this kind leaves without calling what is registered
        sys.modules["wandb"].teardown()
    with lock:
        parent.send(("outcome", outcome))
        parent.close()
    sys.exit(outcome.status)


def _end_with_parent() -> None:
    """End this process and those it has started when the launcher is no more."""
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    launcher.join()
    os.killpg(0, signal.SIGKILL)


def _take_share(place: _Place) -> None:
    """Compute with this process's share of the cores and its job's share of the GPUs."""
    import torch

    processes = place.world * place.parallel
    if processes > 1:
        torch.set_num_threads(max(cores() // processes, 1))
    if place.parallel > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",") if visible else [str(k) for k in range(torch.cuda.device_count())]
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(share(gpus, place.slot, place.world))


def share(gpus: Sequence[str], slot: int, devices: int) -> list[str]:
    """Return the GPUs of one of several jobs that run at once; jobs share them if they are few."""
    return [gpus[(slot * devices + k) % len(gpus)] for k in range(min(devices, len(gpus)))]


class _Lines(io.TextIOBase):
    """A stream that sends whole lines to the launcher, which prints them."""

    def __init__(self, parent: Connection, kind: str, lock: Any) -> None:
        self._parent, self._kind, self._lock, self._rest = parent, kind, lock, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._send(line)
        return len(text)

    def end(self) -> None:
        """Send what is left without an end of line."""
        if self._rest:
            self.write("\n")

    def _send(self, line: str) -> None:
        if not self._parent.closed:
            self._parent.send((self._kind, line))
