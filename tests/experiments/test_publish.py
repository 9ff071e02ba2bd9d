"""Publishing a study: the small files of finished runs, enough for the same report."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.publish import main
from mixkd.config.commands import ReportConfig
from mixkd.errors import UserError
from mixkd.files.writing import read_json, write_json
from mixkd.report.cells import Subject
from mixkd.report.plan import Expected, Reproduction, manifest
from mixkd.tasks.report import report

ERM = Subject("cifar100", "student", "", "erm")
KD = Subject("cifar100", "student", "vit_b16", "kd_mixup", "2")


def write_run(path: str, seed: int, accuracy: float, state: str = "finished") -> None:
    rng = np.random.default_rng(seed)
    folder, n = Path("runs", path), 400
    (folder / "predictions").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"x" * 1000)
    (folder / "weights.safetensors").write_bytes(b"x" * 1000)
    label = rng.integers(0, 10, n)
    wrong = np.arange(n) >= accuracy * n
    confidence = rng.random(n)
    np.savez(
        folder / "predictions" / "test.npz",
        index=np.arange(n), label=label, prediction=(label + wrong) % 10, confidence=confidence,
        nll=rng.random(n), brier=rng.random(n), logits=rng.random((n, 10)),
    )  # fmt: skip
    hit, bins = ~wrong, np.minimum((confidence * 15).astype(int), 14)
    ece = sum(abs(confidence[bins == k].sum() - hit[bins == k].sum()) for k in range(15)) / n
    write_json(folder / "metrics.json", {
        "test/accuracy": float(hit.mean()), "test/confidence": float(confidence.mean()),
        "test/ece": float(ece), "test/n": n, "val/accuracy": 0.5,
    })  # fmt: skip
    write_json(folder / "status.json", {"state": state, "pid": 7, "host": "mine", "epoch": 3})
    write_json(folder / "provenance.json", {"experiment": path, "fingerprints": {"data": "d"}})
    (folder / "config.yaml").write_text(f"task: finetune\nseed: {seed}\ndata: {{name: cifar100}}\n")


@pytest.fixture
def study() -> Reproduction:
    expected = []
    for subject, name in ((ERM, "erm"), (KD, "kd_mixup")):
        for seed in (0, 1, 2):
            accuracy = 0.5 + 0.1 * (name == "kd_mixup") + 0.01 * seed
            write_run(f"{name}-{seed}", seed, accuracy, "running" if seed == 2 else "finished")
            command = f"mixkd finetune seed={seed}"
            path = f"{name}-{seed}"
            expected.append(Expected(subject, seed, "training", command, path, ("table3",)))
    reproduction = Reproduction(
        scale="small", protocol="corrected", about="Small.", artefacts=("table3", "fig2"),
        data={"cifar100": "cifar100"}, datasets={"cifar100": "CIFAR-100"}, teachers={},
        student="a student", expected=tuple(expected),
    )  # fmt: skip
    write_json(manifest(Path("runs"), "small"), reproduction.as_json())
    return reproduction


def test_small_files_of_finished_runs_are_kept(study: Reproduction) -> None:
    message = main(["scale=small", "out=kept"])
    assert message.splitlines()[-1].startswith("4 runs kept, 0.")
    files = {str(path.relative_to("kept/kept")) for path in Path("kept/kept").rglob("*.*")}
    per_run = {"config.yaml", "provenance.json", "metrics.json", "status.json"}
    expected = {f"{run}/{name}" for run in ("erm-0", "erm-1", "kd_mixup-0", "kd_mixup-1")
                for name in per_run}  # fmt: skip
    predictions = {f"{run}-0/predictions/test.npz" for run in ("erm", "kd_mixup")}
    assert files == expected | predictions | {"reproduction-small.json"}
    assert read_json(Path("kept/kept/erm-0/status.json"), "x") == {"state": "finished", "epoch": 3}

    with np.load("kept/kept/erm-0/predictions/test.npz") as published:
        with np.load("runs/erm-0/predictions/test.npz") as original:
            assert set(published) == set(original) - {"logits", "brier"}
            for name in published:
                np.testing.assert_allclose(published[name], original[name], rtol=1e-7)
        assert {name: published[name].dtype.name for name in published} == {
            "index": "uint16", "label": "uint8", "prediction": "uint8", "confidence": "float32",
            "nll": "float32",
        }  # fmt: skip


def test_predictions_are_kept_of_trainings_alone(study: Reproduction) -> None:
    write_run("asked", 0, 0.6)
    evaluation = Expected(KD, 0, "vicinal", "mixkd evaluate", "asked", ("table6",))
    reproduction = replace(study, expected=(*study.expected, evaluation))
    write_json(manifest(Path("runs"), "small"), reproduction.as_json())
    main(["scale=small", "out=kept"])
    assert Path("kept/kept/asked/metrics.json").is_file()
    assert not Path("kept/kept/asked/predictions").exists()
    assert Path("kept/kept/kd_mixup-0/predictions/test.npz").is_file()


def test_the_home_folder_is_replaced_by_a_tilde(study: Reproduction) -> None:
    with open("runs/erm-0/config.yaml", "a") as file:
        file.write(f"cache: {Path.home()}/.cache\nother: /data{Path.home()}/x\n")
    main(["scale=small", "out=kept"])
    text = Path("kept/kept/erm-0/config.yaml").read_text()
    assert f"cache: ~/.cache\nother: /data{Path.home()}/x\n" in text


def test_the_report_can_be_made_of_what_is_kept(study: Reproduction) -> None:
    for name in ("erm-2", "kd_mixup-2"):
        write_json(Path("runs", name, "status.json"), {"state": "finished"})
    main(["scale=small", "out=kept"])
    report(ReportConfig.parse(["runs=kept/kept", "out=again"]))
    report(ReportConfig.parse(["runs=runs", "out=whole", "scale=small"]))
    names = {path.name for path in Path("again").glob("table*.csv")}
    assert "table3.csv" in names
    for name in names:
        content = Path("kept", name).read_bytes()
        assert content == Path("again", name).read_bytes()
    assert "paired tests are of those alone" in Path("kept/table3.md").read_text()
    assert Path("kept/table3.csv").read_bytes() == Path("whole/table3.csv").read_bytes()
    assert not Path("kept/index.html").exists()
    assert Path("kept/claims.md").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["out=kept"], "scale: is missing; takes the name"),
        (["scale=large", "out=kept"], "scale: runs/reproduction-large.json is missing"),
        (["scale=small", "ot=kept"], "ot: no such key (did you mean out?); takes scale, runs, out"),
    ],
)
def test_a_mistake_gets_one_message(
    study: Reproduction, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        main(overrides)
    assert message in str(caught.value)
    assert not Path("kept").exists()


def contents(folder: str) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["out=."], "out: got '.', which holds runs"),
        (["runs=kept/kept", "out=kept"], "out: got 'kept', which holds kept/kept"),
        (["out=other"], "out: other/kept holds files that are no study's"),
        (["runs=gone", "out=kept"], "runs: no run of gone/reproduction-small.json has finished"),
    ],
)
def test_nothing_is_lost_by_a_mistake(
    study: Reproduction, overrides: list[str], message: str
) -> None:
    main(["scale=small", "out=kept"])
    for name in ("README.md", "other/kept/mine.txt", "kept/README.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("mine")
    write_json(manifest(Path("gone"), "small"), study.as_json())
    before = contents(".")
    with pytest.raises(UserError) as caught:
        main(["scale=small", *overrides])
    assert message in str(caught.value)
    assert contents(".") == before


def test_what_is_no_longer_finished_is_no_longer_kept(study: Reproduction) -> None:
    main(["scale=small", "out=kept"])
    Path("kept/README.md").with_suffix(".yaml").write_text("mine")
    Path("kept/table1.csv").write_text("stale")
    for name in ("README.md", "table1-mine.csv", "claims-draft.md"):
        Path("kept", name).write_text("mine")
    write_json(Path("runs/erm-0/status.json"), {"state": "running"})
    main(["scale=small", "out=kept"])
    assert not Path("kept/kept/erm-0").exists()
    assert Path("kept/kept/erm-1/predictions/test.npz").is_file()
    assert not Path("kept/table1.csv").exists()
    assert all(
        Path("kept", n).read_text() == "mine"
        for n in ("README.md", "table1-mine.csv", "claims-draft.md")
    )
    assert Path("kept/README.yaml").is_file()


def test_nothing_of_another_place_is_kept(
    study: Reproduction, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = Path("secret.yaml").absolute()
    secret.write_text("token: s3cret\n")
    for name in ("config.yaml", "provenance.json", "history.csv"):
        Path("runs/erm-0", name).unlink(missing_ok=True)
        Path("runs/erm-0", name).symlink_to(secret)
    Path("elsewhere").mkdir()
    np.savez("elsewhere/test.npz", secret=np.arange(3))
    for path in Path("runs/kd_mixup-0/predictions").iterdir():
        path.unlink()
    Path("runs/kd_mixup-0/predictions").rmdir()
    Path("runs/kd_mixup-0/predictions").symlink_to(Path("elsewhere").absolute())
    os.mkfifo("runs/erm-1/history.csv")
    Path("runs/kd_mixup-1").rename("elsewhere/run")
    Path("runs/kd_mixup-1").symlink_to(Path("elsewhere/run").absolute())
    Path("kept").mkdir()
    Path("kept/table3.md").symlink_to(secret)
    main(["scale=small", "out=kept"])
    assert secret.read_text() == "token: s3cret\n"
    for path in Path("kept").rglob("*"):
        assert not path.is_symlink()
        assert path.is_dir() or b"s3cret" not in path.read_bytes()
    assert not Path("kept/kept/kd_mixup-0/predictions").exists()
    assert not Path("kept/kept/kd_mixup-1").exists()
    message = capsys.readouterr().err
    assert message.count("left out: ") == 6
    assert "left out: runs/erm-1/history.csv is damaged: it is no regular file" in message


@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/tmp/evil"])
def test_a_plan_names_no_place_outside(study: Reproduction, path: str) -> None:
    write_run("../evil", 0, 0.5)
    outside = replace(study.expected[0], path=path)
    reproduction = replace(study, expected=(outside, *study.expected[1:]))
    write_json(manifest(Path("runs"), "small"), reproduction.as_json())
    with pytest.raises(
        UserError, match=r"^runs: runs/reproduction-small.json is damaged \('.*evil"
    ):
        main(["scale=small", "out=kept"])
    assert not Path("kept").exists()
