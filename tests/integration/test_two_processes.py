"""One run on two processes, over gloo."""

import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from tests.processes import forked

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).with_name("two_processes.py")
QUICK = [
    "data.limit_train=70",
    "data.limit_test=31",
    "data.batch_size=16",
    "trainer.max_epochs=1",
    "callbacks=none",
]
TWO = ["trainer.devices=2", "trainer.accelerator=cpu", "trainer.threads=1"]
TEACHER = ["network=resnet20", "network.args.depth=8"]


def in_two(out: str, *arguments: str) -> list[dict[str, Any]]:
    """Run a command in a group of two processes; return what each of them held at the end."""
    Path(out).mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]  # a free one
    script = (str(SCRIPT), out, *arguments, *TWO)
    with forked(run_rank, 0, port, *script) as first, forked(run_rank, 1, port, *script) as second:
        errors = first.stderr.read() + second.stderr.read()
        assert (first.wait(), second.wait()) == (0, 0), errors
    return recorded(out)


def run_rank(rank: int, port: int, script: str, *overrides: str) -> None:
    """Be one of the two processes: the one that `mixkd` starts has the same of its environment."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    sys.argv = [script, *overrides]
    runpy.run_path(script, run_name="__main__")


def started_by_lightning(out: str, *arguments: str) -> list[dict[str, Any]]:
    """Do what `in_two` does where Lightning starts the second process, as for a script."""
    Path(out).mkdir()
    command = [sys.executable, str(SCRIPT), out, *arguments, *TWO]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return recorded(out)


def recorded(out: str) -> list[dict[str, Any]]:
    return [torch.load(f"{out}/{rank}.pt", weights_only=True) for rank in (0, 1)]


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_stage_2_after_stage_1(mixkd: Callable[..., int]) -> None:
    torch.save(timm.create_model("mobilenetv2_035").state_dict(), "backbone.pth")
    assert mixkd("finetune", *QUICK, *TEACHER, "run.dir=teacher") == 0
    student = ["student.args.width=0.35", "student.pretrained=backbone.pth", "stage1.epochs=1"]
    arguments = ["distill", "teacher.run=teacher", *student, *QUICK]
    one, two = started_by_lightning("out", *arguments)

    # What stage 1 froze is all-reduced in stage 2: the ranks hold the same parameters.
    start = torch.load("backbone.pth", weights_only=True)
    parameters = [n for n in one["network"] if n.endswith(("weight", "bias"))]
    assert all(torch.equal(one["network"][n], two["network"][n]) for n in parameters)
    moved = [n for n in parameters if n.removeprefix("core.") in start]
    assert all(
        not torch.equal(one["network"][n], start[n.removeprefix("core.")])
        for n in moved
        if "classifier" not in n
    )

    # Ranks see different images and lambdas, each image of the batch once.
    steps = list(zip(one["lam"], two["lam"], one["index"], two["index"], strict=True))
    assert len(steps) == 8  # four steps a stage
    for lam_a, lam_b, index_a, index_b in steps[4:]:
        assert not torch.isin(lam_a, lam_b).any()
        assert not torch.isin(index_a, index_b).any()
        assert len(index_a) == len(index_b) == 8
    assert all((lam == 1).all() for lam in one["lam"][:4])  # stage 1 mixes nothing

    for rank in (one, two):
        assert equal(rank["teacher"], rank["before"])
    assert one["metrics"] == two["metrics"]
    assert one["metrics"]["test/n"] == 31  # which two does not divide


def test_a_hint_learns_and_remembers_the_same_in_both(mixkd: Callable[..., int]) -> None:
    assert mixkd("finetune", *QUICK, *TEACHER, "run.dir=teacher") == 0
    student = ["student=resnet20", "student.args.depth=8"]
    hint = ["hint=crd", "hint.args.negatives=16", "hint.args.dim=8"]
    one, two = in_two("out", "distill", "teacher.run=teacher", *student, *QUICK, *hint)
    assert equal(one["hint"], two["hint"])
    assert (one["hint"]["learned.0.z"] > 0).all()
    lengths = one["hint"]["learned.0.memory_student"].norm(dim=1)  # 1 of what has moved
    assert ((lengths - 1).abs() < 1e-5).sum() >= 60
    assert one["metrics"] == two["metrics"]


def test_one_process_and_two_take_the_same_step(mixkd: Callable[..., int]) -> None:
    """Without BatchNorm or dropout a step does not depend on how a batch is shared out."""
    network = ["network=timm", "network.name=vit_tiny_patch16_224", "network.args={img_size: 32}"]
    overrides = [*network, "method=mixup", *QUICK, "optimizer=sgd", "optimizer.lr=0.01"]
    assert mixkd("finetune", *overrides, "run.dir=one") == 0
    ranks = in_two("out", "finetune", *overrides, "run.dir=two")
    assert mixkd("finetune", *overrides, "trainer.accumulate=2", "run.dir=parts") == 0
    expected = torch.load("one/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    parts = torch.load("parts/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for name, value in expected.items():
        trained = ranks[0]["network"][name.removeprefix("network.")]
        torch.testing.assert_close(trained, value, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(parts[name], value, atol=1e-6, rtol=1e-5)


def test_images_on_disk_are_mixed_within_a_process(image_folder: Path) -> None:
    folder = ["data=imagefolder", f"data.root={image_folder}", "data.size=16", "data.workers=1"]
    overrides = [*folder, *TEACHER, "method=mixup", "data.batch_size=16", "trainer.max_epochs=1"]
    ranks = in_two("out", "finetune", *overrides, "data.resident=false")
    for rank in ranks:
        for index, partner in zip(rank["index"], rank["partner"], strict=True):
            assert sorted(index.tolist()) == sorted(partner.tolist())
    assert not torch.isin(ranks[0]["index"][0], ranks[1]["index"][0]).any()
    assert ranks[0]["metrics"] == ranks[1]["metrics"]


AUX = """
from torch import nn
class Aux(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.a, self.b = nn.Linear(3, num_classes), nn.Linear(3, num_classes)
    def forward(self, x):
        means = x.mean((2, 3))
        return (self.a(means), self.b(means)) if self.training else self.a(means)
"""


def test_parameters_without_a_gradient_stay_as_they_are(mixkd: Callable[..., int]) -> None:
    Path("auxiliary.py").write_text(AUX)
    overrides = ["network.factory=auxiliary.Aux", *QUICK, "optimizer=sgd", "optimizer.lr=0.01"]
    assert mixkd("finetune", *overrides, "run.dir=one") == 0
    ranks = in_two("out", "finetune", *overrides, "run.dir=two")
    expected = torch.load("one/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for name, value in expected.items():
        for rank in ranks:
            trained = rank["network"][name.removeprefix("network.")]
            torch.testing.assert_close(trained, value, atol=1e-6, rtol=1e-5)


def test_more_processes_than_images_are_refused(
    mixkd: Callable[..., int], image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*TEACHER, "data=imagefolder", f"data.root={image_folder}", "data.holdout=0.05"]
    overrides += ["data.batch_size=40", "trainer.devices=4", "trainer.accelerator=cpu"]
    assert mixkd("finetune", *overrides, "run.dir=out") == 2
    assert (
        "trainer.devices: got 4, which share 3 val images; takes fewer" in capsys.readouterr().err
    )
    assert not Path("out/status.json").exists()
