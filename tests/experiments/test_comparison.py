"""Rows of artefacts: measured and printed numbers, calibration, paired differences."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from experiments.fig5 import render as fig5_of
from experiments.fig10 import of_one_seed
from experiments.paper.comparison import (
    DRAWS,
    PAIRED,
    Comparison,
    calibration_table,
    pair_of_columns,
    paired_table,
)
from experiments.paper.reference import load_reference
from experiments.paper.students import tables_of_students
from experiments.table6 import render as table6_of
from mixkd.config.shipped import experiments_dir
from mixkd.metrics.paired import paired_differences
from mixkd.report.cells import Subject
from mixkd.report.plan import Reproduction
from mixkd.report.results import Results
from mixkd.report.table import Column, Number
from mixkd.runs.read import FoundRun

C = "cifar100"
REFERENCE = load_reference(experiments_dir() / "paper/reference.yaml")
TEACHER = Subject(C, "teacher", "convnext_large")
STUDENT = Subject(C, "student", "convnext_large", "kd_mixup", "2")
MIXUP = Subject(C, "student", "", "mixup")
ERM = Subject(C, "student", "", "erm")
OF_MIXUP = Subject(C, "student", "convnext_large+mixup", "kd_mixup", "2")

Runs = Mapping[tuple[Subject, int], FoundRun]


def run(path: str, selection: str = "holdout", **metrics: float) -> FoundRun:
    """Return a run of some metrics, `test_ece` for test/ece."""
    config = {"task": "finetune", "data": {"name": "digits", "selection": selection}}
    numbers = {name.replace("__", "/"): value for name, value in metrics.items()}
    return FoundRun(path, Path("runs"), config, {}, {"state": "finished"}, numbers)


def reproduction(data: str = "digits", dataset_name: str = "handwritten digits") -> Reproduction:
    teachers = {"convnext_large": "ResNet-32", "vit_b16": "ViT-B/16"}
    return Reproduction(
        "tiny", "corrected", "Tiny.", (), {C: data}, {C: dataset_name}, teachers, "ResNet-8", ()
    )


def comparison(
    artefact: str, runs: Runs | None = None, reproduction: Reproduction | None = None
) -> Comparison:
    slots = {
        (subject, seed, "training"): found_run
        for (subject, seed), found_run in (runs or {}).items()
    }
    return Comparison(Results(list(slots.values()), reproduction, slots), REFERENCE, artefact)


TWO = {
    (STUDENT, 0): run("a", test__accuracy=0.8, test__confidence=0.7),
    (STUDENT, 1): run("b", test__accuracy=0.84, test__confidence=0.7),
}


def test_a_measured_number_has_its_spread_over_seeds() -> None:
    table1 = comparison("table1", TWO)
    number = table1.measured(STUDENT, "test/accuracy", 100)
    assert number == Number(pytest.approx(82), pytest.approx(stdev([80, 84])), ("a", "b"))
    assert number.spread == pytest.approx(8**0.5)
    assert table1.measured(STUDENT, "test/ece") is None
    single = comparison("table1", {(STUDENT, 1): TWO[STUDENT, 1]})
    assert single.measured(STUDENT, "test/accuracy") == Number(0.84, None, ("b",))


def test_the_first_seed_stands_alone() -> None:
    fig7 = comparison("fig7", TWO)
    assert fig7.first(STUDENT, "test/accuracy", 100) == Number(pytest.approx(80), None, ("a",))
    assert fig7.first(STUDENT, "test/ece") is None


def test_a_printed_number_is_that_of_the_artefact() -> None:
    number = comparison("table1").as_printed(STUDENT, "test/accuracy", 100)
    assert number == Number(86.3, digits=2)
    assert comparison("table1").as_printed(STUDENT, "test/ece") == Number(0.0203, digits=4)
    at_four = STUDENT._replace(temperature="4")
    assert comparison("table1").as_printed(at_four, "test/accuracy") == Number(0.8596, digits=4)
    assert comparison("table3").as_printed(at_four, "test/accuracy") is None
    assert comparison("table1").as_printed(ERM, "test/ece") is None  # the paper has none
    assert comparison("fig2").printed == {}
    assert comparison("fig2").as_printed(STUDENT, "test/accuracy") is None


def test_several_printed_numbers_are_one_or_the_other() -> None:
    fig8 = comparison("fig8")
    assert fig8.as_printed(OF_MIXUP, "features/v_measure", digits=3) == "0.506 or 0.493"
    assert fig8.as_printed(OF_MIXUP, "test/accuracy", 100, 2) == "80.97 or 80.28"


def test_measured_and_printed_stand_side_by_side() -> None:
    table1 = comparison("table1", TWO)
    row = table1.both(STUDENT, {"accuracy": ("test/accuracy", 100, 2), "ece": ("test/ece", 1, 4)})
    assert list(row) == ["accuracy", "accuracy_printed", "ece", "ece_printed"]
    assert row["accuracy"] == table1.measured(STUDENT, "test/accuracy", 100)
    assert row["accuracy_printed"] == Number(86.3, digits=2)
    assert (row["ece"], row["ece_printed"]) == (None, Number(0.0203, digits=4))
    columns = pair_of_columns("ece", "ECE", 3, signed=True)
    assert [(c.name, c.heading, c.digits, c.signed, c.printed) for c in columns] == [
        ("ece", "ECE", 3, True, False), ("ece_printed", "ECE, paper", 3, True, True),
    ]  # fmt: skip
    several = comparison("fig8").both(OF_MIXUP, {"v": ("features/v_measure", 1, 3)})
    assert several["v_printed"] == "0.506 or 0.493"


def test_a_printed_number_is_drawn_on_the_papers_own_data_alone() -> None:
    metric = "test/accuracy"
    same_data = reproduction(C, "CIFAR-100")
    assert comparison("table1").printed_here(STUDENT, metric) == 0.863
    assert comparison("table1", reproduction=same_data).printed_here(STUDENT, metric) == 0.863
    assert comparison("table1", reproduction=reproduction()).printed_here(STUDENT, metric) is None
    assert comparison("fig8").printed_here(OF_MIXUP, metric) is None  # one or the other
    assert comparison("table3").printed_pair((TEACHER, metric), (STUDENT, metric)) == (
        0.9217,
        0.863,
    )
    assert comparison("table1").printed_pair((TEACHER, metric), (STUDENT, metric)) is None
    assert comparison("table1").printed_pair((STUDENT, metric), (TEACHER, metric)) is None


def test_a_label_names_what_stands_for_the_network() -> None:
    table1 = comparison("table1")
    assert table1.label("convnext_large") == "ConvNeXt-L"
    assert table1.label("convnext_large+mixup") == "ConvNeXt-L + mixup"
    assert table1.student == "MobileNetV2"
    substituted = comparison("table1", reproduction=reproduction())
    assert substituted.label("convnext_large") == "ConvNeXt-L (ResNet-32)"
    assert substituted.label("convnext_large+mixup") == "ConvNeXt-L (ResNet-32) + mixup"
    assert substituted.label("vit_b16") == "ViT-B/16"  # stands for itself
    assert substituted.label("resnet152v2") == "ResNet152V2"
    assert substituted.student == "ResNet-8"


LAST = "±: standard deviation over seeds."
HELD_OUT = "Epochs selected on held-out training images."
OPTIMISTIC = "Epochs selected on the test images, as the authors did: optimistic."
BOTH = "Epochs selected on the test images for some runs, not for others."


@pytest.mark.parametrize(
    ("selections", "sentence"),
    [
        ([], ""),
        (["holdout", "holdout"], f"{HELD_OUT} "),
        (["test", "test"], f"{OPTIMISTIC} "),
        (["holdout", "test"], f"{BOTH} "),
        (["holdout", ""], f"{HELD_OUT} "),  # of one, nothing is known
        (["", ""], ""),
    ],
)
def test_a_caption_says_what_selected_the_epochs(selections: list[str], sentence: str) -> None:
    runs = {(STUDENT, n): run(f"r{n}", selection) for n, selection in enumerate(selections)}
    assert comparison("table1", runs).caption(C) == f"{sentence}{LAST}"
    other = runs | {(Subject("cifar10", "student"), 0): run("other", "test")}
    assert comparison("table1", other).caption(C) == f"{sentence}{LAST}"
    public = FoundRun("t", Path("runs"), {"task": "evaluate", "data": {"selection": "test"}})
    assert comparison("table1", {**runs, (TEACHER, 0): public}).caption(C) == f"{sentence}{LAST}"


def test_a_caption_says_what_was_reproduced() -> None:
    table1 = comparison("table1", TWO, reproduction())
    assert table1.caption(C, "First.", "Second.") == (
        "First. Second. Tiny. Protocol corrected. Data: handwritten digits in place of CIFAR-100. "
        f"Student: ResNet-8. {HELD_OUT} {LAST}"
    )
    changed = replace(reproduction(), overrides=("distill.trainer.max_epochs=1", "logger=csv"))
    assert " Overrides: distill.trainer.max_epochs=1 logger=csv. " in (
        comparison("table1", TWO, changed).caption(C)
    )
    same_data = comparison("table1", reproduction=reproduction(C, "CIFAR-100"))
    assert same_data.caption(C) == (
        f"Tiny. Protocol corrected. Data: CIFAR-100. Student: ResNet-8. {LAST}"
    )


SCALED = {"test__scaled__temperature": 1.5, "test__scaled__confidence": 0.78,
          "test__scaled__ece": 0.02}  # fmt: skip


def test_a_calibration_table_has_a_row_a_subject_and_one_of_its_scaled_logits() -> None:
    metrics = {"test__accuracy": 0.8, "test__confidence": 0.7, "test__ece": 0.12,
               "test__ece_noise_floor": 0.03}  # fmt: skip
    runs = {
        (STUDENT, 0): run("a", **metrics, **SCALED),
        (STUDENT, 1): run("b", **metrics, **(SCALED | {"test__scaled__temperature": 2.5})),
        (STUDENT, 2): run("c", **metrics),  # its temperature could not be fitted
        (MIXUP, 0): run("m", **metrics),
    }
    table = calibration_table(
        "name", "Title", "Caption.", [Column("teacher", "Teacher"), Column("setting", "Setting")],
        [
            ({"teacher": "T", "setting": "T = 2"}, STUDENT),
            ({"teacher": "", "setting": "mix"}, MIXUP),
        ],
        comparison("table1", runs), percent=True,
    )  # fmt: skip
    assert (table.name, table.title, table.caption) == ("name", "Title", "Caption.")
    assert [column.heading for column in table.columns] == [
        "Teacher", "Setting", "Accuracy (%)", "Accuracy (%), paper", "Confidence (%)",
        "Confidence (%), paper", "ECE", "ECE, paper", "ECE noise floor", "Seeds", "Notes",
    ]  # fmt: skip
    first, scaled, second = table.rows
    assert (first["teacher"], first["setting"], first["seeds"]) == ("T", "T = 2", 3.0)
    assert first["accuracy"] == Number(pytest.approx(80), 0, ("a", "b", "c"))
    assert first["accuracy_printed"] == Number(86.3, digits=2)
    assert first["confidence"] == Number(pytest.approx(70), pytest.approx(0), ("a", "b", "c"))
    assert first["confidence_printed"] == Number(87.52, digits=2)
    assert first["ece"] == Number(pytest.approx(0.12), pytest.approx(0), ("a", "b", "c"))
    assert first["ece_printed"] == Number(0.0203, digits=4)
    assert first["ece_noise_floor"] == Number(0.03, 0, ("a", "b", "c"))
    assert first["notes"] == ""
    assert scaled == {
        "teacher": "",
        "setting": "scaled, T = 2.00 ± 0.71",
        "accuracy": first["accuracy"],
        "confidence": Number(pytest.approx(78), pytest.approx(0), ("a", "b")),
        "ece": Number(0.02, 0, ("a", "b")),
        "seeds": 2.0,
    }
    assert second["setting"] == "mix"
    assert second["notes"] == (
        "one seed; paper: ECE 0.048 is impossible beside accuracy 0.8105 and confidence 0.912: "
        "it lies outside [0.1010, 0.2780]"
    )


def test_a_temperature_may_be_fitted_on_images_that_weights_of_a_file_have_seen() -> None:
    row, label = {"test__accuracy": 0.8} | SCALED, [Column("model", "Model")]
    plain = run("a", **row)
    for network, note in (
        ({"weights": "x.th"}, True),
        ({"weights": "x", "run": "r"}, False),
        ({}, False),
    ):
        evaluation = replace(plain, config={**plain.config, "task": "evaluate", "network": network})
        table3 = comparison("table3", {(TEACHER, 0): evaluation})
        table = calibration_table("n", "T", "C.", label, [({"model": "x"}, TEACHER)], table3)
        assert ("too low" in str(table.rows[1].get("notes"))) == note


def test_a_calibration_table_has_fractions_unless_it_is_asked_for_percent() -> None:
    runs = {(STUDENT, 0): run("a", test__accuracy=0.8, **SCALED)}
    rows = [({"model": "x"}, STUDENT), ({"model": "y"}, TEACHER)]
    table = calibration_table(
        "n", "T", "C.", [Column("model", "Model")], rows, comparison("table3", runs)
    )
    assert [column.heading for column in table.columns[1:3]] == ["Accuracy", "Accuracy, paper"]
    first, scaled, missing = table.rows
    assert first["accuracy"] == Number(0.8, None, ("a",))
    assert first["accuracy_printed"] == Number(0.863, digits=4)
    assert scaled["model"] == "scaled, T = 1.50"
    assert scaled["confidence"] == Number(0.78, None, ("a",))
    assert missing == {
        "model": "y",
        "accuracy": None,
        "accuracy_printed": Number(0.9217, digits=4),
        "confidence": None,
        "confidence_printed": Number(0.9189, digits=4),
        "ece": None,
        "ece_printed": Number(0.0049, digits=4),
        "ece_noise_floor": None,
        "seeds": 0.0,
        "notes": "no run",
    }


def run_with_predictions(path: str, seed: int, n: int = 60, **changes: np.ndarray) -> FoundRun:
    """Return a run with predictions, random ones of a seed."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 3
    arrays: dict[str, np.ndarray] = {
        "index": np.arange(n),
        "label": label,
        "prediction": np.where(rng.random(n) < 0.3, (label + 1) % 3, label),
        "confidence": rng.uniform(0.4, 1, n),
        "nll": rng.uniform(0, 2, n),
        **changes,
    }
    file = Path("runs", path, "predictions/test.npz")
    file.parent.mkdir(parents=True)
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return run(path)


def paired(runs: Runs, first: Subject = STUDENT, second: Subject = ERM) -> Mapping[str, object]:
    table = paired_table(
        "n", "T", "C.", [("one", first, "other", second)], comparison("table1", runs).results
    )
    (row,) = table.rows
    assert (row["first"], row["second"]) == ("one", "other")
    return row


def check(row: Mapping[str, object], ours: list[FoundRun], theirs: list[FoundRun]) -> None:
    """Check that a row has the differences of predictions, over the seeds of both."""
    predictions = [[seed_run.predictions or {} for seed_run in side] for side in (ours, theirs)]
    differences = {d.metric: d for d in paired_differences(*predictions, DRAWS)}
    paths = tuple(dict.fromkeys(seed_run.path for seed_run in (*ours, *theirs)))
    for metric in ("accuracy", "ece", "nll"):
        assert row[metric] == Number(differences[metric].difference, None, paths)
        assert row[f"{metric}_low"] == differences[metric].low
        assert row[f"{metric}_high"] == differences[metric].high
    assert row["p"] == differences["accuracy"].p
    assert row["seeds"] == len(ours)
    assert row["notes"] == ("one seed" if len(ours) == 1 else "")


def test_paired_differences_are_those_of_the_predictions() -> None:
    runs = {(STUDENT, 0): run_with_predictions("a", 1), (ERM, 0): run_with_predictions("b", 2)}
    row = paired(runs)
    check(row, [runs[STUDENT, 0]], [runs[ERM, 0]])
    one, other = (seed_run.predictions for seed_run in runs.values())
    assert one is not None
    assert other is not None
    by_hand = (one["prediction"] == one["label"]).mean() - (
        other["prediction"] == other["label"]
    ).mean()
    assert row["accuracy"] == Number(pytest.approx(by_hand), None, ("a", "b"))


def test_paired_differences_are_over_the_seeds_that_both_have() -> None:
    runs = {(STUDENT, seed): run_with_predictions(f"a{seed}", seed) for seed in (0, 1, 2)}
    runs |= {(ERM, seed): run_with_predictions(f"b{seed}", 10 + seed) for seed in (1, 2, 3)}
    row = paired(runs)
    predictions = ([runs[s, seed].predictions or {} for seed in (1, 2)] for s in (STUDENT, ERM))
    differences = {d.metric: d for d in paired_differences(*predictions, DRAWS)}
    assert isinstance(row["nll"], Number)
    assert row["nll"].value == differences["nll"].difference
    assert row["accuracy_low"] == differences["accuracy"].low
    assert row["nll"].runs == ("a1", "a2", "b1", "b2")
    assert (row["seeds"], row["notes"]) == (2.0, "")
    del runs[STUDENT, 1], runs[STUDENT, 2]
    assert paired(runs)["notes"] == "no predictions of both"  # no seed is both's


@pytest.mark.parametrize("teacher_first", [False, True])
def test_a_teacher_stands_beside_every_seed_of_a_student(teacher_first: bool) -> None:
    runs = {(STUDENT, seed): run_with_predictions(f"a{seed}", seed) for seed in (0, 1, 2)}
    runs[TEACHER, 0] = run_with_predictions("t", 7)
    students, teacher = [runs[STUDENT, seed] for seed in (0, 1, 2)], [runs[TEACHER, 0]] * 3
    if teacher_first:
        check(paired(runs, TEACHER, STUDENT), teacher, students)
    else:
        check(paired(runs, STUDENT, TEACHER), students, teacher)
    del runs[STUDENT, 0]
    row = paired(runs, STUDENT, TEACHER)
    check(row, students[1:], teacher[1:])


def test_two_teachers_are_compared_as_they_are() -> None:
    other = Subject(C, "teacher", "vit_b16")
    runs = {(TEACHER, 0): run_with_predictions("t", 7), (other, 0): run_with_predictions("u", 8)}
    check(paired(runs, TEACHER, other), [runs[TEACHER, 0]], [runs[other, 0]])


@pytest.mark.parametrize(
    "runs",
    [
        lambda: {},
        lambda: {(STUDENT, 0): run_with_predictions("a", 1)},
        lambda: {(ERM, 0): run_with_predictions("b", 1)},
        lambda: {(STUDENT, 0): run_with_predictions("a", 1), (ERM, 0): run("b")},
    ],
)
def test_without_predictions_of_both_there_is_no_difference(runs) -> None:  # type: ignore[no-untyped-def]
    assert paired(runs()) == {
        "first": "one", "second": "other", "notes": "no predictions of both",
    }  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        lambda: run_with_predictions("b", 2, n=50),
        lambda: run_with_predictions("b", 2, index=np.arange(60) + 1),
        lambda: run_with_predictions("b", 2, label=np.zeros(60, int)),
    ],
)
def test_predictions_of_other_images_are_not_compared(other) -> None:  # type: ignore[no-untyped-def]
    assert paired({(STUDENT, 0): run_with_predictions("a", 1), (ERM, 0): other()}) == {
        "first": "one", "second": "other",
        "notes": "not compared: their predictions are not of the same images",
    }  # fmt: skip


def test_the_columns_of_paired_differences_have_signs() -> None:
    table = paired_table("n", "T", "C.", [], comparison("table1").results)
    assert [c.name for c in table.columns if c.signed] == [
        "accuracy", "accuracy_low", "accuracy_high", "ece", "ece_low", "ece_high", "nll",
        "nll_low", "nll_high",
    ]  # fmt: skip
    assert [c.heading for c in table.columns[2:5]] == [
        "Accuracy",
        "Accuracy, 95 % from",
        "Accuracy, to",
    ]


def test_teachers_stand_above_their_students_and_the_baseline() -> None:
    runs = {(s, 0): run(f"r{n}", test__accuracy=0.8) for n, s in enumerate((TEACHER, STUDENT, ERM))}
    first, second = tables_of_students(
        "table3", "Title", C, comparison("table3", runs), ("convnext_large", "vit_b16")
    )
    assert [row["model"] for row in first.rows] == [
        "ConvNeXt-L, teacher", "ViT-B/16, teacher", "student of ConvNeXt-L", "student of ViT-B/16",
        "baseline student, labels alone",
    ]  # fmt: skip
    assert [row["seeds"] for row in first.rows] == [1, 0, 1, 0, 1]
    assert [(row["first"], row["second"]) for row in second.rows] == [
        (f"student of {name}", other)
        for name in ("ConvNeXt-L", "ViT-B/16")
        for other in ("its teacher", "baseline")
    ]
    assert (first.name, second.name) == ("table3", "table3-paired")
    assert second.title == "Title: paired differences"
    assert second.caption == f"{first.caption} {PAIRED}"
    assert DRAWS == 1000


def test_a_network_in_figure_10_is_of_one_seed_and_its_runs() -> None:
    calibration = {"test__ece": 0.1, "test__scaled__ece": 0.02}
    linearity = {"vicinal__test__network__nl_global": 0.5}
    runs = {(STUDENT, seed, "training"): run(f"t{seed}", **calibration) for seed in (0, 1)}
    runs[STUDENT, 1, "vicinal"] = run("v1", **linearity)
    fig10 = Comparison(Results(list(runs.values()), None, runs), REFERENCE, "fig10")
    nl, ece, nl_scaled, ece_scaled = of_one_seed(fig10, STUDENT)
    assert (nl, ece) == (Number(0.5, runs=("v1",)), Number(0.1, runs=("t1",)))
    assert (nl_scaled, ece_scaled) == (None, Number(0.02, runs=("t1",)))


def vicinal(path: str, se: bool = True) -> FoundRun:
    """Return an evaluation beside a teacher; of older ones no errors are known."""
    folder = Path("runs", path)
    folder.mkdir(parents=True)
    rows = [("teacher", 0.4, 1, ""), ("student", 0.4, 0.2, 0.1), ("teacher", 0.5, 2, ""),
            ("student", 0.5, 0.5, 0.3)]  # fmt: skip
    lines = [f"train,{network},{lam},{nl}" + f",{error}" * se for network, lam, nl, error in rows]
    header = "split,network,lam,nl" + ",delta_lin_se" * se
    (folder / "vicinal.csv").write_text("\n".join([header, *lines]))
    metrics = {"vicinal/train/delta_lin_global": 0.7, "vicinal/train/delta_lin_erm_global": 0.1}
    metrics |= {f"{name}_se": value / 2 for name, value in metrics.items()} if se else {}
    return FoundRun(path, Path("runs"), {"task": "evaluate"}, {}, {"state": "finished"}, metrics)


@pytest.mark.parametrize("se", [True, False])
def test_gains_stand_beside_their_standard_errors(se: bool) -> None:
    slots = {(STUDENT, seed, "vicinal"): vicinal(f"{seed}", se) for seed in (0, 1)}
    results = Results(list(slots.values()), None, slots)
    (table6,) = table6_of(Comparison(results, REFERENCE, "table6"))
    row = table6.rows[1]  # of ConvNeXt-L
    names = ("delta_lin_global", "delta_lin_erm_global")
    gains = [row[name] for name in names]
    assert [gain.value for gain in gains] == pytest.approx([0.7, 0.1])  # type: ignore[union-attr]
    errors = [row[f"{name}_se"] for name in names]
    if se:
        assert [e.value for e in errors] == pytest.approx([0.35, 0.05])  # type: ignore[union-attr]
    else:
        assert errors == [None, None]
    drawing, numbers = fig5_of(Comparison(results, REFERENCE, "fig5"))
    row = numbers.rows[1]  # type: ignore[union-attr]
    assert row["halfway"].value == 1.5
    assert row["mean"].value == pytest.approx(0.7)
    assert row["halfway_se"] == (0.3 if se else None)
    (axes,) = drawing.figure.axes  # type: ignore[union-attr]
    assert len(axes.collections) == se
    assert "biased upwards" in numbers.caption
