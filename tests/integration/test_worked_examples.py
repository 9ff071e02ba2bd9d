"""The worked examples of docs/method.md and docs/data.md, made in a copy of mixkd and run."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.integration.child import in_child

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def edited(text: str, diff: str) -> str:
    """Apply lines that start with `-`, `+` or a space; what they replace is there once."""
    lines = [(line[:1] or " ", line[1:]) for line in diff.splitlines()]
    old, new = ("".join(f"{line}\n" for sign, line in lines if sign != other) for other in "+-")
    assert text.count(old) == 1, old
    return text.replace(old, new)


def follow(page: Path, copy: Path) -> None:
    """Make the files and changes that a page shows, in a copy of the repository."""
    shown = re.findall(r'^```(\w+) title="(.+?)"\n(.*?)^```$', page.read_text(), re.M | re.S)
    for kind, name, text in shown:
        path = copy / name
        if kind == "diff":
            path.write_text(edited(path.read_text(), text))
        else:
            assert not path.exists(), path
            path.write_text(text)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of mixkd to which everything has been added that the pages show."""
    place = tmp_path / "copy"
    ignore = shutil.ignore_patterns("__pycache__", "results", "frost")
    for part in ("mixkd", "conf", "experiments"):
        shutil.copytree(ROOT / part, place / part, ignore=ignore)
    for page in ("method", "data"):
        follow(ROOT / "docs" / f"{page}.md", place)
    return place


def test_what_the_pages_add_works(copy: Path) -> None:
    rng = np.random.default_rng(0)
    Path("DIR").mkdir()
    for part, count in (("train", 60), ("test", 20)):
        labels = np.arange(count) % 2
        images = rng.integers(0, 80, (count, 16, 16, 3)) + labels[:, None, None, None] * 120
        np.savez(Path("DIR") / f"{part}.npz", images=images.astype(np.uint8), labels=labels)
    few = ["trainer.max_epochs=1", "callbacks=none"]
    flowers = ["data=npz", "data.root=DIR", "data.name=flowers", "data.batch_size=16"]
    small = ["scale=smoke", "seeds=0", "data.limit_train=150", "data.limit_test=60"]
    commands = [["finetune", *flowers, "network=mynet", *few],
                ["reproduce", "table9", *small, *few]]  # fmt: skip
    ends = in_child(
        "print(json.dumps([mixkd(*arguments) for arguments in commands]))",
        "env", f"PYTHONPATH={copy}", commands=commands,
    )  # fmt: skip
    assert [status for status, _ in ends] == [0, 0], ends

    # The source, the network by its name, and the metric.
    (run,) = Path("runs/flowers/finetune").iterdir()
    assert 0 < json.loads((run / "metrics.json").read_text())["test/mce"] <= 1
    with open(run / "history.csv", newline="") as file:
        assert 0 < float(next(csv.DictReader(file))["val/mce"]) <= 1

    # The artefact, whose runs are of the method.
    table = Path("reports/smoke/table9.csv")
    with open(table, newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"kd_mixup", "reverse_kd"}
    assert rows["kd_mixup"]["ece"] != rows["reverse_kd"]["ece"]
    students = {path.parent.name for path in Path("runs").rglob("distill/*/metrics.json")}
    assert len(students) == 2
