"""Jobs on a SLURM cluster: submitit writes the batch script, `srun` starts a job's processes.

Requeueing has one owner, submitit: a job that runs out of time, or is pre-empted, is queued again
under its number and continues its run from the run's last checkpoint. Lightning does nothing of
the kind. What becomes of a job is read from its result and from `squeue`, which every cluster has;
accounting (`sacct`) is not needed.
"""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixkd.config.launcher import SlurmConfig
from mixkd.console import is_leader, tell
from mixkd.errors import UserError
from mixkd.files.writing import read_json, write_json
from mixkd.launchers.job import (
    Job,
    Outcome,
    causes,
    interrupted,
    run_in_process,
    with_inventory,
    write_end,
)
from mixkd.runs.status import read_status

NAME = "mixkd"
POLL = 10.0  # seconds between looks at the queue

# States of a job that has ended; in any other it is queued, runs, or is about to again.
ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL",
         "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")  # fmt: skip

STARTS = "starts as job"  # in the log, which goes on when a job is started again

OUT_OF_TIME = "out of time (launcher.timeout_min, launcher.requeues)"


@dataclass
class SlurmJob:
    """What each process of a job runs on the cluster."""

    job: Job
    queued_again: bool = field(default=False, init=False, compare=False)

    def __call__(self) -> Outcome:
        """Run the job; what it says goes to its log.

        Raises:
            SystemExit: if it was interrupted, to be queued again or not: it has no result.
        """
        import submitit
        import torch
        from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

        # Lightning ends a fit at SIGTERM. SLURM sends that when it is about to pre-empt a job, and
        # queues again only a job that is still there when its time is over.
        _SignalConnector.register_signal_handlers = lambda self: None  # type: ignore[method-assign]
        place = submitit.JobEnvironment()
        print(f"{STARTS} {place.job_id} on {place.hostname}", file=sys.stderr, flush=True)
        # The job may have been started before; a process beside the first one left its end then.
        place.paths.result_pickle.unlink(missing_ok=True)
        # SLURM signals the processes that this one forks too: they would queue the job once more.
        number = signal.Signals[f"SIG{place.USR_SIG}"]
        os.register_at_fork(after_in_child=lambda: signal.signal(number, signal.SIG_IGN))
        for name in ("MASTER_PORT", "NODE_RANK"):  # of the shell that the job was submitted from
            os.environ.pop(name, None)
        # Lightning picks the GPU of a process among all those of the job.
        submitit.helpers.TorchDistributedEnvironment().export(
            set_cuda_visible_devices=False, overwrite=True
        )
        # A process need not be bound to the cores that it has asked for.
        if cores := os.environ.get("SLURM_CPUS_PER_TASK"):
            torch.set_num_threads(int(cores))
        if int(os.environ.get("SLURM_RESTART_COUNT", "0")):  # by SLURM, as after a node's failure
            self.job = self.job.continued()
        outcome = run_in_process(self.job)
        if out_of_time := "timed-out too many times" in outcome.text:
            text = f"mixkd {self.job.command}: failed: {OUT_OF_TIME}; {self.job.advice}"
            outcome = replace(outcome, text=text)
        if outcome.text or is_leader():
            outcome.show()
        # SLURM may end submitit's `scontrol requeue` with the job, which then seems to have failed.
        again = self.queued_again and outcome.status and not out_of_time
        if outcome.state == "interrupted" or again:
            sys.exit(outcome.status)
        return outcome

    def checkpoint(self) -> Any:
        """Return what is to be queued again: the same job, which continues its own run."""
        import submitit

        self.queued_again = True
        return submitit.helpers.DelayedSubmission(SlurmJob(self.job.continued()))


def make_executor(launcher: SlurmConfig, folder: Path, devices: int) -> Any:
    """Return submitit's executor for jobs of a number of devices, a process each.

    It keeps scripts, results and logs in the folder, which the cluster's machines share.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        text = "got slurm; submitit is not installed: pip install 'mixkd[slurm]'"
        raise UserError.of("launcher", text) from error
    try:
        executor = submitit.AutoExecutor(
            folder / "%j", cluster="slurm", slurm_max_num_timeout=launcher.requeues
        )
    except RuntimeError as error:
        raise UserError.of("launcher", f"got slurm; there is no SLURM here ({error})") from error
    # A process that is killed takes the others along: they may wait for it for ever.
    srun = ["--kill-on-bad-exit=1"]
    if launcher.cpus_per_task is not None:  # since SLURM 22.05 srun asks for itself
        srun.append(f"--cpus-per-task={launcher.cpus_per_task}")
    parameters = {
        "name": NAME,
        "nodes": 1,
        "tasks_per_node": devices,
        "gpus_per_node": devices if launcher.gpus else None,
        "timeout_min": launcher.timeout_min,
        "cpus_per_task": launcher.cpus_per_task,
        "mem_gb": launcher.mem_gb,
        "slurm_partition": launcher.partition,
        "slurm_account": launcher.account,
        "slurm_array_parallelism": launcher.parallel,
        "slurm_setup": launcher.setup,
        "slurm_srun_args": srun,
        "slurm_additional_parameters": {"requeue": True},  # a cluster may forbid it by default
    }
    executor.update_parameters(**{key: v for key, v in parameters.items() if v is not None})
    return executor


def submit_jobs(
    jobs: Sequence[Job],
    launcher: SlurmConfig,
    folder: Path,
    fail_fast: bool,
    ended: Callable[[int, Outcome, float], None],
) -> list[Outcome | None]:
    """Submit jobs as arrays and wait for them; return how each ended.

    A job that an earlier command submitted, and that is still queued or runs, is not submitted
    again but waited for. If waiting is interrupted, the jobs go on. `folder` is for submitit's
    scripts and logs; `fail_fast` and `ended` are as of `run_jobs`.
    """
    started = time.monotonic()
    waiting = _submitted(jobs, launcher, folder)
    outcomes: list[Outcome | None] = [None] * len(jobs)
    if not launcher.wait:
        return [Outcome("submitted", job.path) for job in jobs]
    gone: set[int] = set()
    try:
        while waiting:
            states = _states()
            for number, submitted in list(waiting.items()):
                if not _results_are_there(submitted):
                    if states is None or states.get(submitted.job_id, "COMPLETED") not in ENDED:
                        gone.discard(number)
                        continue
                    if number not in gone:  # a result may take a moment to be seen from here
                        gone.add(number)
                        continue
                state = (states or {}).get(submitted.job_id, "")
                outcomes[number] = outcome = _judged(jobs[number], submitted, state)
                ended(number, outcome, time.monotonic() - started)
                del waiting[number]
                if fail_fast and outcome.status not in (0, 130) and waiting:
                    subprocess.run(["scancel", *(s.job_id for s in waiting.values())], check=False)
            if waiting:
                time.sleep(POLL)
    except KeyboardInterrupt:
        numbers = " ".join(submitted.job_id for submitted in waiting.values())
        advice = "the same command waits for them again, scancel ends them"
        print(f"jobs of SLURM that go on: {numbers}; {advice}", file=sys.stderr)
        raise
    return outcomes


def _submitted(jobs: Sequence[Job], launcher: SlurmConfig, folder: Path) -> dict[int, Any]:
    """Return SLURM's job of each: one that is queued or runs already, or one submitted now."""
    queued: dict[int, Any] = {}
    executors = {n: make_executor(launcher, folder, n) for n in {job.devices for job in jobs}}
    if (states := _states()) is None:
        raise UserError.of("launcher", "got slurm; squeue does not answer")
    for number, job in enumerate(jobs):
        if (path := _record_of(job, folder)).is_file():
            import submitit

            record = read_json(path, "run.root")
            processes = range(record["processes"])
            before: Any = submitit.SlurmJob(folder / "%j", record["job"], processes)
            if states.get(before.job_id, "COMPLETED") not in ENDED:
                queued[number] = before
    for number, submitted in queued.items():
        state = states[submitted.job_id].lower()
        _say(jobs[number], f"is {state} as {submitted.job_id} already", submitted)
    listed = with_inventory(jobs, folder / "images.npz")
    for devices, executor in sorted(executors.items()):
        numbers = [k for k, j in enumerate(jobs) if j.devices == devices and k not in queued]
        if not numbers:
            continue
        try:
            with _outside_of_any_job():
                new_jobs = executor.submit_array([SlurmJob(listed[k]) for k in numbers])
        except RuntimeError as error:
            why = str(error).strip().rpartition("\n")[2]
            raise UserError.of("launcher", f"SLURM refuses: {why}") from error
        for number, submitted in zip(numbers, new_jobs, strict=True):
            record = {"job": submitted.job_id, "processes": submitted.num_tasks}
            write_json(_record_of(jobs[number], folder), record)
            _say(jobs[number], f"submitted as {submitted.job_id}", submitted)
            queued[number] = submitted
    return queued


@contextmanager
def _outside_of_any_job() -> Iterator[None]:
    """Hide the job that this process may be in: sbatch passes its variables on, srun minds them."""
    keys = [key for key in os.environ if key.startswith("SLURM_") and key != "SLURM_CONF"]
    is_job = "SLURM_JOB_ID" in os.environ
    variables = {key: os.environ.pop(key) for key in keys} if is_job else {}
    try:
        yield
    finally:
        os.environ |= variables


def _say(job: Job, text: str, submitted: Any) -> None:
    tell(f"{job.label}{text}: {submitted.paths.stderr}", sys.stderr)


def _record_of(job: Job, folder: Path) -> Path:
    """Return the file that says as what a job was submitted last."""
    key = os.path.abspath(job.path) if job.path else json.dumps([job.command, *job.overrides])
    return folder / "submitted" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _states() -> dict[str, str] | None:
    """Return the state of each of this user's jobs that SLURM knows, None if it does not answer."""
    whose = (f"--user={os.getuid()}", f"--name={NAME}")
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T", *whose]
    try:
        queue = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(line.split("|", 1) for line in queue.stdout.split())


def _results_are_there(submitted: Any) -> bool:
    folder = submitted.paths.folder
    if folder.is_dir():
        os.listdir(folder)  # a network file system looks anew
    tasks = map(submitted.task, range(submitted.num_tasks))
    return all(task.paths.result_pickle.is_file() for task in tasks)


def _judged(job: Job, submitted: Any, state: str) -> Outcome:
    """Return how a job ended: as its processes said, or else as SLURM and its log do."""
    tasks = [submitted.task(rank) for rank in range(submitted.num_tasks)]
    outcomes = {k: _read(job, t) for k, t in enumerate(tasks) if t.paths.result_pickle.is_file()}
    if 0 in outcomes and not outcomes[0].status:
        return outcomes[0]
    failures = causes(outcomes.values())
    if failures or len(outcomes) == len(tasks):
        return (failures or list(outcomes.values()))[0]
    directory = Path(job.path)
    recorded = read_status(directory).get("state") if job.path else None
    if state == "CANCELLED" or recorded == "interrupted":
        outcome = interrupted(job)
    else:
        error = _first_error(submitted.paths.stderr)
        why = f"SLURM says {state or 'nothing of it'}" + (f", its log {error!r}" if error else "")
        text = f"mixkd {job.command}: failed: {why}; its log is {submitted.paths.stderr}"
        outcome = Outcome("failed", job.path, text=text)
    write_end(job, outcome)
    return outcome


def _read(job: Job, task: Any) -> Outcome:
    """Return what a process said of its end."""
    import submitit

    kind, content = submitit.core.utils.pickle_load(task.paths.result_pickle)
    if kind == "success":
        outcome: Outcome = content
        return outcome
    why = content.strip().splitlines()[-1]  # of a traceback: it could not come so far as to run
    log = task.paths.stderr
    return Outcome("failed", job.path, text=f"mixkd {job.command}: failed: {why}; its log is {log}")


def _first_error(log: Path) -> str:
    """Return the first error in a log since its job was started last: what follows is its doing."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    lines = text.rpartition(STARTS)[2].splitlines()
    return next((line.strip() for line in lines if re.search("(?i)(error|fatal):", line)), "")
