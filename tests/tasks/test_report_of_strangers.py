"""The report on runs of strangers and damaged ones: each is named, none stops it."""

import os
from pathlib import Path

import pytest

from mixkd.config.commands import ReportConfig
from mixkd.config.shipped import experiment
from mixkd.errors import NotWritten, UserError
from mixkd.tasks.report import report

GOOD = {
    "config.yaml": "task: finetune\nseed: 0\ndata: {name: cifar100, selection: holdout}\n"
    "network: {name: resnet18}\nmethod: {name: erm}\n",
    "provenance.json": '{"fingerprints": {"data": "d", "weights": "w"}}',
    "status.json": '{"state": "finished"}',
    "metrics.json": '{"test/accuracy": 0.75, "test/confidence": 0.7, "test/ece": 0.05}',
}


def write_run(name: str, **files: str | None) -> Path:
    """Write a run directory; `status_json` is what status.json holds, None: it is not there."""
    folder = Path("runs", name)
    folder.mkdir(parents=True)
    for file, text in (GOOD | {k.replace("_", "."): v for k, v in files.items()}).items():
        if text is not None:
            (folder / file).write_text(text)
    return folder


def test_each_damaged_run_is_reported_in_a_line() -> None:
    Path("secret.yaml").write_text("token: s3cret")
    write_run("good")
    write_run("deep", status_json='{"a":' * 100_000)
    write_run("bomb", config_yaml="a: &a [*a]")
    write_run("large", config_yaml=f"seed: 1{'0' * 400}")
    os.mkfifo(write_run("pipe", metrics_json=None) / "metrics.json")
    (write_run("link", config_yaml=None) / "config.yaml").symlink_to(Path("secret.yaml").absolute())
    (write_run("rows") / "history.csv").symlink_to(Path("secret.yaml").absolute())
    os.mkfifo(write_run("a\x1b[2J\nb", provenance_json=None) / "provenance.json")
    provenance = '{"seeds": 3, "packages": [], "fingerprints": [], "command": [[1]]}'
    types = {"config_yaml": "task: {}\nseed: []\ndata: 3\n", "status_json": '{"state": {"a": 1}}'}
    write_run("types", **types, provenance_json=provenance)
    write_run("surrogate", status_json='{"state": "failed", "error": "\\ud800\\u001b <b>"}')
    lines = report(ReportConfig.parse(["runs=runs", "out=out"])).splitlines()
    assert {line.partition(": ")[0]: line.partition(": ")[2] for line in lines[-6:]} == {
        r"a\x1b[2J\nb": "provenance.json is damaged: it is no regular file",
        "bomb": "config.yaml is damaged: *a is within what it stands for",
        "deep": "status.json is damaged: it is nested more than 50 deep",
        "large": "config.yaml is damaged: it holds a number of 401 letters",
        "link": "config.yaml is damaged: it is a link out of its folder",
        "pipe": "metrics.json is damaged: it is no regular file",
    }
    page = Path("out/index.html").read_text()
    assert "s3cret" not in page
    assert "history.csv is damaged" in page


def test_a_part_that_cannot_be_drawn_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    write_run("good")

    def fails(*_: object) -> None:
        raise ValueError("no such symbol: \\frac")

    monkeypatch.setattr(experiment("paper.report"), "_has_numbers", fails)
    report(ReportConfig.parse(["runs=runs", "out=out"]))
    assert "It could not be rendered: ValueError" in Path("out/index.html").read_text()

    def full(*_: object) -> None:
        raise NotWritten("the disk is full")

    monkeypatch.setattr(experiment("paper.report"), "_has_numbers", full)
    with pytest.raises(NotWritten, match="the disk is full"):
        report(ReportConfig.parse(["runs=runs", "out=out"]))


def test_a_plan_that_is_no_file_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    write_run("good")
    os.mkfifo("runs/reproduction-a.json")
    with pytest.raises(UserError, match=r"runs/reproduction-a.json is damaged \(it is no reg"):
        report(ReportConfig.parse(["runs=runs", "out=out", "scale=a"]))
    report(ReportConfig.parse(["runs=runs", "out=out"]))
    message = "passed over: runs/reproduction-a.json is damaged (it is "
    assert f"{message}no regular file" in capsys.readouterr().err
    Path("runs/reproduction-a.json").unlink()
    Path("runs/reproduction-a.json").symlink_to("/dev/zero")
    report(ReportConfig.parse(["runs=runs", "out=out"]))
    assert f"{message}a link out" in capsys.readouterr().err
    Path("runs/reproduction-a.json").unlink()
    Path("runs/reproduction-a.json").symlink_to("nowhere")
    report(ReportConfig.parse(["runs=runs", "out=out"]))
