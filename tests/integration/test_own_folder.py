"""A folder of groups of one's own, through commands that run in other processes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.config.test_arguments import write

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
QUICK = ["trainer.max_epochs=1", "data.limit_train=100", "data.limit_test=20", "callbacks=none"]


def test_a_sweep_and_a_student_take_their_parts_from_there(mixkd: Mixkd) -> None:
    write(Path("conf"))
    own = ["--config-dir", "conf", *QUICK]
    assert mixkd("finetune", "hydra.mode=MULTIRUN", *own, "network=mynet,resnet20",
                 "network.args.depth=8", "optimizer=lazy", "launcher.parallel=2") == 0  # fmt: skip
    runs = sorted(Path("runs").glob("digits/finetune/*"))
    assert [run.name.partition("-")[0] for run in runs] == ["mynet", "resnet20"]
    command = json.loads((runs[0] / "provenance.json").read_text())["command"]
    assert f"hydra.searchpath=[{Path('conf').absolute()}]" in command
    preset = ["experiment=mine", "protocol=none", *QUICK]
    assert mixkd("distill", "-cd", "conf", "teacher=mynet", *preset) == 0
    (student,) = Path("runs").glob("digits/distill/*")
    saved = yaml.safe_load((student / "config.yaml").read_text())
    assert saved["student"]["args"] == {"depth": 8}
    assert "hydra" not in saved
    # What the folder gave is in the configuration: without it the same run is found by its values.
    values = ["student=resnet20", "student.name=mynet", "student.args.depth=8", "optimizer=sgd",
              "temperature=4", f"teacher.run={runs[0]}"]  # fmt: skip
    assert mixkd("distill", *values, *QUICK) == 0
    assert [*Path("runs").glob("digits/distill/*")] == [student]
    assert mixkd("evaluate", f"network.run={student}", "hydra.searchpath=[conf]") == 0
    assert mixkd("export", f"network.run={student}", "--config-dir", "conf") == 0
