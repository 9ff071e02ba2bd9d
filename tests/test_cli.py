"""The command line: output that nobody reads, and completion."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from mixkd.completion import INSTALL, completions

MIXKD = [sys.executable, "-m", "mixkd"]


@pytest.mark.parametrize(
    "arguments", [["report", "--help"], ["distill", "--cfg", "job"], ["list", "networks"]]
)
@pytest.mark.parametrize("output", ["a pipe that is closed", "nothing", "a full disk"])
def test_output_that_nobody_reads_brings_no_traceback(arguments: list[str], output: str) -> None:
    options = {"stderr": subprocess.PIPE, "text": True}
    if output == "nothing":
        shell = ["sh", "-c", '"$@" >&-', "sh", *MIXKD, *arguments]
        completed = subprocess.run(shell, stderr=subprocess.PIPE, text=True, check=False)
        assert completed.stderr == ""
        return
    if output == "a full disk":
        if not os.path.exists("/dev/full"):
            pytest.skip("needs /dev/full")
        with open("/dev/full", "w") as full:
            completed = subprocess.run([*MIXKD, *arguments], stdout=full, **options, check=False)  # type: ignore[call-overload]
        assert completed.stderr.splitlines() == [
            f"mixkd {arguments[0]}: failed: [Errno 28] No space left on device"
        ]
        assert completed.returncode == 1
        return
    read, write = os.pipe()
    os.close(read)
    completed = subprocess.run([*MIXKD, *arguments], stdout=write, **options, check=False)  # type: ignore[call-overload]
    os.close(write)
    assert (completed.returncode, completed.stderr) == (1, "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mixkd dis", ["distill"]),
        ("mixkd distill da", ["data.", "data="]),
        ("mixkd distill data=cifar100", ["data=cifar100", "data=cifar100_c"]),
        ("mixkd distill data.ro", ["data.root="]),
        ("mixkd distill -m seed=1 data.flip=", ["data.flip=false", "data.flip=true"]),
        ("mixkd distill teacher=resnet11", ["teacher=resnet110"]),
        ("mixkd finetune protocol=p", ["protocol=parity"]),
        ("mixkd export format=", ["format=onnx", "format=safetensors", "format=torch"]),
        ("mixkd evaluate logger.w", ["logger.wandb.", "logger.wandb="]),
        ("mixkd list n", ["networks"]),
        ("mixkd reproduce al", ["all"]),
        ("mixkd distill data.root=im", []),  # which the shell completes: it is a path
        ("mixkd nowhere x", []),
    ],
)
def test_a_command_line_is_completed(line: str, expected: list[str]) -> None:
    assert completions(line) == expected


def test_bash_completes(
    mixkd: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", "mixkd finetune optimizer=a and more")
    monkeypatch.setenv("COMP_POINT", "26")
    assert mixkd("-sc", "query=bash") == 0
    assert capsys.readouterr().out.split() == ["optimizer=adam", "optimizer=adamw"]
    assert mixkd("finetune", "-sc", "install=bash") == 0
    assert capsys.readouterr().out.rstrip() == INSTALL
    assert mixkd("-sc", "install=zsh") == 2
    assert "got -sc with install=zsh; takes -sc install=bash" in capsys.readouterr().err
    script = f"""mixkd() {{ echo data=cifar10; echo data=digits; }}
{INSTALL}
COMP_LINE='mixkd distill data=' COMP_POINT=19
_mixkd; echo "${{COMPREPLY[*]}}"; complete -p mixkd"""
    completed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert completed.stdout.splitlines()[0] == "cifar10 digits"
    assert "-F _mixkd mixkd" in completed.stdout
    assert completed.stderr == ""
