"""The SLURM launcher, with a simulated SLURM: scripts, queues, results and interruptions."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from mixkd.config.launcher import SlurmConfig
from mixkd.config.validation import sweep_settings
from mixkd.errors import UserError
from mixkd.files.writing import write_json
from mixkd.launchers import slurm
from mixkd.launchers.job import Job, Outcome, interrupted
from mixkd.launchers.slurm import SlurmJob, make_executor, submit_jobs
from mixkd.request import compose
from mixkd.runs.status import write_status
from tests.processes import forked

submitit = pytest.importorskip("submitit")

PEER = "Read error: Connection reset by peer"


def launcher(*overrides: str) -> SlurmConfig:
    config = sweep_settings(compose("finetune", ["launcher=slurm", *overrides])).launcher
    assert isinstance(config, SlurmConfig)
    return config


def jobs(count: int, devices: int = 1) -> list[Job]:
    return [
        Job("finetune", (f"seed={k}",), devices, f"[{k + 1}/{count}] ", path=f"runs/s{k}")
        for k in range(count)
    ]


class Cluster:
    """SLURM's commands, as far as they are called: `sbatch` numbers arrays from 1 on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        count = f"n=$(($(cat {folder}/count) + 1)); echo $n > {folder}/count"
        (folder / "count").write_text("0")
        self.define(sbatch=f"{count}; cp $1 {folder}/$n.sh; echo Submitted batch job $n")
        self.define(srun="", squeue=f"cat {folder}/queue", scancel=f"echo $@ >> {folder}/cancelled")
        self.queue({})

    def define(self, **commands: str) -> None:
        for name, text in commands.items():
            (self.folder / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.folder / name).chmod(0o755)

    def queue(self, states: dict[str, str]) -> None:
        lines = [f"{number}|{state}\n" for number, state in states.items()]
        (self.folder / "queue").write_text("".join(lines))

    @property
    def scripts(self) -> list[list[str]]:
        count = int((self.folder / "count").read_text())
        return [(self.folder / f"{k + 1}.sh").read_text().splitlines() for k in range(count)]

    @property
    def cancelled(self) -> list[str]:
        record = self.folder / "cancelled"
        return record.read_text().split() if record.exists() else []


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    simulated = Cluster(tmp_path / "cluster")
    monkeypatch.setenv("PATH", f"{simulated.folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "POLL", 0.01)
    return simulated


@pytest.fixture
def submit(cluster: Cluster) -> Callable[..., list[Outcome | None]]:
    """Run `submit_jobs`, with the results that the processes of each job left."""

    def run(
        jobs: list[Job],
        results: dict[str, list[Any]] | None = None,
        fail_fast: bool = False,
        overrides: tuple[str, ...] = (),
    ) -> list[Outcome | None]:
        folder = Path("runs/.sweep")
        for number, process_results in (results or {}).items():
            for rank, result in enumerate(process_results):
                path = folder / number / f"{number}_{rank}_result.pkl"
                path.parent.mkdir(parents=True, exist_ok=True)
                kind = "error" if isinstance(result, str) else "success"
                if result is not None:
                    path.write_bytes(cloudpickle.dumps((kind, result)))
        return submit_jobs(jobs, launcher(*overrides), folder, fail_fast, lambda *ended: None)

    return run


def texts(outcomes: list[Outcome | None]) -> list[str]:
    return ["" if outcome is None else outcome.text for outcome in outcomes]


def test_a_job_asks_slurm_for_its_resources(cluster: Cluster) -> None:
    config = launcher(
        "launcher.partition=gpu", "launcher.account=lab", "launcher.timeout_min=90",
        "launcher.cpus_per_task=3", "launcher.mem_gb=1.5", "launcher.parallel=2",
        "launcher.setup=[module load cuda,ulimit -c 0]",
    )  # fmt: skip
    executor = make_executor(config, Path("runs/.sweep"), devices=4)
    executor.submit_array([SlurmJob(job) for job in jobs(3, devices=4)])
    (script,) = cluster.scripts
    options = {line.removeprefix("#SBATCH ") for line in script if line.startswith("#SBATCH")}
    assert options >= {
        "--array=0-2%2", "--nodes=1", "--ntasks-per-node=4", "--gpus-per-node=4", "--partition=gpu",
        "--account=lab", "--time=90", "--cpus-per-task=3", "--mem=1536MB", "--signal=USR2@90",
        "--requeue", "--job-name=mixkd", "--open-mode=append",
    }  # fmt: skip
    (srun,) = (k for k, line in enumerate(script) if line.startswith("srun"))
    assert script.index("module load cuda") < script.index("ulimit -c 0") < srun
    assert "--kill-on-bad-exit=1" in script[srun]
    assert "--cpus-per-task=3" in script[srun]
    assert executor._executor.max_num_timeout == 1


def test_resources_that_are_not_given_are_left_to_the_cluster(cluster: Cluster) -> None:
    config = launcher("launcher.gpus=false", "launcher.requeues=5")
    executor = make_executor(config, Path("runs/.sweep"), devices=2)
    executor.submit_array([SlurmJob(job) for job in jobs(1, devices=2)])
    script = "\n".join(cluster.scripts[0])
    assert "--ntasks-per-node=2" in script
    assert executor._executor.max_num_timeout == 5
    for option in ("array", "gpus", "partition", "account", "mem", "cpus"):
        assert f"--{option}" not in script


def test_without_slurm_or_submitit_the_launcher_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"launcher: got slurm; there is no SLURM here \(.*srun"):
        make_executor(launcher(), Path("runs"), devices=1)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match="launcher: got slurm; submitit is not installed: pip"):
        make_executor(launcher(), Path("runs"), devices=1)


def test_slurm_that_refuses_or_does_not_answer(
    cluster: Cluster, submit: Callable[..., Any]
) -> None:
    cluster.define(sbatch="echo 'invalid partition specified: nosuch' >&2; exit 1")
    with pytest.raises(UserError, match="SLURM refuses: invalid partition specified: nosuch"):
        submit(jobs(2))
    cluster.define(squeue="exit 1")
    with pytest.raises(UserError, match="squeue does not answer"):
        submit(jobs(2))


def test_the_job_that_submits_is_no_matter_to_those_it_submits(
    cluster: Cluster, submit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.define(sbatch=f"env > {cluster.folder}/env; echo Submitted batch job 1")
    monkeypatch.setenv("SLURM_CONF", "slurm.conf")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "500")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    submit(jobs(1), {"1": [Outcome("finished")]})
    environment = (cluster.folder / "env").read_text()
    assert "SLURM_CONF=slurm.conf" in environment
    assert "SLURM_MEM_PER_CPU" not in environment
    assert os.environ["SLURM_MEM_PER_CPU"] == "500"


def test_a_job_is_queued_again_as_it_is() -> None:
    job = SlurmJob(jobs(1)[0])
    requeued = job.checkpoint()
    assert isinstance(requeued, submitit.helpers.DelayedSubmission)
    assert (requeued.function, requeued.args, requeued.kwargs) == (job, (), {})
    assert not requeued.function.queued_again
    assert cloudpickle.loads(cloudpickle.dumps(job)) == job


def test_a_job_that_is_queued_again_does_not_start_over_once_more() -> None:
    for force in ("run.force=true", "run.force=True", "++run.force=true"):
        forced = SlurmJob(Job("finetune", ("seed=1", force), path="run"))
        write_json(Path("run/status.json"), {"state": "finished"})  # it has not come so far
        assert forced.checkpoint().function.job.overrides == ("seed=1", force)
        write_json(Path("run/status.json"), {"state": "running"})
        assert forced.checkpoint().function.job.overrides == ("seed=1",)
        assert forced.job.overrides == ("seed=1", force)
        message = interrupted(forced.job).text
        assert message.endswith(": interrupted; the same command without run.force continues it")
    job = Job("finetune", ("seed=1",), path="run")
    assert interrupted(job).text.endswith("; the same command continues it")


def test_jobs_of_different_numbers_of_devices_are_arrays_of_their_own(
    cluster: Cluster, submit: Callable[..., Any]
) -> None:
    mixed = [*jobs(2), *jobs(1, devices=2)]
    finished = Outcome("finished")
    outcomes = submit(mixed, {"1_0": [finished], "1_1": [finished], "2": [finished, finished]})
    assert outcomes == [finished] * 3
    assert [f"#SBATCH --ntasks-per-node={n}" in cluster.scripts[n - 1] for n in (1, 2)] == [
        True
    ] * 2


def test_outcomes_say_how_jobs_ended(cluster: Cluster, submit: Callable[..., Any]) -> None:
    finished, peer = Outcome("finished", metrics={"test/ece": 0.1}), Outcome("failed", text=PEER)
    explained = Outcome("failed", text="mixkd finetune: failed: not finite")
    results = {
        "1_0": [finished, finished],
        "1_1": [peer, explained],
        "1_2": [peer, None],
        "1_3": [None, None],
        "1_4": [None, None],
        "1_5": ["Traceback:\n  ...\nModuleNotFoundError: No module named 'mixkd'\n"] * 2,
    }
    cluster.queue({"1_2": "FAILED", "1_3": "CANCELLED"})  # and of the fifth it knows no more
    for number in (2, 3):
        Path(f"runs/s{number}").mkdir(parents=True)
        write_status(Path(f"runs/s{number}"), "running")
    log = Path("runs/.sweep/1_2/1_2_0_log.err")
    log.parent.mkdir(parents=True)
    log.write_text(
        "starts as job 1_2 on node6\nsrun: error: *** JOB 3 ON node6 DUE TO JOB REQUEUE ***\n"
        "starts as job 1_2 on node7\nepoch 1\nsrun: error: node7: task 1: Killed\n"
        "srun: Terminating StepId=1.0\nsrun: error: node7: task 0: Killed\n"
    )
    outcomes = submit(jobs(6, devices=2), results)
    states = [outcome.state for outcome in outcomes]
    assert states == ["finished", "failed", "failed", "interrupted", "failed", "failed"]
    assert outcomes[:2] == [finished, explained]
    messages = texts(outcomes)
    assert "SLURM says FAILED, its log 'srun: error: node7: task 1: Killed'" in messages[2]
    assert "the same command continues it" in messages[3]
    assert "SLURM says nothing of it" in messages[4]
    assert "failed: ModuleNotFoundError: No module named 'mixkd'; its log is" in messages[5]
    assert all('"failed"' in Path("runs/s2/status.json").read_text() for _ in range(1))
    assert '"interrupted"' in Path("runs/s3/status.json").read_text()


def test_a_job_that_is_queued_again_is_waited_for(
    cluster: Cluster, submit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queues: list[dict[str, str] | None] = [
        {},  # before anything is submitted
        {"1": "RUNNING"}, {"1": "COMPLETED"}, {"1": "PENDING"}, None, None, {"1": "COMPLETING"},
        {"1": "RUNNING"}, {"1": "FAILED"}, {"1": "FAILED"},
    ]  # fmt: skip
    monkeypatch.setattr(slurm, "_states", lambda: queues.pop(0))
    (outcome,) = submit(jobs(1))
    assert outcome.state == "failed"
    assert not queues


def test_the_first_failure_cancels_the_others(cluster: Cluster, submit: Callable[..., Any]) -> None:
    cancel = f"sed -i 's/|.*/|CANCELLED/' {cluster.folder}/queue"
    cluster.define(scancel=f"echo $@ >> {cluster.folder}/cancelled; {cancel}")
    cluster.queue({"1_1": "RUNNING", "1_2": "PENDING"})
    failed = Outcome("failed", text="why")
    outcomes = submit(jobs(3), {"1_0": [failed]}, fail_fast=True)
    assert cluster.cancelled == ["1_1", "1_2"]
    assert [outcome.state for outcome in outcomes] == ["failed", "interrupted", "interrupted"]


def test_what_is_queued_or_runs_is_not_submitted_again(
    cluster: Cluster, submit: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    no_wait = ("launcher.wait=false",)
    assert [o.state for o in submit(jobs(3), overrides=no_wait)] == ["submitted"] * 3
    cluster.queue({"1_0": "RUNNING", "1_1": "PENDING", "1_2": "FAILED"})
    outcomes = submit(jobs(3), overrides=no_wait)
    assert [outcome.status for outcome in outcomes] == [0, 0, 0]
    assert len(cluster.scripts) == 2
    assert "--array" not in "\n".join(cluster.scripts[1])  # the third alone
    message = capsys.readouterr().err
    assert "[1/3] is running as 1_0 already" in message
    assert "[2/3] is pending as 1_1 already" in message
    assert "[3/3] submitted as 2:" in message


def test_ctrl_c_leaves_the_jobs_to_go_on(
    cluster: Cluster,
    submit: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*arguments: object) -> Outcome:
        raise KeyboardInterrupt

    cluster.queue({"1_1": "RUNNING"})
    monkeypatch.setattr(slurm, "_judged", interrupt)
    with pytest.raises(KeyboardInterrupt):
        submit(jobs(2), {"1_0": [Outcome("finished")]})
    assert "that go on: 1_0 1_1; the same command waits" in capsys.readouterr().err
    assert not cluster.cancelled


# What a process of a job meets: SLURM warns it of a pre-emption within a fit, which goes on; a
# process that it has forked gets the signal that queues the job again; and then it ends.
PROCESS = """
import os, signal, sys
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
import mixkd.launchers.job
from mixkd.launchers import slurm
from mixkd.launchers.job import Job, Outcome

class Warned(BoringModel):
    def training_step(self, batch, number):
        os.kill(os.getpid(), signal.SIGTERM)
        return super().training_step(batch, number)

def run_job(*overrides, **options):
    trainer = Trainer(
        max_steps=4, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )
    trainer.fit(Warned())
    if (child := os.fork()) == 0:
        os.kill(os.getpid(), signal.SIGUSR2)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES", "NODE_RANK")
    print(trainer.global_step, "steps", *(os.environ.get(name) for name in names))
    if queued_again:
        job.checkpoint()
    return Outcome(state, text=text)

for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, lambda *arguments: print("told", *arguments[:1]))
mixkd.launchers.job.run_job = run_job
for state, text, queued_again in (
    ("finished", "", False),
    ("failed", "the network diverged", False),
    ("interrupted", "Ctrl-C", False),
    ("interrupted", "signal", True),
    ("failed", "Command scontrol died with SIGTERM", True),
    ("failed", "Job not requeued because: timed-out too many times.", True),
):
    job = slurm.SlurmJob(Job("finetune", ()))
    try:
        print("result:", job().text)
    except SystemExit as stop:
        print("exit:", stop.code)
"""


def run_process_of_a_job() -> None:
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    exec(PROCESS, {"__name__": "__main__"})


@pytest.mark.integration
def test_what_a_process_of_a_job_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "7_0_result.pkl"
    stale.touch()
    environment = {
        "SUBMITIT_EXECUTOR": "slurm", "SUBMITIT_FOLDER": str(tmp_path), "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_NTASKS": "1", "CUDA_VISIBLE_DEVICES": "2,3",
        "NODE_RANK": "5", "MASTER_PORT": "1",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with forked(run_process_of_a_job) as process:
        text = process.stderr.read()
        assert process.wait() == 0, text
    lines = text.splitlines()
    results = [line for line in lines if line.startswith(("result:", "exit:"))]
    assert [line.partition(": ")[2] for line in results] == [
        "", "the network diverged", "130", "130", "1",
        "mixkd finetune: failed: out of time (launcher.timeout_min, launcher.requeues); "
        "the same command continues it",
    ]  # fmt: skip
    assert lines.count("4 steps 0 0 1 2,3 None") == 6
    assert lines.count(f"told {signal.SIGTERM:d}") == 24
    assert f"told {signal.SIGUSR2:d}" not in lines
    assert not stale.exists()
