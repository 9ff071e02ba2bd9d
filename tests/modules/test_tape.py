"""The tape: a teacher's logits along the stream, recorded and read."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from mixkd.errors import UserError
from mixkd.files.writing import read_json
from mixkd.modules.tape import Tape
from mixkd.tasks import distill as task

Mixkd = Callable[..., int]
KEY = {"teacher": "abc", "stream": {"seed": 0}}
DATA = ("data=digits", "data.size=16", "data.pad=1", "data.limit_train=200", "data.limit_test=50",
        "data.batch_size=50", "callbacks=none", "trainer.threads=1")  # fmt: skip


def tape(precision: str = "float32", **keys: object) -> Tape:
    return Tape(Path("tapes"), KEY | keys, (3, 4, 5), precision)  # type: ignore[arg-type]


def test_an_epoch_is_whole_when_every_row_of_it_is_there() -> None:
    recorder, logits = tape(), torch.randn(3, 4, 5)
    first, second = torch.tensor([0, 1]), torch.tensor([2, 3])
    for step in range(3):
        recorder.write(0, step, first, logits[step, :2])
        assert recorder.read(0, step, first) is None  # not before it is whole
    assert not recorder.finish(0)
    continued = tape()  # another process, or the same after it was interrupted
    for step in range(3):
        continued.write(0, step, second, logits[step, 2:])
    assert continued.finish(0)
    assert continued.has(1)
    assert not continued.has(2)
    reader = tape()
    for step in range(3):
        answers = reader.read(0, step, torch.tensor([3, 0]))
        assert answers is not None
        assert answers.dtype == torch.float32
        assert torch.equal(answers, logits[step, [3, 0]])
    assert reader.read(1, 0, first) is None
    assert not [path for path in recorder.folder.iterdir() if ".part" in path.name]


def test_float16_gives_back_what_the_recorder_learned_from() -> None:
    recorder, logits = tape("float16"), 8 * torch.randn(4, 5)
    for step in range(3):
        recorder.write(0, step, torch.arange(4), logits)
    assert recorder.finish(0)
    answers = tape("float16").read(0, 2, torch.arange(4))
    assert answers is not None
    assert torch.equal(answers, recorder.rounded(logits))
    assert not torch.equal(answers, logits)
    assert (answers - logits).abs().max() <= logits.abs().max() * 2**-11  # half a unit of 11 bits
    assert torch.equal(tape("float32").rounded(logits), logits)


def test_another_key_shape_or_precision_is_another_tape() -> None:
    folders = {tape().folder, tape("float16").folder, tape(teacher="other").folder}
    folders.add(Tape(Path("tapes"), KEY, (3, 4, 6)).folder)
    assert len(folders) == 4
    recorder = tape()
    recorder.start()
    assert read_json(recorder.folder / "tape.json", "tape")["teacher"] == "abc"


def test_a_size_over_the_limit_is_refused_before_anything_is_written() -> None:
    recorder = Tape(Path("tapes"), KEY, (250, 200, 100), "float16")
    recorder.check_size(500, limit=500 * 250 * 200 * 100 * 2 / 1e9)
    with pytest.raises(UserError, match=r"teacher.tape_gb.*are 5 GB; takes up to 4.9"):
        recorder.check_size(500, limit=4.9)
    assert not Path("tapes").exists()


def test_a_damaged_epoch_is_refused() -> None:
    recorder = tape()
    recorder.start()
    np.save(recorder.folder / "epoch-0000.npy", np.zeros((3, 4, 6), np.float32))
    with pytest.raises(UserError, match="damaged"):
        recorder.read(0, 0, torch.arange(4))


@pytest.fixture
def teacher(mixkd: Mixkd) -> str:
    arguments = (
        "finetune",
        *DATA,
        "network=resnet20",
        "network.args.depth=8",
        "trainer.max_epochs=1",
    )
    assert mixkd(*arguments, "run.dir=teacher") == 0
    return "teacher.run=teacher"


def student(mixkd: Mixkd, teacher: str, name: str, *overrides: str) -> dict[str, float]:
    defaults = (
        "student=resnet20",
        "student.args.depth=8",
        "trainer.max_epochs=2",
        f"run.dir={name}",
    )
    assert mixkd("distill", *DATA, teacher, *defaults, *overrides) == 0
    return dict(json.loads(Path(name, "metrics.json").read_text()))


@pytest.mark.integration
def test_a_float32_tape_changes_nothing(mixkd: Mixkd, teacher: str) -> None:
    overrides = ("teacher.tape=tapes", "teacher.tape_precision=float32")
    plain = student(mixkd, teacher, "plain")
    assert student(mixkd, teacher, "recorded", *overrides) == plain
    assert student(mixkd, teacher, "read", *overrides, "run.force=true") == plain
    for name in ("recorded", "read"):
        for file in ("weights.safetensors", "history.csv"):
            assert Path(name, file).read_bytes() == Path("plain", file).read_bytes()
    assert len(list(Path("tapes").iterdir())) == 1


@pytest.mark.integration
def test_a_reader_never_loads_the_teacher(
    mixkd: Mixkd, teacher: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = student(mixkd, teacher, "t2", "teacher.tape=tapes")
    live = student(mixkd, teacher, "live", "teacher.tape=elsewhere")
    assert recorded == live

    def refuse(cfg: object, classes: object, key: str) -> object:
        assert key != "teacher", "it was loaded"
        return build(cfg, classes, key)  # type: ignore[arg-type]

    build = task.build_network
    monkeypatch.setattr(task, "build_network", refuse)
    capsys.readouterr()
    hotter = student(mixkd, teacher, "t8", "teacher.tape=tapes", "temperature=8")
    assert "teacher.tape: reading tapes/" in capsys.readouterr().err
    assert hotter != recorded
    shorter = student(mixkd, teacher, "short", "teacher.tape=tapes", "trainer.max_epochs=1")
    assert shorter["test/n"] == 50
    # Another stream, method or batch has its own tape, and asks the teacher.
    for override in ("seed=1", "method=kd", "data.batch_size=40", "data.flip=true"):
        overrides = ("student=resnet20", "student.args.depth=8", "teacher.tape=tapes", override)
        assert mixkd("distill", *DATA, teacher, *overrides, f"run.dir=other-{override[:6]}") == 1
        assert "it was loaded" in capsys.readouterr().err


@pytest.mark.integration
def test_while_one_records_others_ask_the_teacher(
    mixkd: Mixkd, teacher: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = student(mixkd, teacher, "first", "teacher.tape=tapes")
    (folder,) = Path("tapes").iterdir()
    for file in folder.glob("epoch-*"):
        file.unlink()
    with FileLock(folder / ".lock"):
        capsys.readouterr()
        assert student(mixkd, teacher, "beside", "teacher.tape=tapes") == recorded
        assert "another run records" in capsys.readouterr().err
        assert not list(folder.glob("epoch-*"))


@pytest.mark.integration
def test_a_recording_goes_on_where_it_stopped(mixkd: Mixkd, teacher: str) -> None:
    one_epoch = ("trainer.max_epochs=1", "teacher.tape=tapes")
    student(mixkd, teacher, "short", *one_epoch)
    (folder,) = Path("tapes").iterdir()
    before = (folder / "epoch-0000.npy").stat().st_mtime_ns
    student(mixkd, teacher, "longer", "teacher.tape=tapes")
    assert (folder / "epoch-0000.npy").stat().st_mtime_ns == before
    assert sorted(p.name for p in folder.glob("epoch*")) == ["epoch-0000.npy", "epoch-0001.npy"]


def test_a_tape_is_refused_outside_distillation(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ("network=resnet20", "network.weights=x", "data=digits", "teacher=resnet20")
    assert mixkd("evaluate", *overrides, "teacher.tape=tapes", "vicinal=true") == 2
    assert "teacher.tape: is of `mixkd distill`" in capsys.readouterr().err
