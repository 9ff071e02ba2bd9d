"""Images are what they are, wherever they lie: what names a run, and which teacher it takes."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import COLOURS, write_images

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
Said = pytest.CaptureFixture[str]
SMALL = ["network=resnet20", "network.args.depth=8"]
QUICK = ["trainer.max_epochs=1", "data.batch_size=8", "data.pad=1", "callbacks=none"]
STUDENT = ["student=resnet20", "student.args.depth=8"]
TAUGHT = ["teacher=resnet20", "teacher.args.depth=8"]


def folder(root: Path, count: int = 10, seed: int = 0) -> Path:
    """Write train/ and test/ of three classes, every image another one."""
    rng = np.random.default_rng(seed)
    for split, number in (("train", count), ("test", 4)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for k in range(number):
                noise = rng.integers(-40, 40, (16, 16, 3))
                pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{k:04d}.png")
    return root


def more_images(root: Path, count: int = 20, seed: int = 9) -> None:
    other = folder(root.with_name(f"more{seed}"), count, seed)
    for path in (other / "train").rglob("*.png"):
        path.rename(root / "train" / path.parent.name / f"new-{path.name}")


def data(root: Path | str) -> list[str]:
    return ["data=imagefolder", f"data.root={root}", "data.holdout=0.3"]


def made(out: str) -> Path:
    (line,) = [line for line in out.splitlines() if line.startswith("finished")]
    return Path(line.partition(": ")[2].removeprefix("starts over: "))


def test_a_teacher_is_of_what_was_listed(mixkd: Mixkd, capsys: Said) -> None:
    root = folder(Path("images"))
    assert mixkd("finetune", *data(root), *SMALL, *QUICK) == 0
    teacher = made(capsys.readouterr().out)
    arguments = ["distill", *data(root), *QUICK, *STUDENT]
    assert mixkd(*arguments, *TAUGHT) == 0
    capsys.readouterr()

    more_images(root)
    assert mixkd(*arguments, *TAUGHT) == 2  # by its name
    errors = capsys.readouterr().err
    assert f"({teacher} was trained on other images than are there now)" in errors
    assert mixkd(*arguments, f"teacher.run={teacher}") == 2
    errors = capsys.readouterr().err
    assert f"teacher.run: {teacher} was trained on " in errors
    assert "images that select here" in errors
    assert mixkd(*arguments, *TAUGHT, f"teacher.weights={teacher}/weights.safetensors") == 2
    assert "weights.safetensors was trained on " in capsys.readouterr().err

    # Held-out images of their own, which it has not seen.
    shutil.copytree(folder(Path("held"), seed=4) / "train", root / "val")
    assert mixkd(*arguments, f"teacher.run={teacher}") == 0
    # An export says of which folder it is, and no more.
    assert mixkd("export", f"network.run={teacher}", "data.root=images", "out=exported") == 0
    capsys.readouterr()
    assert mixkd(*arguments, "teacher.export=exported", "data.split_seed=1") == 2
    assert "teacher.export: exported may have trained on images" in capsys.readouterr().err
    assert mixkd("distill", *data(folder(Path("before"))), *QUICK, *STUDENT,
                 "teacher.export=exported") == 0  # fmt: skip


def test_an_evaluation_fits_no_temperature_on_what_was_trained_on(
    mixkd: Mixkd, capsys: Said
) -> None:
    root = folder(Path("images"))
    assert mixkd("finetune", *data(root), *SMALL, *QUICK) == 0
    run = made(capsys.readouterr().out)
    as_png = Path("others")
    for path in root.rglob("*.png"):  # the same pixels in another format
        copy = as_png / path.relative_to(root).with_suffix(".bmp")
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(copy)
    evaluate = ["evaluate", f"network.run={run}", *data(as_png), "data.size=16"]
    assert mixkd(*evaluate) == 0
    errors = capsys.readouterr().err
    assert "no temperature scaling" not in errors
    assert mixkd(*evaluate, "data.split_seed=3") == 0
    errors = capsys.readouterr().err
    assert "network: no temperature scaling; it was trained on" in errors
    shutil.rmtree(as_png / "test")
    shutil.copytree(as_png / "train", as_png / "test")
    assert mixkd(*evaluate) == 0
    assert "network: it was trained on 21 of the 30 test images" in capsys.readouterr().err


def test_the_same_images_elsewhere_are_the_same_and_others_are_not(
    mixkd: Mixkd, capsys: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overrides = [*data("images"), *SMALL, *QUICK, f"run.root={tmp_path}/runs"]
    for project, seed in (("mine", 0), ("theirs", 1)):
        folder(Path(project, "images"), seed=seed)
    monkeypatch.chdir("mine")
    assert mixkd("finetune", *overrides) == 0
    run = made(capsys.readouterr().out)
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["root"] == os.path.abspath(
        "images"
    )
    evaluate = ["evaluate", f"network.run={run}", f"run.root={tmp_path}/runs"]
    assert mixkd(*evaluate) == 0
    evaluation = made(capsys.readouterr().out)

    monkeypatch.chdir("../theirs")
    assert mixkd(*evaluate) == 0
    assert made(capsys.readouterr().out) == evaluation
    taught = [*data("images"), *QUICK, *STUDENT, *TAUGHT, f"run.root={tmp_path}/runs"]
    assert mixkd("distill", *taught) == 2
    assert "was trained on other images than are there now" in capsys.readouterr().err
    assert mixkd(*evaluate, "data.root=images") == 2
    errors = capsys.readouterr().err
    assert "data.root: got 'images', which holds other images in train/, test/ than" in errors
    assert mixkd(*evaluate, *data("images")) == 0
    assert made(capsys.readouterr().out) != evaluation

    # Moved, and a copy.
    monkeypatch.chdir(tmp_path)
    shutil.copytree("mine/images", "copy")
    Path("mine/images").rename("moved")
    assert mixkd(*evaluate) == 2
    assert "no such folder" in capsys.readouterr().err
    for place in ("copy", "moved"):
        assert mixkd(*evaluate, f"data.root={place}") == 0
        assert made(capsys.readouterr().out) == evaluation
        again = [*data(place), *SMALL, *QUICK, f"run.root={tmp_path}/runs"]
        assert mixkd("finetune", *again) == 0
        assert made(capsys.readouterr().out) == run

    next(Path("copy/test").rglob("*.png")).unlink()
    assert mixkd(*evaluate, "data.root=copy") == 2
    assert "holds other images in test/ than" in capsys.readouterr().err


def test_runs_below_the_images_are_no_images(
    mixkd: Mixkd, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(Path("images"))
    monkeypatch.chdir(root)
    arguments = ["finetune", *data("."), *SMALL, *QUICK]
    assert mixkd(*arguments) == 0
    run = made(capsys.readouterr().out)
    assert list((run / "figures").iterdir())
    assert mixkd(*arguments) == 0
    out = capsys.readouterr().out
    assert "finished before" in out
    assert made(out) == run


def test_a_run_keeps_its_name_while_it_works(
    mixkd: Mixkd, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixkd.callbacks.recorder import Recorder

    root = folder(Path("images"))
    assert mixkd("finetune", *data(root), *SMALL, *QUICK) == 0
    teacher = made(capsys.readouterr().out)
    original = Recorder.on_train_epoch_end

    def meanwhile(self: Recorder, *given: object) -> None:
        original(self, *given)  # type: ignore[arg-type]
        more_images(root, seed=5)
        shutil.rmtree(teacher, ignore_errors=True)

    arguments = ["distill", *data(root), *QUICK, *STUDENT, f"teacher.run={teacher}"]
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_epoch_end", meanwhile)
        assert mixkd(*arguments) == 0
    run = made(capsys.readouterr().out)
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    record = json.loads((run / "provenance.json").read_text())
    assert run.name.endswith(record["experiment"])
    assert [p.name for p in Path("runs/imagefolder/distill").iterdir()] == [run.name]


def test_pixels_of_equal_name_size_and_time_are_read_anew(mixkd: Mixkd, capsys: Said) -> None:
    root = Path("images")
    for name, colour in COLOURS.items():
        write_images(root / "train" / name, 8, colour)
        write_images(root / "test" / name, 4, colour)
    for path in root.rglob("*.jpg"):
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    times = {path: path.stat() for path in root.rglob("*.bmp")}
    arguments = ["finetune", *data(root), *SMALL, *QUICK, "run.dir=run"]
    assert mixkd(*arguments) == 0
    first = json.loads(Path("run/provenance.json").read_text())["fingerprints"]
    for path, before in times.items():  # as a reproducible archive unpacks another version
        pixels = 255 - np.asarray(Image.open(path))
        Image.fromarray(pixels).save(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_size == before.st_size
    assert mixkd(*arguments) == 2
    assert "holds another experiment" in capsys.readouterr().err
    arguments[-1] = "run.dir=other"
    assert mixkd(*arguments, "run.force=true") == 0
    second = json.loads(Path("other/provenance.json").read_text())["fingerprints"]
    assert first["data"] != second["data"]


def test_a_strangers_run_says_nothing_of_where_to_write_or_what_to_fetch(
    mixkd: Mixkd, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchvision

    root = folder(Path("images"))
    assert mixkd("finetune", *data(root), *SMALL, *QUICK, "run.dir=theirs") == 0
    config = yaml.safe_load(Path("theirs/config.yaml").read_text())
    asked: list[tuple[str, bool]] = []

    def cifar(root: str, train: bool, download: bool) -> None:
        asked.append((root, download))
        raise RuntimeError("not found")

    cifar.filename, cifar.url = "file", "address"  # type: ignore[attr-defined]
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", cifar)
    elsewhere = os.path.abspath("elsewhere")
    own = {"source": "cifar10", "name": "cifar10", "root": elsewhere, "download": True}
    config["data"] |= own | {"cache_dir": elsewhere}
    Path("theirs/config.yaml").write_text(yaml.safe_dump(config))
    capsys.readouterr()
    assert mixkd("evaluate", "network.run=theirs") == 2
    assert "data.download=true fetches it" in capsys.readouterr().err
    assert mixkd("evaluate", "network.run=theirs", "data.download=true") == 2
    assert asked == [(elsewhere, False), ("datasets", True)]
    assert not Path(elsewhere).exists()

    archives = Path("archives")
    archives.mkdir()
    for name in ("train", "val"):
        (archives / f"ILSVRC2012_img_{name}.tar").write_text("an archive")
    config["data"] |= {"source": "imagenet", "root": os.path.abspath(archives), "size": 16}
    Path("theirs/config.yaml").write_text(yaml.safe_dump(config))
    for command in ("evaluate", "export"):
        assert mixkd(command, "network.run=theirs") == 2
        assert "would be unpacked; data.root=DIR unpacks there" in capsys.readouterr().err
    assert len(list(archives.iterdir())) == 2
    config["data"] |= {"source": "imagefolder", "root": "images"}
    Path("theirs/config.yaml").write_text(yaml.safe_dump(config))
    assert mixkd("evaluate", "network.run=theirs") == 2
    assert "of an unknown folder; say where they are, data.root=DIR" in capsys.readouterr().err
    assert not Path(elsewhere).exists()
