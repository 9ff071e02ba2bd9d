"""Results of each network from runs: cells, remarks and faults, with a reproduction or without."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml

from experiments.paper.report import goes_without, repeated_datasets
from mixkd.config.shipped import experiment
from mixkd.errors import UserError
from mixkd.files.writing import write_json
from mixkd.report.assignment import network_name, read_results
from mixkd.report.cells import Cell, Exclusion, Subject
from mixkd.report.plan import Expected, Reproduction, manifest
from mixkd.report.results import Results, title
from mixkd.report.sections import analysis_tables, networks_table
from mixkd.report.table import Number

C = "cifar100"
ROOT = Path("runs")
TEACHER = Subject(C, "teacher", "vit_b16")
STUDENT = Subject(C, "student", "vit_b16", "kd_mixup", "2")
BASELINE = Subject(C, "student", "", "erm")

METRICS = {"test/accuracy": 0.8, "test/confidence": 0.7, "test/ece": 0.15, "val/accuracy": 0.9}


def write_run(
    path: str,
    task: str = "finetune",
    metrics: Mapping[str, float] | None = METRICS,
    *,
    state: str = "finished",
    ended: str = "2026-01-01",
    error: str = "",
    seed: int = 0,
    data: str = "digits",
    limit: int | None = None,
    images: str = "d1",
    network: Any = None,
    method: str = "",
    hashes: Mapping[str, str] | None = None,
    **keys: Any,
) -> None:
    """Write a run directory as a task does; `hashes` are sha256 by name, `keys` are configuration.

    Its weights bear the name of the run.
    """
    folder = ROOT / path
    config = {
        "task": task,
        "seed": seed,
        "data": {"name": data, "selection": "holdout", "limit_train": limit},
        "network": network or {"name": "resnet20"},
        "method": {"name": method or {"finetune": "erm", "distill": "kd_mixup"}.get(task)},
        **keys,
    }
    if task == "distill":
        config = {"teacher": {"name": "resnet20"}, "temperature": 2.0, **config}
    weights = {} if task == "evaluate" else {"weights": path}
    fingerprints = {k: v for k, v in {"data": images, **weights, **(hashes or {})}.items() if v}
    status = {"state": state, "ended": ended} | ({"error": error} if error else {})
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(folder / "provenance.json", {"fingerprints": fingerprints})
    write_json(folder / "status.json", status)
    if metrics is not None:
        write_json(folder / "metrics.json", dict(metrics))


def write_rows(path: str, text: str) -> None:
    (ROOT / path).write_text(text)


def expected(
    subject: Subject, path: str, seed: int = 0, kind: str = "training", *artefacts: str
) -> Expected:
    return Expected(subject, seed, kind, f"mixkd {path}", path, artefacts or ("table3",))


def reproduction_of(*runs: Expected) -> Reproduction:
    return Reproduction(
        scale="tiny",
        protocol="corrected",
        about="Tiny.",
        artefacts=("table3", "fig4"),
        data={C: "digits"},
        datasets={C: "handwritten digits"},
        teachers={"vit_b16": "ResNet-26"},
        student="ResNet-8",
        expected=runs,
    )


def results_of(*runs: Expected) -> Results:
    return read_results(ROOT, reproduction_of(*runs))


# With a reproduction.


def test_a_cell_is_a_mean_over_seeds() -> None:
    write_run("a", seed=0, metrics=METRICS)
    write_run("b", seed=1, metrics=METRICS | {"test/accuracy": 0.84})
    results = results_of(expected(BASELINE, "b", 1), expected(BASELINE, "a", 0))
    cell = results.cell(BASELINE, "test/accuracy")
    assert cell == Cell({0: 0.8, 1: 0.84}, runs=("b", "a"))
    assert list(cell.by_seed) == [0, 1]
    assert cell.mean == pytest.approx(0.82)
    assert results.cell(BASELINE, "val/accuracy") is None  # of what selected the epoch
    assert results.cell(STUDENT, "test/accuracy") is None
    assert results.seeds(BASELINE) == [0, 1]
    assert [run.path for run in results.runs(BASELINE).values()] == ["a", "b"]
    assert results.subjects == [BASELINE]
    assert results.remarks(BASELINE) == ""
    assert results.faults() == []


def history(n: int, *lines_after: str) -> str:
    """Return a history whose held-out accuracy is 0.00, 0.01, 0.02 and so on."""
    lines = [f"{k},0.1,{k / 100}" for k in range(n)]
    return "\n".join(["epoch,train/loss,val/accuracy", *lines, *lines_after]) + "\n"


@pytest.mark.parametrize(
    ("epochs", "expected_parts"),
    [
        (20, {"early": (0 + 1) / 200, "middle": mean(range(2, 10)) / 100, "late": 0.145}),
        (4, {"early": 0, "middle": 0.01, "late": 0.025}),
        (3, {"early": 0, "late": 0.015}),
        (1, {"early": 0}),
        (0, {}),
    ],
)
def test_a_curve_has_three_parts(epochs: int, expected_parts: dict[str, float]) -> None:
    write_run("a")
    write_rows("a/history.csv", history(epochs))
    cells = results_of(expected(BASELINE, "a")).cells
    curve = {k.metric: cell.mean for k, (cell,) in cells.items() if k.metric.startswith("curve/")}
    assert curve == pytest.approx(
        {f"curve/{part}_accuracy": value for part, value in expected_parts.items()}
    )


def test_an_epoch_without_a_number_is_left_out_of_the_curve() -> None:
    write_run("a")
    write_rows("a/history.csv", history(4, "4,0.1,", "5,0.1,x", "6"))
    assert results_of(expected(BASELINE, "a")).cell(BASELINE, "curve/late_accuracy") == Cell(
        {0: pytest.approx(0.025)}, runs=("a",)
    )


VICINAL = {
    "test/accuracy": 0.1,
    "vicinal/train/student/nl_global": 0.5,
    "vicinal/train/teacher/nl_global": 0.9,
    "vicinal/train/delta_lin_peak": 0.4,
}


def test_an_evaluation_adds_to_its_networks_cells_without_its_name() -> None:
    write_run("s", "distill", hashes={"teacher": "t"})
    write_run("v", "evaluate", VICINAL, hashes={"network": "s"})
    corruption = {"corruption/fog/mean/accuracy": 0.6, "corruption/fog/mean/gain_erm": 0.1,
                  "corruption/fog/mean/gain_kd": 0.3}  # fmt: skip
    write_run("c", "evaluate", corruption, hashes={"network": "s"})
    write_run("f", "evaluate", {"features/v_measure": 0.7}, hashes={"network": "s"})
    results = results_of(
        expected(STUDENT, "s"), expected(STUDENT, "v", kind="vicinal"),
        expected(STUDENT, "c", kind="corruptions"), expected(STUDENT, "f", kind="features"),
    )  # fmt: skip
    assert {key.metric: cell.mean for key, (cell,) in results.cells.items()} == {
        "test/accuracy": 0.8,  # the training's, not the evaluation's
        "test/confidence": 0.7,
        "test/ece": 0.15,
        "vicinal/train/nl_global": 0.5,
        "vicinal/train/teacher/nl_global": 0.9,
        "vicinal/train/delta_lin_peak": 0.4,
        "corruption/fog/mean/accuracy": 0.6,
        "corruption/fog/mean/gain_erm": 0.1,
        "corruption/fog/mean/gain": 0.1,
        "corruption/fog/mean/gain_kd": 0.3,
        "features/v_measure": 0.7,
    }
    assert {key[:5] for key in results.cells} == {STUDENT}
    cell = results.cell(STUDENT, "vicinal/train/nl_global")
    assert cell is not None
    assert cell.runs == ("v",)


def test_dominance_half_way_is_taken_from_the_rows() -> None:
    write_run("t")
    metrics = {"vicinal/train/network/nl_global": 1.5}
    write_run("v", "evaluate", metrics, hashes={"network": "t"})
    rows = ["split,network,lam,dominance", "train,network,0.25,7", "train,network,0.5,1.25",
            "train,network,0.75,9", "train,teacher,0.5,8", "test,network,0.5,1.5"]  # fmt: skip
    runs = expected(TEACHER, "t"), expected(TEACHER, "v", kind="vicinal")

    def halves() -> dict[str, float]:
        cells = results_of(*runs).cells.items()
        return {k.metric: c.mean for k, (c,) in cells if k.metric.endswith("dominance_half")}

    write_rows("v/vicinal.csv", "\n".join(rows))
    assert results_of(*runs).cell(TEACHER, "vicinal/train/nl_global") == Cell({0: 1.5}, runs=("v",))
    assert halves() == {
        "vicinal/train/dominance_half": 1.25, "vicinal/test/dominance_half": 1.5,
    }  # fmt: skip
    even = ["train,network,0.4,2", "train,network,0.6,3", "test,network,0.6,1", "test,network,1,1"]
    write_rows("v/vicinal.csv", "\n".join([rows[0], *even]))
    assert halves() == {"vicinal/train/dominance_half": pytest.approx(2.5)}
    write_rows("v/vicinal.csv", "\n".join([rows[0], "train,network,0.5,nan", *even]))
    assert halves() == {}
    write_rows("v/vicinal.csv", "\n".join([rows[0], "train,network,0,0", "train,network,1,0"]))
    assert halves() == {}
    write_rows("v/vicinal.csv", "\n".join([*rows[:-1], "test,network,0.5"]))  # broken off
    assert halves() == {"vicinal/train/dominance_half": 1.25}
    write_rows("v/vicinal.csv", "network,lam\nnetwork,0.5\n")
    assert halves() == {}


def test_gains_of_runs_that_have_none_at_single_weights_are_taken_from_the_rows() -> None:
    write_run("s")
    write_run("v", "evaluate", {"vicinal/train/delta_lin_at_0.5": 0.3}, hashes={"network": "s"})
    rows = ["split,network,lam,nl", "train,teacher,0.25,1.5", "train,student,0.25,1",
            "train,teacher,0.5,1.75", "train,student,0.5,1.5", "train,teacher,0.75,2",
            "test,student,0.25,1", "test,teacher,0.25,nan"]  # fmt: skip
    write_rows("v/vicinal.csv", "\n".join(rows))
    cells = results_of(expected(STUDENT, "s"), expected(STUDENT, "v", kind="vicinal")).cells
    gains = {k.metric: c.mean for k, (c,) in cells.items() if "delta_lin" in k.metric}
    assert gains == {
        "vicinal/train/delta_lin_at_0.25": 0.5, "vicinal/train/delta_lin_at_0.5": 0.3,
    }  # fmt: skip


def test_dominance_half_way_has_a_standard_error() -> None:
    write_run("t")
    metrics = {"vicinal/train/network/nl_global": 1.5}
    write_run("v", "evaluate", metrics, hashes={"network": "t"})
    runs = expected(TEACHER, "t"), expected(TEACHER, "v", kind="vicinal")

    def error(row: str) -> float | None:
        header = "split,network,lam,nl,nl_se,entropy,entropy_se,dominance"
        write_rows("v/vicinal.csv", f"{header}\ntrain,network,0.5,{row}\n")
        assert results_of(*runs).cell(TEACHER, "vicinal/train/dominance_half") == Cell(
            {0: 1.5}, runs=("v",)
        )
        cell = results_of(*runs).cell(TEACHER, "vicinal/train/dominance_half_se")
        return cell.mean if cell else None

    # Of a ratio 3 / 2, to first order, where the errors are against each other: 3.1 / 1.9 = 1.63.
    assert error("3,0.1,2,0.1,1.5") == pytest.approx((0.1 + 1.5 * 0.1) / 2)
    assert error("3,,2,0.1,1.5") is None
    assert error("3,0.1,none,0.1,1.5") is None
    assert error("3,0.1,0,0.1,1.5") is None


def test_a_run_that_is_missing_comes_with_its_command() -> None:
    write_run("a", seed=0)
    results = results_of(
        expected(BASELINE, "a", 0), expected(BASELINE, "b", 1), expected(BASELINE, "", 2),
        expected(STUDENT, "s", 0, "training", "table1"),
    )  # fmt: skip
    assert results.remarks(BASELINE) == "missing: seed 1, 2; one seed"
    assert results.remarks(STUDENT) == "missing"
    assert results.remarks(TEACHER) == "no run"
    smaller = replace(
        reproduction_of(expected(BASELINE, "a", 0)), leaves_out=(Exclusion(teacher="vit_b16"),)
    )
    assert read_results(ROOT, smaller).remarks(TEACHER) == "left out of this scale"
    missing = [
        "missing: cifar100 student erm, seed 1, training: `mixkd b`",
        "missing: cifar100 student erm, seed 2, training: `mixkd `",
    ]
    assert results.faults("table3") == missing
    of_student = (
        "missing: cifar100 student kd_mixup from vit_b16 T = 2, seed 0, training: `mixkd s`"
    )
    assert results.faults() == [*missing, of_student]
    assert results.faults("table1") == [of_student]
    assert results.subjects == [BASELINE, STUDENT]


@pytest.mark.parametrize("state", ["failed", "interrupted", "running"])
def test_a_run_that_has_not_ended_well_says_so(state: str) -> None:
    error = "NotFinite('logits')" if state == "failed" else ""
    write_run("a", metrics=None, state=state, error=error)
    results = results_of(expected(BASELINE, "a"))
    message = f"its run is {state}" + (" (NotFinite('logits'))" if error else "")
    assert results.remarks(BASELINE) == f"missing; {message}"
    assert results.faults() == [
        "missing: cifar100 student erm, seed 0, training: `mixkd a`",
        f"cifar100 student erm, seed 0, training: {message}",
    ]
    assert results.cells == {}


def test_a_run_that_finished_without_metrics_says_so() -> None:
    write_run("a", metrics=None)
    assert results_of(expected(BASELINE, "a")).remarks(BASELINE) == (
        "missing; its run is finished; metrics.json is missing"
    )


def test_a_run_of_other_data_is_left_out() -> None:
    write_run("a", seed=0)
    write_run("b", seed=1, data="cifar10", images="d2")
    results = results_of(expected(BASELINE, "a", 0), expected(BASELINE, "b", 1))
    message = "left out: b is of other data, cifar10; takes digits"
    assert results.remarks(BASELINE) == f"missing: seed 1; one seed; seed 1: {message}"
    assert results.faults()[-1] == f"cifar100 student erm, seed 1, training: {message}"
    assert results.seeds(BASELINE) == [0]


def test_a_data_set_that_no_scale_replaces_stands_for_itself() -> None:
    write_run("a", data=C)
    results = read_results(ROOT, replace(reproduction_of(expected(BASELINE, "a")), data={}))
    assert results.seeds(BASELINE) == [0]


def test_a_run_of_other_images_is_shown_with_a_remark() -> None:
    for seed, images in enumerate(("d1", "d2", "d1")):
        write_run(f"r{seed}", seed=seed, images=images)
    results = results_of(*(expected(BASELINE, f"r{seed}", seed) for seed in range(3)))
    assert results.seeds(BASELINE) == [0, 1, 2]
    assert results.remarks(BASELINE) == (
        "seed 1: r1 saw other images than the other runs of digits; "
        "its runs are of different images"
    )


def test_a_teacher_may_have_seen_more_training_images() -> None:
    write_run("t", images="all")
    write_run("v", "evaluate", VICINAL, images="all", hashes={"network": "t"})
    for seed in (0, 1, 2):
        write_run(f"r{seed}", seed=seed, limit=600, images="part")
    students = [expected(BASELINE, f"r{seed}", seed) for seed in range(3)]
    results = results_of(expected(TEACHER, "t"), expected(TEACHER, "v", kind="vicinal"), *students)
    assert results.faults() == []
    assert results.remarks(TEACHER) == "one seed"


def test_a_training_of_another_seed_is_left_out() -> None:
    write_run("a", seed=5)
    results = results_of(expected(BASELINE, "a", 0))
    assert results.remarks(BASELINE) == "missing; left out: a is of seed 5"
    assert results.cells == {}


def test_an_evaluation_has_no_seed_of_its_own() -> None:
    write_run("a", seed=5)
    write_run("v", "evaluate", VICINAL, hashes={"network": "a"})
    results = results_of(expected(BASELINE, "a", 5), expected(BASELINE, "v", 5, "vicinal"))
    assert results.seeds(BASELINE, "vicinal") == [5]


def test_an_evaluation_of_other_weights_is_left_out() -> None:
    write_run("a")
    write_run("v", "evaluate", VICINAL, hashes={"network": "before"})
    # Planned before the training, it is looked at after it.
    results = results_of(expected(BASELINE, "v", kind="vicinal"), expected(BASELINE, "a"))
    assert results.remarks(BASELINE, "vicinal") == (
        "missing; left out: v measured other weights than those of the row"
    )
    assert results.cell(BASELINE, "vicinal/train/nl_global") is None
    assert results.remarks(BASELINE) == "one seed"


def test_a_training_of_another_kind_is_left_out() -> None:
    write_run("a", method="mixup")
    results = results_of(expected(BASELINE, "a"))
    assert results.remarks(BASELINE) == "missing; left out: a is of mixup"
    write_run("s", "distill", temperature=4.0)
    results = results_of(expected(STUDENT, "s"))
    assert results.remarks(STUDENT) == "missing; left out: s is of kd_mixup T = 4"
    assert results.cells == {}


def test_an_evaluation_beside_another_teacher_is_left_out() -> None:
    write_run("s", "distill", hashes={"teacher": "t"})
    write_run("v", "evaluate", VICINAL, hashes={"network": "s", "teacher": "t"})
    write_run("w", "evaluate", VICINAL, hashes={"network": "s", "teacher": "u"})
    training = expected(STUDENT, "s")
    assert results_of(training, expected(STUDENT, "v", kind="vicinal")).seeds(
        STUDENT, "vicinal"
    ) == [0]
    results = results_of(training, expected(STUDENT, "w", kind="vicinal"))
    assert results.remarks(STUDENT, "vicinal") == (
        "missing; left out: w asked another teacher than that of the row"
    )


def test_a_run_without_its_configuration_is_left_out() -> None:
    write_run("a")
    (ROOT / "a/config.yaml").unlink()
    assert results_of(expected(BASELINE, "a")).remarks(BASELINE) == (
        "missing; left out: a; config.yaml is missing"
    )


def test_of_a_run_whose_images_are_not_known_nothing_is_said() -> None:
    for seed, images in enumerate(("d1", "", "d1")):
        write_run(f"r{seed}", seed=seed, images=images)
    results = results_of(*(expected(BASELINE, f"r{seed}", seed) for seed in range(3)))
    assert results.seeds(BASELINE) == [0, 1, 2]
    assert results.remarks(BASELINE) == ""


def test_seeds_of_different_experiments_have_a_remark() -> None:
    write_run("a", seed=0, trainer={"max_epochs": 3})
    write_run("b", seed=1, trainer={"max_epochs": 4})
    runs = expected(BASELINE, "a", 0), expected(BASELINE, "b", 1)
    assert results_of(*runs).remarks(BASELINE) == "its seeds are of different experiments"


def test_sound_cells_are_of_runs_of_which_nothing_is_wrong() -> None:
    write_run("a", seed=0)
    write_run("b", seed=1, metrics=METRICS | {"test/ece": 0.6})
    results = results_of(expected(BASELINE, "a", 0), expected(BASELINE, "b", 1))
    key = BASELINE.key("test/accuracy")
    assert results.cells[key] == [Cell({0: 0.8, 1: 0.8}, runs=("a", "b"))]
    assert results.sound_cells[key] == [Cell({0: 0.8}, runs=("a",))]


def test_a_public_networks_first_evaluation_stands_for_its_training() -> None:
    write_run("t", "evaluate", hashes={"network": "public"})
    write_run("v", "evaluate", VICINAL, hashes={"network": "public"})
    write_run("w", "evaluate", VICINAL, hashes={"network": "other"})
    results = results_of(expected(TEACHER, "t"), expected(TEACHER, "v", kind="vicinal"))
    assert results.seeds(TEACHER) == results.seeds(TEACHER, "vicinal") == [0]
    assert results.cell(TEACHER, "test/accuracy") == Cell({0: 0.8}, runs=("t",))
    results = results_of(expected(TEACHER, "t"), expected(TEACHER, "w", kind="vicinal"))
    assert results.seeds(TEACHER, "vicinal") == []


def test_an_impossible_ece_is_a_remark_and_a_fault() -> None:
    write_run("a", metrics=METRICS | {"test/ece": 0.6})
    results = results_of(expected(BASELINE, "a"))
    message = (
        "test/ece 0.6000 is impossible beside accuracy 0.8000 and confidence 0.7000: "
        "it lies outside [0.1000, 0.5000]"
    )
    assert results.remarks(BASELINE) == f"one seed; {message}"
    assert results.faults("table3") == [f"cifar100 student erm, seed 0, training: {message}"]
    assert results.faults("fig4") == []
    assert results.cell(BASELINE, "test/ece") == Cell({0: 0.6}, runs=("a",))


def test_a_title_names_a_subject() -> None:
    assert title(TEACHER) == "cifar100 teacher erm vit_b16"
    assert title(STUDENT) == "cifar100 student kd_mixup from vit_b16 T = 2"
    assert title(BASELINE) == "cifar100 student erm"


def test_a_reproduction_is_read_as_it_was_written() -> None:
    runs = expected(TEACHER, "t"), expected(STUDENT, "", 2, "vicinal", "fig4", "table6")
    exclusions = (
        Exclusion(dataset="imagenet"),
        Exclusion(teacher="vit_b16", temperatures=("4", "sigma")),
    )
    reproduction = replace(
        reproduction_of(*runs),
        settings="0123",
        overrides=("a=1", "distill.b=2"),
        leaves_out=exclusions,
    )
    path = manifest(ROOT, "tiny")
    assert path == Path("runs/reproduction-tiny.json")
    write_json(path, reproduction.as_json())
    assert Reproduction.read(path) == reproduction


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff\xfe\x00",
        b"[1]",
        b"{}",
        b'{"expected": 3, "artefacts": []}',
        b'{"expected": [3], "artefacts": []}',
        b'{"expected": [{"subject": ["a", "b"]}], "artefacts": []}',
        b'{"expected": [], "artefacts": [], "nonsense": 1}',
    ],
)
def test_a_damaged_plan_is_refused(content: bytes) -> None:
    path = manifest(Path(), "tiny")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^runs: reproduction-tiny.json is damaged \(") as caught:
        Reproduction.read(path)
    assert str(caught.value).endswith("; mend or remove it")


@pytest.mark.parametrize(
    "change",
    [
        {"data": ["digits"]},
        {"datasets": "digits"},
        {"teachers": None},
        {"overrides": 3},
        {"leaves_out": [{"techer": "vit_b16"}]},
        {"expected": [{**asdict(expected(TEACHER, "t")), "kind": "logits"}]},
        {"expected": [asdict(expected(TEACHER, "t", seed=seed)) for seed in (0, "1")]},  # type: ignore
    ],
)
def test_a_plan_of_another_form_is_refused(change: dict[str, Any]) -> None:
    plan = reproduction_of(expected(TEACHER, "t")).as_json()
    path = manifest(Path(), "tiny")
    path.write_text(json.dumps(plan))
    assert Reproduction.read(path).scale == "tiny"
    path.write_text(json.dumps(plan | change))
    with pytest.raises(UserError, match=r"^runs: reproduction-tiny.json is damaged \("):
        Reproduction.read(path)


def test_a_plan_that_lacks_a_part_is_refused() -> None:
    plan = reproduction_of(expected(TEACHER, "t")).as_json()
    path = manifest(Path(), plan["scale"])
    for name in plan.keys() - {"settings", "overrides", "leaves_out"}:
        path.write_text(json.dumps({k: v for k, v in plan.items() if k != name}))
        with pytest.raises(UserError, match=rf"{path} is damaged \(.*{name}"):
            Reproduction.read(path)
    path.write_text(json.dumps(plan))
    assert Reproduction.read(path).as_json() == plan
    path.write_text(json.dumps(plan | {"scale": "../elsewhere"}))
    with pytest.raises(UserError, match=rf"{path} is damaged \(its scale is '../elsewhere'"):
        Reproduction.read(path)


# Without a reproduction: runs are known by their configurations.

DIGITS_TEACHER = Subject("digits", "teacher", "resnet56")
DIGITS_BASELINE = Subject("digits", "student", "", "erm")


def digits_student(teacher: str = "resnet56", t: str = "2", method: str = "kd_mixup") -> Subject:
    return Subject("digits", "student", teacher, method, t)


def teacher_section(name: str = "resnet56") -> dict[str, Any]:
    return {"teacher": {"name": name}}


def test_a_teacher_is_what_a_student_learned_from() -> None:
    write_run("t", network={"name": "resnet56"})
    write_run("s", "distill", hashes={"teacher": "t"}, **teacher_section())
    write_run("b", network={"name": "resnet56"})  # of the same form, but nobody's teacher
    results = read_results(ROOT)
    assert {slot: run.path for slot, run in results.slots.items()} == {
        (DIGITS_TEACHER, 0, "training"): "t",
        (digits_student(), 0, "training"): "s",
        (DIGITS_BASELINE, 0, "training"): "b",
    }
    assert results.faults() == []
    assert results.remarks(digits_student()) == "one seed"
    assert results.remarks(STUDENT) == "no run"


def test_of_two_runs_of_the_same_weights_the_one_that_is_named_has_taught() -> None:
    write_run("t", network={"name": "resnet56"}, hashes={"weights": "w"})
    write_run("m", network={"name": "resnet56"}, hashes={"weights": "w"}, method="margin")
    teacher = {"teacher": {"name": "resnet56", "run": "elsewhere/runs/t"}}
    write_run("s", "distill", hashes={"teacher": "w"}, **teacher)
    slots = {subject: run.path for (subject, _, _), run in read_results(ROOT).slots.items()}
    margin = Subject("digits", "student", "", "margin")
    assert slots == {DIGITS_TEACHER: "t", margin: "m", digits_student(): "s"}


def test_the_papers_teachers_are_teachers_without_a_student() -> None:
    write_run("t", network={"name": "convnext_tiny.fb_in1k"}, method="mixup")
    results = read_results(ROOT, teachers=experiment("paper.report").teachers())
    assert results.subjects == [Subject("digits", "teacher", "convnext_tiny", "mixup")]
    assert read_results(ROOT).subjects == [Subject("digits", "student", "", "mixup")]


def test_a_student_of_a_teacher_trained_with_mixup_is_another() -> None:
    write_run("t", network={"name": "resnet56"}, method="mixup")
    write_run("s", "distill", hashes={"teacher": "t"}, **teacher_section())
    assert read_results(ROOT).subjects == [
        digits_student("resnet56+mixup"), Subject("digits", "teacher", "resnet56", "mixup"),
    ]  # fmt: skip


def test_a_student_whose_teacher_is_unknown_is_of_one_without_mixup() -> None:
    write_run("t", method="mixup", hashes={"weights": ""}, state="running")
    write_run("s", "distill", hashes={"teacher": ""}, **teacher_section())
    assert read_results(ROOT).subjects == [digits_student()]


@pytest.mark.parametrize(
    ("temperature", "text"), [(2.0, "2"), (2, "2"), (2.5, "2.5"), ("sigma", "sigma"), (None, "")]
)
def test_a_temperature_is_text(temperature: Any, text: str) -> None:
    write_run("s", "distill", temperature=temperature, method="kd", **teacher_section())
    assert read_results(ROOT).subjects == [digits_student(t=text, method="kd")]


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ({"name": "convnext_large.fb_in22k_ft_in1k"}, "convnext_large"),
        ({"name": "resnetv2_101.a1h_in1k"}, "resnet152v2"),
        ({"name": "resnet50.a1_in1k"}, "resnet50"),
        ({"name": None, "factory": "package.module.function"}, "package"),
        ({}, ""),
        ({"name": 3}, ""),
    ],
)
def test_a_network_has_the_name_of_its_file(section: dict[str, Any], name: str) -> None:
    assert network_name(section) == name


def test_a_data_set_on_the_runs_of_another_repeats_it() -> None:
    cifar10 = Subject("cifar10", "student", "", "erm")
    imagenet = Subject("imagenet", "student", "", "erm")
    results = results_of(
        expected(BASELINE, "a"), expected(STUDENT, "s"), expected(cifar10, "a"),
        expected(imagenet, "a"), expected(imagenet._replace(method="mixup"), "own"),
    )  # fmt: skip
    repeated = repeated_datasets(results)
    assert repeated == {"cifar10"}
    assert goes_without(results, repeated, cifar10)
    assert not goes_without(results, repeated, imagenet)
    all_repeated = results_of(expected(BASELINE, "a"), expected(cifar10, "a"))
    assert repeated_datasets(all_repeated) == {"cifar10"}


def test_of_several_experiments_the_one_of_most_seeds_counts_and_the_row_says_so() -> None:
    for seed in (0, 1):
        write_run(f"a{seed}", "distill", seed=seed, ended="2026-01-01", **teacher_section())
    write_run("few", "distill", limit=100, ended="2026-02-01", **teacher_section())
    results = read_results(ROOT)
    assert [run.path for run in results.runs(digits_student()).values()] == ["a0", "a1"]
    message = "1 run of other settings left out, such as few"
    assert results.remarks(digits_student()) == message
    assert results.faults() == []
    key = digits_student().key("test/accuracy")
    assert (
        results.sound_cells[key]
        == results.cells[key]
        == [Cell({0: 0.8, 1: 0.8}, runs=("a0", "a1"))]
    )


def test_a_teacher_of_each_seed_and_any_number_of_devices_make_one_row() -> None:
    for seed in (0, 1, 2):
        write_run(f"t{seed}", network={"name": "resnet56"}, seed=seed)
        write_run(f"s{seed}", "distill", seed=seed, hashes={"teacher": f"t{seed}"},
                  trainer={"devices": seed + 1}, **teacher_section())  # fmt: skip
    results = read_results(ROOT)
    assert list(results.runs(digits_student())) == list(results.runs(DIGITS_TEACHER)) == [0, 1, 2]
    assert results.remarks(digits_student()) == "its seeds are of different experiments"


def test_an_export_that_is_named_in_two_ways_is_one_setting() -> None:
    """Two seeds that start from it make one row, wherever each run said that it lies."""
    for seed, export in enumerate(("export/r20", "/elsewhere/r20", "hf_hub:user/r20")):
        network = {"name": "resnet20", "export": export, "weights": f"{export}/model.safetensors"}
        write_run(f"f{seed}", network=network, seed=seed, ended=f"2026-01-0{seed + 1}")
    results = read_results(ROOT)
    assert list(results.runs(DIGITS_BASELINE)) == [0, 1, 2]
    assert results.remarks(DIGITS_BASELINE) == ""


def test_stage_1_makes_another_experiment() -> None:
    for path, epochs in (("a", 10), ("b", 0)):
        write_run(path, stage1={"epochs": epochs}, ended=f"2026-01-0{1 + epochs // 10}")
    assert [run.path for run in read_results(ROOT).runs(DIGITS_BASELINE).values()] == ["a"]


def test_of_two_teachers_of_a_name_the_one_that_taught_counts() -> None:
    write_run("t", network={"name": "resnet56"})
    write_run("s", "distill", hashes={"teacher": "t"}, **teacher_section())
    write_run("new", network={"name": "resnet56"}, limit=10, ended="2026-03-01")
    assert [run.path for run in read_results(ROOT).runs(DIGITS_TEACHER).values()] == ["t"]


def test_a_strangers_configuration_may_have_keys_of_any_kind() -> None:
    write_run("odd", network={"name": "resnet20", "args": {1: "a", "b": 2}})
    write_run(
        "s", "distill", student={"name": "resnet20", "args": {1: "a", "b": 2}}, **teacher_section()
    )
    assert len(read_results(ROOT).slots) == 2


def test_a_baseline_is_of_the_students_network() -> None:
    write_run("s", "distill", student={"name": "mobilenetv2"}, **teacher_section())
    write_run("small", network={"name": "mobilenetv2"}, ended="2026-01-01")
    for seed in (0, 1):
        write_run(f"r{seed}", network={"name": "resnet18"}, seed=seed, ended="2026-02-01")
    results = read_results(ROOT)
    assert [run.path for run in results.runs(DIGITS_BASELINE).values()] == ["small"]


def test_of_several_runs_the_latest_counts_and_the_row_says_so() -> None:
    write_run("a", ended="2026-03-01", metrics=METRICS | {"test/accuracy": 0.75})
    write_run("b", ended="2026-01-01")
    write_run("c", ended="2026-02-01", seed=1)
    results = read_results(ROOT)
    assert {seed: run.path for seed, run in results.runs(DIGITS_BASELINE).items()} == {
        0: "a",
        1: "c",
    }
    message = "several runs; this one is a, the latest; another b"
    assert results.remarks(DIGITS_BASELINE) == f"seed 0: {message}"
    assert results.faults() == [f"digits student erm, seed 0, training: {message}"]


def test_an_evaluation_belongs_to_the_run_whose_weights_it_measured() -> None:
    write_run("t", network={"name": "resnet56"})
    write_run("s", "distill", seed=3, hashes={"teacher": "t"}, **teacher_section())
    write_run("v", "evaluate", VICINAL, hashes={"network": "s", "teacher": "t"})
    write_run("c", "evaluate", {"corruption/fog/1/accuracy": 0.5}, hashes={"network": "t"})
    write_run("x", "evaluate", VICINAL, hashes={"network": "unknown"})
    write_run("y", "evaluate", VICINAL, hashes={"network": "t"}, data="cifar10")
    write_run("z", "evaluate", VICINAL, hashes={"network": "t"}, state="failed")
    slots = read_results(ROOT).slots
    assert {slot: run.path for slot, run in slots.items() if slot[2] != "training"} == {
        (digits_student(), 3, "vicinal"): "v",
        (DIGITS_TEACHER, 0, "corruptions"): "c",
    }


def test_of_several_evaluations_the_latest_counts() -> None:
    write_run("a")
    write_run("v", "evaluate", VICINAL, hashes={"network": "a"}, ended="2026-02-02")
    write_run("w", "evaluate", VICINAL, hashes={"network": "a"}, ended="2026-01-01")
    results = read_results(ROOT)
    assert results.slots[DIGITS_BASELINE, 0, "vicinal"].path == "v"


def test_a_row_has_no_evaluation_of_an_earlier_runs_weights() -> None:
    write_run("a", ended="2026-02-01")
    write_run("b", ended="2026-01-01")
    write_run("v", "evaluate", VICINAL, hashes={"network": "b"})
    results = read_results(ROOT)
    assert results.slots[DIGITS_BASELINE, 0, "training"].path == "a"
    assert results.seeds(DIGITS_BASELINE, "vicinal") == []


def test_where_no_weights_are_known_nothing_belongs_together() -> None:
    write_run("a", hashes={"weights": ""})
    write_run("v", "evaluate", VICINAL)
    assert list(read_results(ROOT).slots) == [(DIGITS_BASELINE, 0, "training")]


def test_runs_that_have_not_ended_well_are_nobodys() -> None:
    write_run("a", state="failed", metrics=None, error="x")
    write_run("b", state="finished", metrics=None)
    results = read_results(ROOT)
    assert results.slots == results.cells == {}
    assert len(results.all_runs) == 2


def test_other_images_are_faults_without_a_plan_too() -> None:
    for seed, images in enumerate(("d1", "d2", "d1")):
        write_run(f"r{seed}", seed=seed, images=images)
    write_run("m", method="mixup", metrics={"test/accuracy": 1.5})
    assert read_results(ROOT).faults() == [
        "digits student mixup, seed 0, training: test/accuracy 1.5 is no fraction",
        "digits student erm, seed 1, training: r1 saw other images than the other runs of digits",
    ]


def test_runs_of_several_data_sets_are_kept_apart() -> None:
    write_run("a")
    write_run("b", data="cifar10", images="d2")
    results = read_results(ROOT)
    assert results.subjects == [DIGITS_BASELINE, Subject("cifar10", "student", "", "erm")]
    assert results.faults() == []


def test_parts_of_ones_own_have_rows_and_columns() -> None:
    """Of a divergence with its arguments, of a metric, and of an analysis."""
    own = {"factory": "mine.part", "args": {}}
    metrics = {**METRICS, "test/f1": 0.5, "test/many_low": 0.25}
    write_run("teacher", network={"name": "resnet20"}, hashes={"weights": "t"})
    for beta in (2, 8):
        write_run(
            f"student{beta}", "distill", metrics, hashes={"teacher": "t", "weights": f"s{beta}"},
            divergence={"factory": "losses.dkd", "args": {"beta": beta}}, hint={"name": "none"},
        )  # fmt: skip
        with open(ROOT / f"student{beta}" / "config.yaml", "a") as file:
            file.write(yaml.safe_dump({"metrics": {"f1": own, "many": own}}))
    write_run(
        "evaluated", "evaluate", {"depth/layers": 19.0}, hashes={"network": "s8"},
        analyses={"depth": own},
    )  # fmt: skip
    results = read_results(ROOT, None, ())
    table = networks_table(results, "")
    assert {"f1", "many_low"} <= {column.name for column in table.columns}
    rows = {str(row["network"]): row for row in table.rows}
    student = "digits student kd_mixup+dkd(beta={}) from resnet20 T = 2"
    assert {student.format(2), student.format(8)} <= rows.keys()
    assert rows[student.format(8)]["f1"] == Number(0.5, None, ("student8",))
    (analysis,) = analysis_tables(results)
    assert [str(row["network"]) for row in analysis.rows] == [student.format(8)]
    assert analysis.rows[0]["depth_layers"] == Number(19.0, None, ("evaluated",))
