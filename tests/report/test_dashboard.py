"""The dashboard and the sweep file, as W&B would get them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mixkd.report.dashboard import CURVES, FINAL, LINEARITY, PICTURES, as_json, workspace
from mixkd.request import request


def test_the_workspace_has_the_papers_panels_and_is_repeatable() -> None:
    text = as_json(workspace("me", "mixkd"))
    for name in (*FINAL, *CURVES, *LINEARITY, *PICTURES, "trainer/global_step"):
        assert f'"{name}"' in text or f":{name}" in text, name
    assert '"x_axis": "config:temperature.value"' in text
    assert '"group_by": "teacher.value.name"' in text
    assert text == as_json(workspace("me", "mixkd"))
    content = json.loads(text)
    assert content["entity"] == "me"
    sections = content["spec"]["section"]["panel_bank_config"]["sections"]
    assert [section["name"] for section in sections][:4] == [
        "Against temperature", "While they train", "Between images", "Pictures",
    ]  # fmt: skip
    assert len(sections[0]["panels"]) == 3


def test_the_command_writes_both_files_and_the_sweep_is_of_commands_that_exist(
    mixkd: Callable[..., int],
) -> None:
    Path("t.pth").write_bytes(b"weights")
    overrides = ["data=cifar100", "teacher=vit_b16", "teacher.weights=t.pth"]
    assert mixkd("dashboard", "out=out", *overrides) == 0
    assert json.loads(Path("out/workspace.json").read_text())["project"] == "mixkd"
    sweep = yaml.safe_load(Path("out/sweep.yaml").read_text())
    program, command, *rest = sweep["command"]
    assert (program, command) == ("mixkd", "distill")
    assert rest.pop() == "${args_no_hyphens}"
    for temperature in sweep["parameters"]["temperature"]["values"]:
        for seed in sweep["parameters"]["seed"]["values"]:
            cfg = request(command, [*rest, f"temperature={temperature}", f"seed={seed}"])
            assert cfg.logger.wandb is not None  # type: ignore[union-attr]
    assert sweep["parameters"]["temperature"]["values"] == [2, 4, 6, 8, 10, "sigma"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "got nothing; takes entity=, project=, out="),
        (["entty=me"], "got entty; takes entity=, project=, out= (did you mean entity?)"),
    ],
)
def test_a_mistake_gets_one_message(
    mixkd: Callable[..., int],
    overrides: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert mixkd("dashboard", *overrides) == 2
    assert message in capsys.readouterr().err


def test_without_a_key_it_says_how_to_get_one(
    mixkd: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", "none")
    assert mixkd("dashboard", "entity=me") == 2
    assert "wandb login" in capsys.readouterr().err
