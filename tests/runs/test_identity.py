"""The identity of a run: which keys and files name an experiment."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch

from mixkd.config.fields import AsBefore, Count
from mixkd.config.tasks import FinetuneConfig
from mixkd.config.training import TrainerConfig
from mixkd.data.listing import image_files
from mixkd.files.writing import write_json
from mixkd.request import request
from mixkd.runs import identity, read
from mixkd.runs.identity import experiment_hash
from mixkd.runs.read import read_run
from mixkd.runs.run import Run


def hash_of(command: str, *overrides: str) -> str:
    torch.save({}, "w.pth")
    network = ["network=resnet20"] + ["network.weights=w.pth"] * (command == "evaluate")
    return experiment_hash(request(command, [*network, *overrides]))


def test_links_lead_to_what_is_counted(image_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(image_folder, other)
    (other / "train" / "red" / "0003.jpg").unlink()
    hashes = []
    for number, target in enumerate((image_folder, other)):
        links = tmp_path / f"links{number}"
        (links / "test").mkdir(parents=True)
        (links / "train").symlink_to(target / "train")
        for folder in (target / "test").iterdir():  # class folders that are links
            (links / "test" / folder.name).symlink_to(folder)
        hashes.append(hash_of("finetune", "data=imagefolder", f"data.root={links}"))
        assert hashes[-1] == hash_of("finetune", "data=imagefolder", f"data.root={target}")
    assert hashes[0] != hashes[1]
    for path in (other / "test").rglob("*.jpg"):
        path.write_bytes(path.read_bytes() + b"more")
    assert hash_of("finetune", "data=imagefolder", f"data.root={links}") != hashes[1]


def test_circles_of_links_end(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "back").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "one.png").touch()
    (tmp_path / "a" / "self.png").symlink_to("self.png")
    (tmp_path / "a" / ".hidden.png").touch()
    assert sorted(name for name, _ in image_files(tmp_path / "a")) == ["one.png", "self.png"]


def test_other_imagenet_files_are_another_experiment(
    tmp_path: Path, write_imagenet: Callable[[Path], Path]
) -> None:
    root = write_imagenet(tmp_path / "imagenet")
    overrides = ["data=imagenet", f"data.root={root}"]
    first = hash_of("finetune", *overrides)
    assert hash_of("finetune", *overrides) == first
    next((root / "val").rglob("*.JPEG")).unlink()
    assert hash_of("finetune", *overrides) != first
    (tmp_path / "c" / "fog").mkdir(parents=True)
    shutil.move(root / "val", tmp_path / "c" / "fog" / "3")
    overrides = ["data=imagenet_c", f"data.root={tmp_path}/c", "data.corruption=fog"]
    first = hash_of("evaluate", *overrides)
    next((tmp_path / "c").rglob("*.JPEG")).unlink()
    assert hash_of("evaluate", *overrides) != first


def test_other_arrays_are_another_experiment(tmp_path: Path) -> None:
    overrides = ["data=cifar100_c", f"data.root={tmp_path}", "data.corruption=fog"]
    hashes = {hash_of("evaluate", *overrides)}
    for name, n in (("labels", 5), ("fog", 5), ("fog", 10)):
        np.save(tmp_path / f"{name}.npy", np.zeros(n))
        hashes.add(hash_of("evaluate", *overrides))
    assert len(hashes) == 4
    np.save(tmp_path / "snow.npy", np.zeros(3))  # of another corruption
    assert hash_of("evaluate", *overrides) in hashes


@pytest.mark.parametrize(
    ("overrides", "is_same"),
    [
        (["data.workers=3"], True),
        (["trainer.threads=1", "data.eval_batch_size=7", "trainer.accelerator=cpu"], True),
        (["trainer.channels_last=true", "trainer.compile=false"], True),
        (["trainer.channels_last=false"], False),  # dropout has another mask
        (["trainer.compile=true"], False),
        (["stage1.epochs=5"], True),  # the backbone is random
        (["trainer.ema=0.9"], False),
        (["trainer.accumulate=2"], False),
        (["trainer.clip_norm=1.0"], False),
        (["trainer.precision=bf16"], False),
        (["data.resize=40", "data.size=32"], False),
        (["protocol=corrected", "data.size=null"], False),
    ],
)
def test_keys_that_change_a_result_name_the_experiment(overrides: list[str], is_same: bool) -> None:
    assert (hash_of("finetune", *overrides) == hash_of("finetune")) == is_same


def test_memory_format_and_compiling_name_no_evaluation() -> None:
    original = hash_of("evaluate", "data=digits")
    for override in ("trainer.channels_last=false", "trainer.compile=true", "trainer.threads=1"):
        assert hash_of("evaluate", "data=digits", override) == original


def test_processes_that_mix_their_own_images_are_counted(image_folder: Path) -> None:
    overrides = [
        "data=imagefolder",
        f"data.root={image_folder}",
        "data.size=16",
        "trainer.devices=2",
    ]
    for method, is_same in (("mixup", False), ("erm", True)):
        memory, disk = (
            hash_of("finetune", *overrides, f"method={method}", f"data.resident={resident}")
            for resident in ("true", "false")
        )
        assert (memory == disk) == is_same


def test_a_teachers_precision_is_the_students_unless_given() -> None:
    teacher = ["teacher=resnet20", "teacher.weights=w.pth"]
    torch.save({}, "w.pth")

    def student_hash(*overrides: str) -> str:
        return experiment_hash(request("distill", [*teacher, *overrides]))

    assert student_hash() == student_hash("teacher.precision=float32")
    assert student_hash() != student_hash("teacher.precision=bf16")
    assert student_hash("trainer.precision=bf16") == student_hash(
        "trainer.precision=bf16", "teacher.precision=bf16"
    )


def test_corruptions_name_an_experiment_in_any_order_and_words() -> None:
    import torch

    torch.save({}, "w.pth")

    def hash_of(*overrides: str) -> str:
        network = ["network=resnet20", "network.weights=w.pth", "data=digits", "corruptions=true"]
        return experiment_hash(request("evaluate", [*network, *overrides]))

    paper = "gaussian_noise,motion_blur,fog,jpeg_compression,contrast,pixelate"
    original = hash_of()
    assert hash_of(f"corruptions.names=[{paper}]") == original
    assert hash_of("corruptions.severities=[5,4,3,2,1]") == original
    assert hash_of("corruptions.names=[fog,contrast]") == hash_of(
        "corruptions.names=[contrast,fog]"
    )
    different = [
        hash_of("corruptions.names=[fog]"), hash_of("corruptions.severities=[1]"),
        hash_of("corruptions.seed=1"), hash_of("corruptions.enabled=false"),
    ]  # fmt: skip
    assert len({original, *different}) == 5


class LaterTrainer(TrainerConfig):
    """A section as it may be one day."""

    sam_rho: Annotated[float | None, AsBefore(None)]


class LaterConfig(FinetuneConfig):
    """A schema as it may be one day: a key of a section, and one of the whole, have been added."""

    trainer: LaterTrainer
    ensemble: Annotated[Count, AsBefore(1)]


def test_a_key_that_came_later_loses_no_run() -> None:
    config = request("finetune", ["network=resnet20"])
    run = Run(config)
    with run.started({}, "cpu"):
        write_json(run.path / "metrics.json", {"a": 0.5})

    raw = config.model_dump()
    before = {"ensemble": 1, "trainer": raw["trainer"] | {"sam_rho": None}}
    later = LaterConfig.model_validate(raw | before)

    assert Run(later).path == run.path
    assert Run(later).finished_metrics() == {"a": 0.5}
    changes = (
        before | {"ensemble": 2},
        before | {"trainer": raw["trainer"] | {"sam_rho": 0.05}},
    )
    for change in changes:
        assert Run(LaterConfig.model_validate(raw | change)).finished_metrics() is None


def test_a_key_that_came_later_makes_no_other_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of before and one that says the value of before are seeds of one setting."""
    config = request("finetune", ["network=resnet20"])
    raw = config.model_dump()
    raw |= {"ensemble": 1, "trainer": raw["trainer"] | {"sam_rho": None}}
    monkeypatch.setitem(read.TASKS, "finetune", LaterConfig)
    settings = set()
    for name, cfg in (("old", config), ("new", LaterConfig.model_validate(raw))):
        run = Run(cfg.model_copy(update={"run": cfg.run.model_copy(update={"dir": name})}))
        with run.started({}, "cpu"):
            pass
        settings.add(read_run(Path(), run.path).setting)
    assert len(settings) == 1


def test_names_of_experiments_only_change_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, people's finished runs are not found: mark the key, or raise VERSION."""
    Path("w.pth").write_bytes(b"weights")
    teacher = ["teacher=resnet20", "teacher.weights=w.pth"]
    distilled = experiment_hash(request("distill", teacher))
    assert identity.VERSION == 2
    assert (hash_of("finetune"), distilled) == ("bf6ff16aaf", "8bbfac38f4")
    monkeypatch.setattr(identity, "VERSION", 3)
    assert hash_of("finetune") != "bf6ff16aaf"


def test_an_evaluation_of_logits_is_named_by_them() -> None:
    def logits_hash(path: str, label: int, *overrides: str) -> str:
        np.savez(path, logits=np.zeros((1, 2)), label=np.array([label]))
        overrides = (f"logits={path}", *overrides)
        return experiment_hash(request("evaluate", list(overrides)))

    assert (
        logits_hash("a.npz", 0)
        == logits_hash("b.npz", 0, "seed=1", "data.name=other")
        != logits_hash("b.npz", 1)
    )
