"""The commands as functions: the same runs as from the shell, and ValueErrors."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import mixkd
from mixkd import finetune
from mixkd.errors import UserError

Mixkd = Callable[..., int]
QUICK = {
    "data": {"limit_train": 200, "limit_test": 60, "batch_size": 50, "size": 16},
    "trainer": {"max_epochs": 1},
    "callbacks": "none",
}
SHELL = ["data.limit_train=200", "data.limit_test=60", "data.batch_size=50", "data.size=16",
         "trainer.max_epochs=1", "callbacks=none"]  # fmt: skip


def test_a_notebook_works_in_the_runs_of_the_shell() -> None:
    small = {"args": {"depth": 8}}
    teacher = mixkd.finetune("network=resnet20", network=small, **QUICK)
    metrics = json.loads((teacher.path / "metrics.json").read_text())
    assert teacher.metrics == metrics
    assert teacher["test/n"] == 60
    command = json.loads((teacher.path / "provenance.json").read_text())["command"]
    assert command[:2] == ["mixkd", "finetune"]
    (row,) = teacher.table("history")
    assert row["val/accuracy"] == metrics["val/accuracy"]
    student = mixkd.distill(
        "student=resnet20", "student.args.depth=8", teacher={"run": teacher}, temperature="sigma",
        **QUICK,
    )  # fmt: skip
    assert "sigma" in student.path.name
    between = mixkd.evaluate(
        network={"run": student}, teacher={"run": teacher}, vicinal={"n_pairs": 20, "lambdas": 5}
    )
    assert {row["network"] for row in between.table("vicinal")} == {"student", "teacher"}
    rows = mixkd.compare(student, teacher.path, draws=200)
    accuracy = next(row for row in rows if row["metric"] == "accuracy")
    difference = student["test/accuracy"] - teacher["test/accuracy"]
    assert accuracy["difference"] == pytest.approx(difference)
    page = mixkd.report(out="page")
    assert page == Path("page/index.html")
    assert "kd_mixup" in page.read_text()
    import_module("mixkd.report.page")  # after which the name is the package's
    assert callable(mixkd.report)


def test_the_shell_finds_what_a_notebook_has_made(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finetune("network=resnet20", "network.args.depth=8", **QUICK)
    assert mixkd("finetune", "network=resnet20", "network.args.depth=8", *SHELL) == 0
    assert f"finished before, run.force=true starts over: {run.path}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mixkd.finetune("network=resnet21"), "did you mean resnet20"),
        (lambda: mixkd.finetune(network="resnet20", optimizer={"lrr": 1}), "did you mean lr"),
        (lambda: mixkd.distill(teacher="resnet20"), "teacher"),
        (lambda: mixkd.evaluate(network={"run": "nowhere"}), "no run there"),
        (lambda: mixkd.compare("nowhere", "there"), "no nowhere/predictions/test.npz"),
        (lambda: mixkd.compare("nowhere", "there", draws=5), "draws: got 5"),
        (lambda: mixkd.report("nowhere"), "which is no folder"),
    ],
)
def test_bad_values_are_value_errors(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert isinstance(caught.value, UserError)
