import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mixkd.config.tasks import Config
from mixkd.console import on_signal
from mixkd.errors import NotWritten, UserError
from mixkd.files.writing import replacing, write_json, write_text
from mixkd.request import request
from mixkd.runs.run import Run
from mixkd.runs.status import is_held, read_status, write_status


def cfg(*overrides: str) -> Config:
    return request("finetune", ["network=resnet20", *overrides])


def finish(run: Run, **metrics: float) -> None:
    with run.started({"data": "abc"}, "cpu"):
        write_json(run.path / "metrics.json", metrics)


def test_the_place_is_dataset_task_name_and_hash() -> None:
    run = Run(cfg())
    assert run.path == Path(f"runs/digits/finetune/resnet20-erm-s0-{run.experiment}")
    assert not Path("runs").exists()


def test_the_same_command_finds_its_own_finished_run() -> None:
    finish(Run(cfg()), a=0.5)
    assert Run(cfg()).finished_metrics() == {"a": 0.5}
    assert Run(cfg("seed=1")).finished_metrics() is None
    assert Run(cfg("run.force=true")).finished_metrics() is None


def test_a_run_says_what_it_is_and_how_it_ended() -> None:
    run = Run(cfg("seed=3"))
    finish(run)
    assert read_status(run.path)["state"] == "finished"
    record = json.loads((run.path / "provenance.json").read_text())
    assert record["experiment"] == run.experiment
    assert record["fingerprints"] == {"data": "abc"}
    assert record["seeds"] == {"seed": 3, "split_seed": 0, "stream": 3}
    assert record["packages"]["torch"]
    with pytest.raises(ZeroDivisionError), Run(cfg("seed=4")).started({}, "cpu"):
        raise ZeroDivisionError
    assert read_status(Run(cfg("seed=4")).path)["state"] == "failed"
    with pytest.raises(KeyboardInterrupt), Run(cfg("seed=5")).started({}, "cpu"):
        raise SystemExit(1)  # what Lightning makes of Ctrl-C
    assert read_status(Run(cfg("seed=5")).path)["state"] == "interrupted"


def test_a_run_that_goes_on_keeps_where_it_began_and_adds_what_has_changed() -> None:
    run = Run(cfg())
    with pytest.raises(ZeroDivisionError), run.started({"data": "abc"}, "1 x cuda"):
        raise ZeroDivisionError  # before anything was trained
    with run.started({"data": "abc"}, "2 x cuda"):
        write_text(run.checkpoint("last"), "one epoch")
    first_record, status = (
        json.loads((run.path / "provenance.json").read_text()),
        read_status(run.path),
    )
    finish(run)
    record = json.loads((run.path / "provenance.json").read_text())
    (resumption,) = record.pop("resumed")
    assert record == first_record
    assert resumption.keys() == {"at", "device"}
    assert (first_record["device"], resumption["device"]) == ("2 x cuda", "cpu")
    assert read_status(run.path)["started"] == status["started"]
    write_json(run.path / "provenance.json", record | {"resumed": 3})
    with pytest.raises(UserError, match=r"provenance\.json is damaged \(resumed is no list\)"):
        finish(run)


def test_the_size_of_batches_in_evaluation_makes_no_other_run() -> None:
    assert Run(cfg("data.eval_batch_size=7")).path == Run(cfg()).path


def test_a_directory_of_another_experiment_or_of_a_stranger_is_refused() -> None:
    finish(Run(cfg("run.dir=here")))
    with pytest.raises(UserError, match=r"run.dir: here holds another experiment"):
        Run(cfg("run.dir=here", "seed=1")).finished_metrics()
    write_text(Path("mine/letter.txt"), "dear")
    with pytest.raises(UserError, match=r"mine holds files that are not a run's"):
        Run(cfg("run.dir=mine")).finished_metrics()
    with pytest.raises(UserError, match="which is a file"):
        Run(cfg("run.dir=mine/letter.txt")).finished_metrics()
    assert os.listdir("mine") == ["letter.txt"]
    write_text(Path("theirs/config.yaml"), "their own")
    with pytest.raises(UserError, match=r"theirs holds files that are not a run's"):
        Run(cfg("run.dir=theirs", "run.force=true")).finished_metrics()
    assert Path("theirs/config.yaml").read_text() == "their own"


def test_force_removes_what_the_run_wrote_and_nothing_else() -> None:
    run = Run(cfg())
    finish(run)
    write_text(run.path / "notes.txt", "keep")
    write_text(run.path / "checkpoints" / "last.ckpt", "old")
    with Run(cfg("run.force=true")).started({}, "cpu"):
        assert not run.checkpoint("last").exists()
        assert not (run.path / "metrics.json").exists()
        assert (run.path / "notes.txt").read_text() == "keep"


def test_files_of_others_stay() -> None:
    names = (".pre-commit-config.yaml", ".config-old.yaml", "sub/.a-b", ".git/hooks/.x-y")
    for name in names[:2]:
        write_text(Path("here", name), "keep")
    finish(Run(cfg("run.dir=here")))
    for name in names:
        write_text(Path("here", name), "keep")
    write_text(Path("here/checkpoints/.last-abc.ckpt"), "half")
    finish(Run(cfg("run.dir=here")))
    assert not Path("here/checkpoints/.last-abc.ckpt").exists()
    finish(Run(cfg("run.dir=here", "run.force=true")))
    assert all(Path("here", name).read_text() == "keep" for name in names)


def test_a_kill_while_files_are_removed_leaves_a_run() -> None:
    run = Run(cfg())
    finish(run)
    (run.path / "config.yaml").unlink()  # the last but one to go
    write_text(run.path / ".config-abcdefgh.yaml", "half")
    finish(Run(cfg("run.force=true")))
    assert not (run.path / ".config-abcdefgh.yaml").exists()
    (run.path / "provenance.json").unlink()
    (run.path / "config.yaml").unlink()
    for name in ("status.json", "metrics.json"):
        (run.path / name).unlink()
    finish(run)  # nothing is left but the lock


def test_a_run_does_not_continue_on_other_images() -> None:
    run = Run(cfg())
    with pytest.raises(ZeroDivisionError), run.started({"data": "abc"}, "cpu"):
        raise ZeroDivisionError
    with pytest.raises(UserError, match="began on other images"), run.started({"data": "x"}, "cpu"):
        pass
    with Run(cfg("run.force=true")).started({"data": "x"}, "cpu"):
        pass


HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire(timeout=0)
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_dead_one_holds_nothing() -> None:
    run = Run(cfg())
    finish(run)
    command = [sys.executable, "-c", HOLD, str(run.path / ".lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_held(run.path)
        with pytest.raises(UserError, match="is in use by process"), run.started({}, "cpu"):
            pass
        holder.kill()
    assert not is_held(run.path)
    finish(run)


def test_a_file_is_written_whole_or_not_at_all() -> None:
    path = Path("folder/file.txt")
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text(str(1 / len(temporary.read_text())))
    assert path.read_text() == "old"
    assert os.listdir("folder") == ["file.txt"]
    write_text(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o666 & ~os.umask(os.umask(0o22) or 0o22)


def test_how_far_a_run_is_stays_known_when_it_stops(tmp_path: Path) -> None:
    write_status(tmp_path, "running", started="then", stage=2, epoch=3, max_epochs=9)
    write_status(tmp_path, "failed", error="why")
    status = read_status(tmp_path)
    assert (status["state"], status["epoch"], status["max_epochs"]) == ("failed", 3, 9)
    assert (status["started"], status["error"]) == ("then", "why")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_asks_again_while_a_run_ends_does_not_keep_it_from_saying_so(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, original = Run(cfg()), Run.status

    def signalled(self: Run, state: str, **details: Any) -> None:
        if state != "running":
            os.kill(os.getpid(), number)
        original(self, state, **details)

    monkeypatch.setattr(Run, "status", signalled)
    with on_signal(signal.default_int_handler, number):
        with pytest.raises(KeyboardInterrupt), run.started({}, "cpu"):
            raise KeyboardInterrupt
        assert read_status(run.path)["state"] == "interrupted"
        with run.started({}, "cpu"):
            pass
        assert read_status(run.path)["state"] == "finished"


def test_a_disk_too_full_for_the_status_does_not_hide_why_a_run_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, original = Run(cfg()), Run.status

    def full(self: Run, state: str, **details: Any) -> None:
        if state == "failed":
            raise NotWritten("status.json cannot be written")
        original(self, state, **details)

    monkeypatch.setattr(Run, "status", full)
    with pytest.raises(ZeroDivisionError), run.started({}, "cpu"):
        raise ZeroDivisionError
    assert "status.json cannot be written" in capsys.readouterr().err
