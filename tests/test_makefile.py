"""The Makefile: its targets, and the commands that they run."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mixkd.config.shipped import artefacts

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make here")


def make(*arguments: str) -> list[str]:
    """Return the lines that make prints, in the repository; it is told to run nothing of them."""
    inherited = ("MAKE", "MFLAGS", "SCALE", "WORDS", "VENV")  # `make test` hands its own on
    environment = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    completed = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.splitlines()


@pytest.fixture
def venv() -> Path:
    """A virtual environment that is ready, to all appearance."""
    folder = Path("venv").absolute()
    folder.mkdir()
    (folder / ".ready").touch()
    return folder


def test_the_targets_are_the_artefacts(venv: Path) -> None:
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    listed = re.search(r"^ARTEFACTS := (.*)$", text, re.MULTILINE)
    assert listed is not None
    assert listed[1].split() == list(artefacts())
    assert make("-n", f"VENV={venv}", *artefacts()) == [
        f"{venv}/bin/mixkd reproduce {name} scale=smoke " for name in artefacts()
    ]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["reproduce", "SCALE=laptop"], "reproduce all scale=laptop "),
        (["fig4", "SCALE=paper", "WORDS=plan=true"], "reproduce fig4 scale=paper plan=true"),
        (["reproduce", "WORDS=seeds=0 plan=true"], "reproduce all scale=smoke seeds=0 plan=true"),
        (["report"], "report scale=smoke "),
    ],
)
def test_a_target_runs_its_command(venv: Path, arguments: list[str], command: str) -> None:
    assert make("-n", f"VENV={venv}", *arguments) == [f"{venv}/bin/mixkd {command}"]


def test_what_is_not_there_is_set_up_first() -> None:
    venv = Path("none").absolute()
    lines = make("-n", f"VENV={venv}", "fig4")
    assert any(line.endswith(f"-m venv {venv}") for line in lines[:-1])
    assert lines[-1] == f"{venv}/bin/mixkd reproduce fig4 scale=smoke "
    assert not venv.exists()


def test_every_target_is_in_the_list(venv: Path) -> None:
    targets = [line.split()[1] for line in make("help")]
    assert targets == [
        "help", "setup", "demo", "test", "lint", "docs", "bench", "reproduce", "table1", "report",
        "clean",
    ]  # fmt: skip
    for target in targets:
        make("-n", f"VENV={venv}", target)
