"""Whole commands, as a user types them."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from torch import nn

from mixkd.networks.cifar.resnet import CifarResNet
from tests.conftest import write_image_folder
from tests.processes import started

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
QUICK = ["trainer.max_epochs=2", "data.batch_size=16", "data.pad=1", "callbacks=none"]
SMALL = ["network=resnet20", "network.args.depth=8"]


def only(pattern: str) -> Path:
    paths = list(Path("runs").glob(pattern))
    assert len(paths) == 1, paths
    return paths[0]


def read(run: Path) -> dict[str, float]:
    return dict(json.loads((run / "metrics.json").read_text()))


@pytest.fixture
def folder(image_folder: Path) -> list[str]:
    return ["data=imagefolder", f"data.root={image_folder}"]


@pytest.fixture(scope="module")
def finetuned(run_once: Mixkd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `finetune` has been run once, on images as in `folder`."""
    place = tmp_path_factory.mktemp("finetuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        write_image_folder(place / "images")
        overrides = ["data=imagefolder", "data.root=images", *SMALL, *QUICK]
        assert run_once("finetune", *overrides) == 0
    return place


@pytest.fixture
def trained(finetuned: Path, folder: list[str]) -> Path:
    """What `mixkd finetune *folder *SMALL *QUICK` has made, in the test's own runs/."""
    shutil.copytree(finetuned / "runs", "runs")
    return only("imagefolder/finetune/*")


def test_finetune_distill_evaluate(
    mixkd: Mixkd, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    watched = QUICK[:-1]
    assert mixkd("finetune", *folder, *SMALL, *watched) == 0
    teacher = only("imagefolder/finetune/*")
    student = ["student=resnet20", "student.args.depth=8"]
    arguments = ["distill", *folder, *student, *watched, f"teacher.run={teacher}"]
    assert mixkd(*arguments, "temperature=sigma") == 0
    run = only("imagefolder/distill/*")
    assert run.name.startswith("resnet20-kd_mixup-from-resnet20-sigma-s0-")
    assert mixkd("evaluate", f"network.run={run}", "splits=[val,test]", "save_logits=true") == 0
    evaluation = only("imagefolder/evaluate/*")

    # The files of a run directory.
    for directory in (teacher, run):
        for name in (
            "config.yaml", "provenance.json", "status.json", "history.csv", "metrics.json",
            "checkpoints/last.ckpt", "checkpoints/best.ckpt", "weights.safetensors",
            "predictions/test.npz", "reliability.csv", "figures/reliability-test.png",
        ):  # fmt: skip
            assert (directory / name).is_file(), name
    assert not list(Path("runs").rglob(".*-*"))  # no temporary file is left
    with open(run / "history.csv") as file:
        history = list(csv.DictReader(file))
    assert list(history[0])[:6] == ["epoch", "step", "lr", "train/loss", "train/ce", "train/kd"]
    assert [row["step"] for row in history] == ["3", "6"]
    assert yaml.safe_load((run / "config.yaml").read_text())["temperature"] == "sigma"

    # What was measured at the end of training is what evaluate finds, and what predictions say.
    metrics, trained_metrics = read(evaluation), read(run)
    names = ("accuracy", "confidence", "ece", "signed_gap", "nll", "brier", "n")
    for name in names:
        assert metrics[f"test/{name}"] == pytest.approx(trained_metrics[f"test/{name}"], abs=1e-9)
    for name in names[:-1]:
        assert metrics[f"val/{name}"] == pytest.approx(trained_metrics[f"val/{name}"], abs=1e-9)
    saved = np.load(evaluation / "predictions" / "test.npz", allow_pickle=False)
    assert saved["index"].tolist() == list(range(18))
    assert (saved["prediction"] == saved["label"]).mean() == pytest.approx(metrics["test/accuracy"])
    assert saved["confidence"].mean() == pytest.approx(metrics["test/confidence"])
    assert saved["nll"].mean() == pytest.approx(metrics["test/nll"])
    assert (saved["logits"].argmax(axis=1) == saved["prediction"]).all()
    fingerprints = [
        json.loads((d / "provenance.json").read_text())["fingerprints"]
        for d in (teacher, run, evaluation)
    ]
    assert fingerprints[1]["teacher"] == fingerprints[0]["weights"]
    assert fingerprints[2]["network"] == fingerprints[1]["weights"]
    assert len({f["data"] for f in fingerprints}) == 1

    # The same command finds its own.
    before = (run / "status.json").stat().st_mtime_ns
    capsys.readouterr()
    assert mixkd(*arguments, "temperature=sigma") == 0
    assert f"finished before, run.force=true starts over: {run}" in capsys.readouterr().out
    assert (run / "status.json").stat().st_mtime_ns == before
    assert mixkd("list", "runs") == 0
    assert capsys.readouterr().out.count("finished  test/accuracy") == 3


def test_an_interrupted_run_resumes_and_ends_the_same(
    mixkd: Mixkd, folder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixkd.callbacks.recorder import Recorder

    arguments = [
        "finetune",
        *folder,
        *SMALL,
        "method=mixup",
        "data.batch_size=16",
        "trainer.max_epochs=3",
    ]
    assert mixkd(*arguments, "run.root=whole") == 0
    original = Recorder.on_train_epoch_end

    def killed_in_the_second_epoch(self: Recorder, trainer, module) -> None:  # type: ignore
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        original(self, trainer, module)

    monkeypatch.setattr(Recorder, "on_train_epoch_end", killed_in_the_second_epoch)
    assert mixkd(*arguments) != 0
    run = only("imagefolder/finetune/*")
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    monkeypatch.setattr(Recorder, "on_train_epoch_end", original)
    assert mixkd(*arguments) == 0
    whole = next(Path("whole").glob("imagefolder/finetune/*"))
    for name in ("metrics.json", "weights.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert (run / "history.csv").read_text() == (whole / "history.csv").read_text()


@pytest.mark.parametrize("select", ["accuracy", "nll", "ece", "last"])
def test_the_selected_epoch_is_the_best_one_and_its_weights_are_kept(
    mixkd: Mixkd, folder: list[str], select: str
) -> None:
    wreck = "{start: 2, end: 4, lr0: 9, lr1: 9, shape: linear}"  # the last epochs undo the first
    overrides = [
        "schedule=piecewise", "schedule.stretch=false", "trainer.max_epochs=4",
        f"schedule.segments=[{{start: 0, end: 2, lr0: 0.05, lr1: 0.05, shape: linear}},{wreck}]",
    ]  # fmt: skip
    more = ["data.batch_size=16", f"trainer.select={select}", "callbacks=none"]
    assert mixkd("finetune", *folder, *SMALL, *overrides, *more) == 0
    run = only("imagefolder/finetune/*")
    with open(run / "history.csv") as file:
        history = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    sign = {"accuracy": -1, "last": 0}.get(select, 1)
    column = "val/accuracy" if select == "last" else f"val/{select}"
    best = min(range(4), key=lambda epoch: sign * history[epoch][column])
    best = 3 if select == "last" else best
    metrics = read(run)
    assert metrics["selected_epoch"] == best
    assert metrics["val/nll"] == history[best]["val/nll"]
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == best
    weights = safetensors.torch.load_file(run / "weights.safetensors")
    for name, value in weights.items():
        assert torch.equal(value, checkpoint["state_dict"][f"network.core.{name}"]), name
    assert mixkd("evaluate", f"network.run={run}", "splits=[val]") == 0
    assert read(only("imagefolder/evaluate/*"))["val/nll"] == pytest.approx(metrics["val/nll"])


def test_a_sweep_runs_each_combination(mixkd: Mixkd, folder: list[str]) -> None:
    arguments = ["finetune", "-m", *folder, *SMALL, "data.batch_size=16", "trainer.max_epochs=1"]
    assert mixkd(*arguments, "seed=0,1", "method=erm,mixup") == 0
    names = sorted(p.name.rpartition("-")[0] for p in Path("runs/imagefolder/finetune").iterdir())
    assert names == [
        "resnet20-erm-s0", "resnet20-erm-s1", "resnet20-mixup-s0", "resnet20-mixup-s1",
    ]  # fmt: skip


def test_a_bad_job_of_a_sweep_does_not_stop_the_others(
    mixkd: Mixkd, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["finetune", "-m", *folder, *SMALL, "data.batch_size=16", "trainer.max_epochs=1"]
    assert mixkd(*arguments, "seed=0,-1,1") == 2
    assert len(list(Path("runs/imagefolder/finetune").iterdir())) == 2
    assert "seed: got -1" in capsys.readouterr().err
    assert mixkd(*arguments, "seed=0,1", "run.dir=one") == 2
    assert "run.dir: one directory cannot hold a sweep" in capsys.readouterr().err


class PublicResNet(nn.Module):
    """A stranger's network: other names than ours, and a head that returns logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.stem(x).mean(dim=(2, 3)))
        return logits


def public_resnet() -> nn.Module:
    return PublicResNet()


def test_a_strangers_network_evaluates_as_in_plain_pytorch(
    mixkd: Mixkd, folder: list[str], image_folder: Path
) -> None:
    network = PublicResNet()
    torch.save({"state_dict": {f"module.{n}": v for n, v in network.state_dict().items()}}, "w.th")
    overrides = [f"network.factory={__name__}.public_resnet", "network.weights=w.th"]
    assert mixkd("evaluate", *folder, *overrides) == 0
    metrics = read(only("imagefolder/evaluate/public_resnet-test-*"))

    from PIL import Image

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    files = sorted((image_folder / "test").glob("*/*.jpg"))
    x = torch.stack([torch.from_numpy(np.array(Image.open(f))).float() / 255 for f in files])
    x = ((x - mean) / std).permute(0, 3, 1, 2)
    y = torch.tensor([["blue", "green", "red"].index(f.parent.name) for f in files])
    with torch.no_grad():
        p = network.eval()(x).double().softmax(dim=1)
    confidence, prediction = p.max(dim=1)
    hit = (prediction == y).double()
    ece = 0.0
    for k in range(15):
        inside = (confidence >= k / 15) & (confidence < (k + 1) / 15)
        if inside.any():
            gap = hit[inside].mean() - confidence[inside].mean()
            ece += inside.double().mean().item() * abs(gap.item())
    assert metrics["test/accuracy"] == pytest.approx(hit.mean().item(), abs=1e-6)
    assert metrics["test/confidence"] == pytest.approx(confidence.mean().item(), abs=1e-6)
    assert metrics["test/ece"] == pytest.approx(ece, abs=1e-6)


def test_mistakes_leave_nothing_behind(
    mixkd: Mixkd, folder: list[str], image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), "other.pt")
    torch.save(CifarResNet(8, 100).state_dict(), "hundred.pt")
    Path("bad.safetensors").write_bytes(b"not weights at all")
    mistakes = [
        (["finetune", *SMALL, "optimizer.lr=-1"], "optimizer.lr: got -1; takes a number above 0"),
        (["finetune", *SMALL, "seed=-1", "trainer.max_epochs=0"], "trainer.max_epochs: got 0"),
        (["finetune", *SMALL, "trianer.max_epochs=1"], "did you mean trainer?"),
        (["finetune", *SMALL, "data.batch_size=5000"], "data.batch_size: got 5000; takes at most"),
        (["finetune", *SMALL, *folder, "data.limit_train=2"], "data.limit_train: asks for 2 of 54"),
        (
            ["finetune", *folder, *SMALL, *QUICK, "network.weights=other.pt"],
            "is of another network",
        ),
        (
            ["finetune", *folder, *QUICK, "network.factory=torch.nn.Linear"],
            "network.args: Linear does not take",
        ),
        (["distill", *folder, "teacher.run=nowhere"], "teacher.run: got 'nowhere'; no run there"),
        (["evaluate", *folder, *SMALL], "network: resnet20 has no trained weights"),
        (["evaluate", *folder, *SMALL, "network.weights=bad.safetensors"], "cannot be read"),
        (["evaluate", *folder, *SMALL, "network.weights=hundred.pt"], "trained on 100 classes"),
        (["finetune", *SMALL, "method=mixup", "method.mix.lam=1.5"], "method.mix.lam: got 1.5"),
        (["finetune", *SMALL, "trainer.accelerator=gpu", "trainer.devices=16"], "got 16 of acc"),
        (["finetune", "-m", *SMALL, "seed=-1,-2"], "seed: got -2; takes a whole number"),
        (["finetune", "-m", *SMALL, "seed=0,1", "launcher=slrum"], "did you mean slurm?"),
        (["finetun"], "did you mean finetune?"),
        (["list", "network"], "did you mean networks?"),
    ]
    for arguments, message in mistakes:
        assert mixkd(*arguments) == 2, arguments
        captured = capsys.readouterr()
        assert message in captured.err, (arguments, captured.err)
        assert "Traceback" not in captured.err
        assert not Path("runs").exists(), arguments


def test_damaged_runs_are_named(
    mixkd: Mixkd, trained: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["finetune", *folder, *SMALL, *QUICK]
    run = trained
    again = ["evaluate", f"network.run={run}"]
    assert mixkd(*again) == 0
    evaluation = only("imagefolder/evaluate/*")
    damage = [  # in this order: each is met before the one above it
        ("metrics.json", "", arguments, "metrics.json is damaged"),
        ("status.json", "{", arguments, "status.json is damaged"),
        ("provenance.json", "x", arguments, "provenance.json is damaged"),
        ("config.yaml", "[broken", again, "is no run's configuration"),
        ("weights.safetensors", "", ["evaluate", f"network.run={evaluation}"], "trains nothing"),
    ]
    for name, content, command, message in damage:
        (run / name).write_text(content)
        capsys.readouterr()
        assert mixkd(*command) == 2
        errors = capsys.readouterr().err
        assert message in errors
        assert "Traceback" not in errors


def test_a_factory_is_found_where_the_user_is(tmp_path: Path) -> None:
    Path("mynet.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))\n"
    )
    script = Path(sys.executable).with_name("mixkd")
    overrides = ["network.factory=mynet.net", "trainer.max_epochs=1", "data.limit_train=100"]
    done = subprocess.run(
        [script, "finetune", *overrides], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert only("digits/finetune/*").name.startswith("net-erm-s0-")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("more", [[], ["data.resident=false", "data.size=16", "data.workers=2"]])
def test_ctrl_c_says_how_to_go_on(folder: list[str], more: list[str], number: int) -> None:
    arguments = ["finetune", *folder, *SMALL, *more, "data.batch_size=16", "trainer.max_epochs=300"]
    with started(*arguments) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("epoch") and not line.startswith("epoch   1/"):
                with suppress(ProcessLookupError):  # it has ended since
                    os.killpg(process.pid, number)  # as a terminal does: workers too
        assert process.wait() == 130
    assert "interrupted; the same command continues it" in lines[-1]
    status = json.loads((only("imagefolder/finetune/*") / "status.json").read_text())
    assert status["state"] == "interrupted"


def test_a_damaged_checkpoint_is_not_resumed_from(
    mixkd: Mixkd, trained: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["finetune", *folder, *SMALL, *QUICK]
    run = trained
    (run / "status.json").write_text('{"state": "interrupted"}')
    (run / "checkpoints" / "last.ckpt").write_bytes(b"PK half a checkpoint")
    assert mixkd(*arguments) == 2
    assert "run.dir: " in (errors := capsys.readouterr().err)
    assert "last.ckpt cannot be read" in errors
    assert mixkd(*arguments, "run.force=true") == 0


def test_a_network_that_diverges_ends_with_one_message(
    mixkd: Mixkd, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "finetune",
        *folder,
        *SMALL,
        *QUICK,
        "optimizer.lr=1e30",
        "schedule.warmup_epochs=0",
    ]
    assert mixkd(*arguments) == 1
    errors = capsys.readouterr().err
    assert "logits are not finite in epoch 1, step " in errors
    assert "Traceback" not in errors
    assert (
        json.loads((only("imagefolder/finetune/*") / "status.json").read_text())["state"]
        == "failed"
    )


def test_damaged_folders_leave_nothing_behind(
    mixkd: Mixkd, folder: list[str], image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = image_folder / "train" / "blue" / "0003.jpg"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    assert mixkd("finetune", *folder, *SMALL, *QUICK) == 2
    assert f"data.root: {victim} cannot be decoded" in capsys.readouterr().err
    victim.write_bytes(whole)
    for file in (image_folder / "test" / "red").iterdir():
        file.unlink()
    assert mixkd("finetune", *folder, *SMALL, *QUICK) == 2
    assert "red: no images in this class folder" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_full_tracebacks_on_request(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert mixkd("finetune", *SMALL, "optimizer.lr=-1") == 2
    assert "Traceback" in capsys.readouterr().err


def test_teacher_auto_trains_the_teacher_that_is_missing(
    mixkd: Mixkd, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["distill", *folder, *QUICK, "teacher=resnet20", "teacher.args.depth=8"]
    student = ["student=resnet20", "student.args.depth=8"]
    assert mixkd(*arguments, *student) == 2
    assert "no finished run of resnet20 on imagefolder in runs/" in capsys.readouterr().err
    assert not Path("runs").exists()
    assert mixkd(*arguments, *student, "teacher.auto=true") == 0
    teacher, run = only("imagefolder/finetune/*"), only("imagefolder/distill/*")
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert saved["teacher"]["run"] == str(teacher)


@pytest.mark.parametrize("t_squared", ["true", "false"])
def test_distill_passes_its_settings_to_the_loss(
    mixkd: Mixkd, trained: Path, folder: list[str], t_squared: str
) -> None:
    overrides = ["method.alpha=0.3", "method.beta=0.7", f"method.t_squared={t_squared}"]
    overrides += ["student=resnet20", "student.args.depth=8", f"teacher.run={trained}"]
    for temperature in (3, 1):
        assert mixkd("distill", *folder, *QUICK, *overrides, f"temperature={temperature}") == 0
    runs = sorted(
        Path("runs/imagefolder/distill").iterdir(), key=lambda run: "-T3-" not in run.name
    )
    kd = []
    for temperature, run in zip((3, 1), runs, strict=True):
        with open(run / "history.csv") as file:
            row = next(csv.DictReader(file))
        loss, ce, part = (float(row[f"train/{name}"]) for name in ("loss", "ce", "kd"))
        scale = temperature**2 if t_squared == "true" else 1
        assert loss == pytest.approx(0.3 * ce + 0.7 * scale * part, rel=1e-5)
        kd.append(part)
    assert kd[0] < 0.5 * kd[1]  # softened at T = 3


def test_where_the_test_images_select_the_history_says_test(
    mixkd: Mixkd, folder: list[str]
) -> None:
    overrides = [*folder, *SMALL, *QUICK, "data.selection=test", "run.dir=run"]
    assert mixkd("finetune", *overrides) == 0
    with open("run/history.csv") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for name in ("accuracy", "ece", "nll"):
            assert row[f"test/{name}"] == row[f"val/{name}"]
    best = max(rows, key=lambda row: float(row["test/accuracy"]))
    assert read(Path("run"))["test/accuracy"] == float(best["test/accuracy"])
    assert not [name for name in read(Path("run")) if name.startswith("test/scaled")]


def test_the_same_command_gives_the_same_weights_and_another_seed_others(
    mixkd: Mixkd, trained: Path, folder: list[str]
) -> None:
    arguments = ["distill", *folder, *QUICK, f"teacher.run={trained}", "stream.seed=5"]
    arguments += ["student=resnet20", "student.args.depth=8"]
    states = []
    for place, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(states))  # what was drawn before must not matter
        assert mixkd(*arguments, f"run.dir={place}", f"seed={seed}") == 0
        states.append(Path(place, "weights.safetensors").read_bytes())
    assert states[0] == states[1] != states[2]


def test_a_network_of_other_classes_is_not_evaluated(
    mixkd: Mixkd, folder: list[str], image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mixkd("finetune", *folder, *SMALL, *QUICK) == 0
    run = only("imagefolder/finetune/*")
    for split in ("train", "test"):
        (image_folder / split / "red").rename(image_folder / split / "yellow")
    assert mixkd("evaluate", f"network.run={run}") == 2
    assert "holds other images in train/, test/ than" in capsys.readouterr().err
    assert mixkd("evaluate", f"network.run={run}", *folder) == 2
    assert "was trained on the 3 classes blue, green, red; the data has" in capsys.readouterr().err


def test_sigma_is_refused_for_two_classes(
    mixkd: Mixkd, image_folder: Path, folder: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        shutil.rmtree(image_folder / split / "red")
    assert mixkd("finetune", *folder, *SMALL, *QUICK) == 0
    teacher = only("imagefolder/finetune/*")
    arguments = ["distill", *folder, f"teacher.run={teacher}", "student=resnet20", *QUICK]
    assert mixkd(*arguments, "temperature=sigma") == 2
    assert "temperature: got sigma with 2 classes" in capsys.readouterr().err


def test_a_teacher_of_other_classes_is_refused(
    mixkd: Mixkd, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mixkd("distill", "data=digits", f"teacher.run={trained}", "student=resnet20") == 2
    assert (
        "was trained on the 3 classes blue, green, red; the data has the 10"
        in capsys.readouterr().err
    )


def test_methods_with_one_stream_see_the_same_images(mixkd: Mixkd, folder: list[str]) -> None:
    from mixkd.data import module as datamodule

    mixed: dict[str, list[torch.Tensor]] = {}
    original = datamodule.vicinal_batch
    for seed in ("0", "1"):
        mixed[seed] = []

        def watched(*args, at=mixed[seed]):  # type: ignore
            batch = original(*args)
            at.append(batch.mixed.cpu())
            return batch

        datamodule.vicinal_batch = watched
        try:
            overrides = [*folder, *SMALL, *QUICK, "method=mixup", "stream.seed=7", f"seed={seed}"]
            assert mixkd("finetune", *overrides) == 0
        finally:
            datamodule.vicinal_batch = original
    assert all(torch.equal(a, b) for a, b in zip(mixed["0"], mixed["1"], strict=True))
    weights = [safetensors.torch.load_file(f) for f in Path("runs").rglob("weights.safetensors")]
    assert not torch.equal(weights[0]["conv1.weight"], weights[1]["conv1.weight"])


def test_help_and_cfg_need_no_torch() -> None:
    watch = (
        "import sys; from mixkd.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'lightning', 'timm', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    for overrides in (
        ["--help"],
        ["distill", "--cfg", "job"],
        ["list", "networks"],
        ["list", "runs"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", watch, *overrides], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_python_m_mixkd_is_mixkd() -> None:
    overrides = [sys.executable, "-m", "mixkd", "--version"]
    assert subprocess.run(overrides, capture_output=True, text=True, check=True).stdout == "0.1.0\n"


def test_two_processes_measure_what_one_does(mixkd: Mixkd) -> None:
    torch.save(resnet8().state_dict(), "w.pt")
    arguments = ["evaluate", "data=digits", *SMALL, "network.weights=w.pt", "splits=[val]"]
    assert mixkd(*arguments) == 0
    one = only("digits/evaluate/*")
    two = ["trainer.devices=2", "trainer.accelerator=cpu", "run.dir=two"]
    assert mixkd(*arguments, *two) == 0
    assert read(one)["val/n"] == 135  # which two does not divide
    assert read(Path("two")) == pytest.approx(read(one), abs=1e-6)
    a, b = (np.load(run / "predictions" / "val.npz") for run in (one, Path("two")))
    assert (a["index"] == b["index"]).all()
    np.testing.assert_allclose(a["confidence"], b["confidence"], atol=1e-6)
    counts = []
    for run in (one, Path("two")):
        with open(run / "reliability.csv") as file:
            counts.append([row["count"] for row in csv.DictReader(file)])
    assert counts[0] == counts[1]


def resnet8() -> nn.Module:
    return CifarResNet(8, 10)


def test_a_reader_that_has_enough_brings_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    overrides = [sys.executable, "-m", "mixkd", "list", "networks"]
    done = subprocess.run(overrides, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
