"""Monitors of linearity and calibration in training, and the loggers that record them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
SMALL = ["network=resnet20", "network.args.depth=8", "data.limit_train=300", "data.limit_test=60"]
TRAIN = ["finetune", *SMALL, "trainer.max_epochs=3", "trainer.select=last"]
WATCH = ["callbacks.linearity.every_n_epochs=2", "callbacks.calibration.every_n_epochs=2"]


def single_path(pattern: str) -> Path:
    (path,) = Path().glob(pattern)
    return path


def history(run: Path) -> list[dict[str, str]]:
    with open(run / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_watching_changes_nothing_and_says_what_evaluate_says(mixkd: Mixkd) -> None:
    assert mixkd(*TRAIN, *WATCH, "run.dir=watched") == 0
    assert mixkd(*TRAIN, "callbacks=none", "run.dir=plain") == 0
    watched, plain = Path("watched"), Path("plain")
    for name in ("weights.safetensors", "metrics.json"):
        assert (watched / name).read_bytes() == (plain / name).read_bytes()
    assert not (plain / "figures" / "vicinal-training.png").exists()
    assert (watched / "figures" / "vicinal-training.png").is_file()
    assert (watched / "figures" / "reliability-training.png").is_file()

    rows = history(watched)  # at the second epoch and the last
    measured = [row["vicinal/val/network/nl_global"] != "nan" for row in rows]
    assert measured == [False, True, True]
    overrides = [
        "vicinal.splits=[val]",
        "vicinal.n_pairs=200",
        "vicinal.lambdas=5",
        "run.dir=again",
    ]
    assert mixkd("evaluate", "network.run=watched", *overrides) == 0
    expected = json.loads(Path("again/metrics.json").read_text())
    for name in ("nl_global", "nl_peak", "entropy_global", "dominance_peak"):
        key = f"vicinal/val/network/{name}"
        assert float(rows[-1][key]) == pytest.approx(expected[key], rel=1e-6), name


def test_a_pair_is_watched_while_the_student_learns(mixkd: Mixkd, image_folder: Path) -> None:
    data = ["data=imagefolder", f"data.root={image_folder}", "data.batch_size=16", "data.pad=1"]
    training = [*data, "trainer.max_epochs=1", "data.size=16", "data.resident=false"]
    assert mixkd("finetune", *SMALL[:2], *training, "run.dir=teacher") == 0
    student = ["student=resnet20", "student.args.depth=8", "teacher.run=teacher", "run.dir=run"]
    assert mixkd("distill", *student, *training) == 0
    (row,) = history(Path("run"))
    gain = float(row["vicinal/val/delta_lin_global"])
    teacher_nl, student_nl = (
        float(row[f"vicinal/val/{n}/nl_global"]) for n in ("teacher", "student")
    )
    assert gain == pytest.approx(teacher_nl - student_nl, abs=1e-12)
    assert float(row["vicinal/val/kl_mixed"]) > 0


def test_any_logger_gets_metrics_and_those_that_can_get_pictures(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    loggers = ["logger=[csv,tensorboard,wandb]", "logger.wandb.group=group-7"]
    assert mixkd(*TRAIN, *WATCH, *loggers, "run.dir=run") == 0
    run, rows = Path("run"), history(Path("run"))
    key = "vicinal/val/network/nl_peak"

    with open(run / "csv" / "metrics.csv", newline="") as file:
        logged = list(csv.DictReader(file))
    logged_peaks = [float(row[key]) for row in logged if row[key]]
    assert logged_peaks == pytest.approx([float(rows[1][key]), float(rows[2][key])], rel=1e-5)
    confidence = [float(row["val/confidence"]) for row in logged if row["val/confidence"]]
    assert confidence == pytest.approx([float(row["val/confidence"]) for row in rows], rel=1e-5)

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"val/ece", "train/loss", key} <= set(events.Tags()["scalars"])
    assert {"val/reliability", "val/vicinal", "figures/reliability-test"} <= set(
        events.Tags()["images"]
    )
    assert [event.value for event in events.Scalars("val/ece")] == pytest.approx(
        [float(row["val/ece"]) for row in rows], rel=1e-5
    )

    offline = single_path("run/wandb/offline-run-*-*")
    content = single_path("run/wandb/offline-run-*-*/*.wandb").read_bytes()
    identity = (run / "wandb-id.txt").read_text().strip()
    assert offline.name.endswith(identity)
    metrics = json.loads((run / "metrics.json").read_text())
    names = [key, "val/ece", "test/ece", "tables/reliability", "figures/vicinal-training"]
    for text in (identity, "group-7", "finetune", str(metrics["test/nll"]), *names):
        assert text.encode() in content, text
    assert list(offline.glob("files/media/images/val/vicinal_*.png"))

    # Another run of the same process, from another folder.
    monkeypatch.chdir(offline)
    assert mixkd(*TRAIN, "logger=wandb", "run.dir=other") == 0
    assert single_path("other/wandb/offline-run-*-*/*.wandb").stat().st_size > 0


def test_a_continued_run_keeps_its_identity_and_its_curves(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixkd.callbacks.recorder import Recorder

    monkeypatch.setenv("WANDB_MODE", "offline")
    arguments = [*TRAIN, "logger=[csv,wandb]", "run.dir=run"]
    original = Recorder.on_train_epoch_end

    def interrupted(self: Recorder, trainer, module) -> None:  # type: ignore
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        original(self, trainer, module)

    monkeypatch.setattr(Recorder, "on_train_epoch_end", interrupted)
    assert mixkd(*arguments) == 130
    monkeypatch.setattr(Recorder, "on_train_epoch_end", original)
    assert mixkd(*arguments) == 0
    identity = Path("run/wandb-id.txt").read_text().strip()
    starts = sorted(Path("run/wandb").glob("offline-run-*"))
    assert starts
    assert all(identity in start.name for start in starts)
    with open("run/csv/metrics.csv", newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/ece"]]
    expected = [int(row["step"]) for row in history(Path("run"))]
    assert sorted(set(steps)) == [step - 1 for step in expected]
    saved = yaml.safe_load(Path("run/config.yaml").read_text())
    assert saved["logger"]["wandb"]["project"] == "mixkd"


def test_nothing_secret_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How a run is launched may hold what is not for everyone."""
    from mixkd.callbacks.loggers import open_loggers
    from mixkd.config.tasks import FinetuneConfig
    from mixkd.request import request
    from mixkd.runs.run import Run

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MY_TOKEN", "hush-1")
    monkeypatch.setattr("sys.argv", ["mixkd", "finetune", "launcher.setup=[TOKEN=hush-2]"])
    overrides = ["network=resnet20", "logger=wandb", "launcher=slurm", "seed=5"]
    cfg = request("finetune", [*overrides, "launcher.setup=['export TOKEN=hush-3']"])
    assert isinstance(cfg, FinetuneConfig)
    run = Run(cfg)
    run.path.mkdir(parents=True)
    with open_loggers(cfg, run):
        pass
    written = [path for path in run.path.rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in written)
    assert b"hush" not in content
    assert b"resnet20" in content  # the configuration itself is there
