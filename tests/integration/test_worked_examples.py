"""The artefact of docs/method.md, made in a copy of mixkd and run; test_wheel.py runs the rest."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from tests.integration.child import in_child

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def test_the_artefact_that_the_page_adds_works(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    ignore = shutil.ignore_patterns("__pycache__", "results", "frost")
    for part in ("mixkd", "conf", "experiments"):
        shutil.copytree(ROOT / part, copy / part, ignore=ignore)
    page = (ROOT / "docs/method.md").read_text()
    name, text = re.findall(r'^```python title="(experiments/.+?)"\n(.*?)^```$', page, re.M | re.S)[
        0
    ]
    (copy / name).write_text(text)
    small = ["scale=smoke", "seeds=0", "data.limit_train=150", "data.limit_test=60",
             "trainer.max_epochs=1", "callbacks=none"]  # fmt: skip
    ends = in_child(
        "print(json.dumps([mixkd(*arguments) for arguments in commands]))",
        "env", f"PYTHONPATH={copy}", commands=[["reproduce", "table9", *small]],
    )  # fmt: skip
    assert [status for status, _ in ends] == [0], ends
    with open("reports/smoke/table9.csv", newline="") as file:
        rows = {row["method"]: row for row in csv.DictReader(file)}
    assert rows.keys() == {"kd", "kd_mixup"}
    assert rows["kd"]["ece"] != rows["kd_mixup"]["ece"]
    students = {path.parent.name for path in Path("runs").rglob("distill/*/metrics.json")}
    assert len(students) == 2
