"""The command line: output that nobody reads, and completion."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

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
        ("mixkd reproduce table1 s", ["scale=", "seeds="]),
        ("mixkd compare o", ["other.run=", "out="]),
        ("mixkd --", ["--help", "--version"]),
        ("mixkd distill --c", ["--cfg", "--config-dir"]),
        ("mixkd distill --cfg ", ["all", "hydra", "job"]),
        ("mixkd distill -cd ", []),  # a folder
        ("mixkd list -", ["--config-dir", "--help", "-cd"]),
        ("mixkd distill experiment=cifar100_m", ["experiment=cifar100_mixup"]),
        ("mixkd distill -cd conf student=my", ["student=mynet"]),
        ("mixkd distill -m --config-dir=conf student=my", ["student=mynet"]),
        ("mixkd distill hydra.searchpath=[conf] student=my", ["student=mynet"]),
        ("mixkd distill hydra.searchpath=[a student=my", []),
        ("mixkd distill --config-dir 'conf' teacher=resnet10", ["teacher=resnet10t"]),
        (r"mixkd finetune --config-dir with\ space network=ot", ["network=other"]),
        ("mixkd distill data.root=im", []),  # which the shell completes: it is a path
        ("mixkd nowhere x", []),
    ],
)
def test_a_command_line_is_completed(line: str, expected: list[str]) -> None:
    for folder, name in (("conf", "mynet"), ("with space", "other")):
        Path(folder, "network").mkdir(parents=True)
        Path(folder, "network", f"{name}.yaml").write_text("defaults: [_base]\n")
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
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[0] == "cifar10 digits"
    assert "-F _mixkd mixkd" in told.stdout
    assert told.stderr == ""


def test_bash_completes_by_what_mixkd_prints() -> None:
    """Commands, options, groups, names of groups, in a folder of one's own too, and keys."""
    Path("conf/network").mkdir(parents=True)
    Path("conf/network/mynet.yaml").write_text("# Mine.\ndefaults: [_base]\n")
    lines = {
        "mixkd disti": "distill",
        "mixkd distill --config": "--config-dir",
        "mixkd distill opti": "optimizer. optimizer=",
        "mixkd distill optimizer=sgd_": "sgd_crd sgd_slow",
        "mixkd distill --config-dir conf student=myn": "mynet",
        "mixkd distill trainer.max": "trainer.max_epochs=",
    }
    script = f"""mixkd() {{ "{sys.executable}" -m mixkd "$@"; }}
eval "$(mixkd -sc install=bash)"
complete() {{ COMP_LINE="$1" COMP_POINT=${{#1}}; _mixkd; echo "${{COMPREPLY[*]}}"; }}
"""
    script += "\n".join(f"complete '{line}'" for line in lines)
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert told.stderr == ""
    assert told.stdout.splitlines() == [*lines.values()]
