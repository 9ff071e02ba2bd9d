"""What users type and what run directories hold, as `golden.yaml` beside this file has it.

`WRITE_GOLDEN=1 pytest tests/integration/test_golden.py` writes that file anew, for a change that is
meant.
"""

import csv
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
Capture = pytest.CaptureFixture[str]
GOLDEN = Path(__file__).with_name("golden.yaml")
SMALL = ["network=resnet20", "network.args.depth=8"]
EPOCH = "trainer.max_epochs=1"
ANALYSES = [
    "vicinal=true", "vicinal.n_pairs=10", "vicinal.lambdas=3",
    "corruptions=true", "corruptions.names=[fog]", "corruptions.severities=[1]",
    "features=true", "features.n_images=18",
]  # fmt: skip


def agrees(name: str, found: Any) -> None:
    """Compare what was found with the golden file's part of this name."""
    golden = yaml.safe_load(GOLDEN.read_text()) if GOLDEN.is_file() else {}
    if "WRITE_GOLDEN" in os.environ:
        golden[name] = found
        GOLDEN.write_text(yaml.safe_dump(golden, default_flow_style=None, width=100))
    assert golden[name] == found


def test_help_names_the_commands(mixkd: Mixkd, capsys: Capture) -> None:
    assert mixkd("--help") == 0
    text = capsys.readouterr().out
    agrees("commands", re.findall(r"^  mixkd (\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("command", ["finetune", "distill", "evaluate", "export"])
def test_keys_of_a_command(mixkd: Mixkd, capsys: Capture, command: str) -> None:
    assert mixkd(command, "--cfg", "job") == 0
    composed = yaml.safe_load(capsys.readouterr().out)
    agrees(f"keys of {command}", keys_of(composed))


def keys_of(section: dict[str, Any], under: str = "") -> list[str]:
    """Return the keys of a configuration, with their sections', sorted."""
    keys = []
    for key, value in sorted(section.items()):
        if isinstance(value, dict) and value:
            keys += keys_of(value, f"{under}{key}.")
        else:
            keys.append(under + key)
    return keys


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("--help", 0),
        ("distill --help", 0),
        ("--version", 0),
        ("distill --cfg job", 0),
        ("list networks", 0),
        ("-sc install=bash", 0),
        ("report runs=nowhere", 2),
        ("fine", 2),
        ("finetune network=nothing", 2),
        ("finetune trainer.max_epochs=0", 2),
        ("finetune network.nothing=1", 2),
        ("finetune --nothing", 2),
        ("distill teacher=resnet20 student=resnet20", 2),
        ("finetune -m network=resnet20 seed=0,1 run.dir=here", 2),
        ("finetune network=resnet20 launcher.parallel=2", 2),
        ("export network.run=nowhere", 2),
        ("compare network.run=nowhere other.run=nowhere", 2),
        ("reproduce table99", 2),
        ("evaluate logits=nowhere.npz", 2),
    ],
)
def test_exit_codes(mixkd: Mixkd, arguments: str, status: int) -> None:
    assert mixkd(*arguments.split()) == status
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, 130), (OSError, 1), (ZeroDivisionError, 1)]
)
def test_exit_codes_of_a_training_that_ends_early(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], status: int
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("lightning.pytorch.Trainer.fit", fit)
    assert mixkd("finetune", "data=digits", *SMALL, EPOCH) == status


def test_files_of_run_directories(mixkd: Mixkd, image_folder: Path) -> None:
    """Of a teacher, a student, an evaluation of both with every analysis, and of logits."""
    data = ["data=imagefolder", f"data.root={image_folder}", "data.batch_size=16", EPOCH]
    assert mixkd("finetune", *data, *SMALL, "run.dir=finetune") == 0
    student = ["student=resnet20", "student.args.depth=8", "teacher.run=finetune"]
    assert mixkd("distill", *data, *student, "run.dir=distill") == 0
    both = ["network.run=distill", "teacher.run=finetune"]
    assert mixkd("evaluate", *both, *ANALYSES, "save_logits=true", "run.dir=evaluate") == 0
    rng = np.random.default_rng(0)
    np.savez("logits.npz", logits=rng.normal(size=(40, 3)), label=rng.integers(0, 3, 40))
    assert mixkd("evaluate", "logits=logits.npz", "run.dir=logits") == 0
    for name in ("finetune", "distill", "evaluate", "logits"):
        agrees(f"run directory of {name}", held_in(Path(name)))


def held_in(run: Path) -> dict[str, Any]:
    """Return the files of a run directory; of tables the columns, of records the keys.

    Whether there are columns `scaled` depends on whether a temperature could be fitted: left out.
    """
    found: dict[str, Any] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        match path.suffix:
            case ".csv":
                with open(path, newline="") as file:
                    held: Any = next(csv.reader(file))
            case ".json":
                held = sorted(json.loads(path.read_text()))
            case ".yaml":
                held = sorted(yaml.safe_load(path.read_text()))
            case ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    held = sorted(arrays.files)
            case _:
                held = None
        found[str(path.relative_to(run))] = held and [n for n in held if "scaled" not in n]
    return found
