"""What names an experiment."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mixkd.config.compose import compose
from mixkd.config.validation import validate
from mixkd.data.listing import image_files
from mixkd.runs.identity import experiment_hash


def named(command: str, *words: str) -> str:
    torch.save({}, "w.pth")
    network = ["network=resnet20"] + ["network.weights=w.pth"] * (command == "evaluate")
    return experiment_hash(validate(compose(command, [*network, *words])))


def test_links_lead_to_what_is_counted(image_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(image_folder, other)
    (other / "train" / "red" / "0003.jpg").unlink()
    found = []
    for number, target in enumerate((image_folder, other)):
        links = tmp_path / f"links{number}"
        (links / "test").mkdir(parents=True)
        (links / "train").symlink_to(target / "train")
        for folder in (target / "test").iterdir():  # class folders that are links
            (links / "test" / folder.name).symlink_to(folder)
        found.append(named("finetune", "data=imagefolder", f"data.root={links}"))
        assert found[-1] == named("finetune", "data=imagefolder", f"data.root={target}")
    assert found[0] != found[1]
    for path in (other / "test").rglob("*.jpg"):
        path.write_bytes(path.read_bytes() + b"more")
    assert named("finetune", "data=imagefolder", f"data.root={links}") != found[1]


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
    words = ["data=imagenet", f"data.root={root}"]
    first = named("finetune", *words)
    assert named("finetune", *words) == first
    next((root / "val").rglob("*.JPEG")).unlink()
    assert named("finetune", *words) != first
    (tmp_path / "c" / "fog").mkdir(parents=True)
    shutil.move(root / "val", tmp_path / "c" / "fog" / "3")
    words = ["data=imagenet_c", f"data.root={tmp_path}/c", "data.corruption=fog"]
    first = named("evaluate", *words)
    next((tmp_path / "c").rglob("*.JPEG")).unlink()
    assert named("evaluate", *words) != first


def test_other_arrays_are_another_experiment(tmp_path: Path) -> None:
    words = ["data=cifar100_c", f"data.root={tmp_path}", "data.corruption=fog"]
    found = {named("evaluate", *words)}
    for name, n in (("labels", 5), ("fog", 5), ("fog", 10)):
        np.save(tmp_path / f"{name}.npy", np.zeros(n))
        found.add(named("evaluate", *words))
    assert len(found) == 4
    np.save(tmp_path / "snow.npy", np.zeros(3))  # of another corruption
    assert named("evaluate", *words) in found


@pytest.mark.parametrize(
    ("words", "same"),
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
def test_what_changes_a_result_names_it(words: list[str], same: bool) -> None:
    assert (named("finetune", *words) == named("finetune")) == same


def test_of_an_evaluation_memory_format_and_compiling_change_rounding_alone() -> None:
    one = named("evaluate", "data=digits")
    for word in ("trainer.channels_last=false", "trainer.compile=true", "trainer.threads=1"):
        assert named("evaluate", "data=digits", word) == one


def test_processes_that_mix_their_own_images_are_counted(image_folder: Path) -> None:
    words = ["data=imagefolder", f"data.root={image_folder}", "data.size=16", "trainer.devices=2"]
    for method, same in (("mixup", False), ("erm", True)):
        memory, disk = (
            named("finetune", *words, f"method={method}", f"data.resident={resident}")
            for resident in ("true", "false")
        )
        assert (memory == disk) == same


def test_a_teachers_precision_is_the_students_unless_given() -> None:
    teacher = ["teacher=resnet20", "teacher.weights=w.pth"]
    torch.save({}, "w.pth")

    def of(*words: str) -> str:
        return experiment_hash(validate(compose("distill", [*teacher, *words])))

    assert of() == of("teacher.precision=float32")
    assert of() != of("teacher.precision=bf16")
    assert of("trainer.precision=bf16") == of("trainer.precision=bf16", "teacher.precision=bf16")


def test_corruptions_name_an_experiment_in_any_order_and_words() -> None:
    import torch

    torch.save({}, "w.pth")

    def named(*words: str) -> str:
        network = ["network=resnet20", "network.weights=w.pth", "data=digits", "corruptions=true"]
        return experiment_hash(validate(compose("evaluate", [*network, *words])))

    paper = "gaussian_noise,motion_blur,fog,jpeg_compression,contrast,pixelate"
    one = named()
    assert named(f"corruptions.names=[{paper}]") == one
    assert named("corruptions.severities=[5,4,3,2,1]") == one
    assert named("corruptions.names=[fog,contrast]") == named("corruptions.names=[contrast,fog]")
    others = [
        named("corruptions.names=[fog]"), named("corruptions.severities=[1]"),
        named("corruptions.seed=1"), named("corruptions.enabled=false"),
    ]  # fmt: skip
    assert len({one, *others}) == 5
