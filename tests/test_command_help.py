"""`mixkd COMMAND --help`."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mixkd.cli import HELP
from mixkd.command_help import EXAMPLES, MAIN_KEYS, help_of
from mixkd.config.arguments import read_arguments
from mixkd.config.commands import OTHER_KEYS, PARSERS
from mixkd.config.tasks import SCHEMAS
from mixkd.launchers.sweep import jobs_of
from mixkd.request import compose

Mixkd = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def test_each_command_has_its_help() -> None:
    assert EXAMPLES.keys() == {*SCHEMAS, *PARSERS}
    assert MAIN_KEYS.keys() == SCHEMAS.keys()
    assert OTHER_KEYS.keys() == PARSERS.keys()


@pytest.mark.parametrize("command", EXAMPLES)
def test_help_shows_what_the_command_does_and_two_examples(
    mixkd: Mixkd, capsys: Capture, command: str
) -> None:
    assert mixkd(command, "--help") == 0
    text = capsys.readouterr().out
    assert text.startswith(f"  mixkd {command}")
    assert text.count(f"    mixkd {command}") == 2
    for key in (*MAIN_KEYS.get(command, ()), *OTHER_KEYS.get(command, ())):
        assert f"    {key}=" in text
    assert max(map(len, text.splitlines())) <= 100


def test_groups_are_shown_with_what_is_chosen(mixkd: Mixkd, capsys: Capture) -> None:
    assert mixkd("distill", "-h") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines if line and line[0].endswith("=") and "." not in line[0]] == [
        "data=", "teacher=", "student=", "method=", "divergence=", "hint=", "optimizer=",
        "schedule=", "callbacks=",
        "launcher=", "logger=", "protocol=", "experiment=", "temperature=", "seed=",
    ]  # fmt: skip
    assert [
        "optimizer=",
        "adam",
        "adam,",
        "adamw,",
        "sgd,",
        "sgd_crd,",
        "sgd_slow,",
        "timm",
    ] in lines
    assert ["teacher=", "-", "convnext_large,"] in [line[:3] for line in lines]
    assert ["temperature=", "2", "a", "number"] in [line[:4] for line in lines]


def test_help_follows_the_arguments(mixkd: Mixkd, capsys: Capture) -> None:
    Path("conf/optimizer").mkdir(parents=True)
    Path("conf/optimizer/mine.yaml").write_text("# Mine.\ndefaults: [sgd]\nlr: 0.3\n")
    asked = ["-cd", "conf", "optimizer=mine", "data=cifar100", "protocol=parity"]
    assert mixkd("finetune", *asked, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "optimizer= mine adam, adamw, mine, sgd, sgd_crd, sgd_slow, timm" in text
    assert "optimizer.lr= 0.3 a number above 0" in text
    assert "data= cifar100" in text
    assert "protocol= parity" in text
    assert mixkd("finetune", "optimizer=mien", "--help") == 2
    assert "optimizer: got 'mien'; takes" in capsys.readouterr().err


def test_what_is_no_command_has_the_whole_help(mixkd: Mixkd, capsys: Capture) -> None:
    for words in (["--help"], ["-h", "distill"], ["help"], []):
        assert mixkd(*words) == 0
        assert "mixkd reproduce ARTEFACT" in capsys.readouterr().out
    assert help_of("nothing", (), HELP) == HELP


def test_examples_are_commands() -> None:
    Path("DIR").mkdir()
    for command, lines in EXAMPLES.items():
        for line in lines:
            words = shlex.split(line)
            assert words[:2] == ["mixkd", command]
            if command in PARSERS:
                PARSERS[command](words[2:])
                continue
            asked = read_arguments(words[2:])
            for job in jobs_of(command, asked.overrides) if asked.sweep else [asked.overrides]:
                compose(command, job)


def test_help_needs_no_torch() -> None:
    watch = (
        "import sys; from mixkd.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'lightning', 'timm', 'sklearn', 'matplotlib', 'pandas'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    for command in ("distill", "reproduce"):
        words = [sys.executable, "-c", watch, command, "--help"]
        subprocess.run(words, capture_output=True, check=True)
