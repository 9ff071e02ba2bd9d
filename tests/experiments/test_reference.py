"""The paper's printed numbers: complete, to the last digit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.paper.reference import Reference, load_reference, printed
from mixkd.errors import UserError
from mixkd.report.cells import Key

ROOT = Path(__file__).parents[2]
OURS = ROOT / "experiments/paper/reference.yaml"
SHARED = ROOT.parent / "shared/paper/reference.yaml"

REFERENCE = load_reference(OURS)

Printed = tuple[str, Key, str, str]  # artefact, key, text, unit

ACCURACY, CONFIDENCE, ECE = "test/accuracy", "test/confidence", "test/ece"


def teacher(dataset: str, name: str, metric: str, method: str = "erm") -> Key:
    return Key(dataset, "teacher", name, method, "", metric)


def student(
    dataset: str, teacher_name: str, metric: str, t: str = "2", method: str = "kd_mixup"
) -> Key:
    return Key(dataset, "student", teacher_name, method, t, metric)


def baseline(dataset: str, metric: str, method: str = "erm") -> Key:
    return Key(dataset, "student", "", method, "", metric)


def calibration(artefact: str, key: Any, row: dict[str, str], unit: str) -> Iterator[Printed]:
    for name, metric in (("acc", ACCURACY), ("conf", CONFIDENCE), ("ece", ECE)):
        if row[name] != "null":
            yield artefact, key(metric), row[name], "fraction" if name == "ece" else unit


def shared_numbers(file: dict[str, Any]) -> Iterator[Printed]:
    """Yield every printed number of the shared transcription."""
    c = "cifar100"
    table1 = file["table1_cifar100_temperature"]
    for name, method in (("classic", "erm"), ("mixup_classic", "mixup")):
        yield from calibration(
            "table1",
            lambda m, how=method: baseline(c, m, how),
            table1["baselines"][name],
            "percent",
        )
    for teacher_name, rows in table1["rows"].items():
        for label, row in rows.items():
            t, method = (label[1:], "kd_mixup") if label[0] == "T" else ("2", "kd")
            yield from calibration(
                "table1",
                lambda m, teacher_name=teacher_name, t=t, how=method: student(
                    c, teacher_name, m, t, how
                ),
                row,
                "percent",
            )
    for artefact, dataset in (("table2", "cifar10"), ("table3", c), ("table4", "imagenet")):
        table = file[f"{artefact}_{dataset}"]
        for name, row in table["teachers"].items():
            key = lambda m, d=dataset, n=name: teacher(d, n, m)  # noqa: E731
            yield from calibration(artefact, key, row, "fraction")
        for name, row in table["students_kd_mixup"].items():
            key = lambda m, d=dataset, n=name: student(d, n, m)  # noqa: E731
            yield from calibration(artefact, key, row, "fraction")
        key = lambda m, d=dataset: baseline(d, m)  # noqa: E731
        yield from calibration(artefact, key, table["student_baseline"], "fraction")
    for name, row in file["table5_nonlinearity_cifar100"]["rows"].items():
        yield "table5", teacher(c, name, "vicinal/train/nl_global"), row["global_nl"], "nats"
        yield "table5", teacher(c, name, "vicinal/train/nl_peak"), row["peak_nl"], "nats"
        yield "table5", teacher(c, name, ECE), row["ece"], "fraction"
    entropy = file["table5_nonlinearity_cifar100"]["text_values"]["h_global_convnext_tiny"]
    yield "fig4", teacher(c, "convnext_tiny", "vicinal/train/entropy_global"), entropy, "nats"
    columns = {
        "peak_delta_lin": "delta_lin_peak", "kl_real": "kl_real", "kl_mixed": "kl_mixed",
        "independent_response": "independent_response",
    }  # fmt: skip
    for name, row in file["table6_linearity_alignment_cifar100"]["rows"].items():
        for column, metric in columns.items():
            yield "table6", student(c, name, f"vicinal/train/{metric}"), row[column], "nats"
    full = {"jpeg": "jpeg_compression"}
    for name, rows in file["table7_cifar100c"]["rows"].items():
        for corruption, values in rows.items():
            for severity, text in enumerate(values, start=1):
                m = f"corruption/{full.get(corruption, corruption)}/{severity}/accuracy"
                key = baseline(c, m) if name == "baseline" else student(c, name, m)
                yield "table7", key, text, "percent"
    for name, (first, second) in file["figure3_cifar100_acc_pct"].items():
        yield "fig3", teacher(c, name, ACCURACY), first, "percent"
        yield "fig3", student(c, name, ACCURACY), second, "percent"
    for name, text in file["figure5_peak_delta_lin"].items():
        yield "fig5", student(c, name, "vicinal/train/delta_lin_peak"), text, "nats"
    for corruption, row in file["figure6_labels_pp"].items():
        m = f"corruption/{full.get(corruption, corruption)}/mean/gain"
        yield "fig6", student(c, row["teacher"], m), row["value"], "percent"
    for method in ("erm", "mixup"):
        for name, row in file["figure7_tsne_vscore"][method].items():
            for column, metric, unit in (
                ("vscore", "features/v_measure", "fraction"), ("acc_pct", ACCURACY, "percent"),
            ):  # fmt: skip
                key = teacher(c, name, metric, method)
                if name == "mobilenetv2":
                    key = baseline(c, metric, method)
                yield "fig7", key, row[column], unit
    figure8 = file["figure8_tsne_vscore"]
    rows = [(name, row) for name, row in figure8["teacher_without_mixup"].items()]
    rows += [
        (f"{name}+mixup", row)
        for name in figure8["teacher_without_mixup"]
        for row in figure8["teacher_with_mixup_unassigned"]
    ]
    for name, row in rows:
        yield "fig8", student(c, name, "features/v_measure"), row["vscore"], "fraction"
        yield "fig8", student(c, name, ACCURACY), row["acc_pct"], "percent"
    for name, text in file["figure9_best_acc"].items():
        yield "fig9", student(c, name, ACCURACY), text, "fraction"


def gathered(reference: Reference) -> dict[str, dict[Key, list[tuple[float, float]]]]:
    return {
        name: {key: [(cell.mean, cell.half) for cell in cells] for key, cells in artefact.items()}
        for name, artefact in reference.artefacts.items()
    }


@pytest.mark.skipif(not SHARED.exists(), reason="no other transcription to hold it against")
def test_every_printed_number_is_there_as_printed_and_no_other() -> None:
    expected: dict[str, dict[Key, list[tuple[float, float]]]] = {}
    for artefact, key, text, unit in shared_numbers(yaml.load(SHARED.read_text(), yaml.BaseLoader)):
        expected.setdefault(artefact, {}).setdefault(key, []).append(printed(text, unit))
    numbers = gathered(REFERENCE)
    assert numbers.keys() == expected.keys()
    for artefact in expected:
        assert numbers[artefact] == expected[artefact], artefact


@pytest.mark.skipif(not SHARED.exists(), reason="no other list to hold it against")
def test_every_claim_is_there_in_our_own_words() -> None:
    theirs = yaml.safe_load(SHARED.read_text())["claims"]
    assert [claim.id for claim in REFERENCE.claims] == [claim["id"] for claim in theirs]
    for claim, other in zip(REFERENCE.claims, theirs, strict=True):
        assert claim.text != other["text"]


def test_how_many_numbers_each_artefact_has() -> None:
    # Table 1: 30 rows of three, two of them not printed. Fig. 8: two students have two values.
    counts = {
        name: sum(map(len, artefact.values())) for name, artefact in REFERENCE.artefacts.items()
    }
    assert counts == {
        "table1": 88, "table2": 27, "table3": 27, "table4": 27, "table5": 12, "table6": 16,
        "table7": 150, "fig3": 8, "fig4": 1, "fig5": 4, "fig6": 6, "fig7": 16, "fig8": 12,
        "fig9": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "unit", "value", "half"),
    [
        ("86.30", "percent", 0.8630, 0.00005),
        ("91.2", "percent", 0.912, 0.0005),
        ("0.0070", "fraction", 0.0070, 0.00005),
        ("0.050", "fraction", 0.05, 0.0005),
        ("+0.825", "nats", 0.825, 0.0005),
        ("-4.7", "percent", -0.047, 0.0005),
        ("2", "nats", 2.0, 0.5),
    ],
)
def test_a_printed_number_and_half_a_unit_of_its_last_digit(
    text: str, unit: str, value: float, half: float
) -> None:
    assert printed(text, unit) == (value, half)


def test_numbers_that_are_printed_twice_agree() -> None:
    """Sums within the paper, which one wrong digit would break."""
    cells = {key: printed_cells[0].mean for key, printed_cells in REFERENCE.cells.items()}
    for name in REFERENCE.teachers:
        alignment = {
            metric: cells[student("cifar100", name, f"vicinal/train/{metric}")]
            for metric in ("kl_real", "kl_mixed", "independent_response")
        }
        assert alignment["independent_response"] == pytest.approx(
            alignment["kl_mixed"] - alignment["kl_real"]
        )
    for key, printed_cells in REFERENCE.cells_of("fig6").items():
        corruption = key.metric.split("/")[1]
        metrics = [f"corruption/{corruption}/{severity}/accuracy" for severity in range(1, 6)]
        gains = [
            cells[student("cifar100", key.teacher, m)] - cells[baseline("cifar100", m)]
            for m in metrics
        ]
        assert abs(sum(gains) / 5 - printed_cells[0].mean) <= printed_cells[0].half
    for name in REFERENCE.teachers:
        in_table1, in_table3 = (
            REFERENCE.cells_of(artefact)[student("cifar100", name, ACCURACY)][0].mean
            for artefact in ("table1", "table3")
        )
        assert in_table1 == in_table3


def test_notes_are_of_their_artefacts() -> None:
    cells = REFERENCE.cells_of("table7")
    vit, large = (
        [
            cells[student("cifar100", name, f"corruption/pixelate/{s}/accuracy")][0].mean
            for s in range(1, 6)
        ]
        for name in ("vit_b16", "convnext_large")
    )
    assert vit[1:] == large[1:]
    assert vit[0] != large[0]
    assert any("same four numbers" in note for note in REFERENCE.notes_of("table7"))
    assert not any("same four numbers" in note for note in REFERENCE.notes_of("table1"))


def test_names_for_people() -> None:
    assert REFERENCE.name("vit_b16") == "ViT-B/16"
    assert REFERENCE.name("convnext_large+mixup") == "ConvNeXt-L+mixup"
    assert REFERENCE.name("resnet56") == "resnet56"
    assert REFERENCE.datasets["imagenet"].classes == 1000
    key = baseline("cifar100", ACCURACY)
    assert [cell.source for cell in REFERENCE.cells[key]] == ["table1", "table3", "fig7"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("79.52,", "79.5x,", "artefacts.table1.rows.0: got '79.5x'; takes a number"),
        ("81.05, 91.2,  0.048]", "81.05, 91.2]", "artefacts.table1.rows.1: got 6 values; takes 7"),
        (
            "[student, vit_b16,        kd,",
            "[student, vit, kd,",
            "artefacts.table1.rows.15: got 'vit'",
        ),
        (
            "[student, vit_b16,        kd,",
            "[pupil, vit_b16, kd,",
            "artefacts.table1.rows.15: got 'pupil'",
        ),
        ("kd_mixup, sigma, 85.81", "kd_mixup, 3, 85.81", "artefacts.table1.rows.7: got '3'"),
        ("dataset: cifar10\n", "dataset: cifar\n", "artefacts.table2.dataset: got 'cifar'"),
        ("test/ece: fraction}", "test/ece: parts}", "artefacts.table1.columns.test/ece: "),
        ("from: [fig8]", "from: [fig18]", "claims.mixup_teacher_hurts_student.from: got 'fig18'"),
        ("id: fourfold_kl", "id: mixup_helps", "claims.mixup_helps: is given twice"),
        ("kind: every", "kind: each", "claims.0.kind: "),
        ("student: mobilenetv2", "pupil: mobilenetv2", "student: "),
        ("networks:", "networks: [", "cannot be read"),
    ],
)
def test_a_malformed_file_is_refused_by_its_place(old: str, new: str, message: str) -> None:
    text = OURS.read_text()
    assert old in text
    Path("reference.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_reference(Path("reference.yaml"))
    assert message in str(caught.value)
    assert str(caught.value).startswith("reference.yaml")


def test_a_file_that_is_not_there_is_a_users_mistake() -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml: cannot be read"):
        load_reference(Path("nothing.yaml"))
