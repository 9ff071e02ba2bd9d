"""ImageNet's form and the paper's networks, through whole commands."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from mixkd.callbacks.recorder import Recorder
from mixkd.config.sources import CIFAR10
from mixkd.networks.build import build_network
from mixkd.networks.weights import save_weights
from mixkd.request import request
from tests.processes import forked, run_command

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
Write = Callable[[Path], Path]
WNIDS = ("n01440764", "n01443537", "n01484850")
SMALL = ["data.size=64", "data.resize=68", "data.workers=1"]
QUICK = ["data.holdout=0.25", "data.batch_size=8", "trainer.max_epochs=1", "callbacks=none"]
WATCHED = ["callbacks=default", "callbacks.linearity.n_pairs=2", "callbacks.linearity.lambdas=3"]


@pytest.fixture
def data(tmp_path: Path, write_imagenet: Write) -> list[str]:
    return ["data=imagenet", f"data.root={write_imagenet(tmp_path / 'imagenet')}"]


def metrics(run: str) -> dict[str, float]:
    return dict(json.loads(Path(run, "metrics.json").read_text()))


def test_finetune_distill_evaluate_on_images_on_disk(
    mixkd: Mixkd, data: list[str], tmp_path: Path
) -> None:
    network = ["network=resnet20", "network.args.depth=8"]
    assert mixkd("finetune", *data, *SMALL, *QUICK, *network, "run.dir=teacher") == 0
    student = ["student.args.width=0.35", "temperature=2"]
    arguments = ["distill", *data, *SMALL, *QUICK, *student, "teacher.run=teacher"]
    assert mixkd(*arguments, "run.dir=student") == 0
    assert mixkd("evaluate", "network.run=student", "run.dir=measured") == 0
    measured = metrics("measured")
    assert measured["test/n"] == 9
    for name, value in measured.items():
        assert metrics("student")[name] == pytest.approx(value, abs=1e-6)
    saved = np.load("measured/predictions/test.npz")
    assert saved["label"].tolist() == [0] * 3 + [1] * 3 + [2] * 3

    # Decoded into memory instead, it is the same experiment and the same result.
    assert mixkd(*arguments, "data.resident=true", "run.dir=memory") == 0
    for name in ("metrics.json", "weights.safetensors"):
        assert Path("memory", name).read_bytes() == Path("student", name).read_bytes(), name
    experiments = {
        json.loads(Path(run, "provenance.json").read_text())["experiment"]
        for run in ("memory", "student")
    }
    assert len(experiments) == 1

    # Corrupted images of the same classes.
    (tmp_path / "c" / "fog").mkdir(parents=True)
    (tmp_path / "imagenet" / "val").rename(tmp_path / "c" / "fog" / "2")
    (tmp_path / "c" / "fog" / "1").mkdir()
    fog = ["data=imagenet_c", f"data.root={tmp_path}/c"]
    more = ["data.corruption=fog", "data.severity=2", "network.run=student"]
    assert mixkd("evaluate", *fog, *more, "run.dir=fog") == 0
    for name, value in metrics("fog").items():
        assert value == pytest.approx(measured[name], abs=1e-6)  # they are the clean ones


def test_images_on_disk_are_resumed_and_end_the_same(
    mixkd: Mixkd, data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers are sent positions ahead of time: they have to be of the right epoch."""
    torch.manual_seed(3)
    torch.save(timm.create_model("mobilenetv2_035").state_dict(), "b.pth")
    network = ["network=mobilenetv2", "network.args.width=0.35", "network.pretrained=b.pth"]
    arguments = ["finetune", *data, *SMALL, *QUICK, *network, "method=mixup", "stage1.epochs=2"]
    more = ["data.workers=2", "trainer.max_epochs=2", "trainer.accumulate=2", "trainer.ema=0.7"]
    assert mixkd(*arguments, *more, "run.dir=whole") == 0
    original = Recorder.on_train_epoch_end
    kills = [(2, 1), (1, 1)]  # stage and epoch, the first one last

    def killed(self: Recorder, trainer, module) -> None:  # type: ignore[no-untyped-def]
        if kills and (self.stage, trainer.current_epoch) == kills[-1]:
            kills.pop()
            raise KeyboardInterrupt
        original(self, trainer, module)

    monkeypatch.setattr(Recorder, "on_train_epoch_end", killed)
    assert mixkd(*arguments, *more, "run.dir=run") == 130
    assert mixkd(*arguments, *more, "run.dir=run") == 130
    assert mixkd(*arguments, *more, "run.dir=run") == 0
    assert not kills
    for name in ("metrics.json", "weights.safetensors", "history.csv", "stage1.csv"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), name


def test_an_interrupted_run_may_go_on_from_memory(
    mixkd: Mixkd, data: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["finetune", *data, *SMALL, *QUICK, "network=resnet20", "network.args.depth=8"]
    with monkeypatch.context() as patch:  # undo() would leave the test's own folder, too
        patch.setattr(Recorder, "_save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert mixkd(*arguments, "run.dir=run") == 130
    assert mixkd(*arguments, "run.dir=run", "data.resident=true") == 0


def test_imagenets_unlabelled_test_images_are_not_looked_at(
    mixkd: Mixkd, data: list[str], tmp_path: Path
) -> None:
    (tmp_path / "imagenet" / "test").mkdir()
    (tmp_path / "imagenet" / "test" / "ILSVRC2012_test_00000001.JPEG").write_bytes(b"")
    overrides = [*data, *SMALL, *QUICK, "network=resnet20", "network.args.depth=8"]
    assert mixkd("finetune", *overrides, "run.dir=run") == 0
    assert metrics("run")["test/n"] == 9


def test_corrupted_images_have_the_views_of_the_clean_ones(mixkd: Mixkd, tmp_path: Path) -> None:
    """A corruption that changes nothing changes no metric."""
    rng = np.random.default_rng(0)
    tests = []
    for split, count in (("train", 6), ("test", 2)):
        for label, name in enumerate(CIFAR10):
            folder = tmp_path / "cifar" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = np.full((32, 32, 3), 25 * label) + rng.integers(0, 25, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
                tests += [(pixels.astype(np.uint8), label)] if split == "test" else []
    (tmp_path / "c").mkdir()
    np.save(tmp_path / "c" / "identity.npy", np.stack([pixels for pixels, _ in tests] * 5))
    np.save(tmp_path / "c" / "labels.npy", np.array([label for _, label in tests] * 5))
    views = ["data=imagefolder", f"data.root={tmp_path}/cifar", "data.size=48", "data.resize=52"]
    network = ["network=resnet20", "network.args.depth=8", "data.batch_size=10", "data.holdout=0.2"]
    assert mixkd("finetune", *views, *network, "trainer.max_epochs=2", "run.dir=run") == 0
    overrides = ["data=cifar10_c", f"data.root={tmp_path}/c", "data.corruption=identity"]
    assert mixkd("evaluate", "network.run=run", *overrides, "run.dir=c-run") == 0
    for name in ("accuracy", "confidence", "nll"):
        # imagefolder enlarges with Pillow, to bytes; the arrays are enlarged on the device.
        assert metrics("c-run")[f"test/{name}"] == pytest.approx(
            metrics("run")[f"test/{name}"], abs=0.02
        )
    shown = (Path("c-run") / "config.yaml").read_text()
    assert "  size: 48\n  resize: 52\n" in shown


def test_a_damaged_image_ends_with_one_message(
    mixkd: Mixkd, data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "imagenet" / "val" / WNIDS[2] / "0002.JPEG").write_bytes(b"no image")
    network = ["network=resnet20", "network.args.depth=8"]
    assert mixkd("finetune", *data, *SMALL, *QUICK, *network) == 2
    errors = capsys.readouterr().err
    assert f"data.root: {tmp_path}/imagenet/val/{WNIDS[2]}/0002.JPEG cannot be decoded" in errors
    assert "Traceback" not in errors


def test_corrupted_cifar_images_are_for_evaluation(
    mixkd: Mixkd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "fog.npy", rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.tile(np.arange(10), 5))
    overrides = ["network=resnet20", "network.args.depth=8", "network.weights=w.pth"]
    core = build_network(
        request("finetune", overrides[:2]).learner,  # type: ignore[union-attr]
        [str(k) for k in range(10)],
        "network",
    ).core
    torch.save(core.state_dict(), "w.pth")
    fog = ["data=cifar10_c", f"data.root={tmp_path}", "data.corruption=fog"]
    assert mixkd("evaluate", "-m", *overrides, *fog, "data.severity=1,2") == 0
    paths = sorted(Path("runs").glob("*/evaluate/*/metrics.json"))
    assert [p.parts[1] for p in paths] == ["cifar10_c-fog-1", "cifar10_c-fog-2"]
    assert all(json.loads(p.read_text())["test/n"] == 10 for p in paths)
    assert mixkd("finetune", *overrides[:2], *fog) == 2
    assert "data: cifar10_c holds test images alone" in capsys.readouterr().err


@pytest.mark.parametrize("teacher", ["vit_b16", "convnext_tiny"])
def test_the_papers_teachers_distil_at_224_pixels(data: list[str], teacher: str) -> None:
    cfg = request("finetune", [f"network={teacher}", "network.pretrained=false"])
    network = build_network(cfg.learner, WNIDS, "network")  # type: ignore[union-attr]
    save_weights(network.core, Path("teacher.safetensors"), WNIDS)
    del network
    arguments = ["distill", *data, f"teacher={teacher}", "teacher.weights=teacher.safetensors"]
    with forked(peak_of_command, *arguments, *QUICK, *WATCHED, "run.dir=run") as process:
        errors = process.stderr.read()
        assert process.wait() == 0, errors
    rows = Path("run/history.csv").read_text().splitlines()
    assert rows[1].startswith("0,2,")  # two steps
    assert float(Path("peak").read_text()) < 12


def peak_of_command(*overrides: str) -> None:
    """Run `mixkd WORDS` and write the memory, in GiB, of its largest process to the file `peak`."""
    try:
        run_command(*overrides)
    finally:
        whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        peak = max(resource.getrusage(processes).ru_maxrss for processes in whose)
        Path("peak").write_text(str(peak / 1024**2))
