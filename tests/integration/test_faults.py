"""A full disk, closed folders, signals, numbers that are not finite: what was good stays good."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.integration.child import in_child

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
WORDS = ["network=resnet20", "network.args.depth=8", "data.batch_size=16", "data.pad=1",
         "callbacks=none"]  # fmt: skip
COMMAND = ["finetune", "data=imagefolder", "data.root=images", *WORDS]


def own_mounts() -> list[str]:
    """Return how to start a process that may mount; nothing where that is not allowed."""
    users = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    start = ["unshare", *users, "--mount"]
    if shutil.which("unshare") is None:
        return []
    tried = [*start, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "."]
    return [] if subprocess.run(tried, capture_output=True, check=False).returncode else start


def test_on_a_full_disk_the_last_checkpoint_stays_and_the_next_start_goes_on(
    image_folder: Path,
) -> None:
    # The disk is full from the second epoch on: a small tmpfs. Where none can be mounted, files
    # are limited in size, which fails in the same place.
    before = own_mounts()
    ends = in_child(
        """
        from mixkd.callbacks.recorder import Recorder
        from mixkd.modules.learner import Learner
        whole = mixkd(*arguments, "run.root=whole")
        Path("runs").mkdir()
        if mounted:
            subprocess.run("mount -t tmpfs -o size=8m tmpfs runs".split(), check=True)
        original = Learner.on_train_epoch_start

        def filled(self):
            if self.current_epoch == 1 and mounted:
                with open("runs/ballast", "wb", buffering=0) as ballast:
                    with contextlib.suppress(OSError):
                        while ballast.write(bytes(4096)):
                            pass
            elif self.current_epoch == 1:
                resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            original(self)

        Learner.on_train_epoch_start = filled
        full = mixkd(*arguments)
        Learner.on_train_epoch_start = original
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        Path("runs/ballast").unlink(missing_ok=True)
        shutil.copytree("runs", "stopped")
        again = mixkd(*arguments)
        shutil.copytree("runs", "resumed")
        print(json.dumps({"whole": whole, "full": full, "again": again}))
        """,
        *before,
        arguments=[*COMMAND, "trainer.max_epochs=3"],
        mounted=bool(before),
    )
    assert (ends["whole"][0], ends["full"][0], ends["again"][0]) == (0, 1, 0), ends
    output = ends["full"][1]
    why = "No space left on device" if before else "File too large"
    assert output.count(f"checkpoints/last.ckpt cannot be written: {why}; ") == 1
    assert "MB are free there. Make room: the same command goes on" in output
    assert "Traceback" not in output
    stopped, resumed, whole = (
        next(Path(p).glob("*/finetune/*")) for p in ("stopped", "resumed", "whole")
    )
    assert not [p for p in Path("stopped").rglob(".*-*") if p.is_file()]
    checkpoint = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 0
    assert not (stopped / "metrics.json").exists()
    assert f"resuming from {Path('runs', *stopped.parts[1:])}" in ends["again"][1]
    for name in ("metrics.json", "history.csv", "weights.safetensors"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_run_that_could_not_write_its_last_history_writes_it_at_the_next_start(
    mixkd: Mixkd, image_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixkd.callbacks.recorder import Recorder
    from mixkd.errors import NotWritten

    original, arguments = Recorder.write_history, [*COMMAND, "trainer.max_epochs=2", "run.dir=run"]

    def full(self: Recorder) -> None:
        if len(self.rows) == 2:
            raise NotWritten("history.csv")
        original(self)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "write_history", full)
        assert mixkd(*arguments) == 1
    assert len(Path("run/history.csv").read_text().splitlines()) == 2
    assert mixkd(*arguments) == 0
    assert len(Path("run/history.csv").read_text().splitlines()) == 3


# As an ordinary user: root may write everywhere.
AS_USER = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    if os.geteuid() == 0
    else []
)


def test_closed_folders_are_named(image_folder: Path) -> None:
    ends = in_child(
        """
        arguments = [*arguments, "trainer.max_epochs=1"]
        ends = {}
        Path("closed").mkdir()
        Path("closed").chmod(0o555)
        cache = "data.cache_dir=closed/cache"
        ends["root"] = mixkd(*arguments, "run.root=closed")
        ends["cache"] = mixkd(*arguments, cache, "run.dir=run")
        cifar = ["data=cifar10", "data.root=closed", cache, "network=resnet20"]
        ends["lock"] = mixkd("finetune", *cifar)
        ends["out"] = mixkd("report", "runs=.", "out=closed/report")
        run = Path("run")
        (run / "status.json").write_text('{"state": "running", "pid": 1}')
        ends["before"] = sorted(map(str, run.rglob("*")))
        for path in (run, run / ".lock"):
            path.chmod(path.stat().st_mode & 0o555)
        ends["run"] = mixkd(*arguments, "run.dir=run")
        ends["list"] = mixkd("list", "runs", "run.root=.")
        ends["evaluate"] = mixkd("evaluate", "network.run=run", "run.root=runs")
        run.chmod(0o755)
        ends["after"] = sorted(map(str, run.rglob("*")))
        Path("closed").chmod(0o755)
        print(json.dumps(ends))
        """,
        *AS_USER,
        arguments=COMMAND,
    )
    for name in ("root", "cache", "lock", "out", "run", "list", "evaluate"):
        assert "Traceback" not in ends[name][1], name
    assert ends["root"][0] == 2
    assert "run.dir: closed/imagefolder/finetune/resnet20-erm-s0-" in ends["root"][1]
    assert "cannot be written to (Permission denied); take run.dir=DIR" in ends["root"][1]
    assert ends["cache"][0] == 0  # decoded, not kept
    assert (
        "cannot be written: Permission denied; take a folder that you may write to"
        in (ends["cache"][1])
    )
    assert "(data.cache_dir); going on without" in ends["cache"][1]
    assert ends["lock"][0] == 2
    assert "data.cache_dir: got 'closed/cache', which cannot be written to" in ends["lock"][1]
    assert ends["out"][0] == 1
    assert "closed/report" in ends["out"][1]
    assert "cannot be written: Permission denied" in ends["out"][1]
    assert ends["run"][0] == 2
    assert "run.dir: run cannot be written to (Permission denied)" in ends["run"][1]
    assert ends["after"] == ends["before"]
    assert "run  running" in ends["list"][1]
    assert ends["evaluate"][0] == 0  # a run that is only read


@pytest.mark.parametrize("jobs", [[], ["-m", "seed=0,1"]])
def test_ctrl_c_twice_leaves_a_run_that_goes_on(
    mixkd: Mixkd, image_folder: Path, jobs: list[str]
) -> None:
    arguments = [*COMMAND, "trainer.max_epochs=20"]
    # An interpreter of its own: the second signal may meet it as Python ends.
    with subprocess.Popen(
        [sys.executable, "-m", "mixkd", *arguments, *jobs],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "epoch   2/" in line:
                for _ in range(2):
                    process.send_signal(signal.SIGINT)
                    time.sleep(0.05)
    assert process.returncode == 130, lines
    errors = "".join(lines)  # a sweep may end with its table
    assert "the same command continues it" in errors
    assert "Traceback" not in errors
    (run,) = Path("runs/imagefolder/finetune").iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert 1 <= checkpoint["epoch"] < 19
    assert mixkd(*arguments) == 0
    assert len((run / "history.csv").read_text().splitlines()) == 21


class Poisoned(nn.Module):
    """Its logits are not finite at the second step of the second epoch, of three steps each."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 16 * 16, 3)
        self.register_buffer("steps", torch.tensor(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.steps += int(self.training)
        logits: Tensor = self.linear(x.flatten(1))
        return logits * math.inf if self.training and self.steps == 5 else logits


def poisoned() -> nn.Module:
    return Poisoned()


def test_where_numbers_stop_being_finite_the_run_stops(
    mixkd: Mixkd, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["data=imagefolder", "data.root=images", "data.batch_size=16", "callbacks=none"]
    overrides += [f"network.factory={__name__}.poisoned", "trainer.max_epochs=3", "run.dir=run"]
    overrides += ["schedule=constant", "optimizer.lr=0.01", "checkpoint.every_n_steps=1"]
    assert mixkd("finetune", *overrides) == 1
    errors = capsys.readouterr().err
    assert "the network's logits are not finite in epoch 2, step 2, at a learning rate of 0.01" in (
        errors
    )
    assert "on the training images " in errors
    assert "Traceback" not in errors
    assert json.loads(Path("run/status.json").read_text())["state"] == "failed"
    checkpoint = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4  # the step before
    assert all(value.isfinite().all() for value in checkpoint["state_dict"].values())
