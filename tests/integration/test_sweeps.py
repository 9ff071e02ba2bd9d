"""Sweeps: isolated jobs of one process or two, what fails, what is skipped, what resumes."""

import csv
import json
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from mixkd.launchers.process import share
from mixkd.launchers.sweep import jobs_of, plan_jobs, sweep_name
from tests.processes import Process, started

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
SMALL = ["network=resnet20", "network.args.depth=8", "data.limit_train=300", "callbacks=none"]
TWO = ["trainer.devices=2", "trainer.accelerator=cpu"]
SAME = ("metrics.json", "weights.safetensors", "history.csv")


class Done(NamedTuple):
    returncode: int
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(mixkd: Mixkd, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command here: its jobs are processes, forked from one server for all tests."""

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        return Done(mixkd(*arguments), capsys.readouterr().err)

    return run


def directories(pattern: str = "*/*/*") -> list[Path]:
    return sorted(path for path in Path("runs").glob(pattern) if path.is_dir())


def same(one: Path, two: Path) -> None:
    for name in SAME:
        assert (one / name).read_bytes() == (two / name).read_bytes(), (one, name)


def wait_for(process: Process, text: str) -> list[str]:
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError("".join(lines))


def test_words_become_jobs() -> None:
    overrides = [
        "temperature=2,sigma",
        "seed=range(2)",
        "data.root=a b",
        "student.args={width: 0.35}",
    ]
    jobs = jobs_of("distill", overrides)
    assert [job[:2] for job in jobs] == [
        ("temperature=2", "seed=0"), ("temperature=2", "seed=1"),
        ("temperature=sigma", "seed=0"), ("temperature=sigma", "seed=1"),
    ]  # fmt: skip
    assert all(job[2:] == tuple(overrides[2:]) for job in jobs)
    assert sweep_name("distill", overrides) == sweep_name("distill", overrides[::-1])
    assert sweep_name("distill", overrides) != sweep_name("distill", overrides[1:])
    # Paths are parted by commas, and keep their other letters.
    assert jobs_of("evaluate", ["network.run=a b,c=d"]) == [
        ("network.run='a b'",), ("network.run='c=d'",),
    ]  # fmt: skip


def test_jobs_that_are_one_and_jobs_that_collide() -> None:
    twins = [("network=resnet20", "optimizer.lr=1"), ("network=resnet20", "optimizer.lr=1.0")]
    plan = plan_jobs("finetune", twins, "name")
    assert [planned.twin for planned in plan] == [None, 0]
    others = [(*twin, "run.dir=x") for twin in (twins[0], ("network=resnet20", "seed=3"))]
    plan = plan_jobs("finetune", others, "name")
    assert [planned.twin for planned in plan] == [None, None]
    assert plan[0].outcome is None
    assert plan[1].outcome is not None
    assert "is another job's of this sweep" in plan[1].outcome.text


def test_gpus_are_shared_out() -> None:
    four = ["4", "5", "6", "7"]
    assert [share(four, slot, 2) for slot in (0, 1)] == [["4", "5"], ["6", "7"]]
    assert [share(four, slot, 1) for slot in range(4)] == [["4"], ["5"], ["6"], ["7"]]
    assert [share(["0"], slot, 1) for slot in range(2)] == [["0"], ["0"]]


def test_four_jobs_of_two_processes(
    run: Run, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many directories and W&B runs as jobs, each as the same job alone with two processes."""
    folder = ["data=imagefolder", f"data.root={image_folder}", "data.batch_size=16", "data.pad=1"]
    on_disk = ["data.resident=false", "data.size=16", "data.workers=1"]
    overrides = [*SMALL[:2], *folder, *on_disk, *TWO, "trainer.max_epochs=2"]
    sweep = ["finetune", "-m", *overrides, "seed=0,1", "method=erm,mixup", "logger=wandb"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    done = run(*sweep)
    assert done.returncode == 0, done.stderr
    assert "4 finished" in done.stderr.splitlines()[-1]
    runs = directories()
    assert len(runs) == 4
    starts = list(Path("runs").rglob("offline-run-*-*"))
    assert len({path.name.rpartition("-")[2] for path in starts if path.is_dir()}) == 4
    content = b"".join(path.read_bytes() for path in Path("runs").rglob("*.wandb"))
    assert content.count(sweep_name("finetune", sweep[2:]).encode()) >= 4
    alone = run("finetune", *overrides, "seed=1", "method=mixup", "run.dir=alone")
    assert alone.returncode == 0, alone.stderr
    (job,) = [path for path in runs if path.name.startswith("resnet20-mixup-s1-")]
    same(job, Path("alone"))
    assert "2 x cpu" in json.loads((job / "provenance.json").read_text())["device"]
    command = json.loads((job / "provenance.json").read_text())["command"]
    assert command[:2] == ["mixkd", "finetune"]
    assert {"seed=1", "method=mixup"} < set(command)

    # Nothing is done twice.
    before = [(path / "status.json").stat().st_mtime_ns for path in runs]
    again = run(*sweep)
    assert again.returncode == 0
    assert "4 skipped" in again.stderr.splitlines()[-1]
    assert [(path / "status.json").stat().st_mtime_ns for path in runs] == before


def test_one_bad_value_of_three_is_told_and_only_what_is_missing_is_run_again(run: Run) -> None:
    arguments = ["finetune", "-m", *SMALL, "trainer.max_epochs=1"]
    done = run(*arguments, "optimizer=adam,admm,sgd")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert sum("optimizer: got 'admm'; takes" in line for line in lines) == 2  # at once; the table
    assert lines[-1] == "2 finished, 1 refused"
    assert len(directories()) == 2
    again = run(*arguments, "optimizer=adam,adamw,sgd")
    assert again.returncode == 0
    assert again.stderr.splitlines()[-1] == "2 skipped, 1 finished"
    assert len(directories()) == 3


def test_a_failure_is_told_at_once_and_the_others_go_on(run: Run) -> None:
    arguments = ["finetune", "-m", *SMALL, "trainer.max_epochs=1", "optimizer.lr=1e30,0.01"]
    done = run(*arguments)
    assert done.returncode == 1
    errors = done.stderr
    assert "[1/2] mixkd finetune: failed: the network's logits are not finite" in errors
    assert errors.splitlines()[-1] == "1 failed, 1 finished"
    states = {json.loads((path / "status.json").read_text())["state"] for path in directories()}
    assert states == {"failed", "finished"}

    stopped = run(*arguments[:-1], "optimizer.lr=2e30,0.02", "sweep.fail_fast=true")
    assert stopped.returncode == 1
    assert stopped.stderr.splitlines()[-1] == "1 failed, 1 not run"


def test_a_process_that_dies_ends_its_job_and_no_other() -> None:
    long = ["trainer.max_epochs=400", "seed=0,1"]
    with started("finetune", "-m", *SMALL, *TWO, *long) as sweep:
        wait_for(sweep, "[1/2] epoch   2/400")
        (first,) = directories()
        pid = json.loads((first / "status.json").read_text())["pid"]
        (second,) = (process for process in ranks(sweep.pid) if process != pid)
        os.kill(second, signal.SIGKILL)
        began = time.monotonic()
        lines = wait_for(sweep, "[1/2] mixkd finetune: failed")
        assert time.monotonic() - began < 60
        assert "process 1 of 2 was ended by SIGKILL" in lines[-1]
        assert json.loads((first / "status.json").read_text())["state"] == "failed"
        wait_for(sweep, "[2/2] epoch")  # the other one goes on
        os.kill(sweep.pid, signal.SIGINT)
        wait_for(sweep, "1 failed, 1 interrupted")
        assert sweep.wait(timeout=60) == 1


def ranks(launcher: int) -> list[int]:
    """Return the processes that the launcher's fork server has forked."""
    pids = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            grandparent = int(
                Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1]
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
        if grandparent == launcher:
            pids.append(int(stat.parent.name))
    return sorted(pids)


def test_a_sweep_that_runs_is_not_started_again_and_a_dead_one_holds_nothing(run: Run) -> None:
    arguments = ["finetune", "-m", *SMALL, "trainer.max_epochs=400", "seed=0,1"]
    with started(*arguments) as first:
        wait_for(first, "[1/2] epoch   1/400")
        refused = run(*arguments)
        assert refused.returncode == 2
        assert "the same sweep is running" in refused.stderr
        children = ranks(first.pid)
        os.kill(first.pid, signal.SIGKILL)  # the launcher alone
        first.wait()
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            assert time.monotonic() < deadline, "a job outlives its launcher"
            time.sleep(0.1)
    with started(*arguments) as second:  # continues
        lines = wait_for(second, "[1/2] epoch")
        assert any("[1/2] resuming from" in line for line in lines)


KILLS = int(os.environ.get("MIXKD_KILLS", "3"))


EPOCHS = max(6, KILLS // 2 + 1)  # six checkpoints each: more than the kills let pass


@pytest.mark.parametrize("devices", [1, 2])
def test_killed_at_random_moments_it_ends_bit_identical(run: Run, devices: int) -> None:
    """`kill -9` of everything, at random moments after checkpoints; MIXKD_KILLS says how often."""
    more = ["callbacks.linearity.every_n_epochs=2"]
    arguments = [
        "finetune", *SMALL[:3], *more, "method=mixup", "schedule=plateau",
        f"trainer.max_epochs={EPOCHS}",
        "data.batch_size=16", "checkpoint.every_n_steps=3", "trainer.threads=1", "trainer.ema=0.9",
        f"trainer.devices={devices}", "trainer.accelerator=cpu",
    ]  # fmt: skip
    assert run(*arguments, "run.dir=whole").returncode == 0
    chance = random.Random(devices)
    for _ in range(KILLS):
        with started(*arguments, "run.dir=killed") as process:
            wait_for_writes(process, Path("killed/checkpoints/last.ckpt"), chance.randint(1, 3))
            time.sleep(chance.uniform(0, 0.2))
            for child in [*ranks(process.pid), process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
    done = run(*arguments, "run.dir=killed")
    assert done.returncode == 0, done.stderr
    same(Path("killed"), Path("whole"))
    with open("killed/history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == [str(k) for k in range(EPOCHS)]


def wait_for_writes(process: Process, path: Path, count: int) -> None:
    """Wait until a file has been written so often, or the process has ended."""
    times: set[int] = set()
    before = path.stat().st_mtime_ns if path.is_file() else 0
    while len(times) < count and process.poll() is None:
        if path.is_file() and (when := path.stat().st_mtime_ns) != before:
            times.add(when)
        time.sleep(0.002)


def test_a_run_stopped_within_an_epoch_continues_there(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixkd.modules.learner import Learner

    arguments = ["finetune", *SMALL, "data.batch_size=16", "trainer.max_epochs=2", "method=mixup",
             "checkpoint.every_n_steps=4", "trainer.accumulate=2"]  # fmt: skip
    assert mixkd(*arguments, "run.dir=whole") == 0
    original, steps = Learner.training_step, []

    def step(self: Learner, batch, batch_idx):  # type: ignore[no-untyped-def]
        steps.append((self.current_epoch, batch_idx))
        if len(steps) == 27 + 36:  # parts; an epoch has 36
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Learner, "training_step", step)
    assert mixkd(*arguments, "run.dir=run") == 130
    stopped = steps[-1]
    assert mixkd(*arguments, "run.dir=run") == 0
    resumed = steps[steps.index(stopped) + 1]
    assert resumed == (1, 20)  # its last checkpoint was at step 28, the tenth of the epoch
    same(Path("run"), Path("whole"))


STUDENT = ["student=resnet20", "student.args.depth=8", "data.limit_train=300", "callbacks=none",
           "trainer.max_epochs=1", "teacher=resnet20", "teacher.args.depth=8",
           "teacher.auto=true"]  # fmt: skip


def test_teachers_that_are_missing_are_made_once_first(run: Run) -> None:
    done = run("distill", "-m", *STUDENT, "temperature=2,sigma")
    assert done.returncode == 0, done.stderr
    assert len(directories("digits/finetune/*")) == 1
    assert len(directories("digits/distill/*")) == 2
    assert "[teacher 1/1]" in done.stderr


def test_a_single_run_of_two_processes_makes_its_teacher_once(run: Run) -> None:
    done = run("distill", *STUDENT, *TWO, "run.root=own")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finetune: own/digits/finetune/") == 1
    (teacher,) = Path("own").glob("digits/finetune/*")
    assert json.loads((teacher / "status.json").read_text())["state"] == "finished"


def test_ctrl_c_while_a_teacher_is_made_stops_the_sweep() -> None:
    with started("distill", "-m", *STUDENT, "temperature=2,4") as sweep:
        wait_for(sweep, "[teacher 1/1] epoch   1/")
        os.kill(sweep.pid, signal.SIGINT)
        lines = wait_for(sweep, "2 interrupted")
        assert not any("distill: runs" in line for line in lines)
        assert sweep.wait(timeout=60) == 130
    assert not directories("digits/distill/*")


@pytest.mark.parametrize("devices", [[], TWO])
def test_a_single_run_takes_ddp_without_more(devices: list[str]) -> None:
    arguments = ["finetune", *SMALL, "trainer.max_epochs=1", "trainer.strategy=ddp", *devices]
    with started(*arguments) as process:  # which has a process group in the end
        errors = process.stderr.read()
        assert process.wait() == 0, errors
    (made,) = directories()
    metrics = json.loads((made / "metrics.json").read_text())
    assert metrics["test/n"] == 450
    assert (
        f"{len(devices) or 1} x cpu" in json.loads((made / "provenance.json").read_text())["device"]
    )
