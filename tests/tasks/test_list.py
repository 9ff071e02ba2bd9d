import os
from pathlib import Path

from filelock import FileLock

from mixkd.config.commands import ListConfig
from mixkd.files.writing import write_json, write_text
from mixkd.tasks.list import list_items


def list_of(*arguments: str) -> str:
    return list_items(ListConfig.parse(arguments))


def test_runs_are_listed_with_state_and_headline() -> None:
    root = Path("runs/digits/finetune")
    write_json(root / "a" / "status.json", {"state": "finished"})
    write_json(
        root / "a" / "metrics.json", {"test/accuracy": 0.5, "test/ece": 0.25, "val/ece": 1.0}
    )
    write_json(root / "b" / "status.json", {"state": "running", "epoch": 3, "max_epochs": 9})
    write_json(root / "c" / "status.json", {"state": "running", "epoch": 1, "max_epochs": 9})
    write_text(root / "b" / "history.csv", "epoch,val/accuracy,val/ece\n0,0.1,0.9\n1,0.75,0.125\n")
    write_text(root / "d" / "status.json", "{")
    with FileLock(root / "c" / ".lock"):
        lines = [line.split(maxsplit=1) for line in list_of("runs").splitlines()]
    assert [Path(name).name for name, _ in lines] == ["a", "b", "c", "d"]
    assert lines[0][1].split() == ["finished", "test/accuracy", "0.5000", "test/ece", "0.2500"]
    assert [rest.split()[:6] for _, rest in lines[1:3]] + [lines[3][1].split()[:3]] == [
        ["interrupted", "3/9", "val/accuracy", "0.7500", "val/ece", "0.1250"],
        ["running", "1/9"],
        ["damaged", "status.json:", "Expecting"],
    ]  # fmt: skip
    assert list_of("runs", "run.root=elsewhere") == "no runs under elsewhere/"


def test_networks_datasets_and_artefacts_are_listed() -> None:
    assert "resnet56" in list_of("networks")
    assert "imagefolder" in list_of("datasets")
    assert "same" not in [line.split()[0] for line in list_of("datasets").splitlines()]
    names = [line.split()[0] for line in list_of("artefacts").splitlines()]
    assert names == [*(f"table{k}" for k in range(1, 9)), *(f"fig{k}" for k in range(2, 12)),
                     "methods"]  # fmt: skip
    assert "Table 1: accuracy and calibration" in list_of("artefacts")


def test_a_bad_run_is_described_in_a_line_and_the_others_are_listed() -> None:
    root, outside = Path("runs/digits/finetune"), Path("outside.json")
    outside.write_text('{"state": "finished"}')
    finished = {"state": "finished"}
    write_json(root / "good" / "status.json", finished)
    for name in ("pipe", "link", "nothing", "wide"):
        (root / name).mkdir()
    os.mkfifo(root / "pipe" / "status.json")
    (root / "link" / "status.json").symlink_to(outside.absolute())
    (root / "nothing" / "status.json").symlink_to("nowhere")
    write_text(root / "deep" / "status.json", '{"a":' * 100_000)
    (root / "wide" / "status.json").write_bytes(b"")
    os.truncate(root / "wide" / "status.json", 2**31)
    write_json(root / "locked" / "status.json", {"state": "running"})
    (root / "locked" / ".lock").symlink_to(outside.absolute())
    for name, metrics in {"large": '1e999, "x": 1', "text": '"x"', "whole": "1" * 400}.items():
        write_json(root / name / "status.json", finished)
        write_text(root / name / "metrics.json", f'{{"test/ece": {metrics}}}')
    write_json(root / "a\x1b[2J\nb" / "status.json", {"state": "\x1b[31m" * 1000, "epoch": "\n"})
    lines = list_of("runs").splitlines()
    assert len(lines) == 11
    descriptions = {
        line.split()[0].rpartition("/")[2]: " ".join(line.split()[1:]) for line in lines
    }
    assert descriptions["good"] == "finished"
    assert descriptions["pipe"] == "damaged status.json: it is no regular file"
    assert descriptions["link"] == "damaged status.json: it is a link out of its folder"
    assert descriptions["nothing"] == "damaged status.json: it is a link to nothing"
    assert descriptions["deep"] == "damaged status.json: it is nested more than 50 deep"
    assert descriptions["wide"] == "damaged status.json: it is larger than 8 MiB"
    assert descriptions["locked"] == "interrupted"
    assert descriptions["large"] == "finished test/ece inf"
    assert descriptions["text"].startswith("damaged metrics.json: could not convert")
    assert (
        descriptions["whole"]
        == "damaged metrics.json: it holds a whole number of more than 64 bits"
    )
    assert lines[0].split()[0].endswith(r"a\x1b[2J\nb")
    assert len(lines[0]) < 200
    assert outside.read_text() == '{"state": "finished"}'
