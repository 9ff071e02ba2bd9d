from pathlib import Path

from filelock import FileLock

from mixkd.files import write_json, write_text
from mixkd.tasks.list import list_items


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
        lines = [line.split(maxsplit=1) for line in list_items(["runs"]).splitlines()]
    assert [Path(name).name for name, _ in lines] == ["a", "b", "c", "d"]
    assert lines[0][1].split() == ["finished", "test/accuracy", "0.5000", "test/ece", "0.2500"]
    assert [rest.split()[:6] for _, rest in lines[1:3]] + [lines[3][1].split()[:3]] == [
        ["interrupted", "3/9", "val/accuracy", "0.7500", "val/ece", "0.1250"],
        ["running", "1/9"],
        ["damaged", "status.json:", "Expecting"],
    ]  # fmt: skip
    assert list_items(["runs", "run.root=elsewhere"]) == "no runs under elsewhere/"


def test_what_there_is_to_choose_from_is_listed() -> None:
    assert "resnet56" in list_items(["networks"])
    assert "imagefolder" in list_items(["datasets"])
    assert "same" not in [line.split()[0] for line in list_items(["datasets"]).splitlines()]
    names = [line.split()[0] for line in list_items(["artefacts"]).splitlines()]
    assert names == [*(f"table{k}" for k in range(1, 8)), *(f"fig{k}" for k in range(2, 11))]
    assert "Table 1: accuracy and calibration" in list_items(["artefacts"])
