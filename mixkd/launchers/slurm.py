"""Jobs on a SLURM cluster: submitit writes the batch script, `srun` starts a job's processes.

Requeueing has one owner, submitit: a job that runs out of time, or is pre-empted, checkpoints, is
queued again under its number and continues its run. Lightning does nothing of the kind.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixkd.config import Slurm
from mixkd.console import is_leader
from mixkd.errors import UserError
from mixkd.launchers.job import Outcome, run_job
from mixkd.launchers.local import Job
from mixkd.run import read_status

POLL = 5.0  # seconds between looks at the queue


@dataclass(frozen=True)
class SlurmJob:
    """What each process of a job runs on the cluster."""

    job: Job

    def __call__(self) -> Outcome:
        """Run the job; what it says goes to its log."""
        import submitit

        submitit.helpers.TorchDistributedEnvironment().export()  # as Lightning reads it
        sys.argv = ["mixkd", self.job.command, *self.job.words]
        outcome = run_job(self.job.command, [*self.job.words, *self.job.more])
        if outcome.text or is_leader():
            outcome.show()
        return outcome

    def checkpoint(self) -> Any:
        """Return what is to be queued again: the same job, which continues its own run."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def make_executor(launcher: Slurm, folder: Path, devices: int) -> Any:
    """Return submitit's executor for jobs of a number of devices.

    Raises:
        UserError: if submitit or SLURM is not installed.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise UserError.of(
            "launcher", "got slurm; submitit is not installed: pip install 'mixkd[slurm]'"
        ) from error
    try:
        executor = submitit.AutoExecutor(
            folder / "%j", cluster="slurm", slurm_max_num_timeout=launcher.requeues
        )
    except RuntimeError as error:
        raise UserError.of("launcher", f"got slurm; there is no SLURM here ({error})") from error
    asked = {
        "name": "mixkd",
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
    }
    executor.update_parameters(**{key: v for key, v in asked.items() if v is not None})
    return executor


def submit_jobs(
    jobs: Sequence[Job],
    launcher: Slurm,
    folder: Path,
    fail_fast: bool,
    ended: Callable[[int, Outcome, float], None],
) -> list[Outcome | None]:
    """Submit jobs as arrays and wait for them; return how each ended, None for what was not waited.

    Args:
        jobs: what to run.
        launcher: how.
        folder: where submitit keeps scripts and logs.
        fail_fast: whether the first failure cancels the others.
        ended: told the number of a job, how it ended and the seconds it took, at once.
    """
    started = time.monotonic()
    waiting: dict[int, Any] = {}
    for devices in sorted({job.devices for job in jobs}):
        numbers = [k for k, job in enumerate(jobs) if job.devices == devices]
        executor = make_executor(launcher, folder, devices)
        submitted = executor.submit_array([SlurmJob(jobs[k]) for k in numbers])
        waiting |= dict(zip(numbers, submitted, strict=True))
    for number, job in waiting.items():
        print(f"{jobs[number].label}submitted as {job.job_id}: {job.paths.stdout}", file=sys.stderr)
    outcomes: list[Outcome | None] = [None] * len(jobs)
    while waiting and launcher.wait:
        for number, job in list(waiting.items()):
            if job.done():
                outcomes[number] = outcome = _outcome(jobs[number], job)
                ended(number, outcome, time.monotonic() - started)
                del waiting[number]
                if outcome.status and fail_fast:
                    for other in waiting.values():
                        other.cancel()
                    waiting = {}
        if waiting:
            time.sleep(POLL)
    return outcomes


def _outcome(job: Job, submitted: Any) -> Outcome:
    """Return what the first process of a job said of it, or why it could not."""
    import submitit

    try:
        outcome: Outcome = submitted.results()[0]
        return outcome
    except submitit.core.utils.UncompletedJobError as error:
        known = read_status(Path(job.path)) if job.path else {}
        why = known.get("error") or str(error).splitlines()[0]
        log = submitted.paths.stderr
        text = f"mixkd {job.command}: failed: {why}; its log is {log}"
        return Outcome("failed", job.path, text=text)
