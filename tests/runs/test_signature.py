"""A user's own runs may name the user's code; a stranger's, a copy and a changed one may not."""

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixkd.errors import UserError
from mixkd.request import request
from mixkd.runs.signature import is_signed, secret_file

NETWORK = """
from pathlib import Path
from typing import Any
from torch import nn

Path("called").touch()

def net(num_classes, width=4):
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, num_classes))
"""
QUICK = ["trainer.max_epochs=1", "data=digits", "data.limit_train=200", "data.limit_test=50",
         "data.batch_size=50", "callbacks=none", "data.size=16"]  # fmt: skip

Mixkd = Callable[..., int]


@pytest.fixture
def run(mixkd: Mixkd) -> Path:
    """A run of a network of the user's own code, in the working folder."""
    Path("signed_net.py").write_text(NETWORK)
    arguments = [*QUICK, "network.factory=signed_net.net", "network.args.width=8"]
    assert mixkd("finetune", *arguments, "run.dir=runs/mine") == 0
    return Path("runs/mine")


def test_a_users_own_run_needs_no_leave(run: Path) -> None:
    assert request("evaluate", [f"network.run={run}"])
    assert request("distill", [f"teacher.run={run}", "student=resnet20", "data=digits"])
    assert stat.S_IMODE(secret_file().stat().st_mode) == 0o600
    shutil.copytree(run, "elsewhere")  # wherever it lies
    assert request("evaluate", ["network.run=elsewhere"])


def refused(run: Path, *overrides: str) -> bool:
    """Return whether a run is refused as a stranger's, and nothing that it names was called."""
    Path("called").unlink(missing_ok=True)
    with pytest.raises(UserError, match=r"trust=\[\w+\]"):
        request("evaluate", [f"network.run={run}", *overrides])
    return not Path("called").exists()


def test_a_run_that_was_changed_is_a_strangers(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("width: 8", "width: 9"))
    assert refused(run)
    assert request("evaluate", [f"network.run={run}", "trust=[signed_net]"])


def test_another_users_run_is_a_strangers(run: Path) -> None:
    secret_file().write_bytes(b"x" * 32)
    assert refused(run)
    secret_file().unlink()
    assert refused(run)


@pytest.mark.parametrize("mark", [None, "", "0" * 64, 3, ["a"], "é"])
def test_a_mark_cannot_be_made_up(run: Path, mark: object) -> None:
    record = json.loads((run / "provenance.json").read_text()) | {"signature": mark}
    (run / "provenance.json").write_text(json.dumps(record))
    assert refused(run)


def test_a_run_in_another_folder_is_a_strangers(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, other code may go by the same names."""
    Path("theirs").mkdir()
    shutil.copytree(run, "theirs/run")
    monkeypatch.chdir("theirs")
    assert refused(Path("run"))


def test_a_home_that_cannot_be_written_to_costs_the_mark_alone(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", "file")
    Path("unsigned_net.py").write_text(NETWORK)
    assert mixkd("finetune", *QUICK, "network.factory=unsigned_net.net", "run.dir=run") == 0
    assert not is_signed(Path("run"))
    assert refused(Path("run"))


@pytest.fixture
def theirs(mixkd: Mixkd) -> dict[str, Any]:
    """The configuration of a stranger's run, in `theirs`, which a test may change."""
    small = ["network=resnet20", "network.args.depth=8", "run.dir=theirs"]
    assert mixkd("finetune", *QUICK, *small) == 0
    Path("strange.py").write_text('from pathlib import Path\nPath("called").touch()\n')
    config = yaml.safe_load(Path("theirs/config.yaml").read_text())
    assert isinstance(config, dict)
    return config


CALL = {"_target_": "strange.f"}


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("network", {"factory": "strange.net"}),
        ("network", {"args": {"depth": CALL}}),
        ("network", {"factory": "torch.nn.Sequential", "args": {"x": [CALL]}}),
        ("data", {"source": "own", "factory": "strange.make", "args": {}}),
        ("data", {"source": "own", "factory": "torch.nn.Identity", "args": {"x": CALL}}),
        ("data", {"source": "timm", "dataset": "hfds/strange", "args": {"trust": True}}),
    ],
)
def test_whatever_a_strangers_run_names_is_not_called(
    theirs: dict[str, Any], section: str, values: dict[str, Any]
) -> None:
    theirs[section] |= values
    Path("theirs/config.yaml").write_text(yaml.safe_dump(theirs))
    assert refused(Path("theirs"))


def test_parts_that_only_a_training_has_are_not_called_either(
    theirs: dict[str, Any], mixkd: Mixkd
) -> None:
    for key in ("metrics", "callbacks", "logger"):
        theirs[key]["mine"] = {"factory": "strange.part", "args": {}}
    theirs |= {key: {"factory": "strange.part", "args": {}} for key in ("divergence", "hint")}
    Path("theirs/config.yaml").write_text(yaml.safe_dump(theirs))
    assert mixkd("evaluate", "network.run=theirs") == 0
    assert not Path("called").exists()
