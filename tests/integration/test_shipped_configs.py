"""Every shipped file of every group, run for one batch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mixkd.config.shipped import config_dir, group_names

pytestmark = pytest.mark.integration

ONE_BATCH = ["trainer.max_epochs=1", "data.limit_train=36", "data.limit_test=18",
             "data.batch_size=32", "trainer.accelerator=cpu", "callbacks=none"]  # fmt: skip
SMALL = ["network=resnet20", "network.args.depth=8"]


def options(group: str) -> list[str]:
    files = sorted((config_dir() / group).glob("*.yaml"))
    return [file.stem for file in files if file.stem[0] != "_"]


def finetuned(mixkd: Callable[..., int], *overrides: str) -> Path:
    assert mixkd("finetune", *ONE_BATCH, *overrides) == 0
    run = next(Path("runs").glob("*/finetune/*"))
    lines = (run / "history.csv").read_text().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("0,1,")  # one epoch of one step
    return run


# Too large for a batch here: tests/networks/test_build.py builds them.
LARGE = ["convnext_large", "resnet152v2", "vit_b16"]
# Of RepDistiller's, the smallest of a family: tests/networks/cifar/test_published.py builds all.
FAMILIES = ["mobilenetv2_half", "resnet8", "shufflenet_v1", "shufflenet_v2", "vgg8", "wrn_16_1"]
REPDISTILLERS = [n for n, text in group_names("network").items() if text.startswith("RepDistiller")]
LEFT_OUT = {"timm", *LARGE, *REPDISTILLERS} - {*FAMILIES}


@pytest.mark.parametrize("name", [n for n in options("network") if n not in LEFT_OUT])
def test_network(mixkd: Callable[..., int], name: str) -> None:
    finetuned(mixkd, f"network={name}", "network.pretrained=false")


def test_any_timm_network(mixkd: Callable[..., int]) -> None:
    finetuned(mixkd, "network=timm", "network.name=mobilenetv3_small_050")


@pytest.mark.parametrize("name", options("optimizer"))
def test_optimizer(mixkd: Callable[..., int], name: str) -> None:
    named = ["optimizer.name=lion"] if name == "timm" else []
    finetuned(mixkd, *SMALL, f"optimizer={name}", *named)


@pytest.mark.parametrize("name", options("schedule"))
def test_schedule(mixkd: Callable[..., int], name: str) -> None:
    finetuned(mixkd, *SMALL, f"schedule={name}")


@pytest.mark.parametrize("name", options("method"))
def test_method(mixkd: Callable[..., int], name: str) -> None:
    if not name.startswith("kd"):
        finetuned(mixkd, *SMALL, f"method={name}")
        return
    teacher = finetuned(mixkd, *SMALL)
    overrides = [f"teacher.run={teacher}", f"method={name}", "student.args.width=0.35"]
    assert mixkd("distill", *ONE_BATCH, *overrides) == 0
    run = next(Path("runs").glob("*/distill/*"))
    weights = safetensors.torch.load_file(run / "weights.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_imagefolder(mixkd: Callable[..., int], image_folder: Path) -> None:
    overrides = ["data=imagefolder", f"data.root={image_folder}", "callbacks=default"]
    finetuned(mixkd, *SMALL, *overrides)
