"""A run knows the source of the user's own code, and says where that has changed."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from mixkd.runs.sources import SOURCES

NETWORK = """
from torch import nn

def net(num_classes):
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, num_classes))
"""
QUICK = ["trainer.max_epochs=1", "data=digits", "data.limit_train=200", "data.limit_test=50",
         "data.batch_size=50", "callbacks=none", "data.size=16"]  # fmt: skip

Mixkd = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def recorded(run: str) -> dict[str, str]:
    fingerprints = json.loads(Path(run, "provenance.json").read_text())["fingerprints"]
    return {key: value for key, value in fingerprints.items() if key.startswith(SOURCES)}


def test_an_edited_source_never_passes_for_the_old_run(mixkd: Mixkd, capsys: Capture) -> None:
    source = Path("edited_net.py")
    source.write_text(NETWORK)
    command = ["finetune", *QUICK, "network.factory=edited_net.net", "run.dir=run"]
    assert mixkd(*command) == 0
    assert recorded("run") == {f"{SOURCES}edited_net.net": sha256(source.read_bytes()).hexdigest()}
    assert mixkd(*command) == 0
    assert "finished before" in capsys.readouterr().out
    weights = Path("run/weights.safetensors").read_bytes()
    source.write_text(NETWORK + "# edited\n")
    assert mixkd(*command) == 2
    message = capsys.readouterr().err
    assert "run.dir: run began with another source of edited_net.net; run.force=true" in message
    assert Path("run/weights.safetensors").read_bytes() == weights  # nothing is lost
    # Whoever takes the network from the run is told.
    assert mixkd("evaluate", "network.run=run", "run.dir=evaluation") == 0
    told = capsys.readouterr()
    text = "network: the source of edited_net.net has changed since run was trained"
    assert text in told.out + told.err
    assert mixkd(*command, "run.force=true") == 0
    assert recorded("run") == {f"{SOURCES}edited_net.net": sha256(source.read_bytes()).hexdigest()}


def test_an_interrupted_run_does_not_go_on_with_another_source(
    mixkd: Mixkd, capsys: Capture
) -> None:
    source = Path("resumed_net.py")
    source.write_text(NETWORK)
    command = ["finetune", *QUICK, "network.factory=resumed_net.net", "run.dir=run"]
    assert mixkd(*command) == 0
    status = Path("run/status.json")
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "interrupted"}))
    Path("run/metrics.json").unlink()
    source.write_text(NETWORK + "# edited\n")
    assert mixkd(*command) == 2
    assert "began with another source of resumed_net.net" in capsys.readouterr().err
    source.write_text(NETWORK)
    assert mixkd(*command) == 0


def test_what_packages_define_is_known_by_their_versions(mixkd: Mixkd) -> None:
    network = ["network.factory=torchvision.models.resnet18", "network.pretrained=null"]
    assert mixkd("finetune", *QUICK, *network, "run.dir=run") == 0
    assert recorded("run") == {}
    assert "signature" not in json.loads(Path("run/provenance.json").read_text())


def test_a_callable_that_is_not_there_is_refused_before_anything_is_made(
    mixkd: Mixkd, capsys: Capture
) -> None:
    assert mixkd("finetune", *QUICK, "network.factory=not_there.net", "run.dir=run") == 2
    assert "network.factory: got 'not_there.net'" in capsys.readouterr().err
    assert not Path("run").exists()
