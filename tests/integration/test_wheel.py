"""The wheel, installed away from the repository, with the demo's commands run from it."""

import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def run(*arguments: str | Path, cwd: Path) -> str:
    """Run a command that knows nothing of the repository; return what it prints."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(arguments, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, kind: str, out: Path) -> Path:
    """Build a wheel or sdist of a source tree, without a network; return its path."""
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out, cwd=source)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the sdist of this checkout gives."""
    place = tmp_path_factory.mktemp("dist")
    sdist = build(ROOT, "sdist", place / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(place / "source", filter="data")
    (source,) = (place / "source").iterdir()
    return build(source, "wheel", place / "wheel")


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(path))


@pytest.fixture(scope="module")
def place(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a clean environment in `venv`, which holds the wheel.

    Its dependencies are those of this environment. They are seen through a .pth file, which does
    not process those of their own folder, so that an editable install is not.
    """
    folder = tmp_path_factory.mktemp("away")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv/bin/python"
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    own = run(python, "-c", code, cwd=folder).strip()
    assert Path(own).is_relative_to(folder)
    (Path(own) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    # Another mixkd may be among the dependencies: it is neither looked for nor removed.
    run(*pip, "--no-deps", "--no-index", "--ignore-installed", wheel, cwd=folder)
    return folder


def test_it_holds_what_the_repository_ships(names: set[str]) -> None:
    of_a_clone = (ROOT / "experiments" / "results", ROOT / "experiments" / "bench")
    inside = {"mixkd": "mixkd", "conf": "mixkd/_conf", "experiments": "mixkd/_experiments"}
    expected = {
        (Path(target) / path.relative_to(ROOT / part)).as_posix()
        for part, target in inside.items()
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        and not any(path.is_relative_to(folder) for folder in of_a_clone)
    }  # fmt: skip
    assert {name for name in names if ".dist-info/" not in name} == expected
    for name in ("mixkd/_conf/distill.yaml", "mixkd/_experiments/scales/paper.yaml",
                 "mixkd/_experiments/paper/reference.yaml", "mixkd/report/templates/page.html",
                 "mixkd/report/templates/page.css", "mixkd/report/templates/page.js",
                 "mixkd/data/frost/frost1.png", "mixkd/py.typed"):  # fmt: skip
        assert name in names


def test_its_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "mixkd"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert str(metadata.get_payload()).startswith("# mixkd\n")
    assert metadata["Requires-Python"] == "<3.14,>=3.11"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert "Paper, https://arxiv.org/abs/2606.12171" in metadata.get_all("Project-URL", [])
    extras = {"dashboard", "dev", "docs", "optuna", "slurm", "tensorboard"}
    assert extras <= set(metadata.get_all("Provides-Extra", []))


def test_the_demo_and_a_report_run_from_it(place: Path) -> None:
    python, mixkd = place / "venv/bin/python", place / "venv/bin/mixkd"
    found = run(python, "-c", "import mixkd; print(mixkd.__file__)", cwd=place).strip()
    assert Path(found).is_relative_to(place / "venv")
    assert "resnet20" in run(mixkd, "list", "networks", cwd=place)
    assert "fig9" in run(mixkd, "list", "artefacts", cwd=place)
    composed = run(mixkd, "distill", "protocol=parity", "--cfg", "job", cwd=place)
    assert "selection: test" in composed

    # finetune, distill and evaluate: five networks.
    short = ["trainer.max_epochs=1", "data.limit_train=100", "data.limit_test=60", "callbacks=none"]
    said = run(python, "-m", "mixkd._experiments.demo", *short, cwd=place)
    assert said.count("| kd_mixup ") == 1
    assert (place / "reports/demo/reliability.png").is_file()

    run(mixkd, "report", cwd=place)
    assert "kd_mixup" in (place / "reports/runs/index.html").read_text()
    planned = run(mixkd, "reproduce", "table5", "scale=smoke", "plan=runs", cwd=place)
    assert "mixkd finetune" in planned

    # What the quick start reads of a result.
    text = (ROOT / "docs/index.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(run(python, "-c", example, cwd=place).splitlines()) == 5


# Runs the command lines that it is given in one process, which imports torch once.
SHELL = """
import shlex, sys
from mixkd.cli import main
for line in sys.argv[1:]:
    print("$", line, flush=True)
    sys.argv = shlex.split(line)
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            sys.exit(stop.code)
"""


def follow(page: str, place: Path, folder: Path) -> str:
    """Write the files that a page shows into a folder, run its commands, return what they print."""
    text = (ROOT / "docs" / page).read_text().partition("## An artefact")[0]
    for name, content in re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', text, re.M | re.S):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    lines = re.findall(r"^    (mixkd .*)$", text, re.MULTILINE)
    return run(place / "venv/bin/python", "-c", SHELL, *lines, cwd=folder) if lines else ""


def test_the_page_on_your_own_parts(place: Path, tmp_path: Path) -> None:
    """Each in a file beside it, in an empty folder, with mixkd installed."""
    follow("method.md", place, tmp_path)
    runs = {path.parent.name: json.loads(path.read_text()) for path in
            tmp_path.glob("runs/*/*/*/metrics.json")}  # fmt: skip

    def metric(name: str, part: str = "") -> list[float]:
        return [values[name] for run, values in runs.items() if name in values and part in run]

    jeffreys = {run for run in runs if "+jeffreys" in run}
    assert len(jeffreys) == 4  # reverse = 0.5, 0.2, 0.8, and 0.4 by the folder's name
    assert len({runs[run]["test/nll"] for run in jeffreys}) > 2
    assert metric("test/surprise")
    assert 0 <= metric("test/f1")[0] <= 1
    assert metric("depth/convolutions") == [19.0]
    (agreeing,) = tmp_path.glob("runs/digits/distill/*Agreeing*/history.csv")
    assert agreeing.read_text().startswith("epoch,step,lr,train/loss,train/ce,train/kd,train/surer")
    assert (tmp_path / "runs/Shapes").is_dir()
    page = run(place / "venv/bin/mixkd", "report", cwd=tmp_path)
    assert "index.html" in page
    networks = (tmp_path / "reports/runs/networks.csv").read_text()
    assert "jeffreys(reverse=0.2)" in networks


def test_the_page_on_your_own_lightning_script(place: Path, tmp_path: Path) -> None:
    follow("lightning.md", place, tmp_path)
    output = run(place / "venv/bin/python", "train.py", cwd=tmp_path)
    values = dict(
        line.split() for line in output.splitlines() if line.startswith(("val/", "vici", "corr"))
    )
    assert values.keys() == {
        "val/ece",
        "vicinal/val/delta_lin_global",
        "corruption/val/mean/accuracy",
    }
    assert all(abs(float(value)) < 10 for value in values.values())
