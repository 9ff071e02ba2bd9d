"""Reading run directories in any state: faults are named, and none stops the report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixkd.runs.read import FoundRun, find_runs, read_run

GOOD = {
    "config.yaml": "task: finetune\nseed: 3\ndata: {name: digits, selection: holdout}\n",
    "provenance.json": '{"command": ["mixkd", "finetune", "data.root=a b"], '
    '"fingerprints": {"data": "d1", "weights": "w1"}}',
    "status.json": '{"state": "finished"}',
    "metrics.json": '{"test/accuracy": 0.75, "test/confidence": 0.7, "test/ece": 0.05}',
}


def run(**files: str | bytes | None) -> FoundRun:
    """Read a run directory; `config_yaml` is what config.yaml holds, None: it is not there."""
    folder = Path("runs/digits/finetune/a")
    folder.mkdir(parents=True, exist_ok=True)
    contents: dict[str, Any] = {**GOOD, **{n.replace("_", "."): t for n, t in files.items()}}
    for name, content in contents.items():
        if content is not None:
            content = content if isinstance(content, bytes) else content.encode()
            (folder / name).write_bytes(content)
    return read_run(Path("runs"), folder)


def with_metrics(**metrics: Any) -> FoundRun:
    """Read a run of some metrics, `test_ece` for test/ece."""
    return run(metrics_json=json.dumps({k.replace("_", "/"): v for k, v in metrics.items()}))


def predictions(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Return predictions of four images, three of them right."""
    columns: dict[str, np.ndarray] = {
        "index": np.arange(4),
        "label": np.array([0, 1, 1, 0]),
        "prediction": np.array([0, 1, 1, 1]),
        "confidence": np.full(4, 0.7),
        "nll": np.full(4, 0.5),
    }
    return columns | arrays


def save(arrays: dict[str, np.ndarray], name: str = "predictions/test.npz") -> Path:
    path = Path("runs/digits/finetune/a", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def test_a_run_is_read() -> None:
    found_run = run()
    assert found_run.path == "digits/finetune/a"
    assert (found_run.task, found_run.seed, found_run.dataset, found_run.selection) == (
        "finetune", 3, "digits", "holdout",
    )  # fmt: skip
    assert found_run.is_finished
    assert found_run.metrics == {"test/accuracy": 0.75, "test/confidence": 0.7, "test/ece": 0.05}
    assert found_run.command == "mixkd finetune 'data.root=a b'"
    assert (found_run.images, found_run.fingerprint("weights"), found_run.fingerprint("x")) == (
        "d1",
        "w1",
        "",
    )
    assert found_run.problems == ()
    assert found_run.faults == []
    assert found_run.predictions is None


def test_images_on_disk_have_a_fingerprint_of_another_name() -> None:
    assert run(provenance_json='{"fingerprints": {"data_files": "f1"}}').images == "f1"


NO_MAPPING = "is damaged: it holds no mapping"


@pytest.mark.parametrize("name", ["config.yaml", "provenance.json", "status.json", "metrics.json"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "is missing"),
        ("- 1\n", "is damaged: "),
        ("[1, 2]", NO_MAPPING),
        ('"text"', NO_MAPPING),
        ("3", NO_MAPPING),
        ("{", "is damaged: "),
        (b"\xff\xfe\x00\x01\x80", "is damaged: 'utf-8' codec can't decode byte 0xff"),
        (b"\x00\x01\x02", "is damaged: "),
        ("[" * 100_000, "is damaged: "),
    ],
    ids=["missing", "list", "flow list", "text", "number", "half", "bytes", "zeros", "deep"],
)
def test_a_damaged_file_is_named(name: str, content: str | bytes | None, problem: str) -> None:
    found_run = run(**{name.replace(".", "_"): content})
    assert [text.startswith(f"{name} {problem}") for text in found_run.problems] == [True]
    assert len(found_run.problems[0]) <= len(f"{name} is damaged: ") + 80
    assert "\n" not in found_run.problems[0]
    assert found_run.faults == list(found_run.problems)
    intact = {"config.yaml": found_run.provenance, "provenance.json": found_run.config}
    assert intact.get(name, found_run.config)  # what is whole is there


@pytest.mark.parametrize(
    "content",
    [
        "seed: 2020-13-45\n",
        "a: !!python/object:os.system {}\n",
        "? [1]\n: 2\n",
        "a: b: c\n",
        "a: *b",
    ],
)
def test_a_configuration_that_yaml_refuses_is_named(content: str) -> None:
    found_run = run(config_yaml=content)
    assert [text.startswith("config.yaml is damaged: ") for text in found_run.problems] == [True]
    assert (found_run.task, found_run.seed, found_run.dataset) == ("", 0, "")


def test_a_folder_in_place_of_a_file_is_named() -> None:
    Path("runs/digits/finetune/a/config.yaml").mkdir(parents=True)
    assert run(config_yaml=None).problems[0].startswith("config.yaml is damaged: ")


def test_sections_of_another_kind_are_as_if_empty() -> None:
    found_run = run(
        config_yaml="task: [1]\nseed: [3]\ndata: digits\n",
        provenance_json='{"command": "mixkd", "fingerprints": [1]}',
        status_json='{"state": ["finished"]}',
    )
    assert (found_run.seed, found_run.dataset, found_run.selection, found_run.command) == (
        0,
        "",
        "",
        "",
    )
    assert (found_run.images, found_run.fingerprint("weights")) == ("", "")
    assert not found_run.is_finished
    assert found_run.faults == []


def test_metrics_are_missed_only_of_a_run_that_has_finished() -> None:
    for state in ("running", "failed", "interrupted"):
        found_run = run(status_json=json.dumps({"state": state}), metrics_json=None)
        assert found_run.problems == ()
        assert not found_run.is_finished
    assert run(metrics_json=None).problems == ("metrics.json is missing",)
    assert not run(metrics_json="{}").is_finished


def test_what_is_no_number_is_named_and_left_out() -> None:
    found_run = run(
        metrics_json='{"a": NaN, "b": Infinity, "c": -Infinity, "d": true, "e": "0.5", "f": null, '
        f'"g": [1], "h": 1{"0" * 400}, "i": 0, "j": -0.5}}'
    )
    assert found_run.metrics == {"i": 0.0, "j": -0.5}
    assert [text.removeprefix("metrics.json: ") for text in found_run.problems] == [
        "a is nan, no number", "b is inf, no number", "c is -inf, no number",
        "d is True, no number", "e is '0.5', no number", "f is None, no number",
        "g is [1], no number",
        f"h is 1{'0' * 39}, no number",
    ]  # fmt: skip


@pytest.mark.parametrize("accuracy", [1.0001, -0.1, 97.3])
def test_an_accuracy_is_a_fraction(accuracy: float) -> None:
    assert with_metrics(val_accuracy=accuracy).faults == [
        f"val/accuracy {accuracy:g} is no fraction"
    ]
    assert with_metrics(val_accuracy=1.0, test_accuracy=0.0).faults == []


def test_an_ece_that_no_binning_gives_is_named() -> None:
    found_run = with_metrics(test_accuracy=0.9635, test_confidence=0.9863, test_ece=0.1073)
    assert found_run.faults == [
        "test/ece 0.1073 is impossible beside accuracy 0.9635 and confidence 0.9863: "
        "it lies outside [0.0228, 0.0502]"
    ]
    assert with_metrics(test_accuracy=0.9, test_confidence=0.7, test_ece=0.2).faults == []
    assert with_metrics(test_accuracy=0.9, test_confidence=0.7, test_ece=0.4).faults == []
    assert len(with_metrics(test_accuracy=0.9, test_confidence=0.7, test_ece=0.19).faults) == 1
    assert with_metrics(test_accuracy=0.9, test_ece=0.5).faults == []  # without its confidence
    key = "corruption_fog_3_"
    found_run = with_metrics(
        **{f"{key}accuracy": 0.5, f"{key}confidence": 0.8, f"{key}ece": 0.1, "test_ece": 0.1}
    )
    assert [text[:24] for text in found_run.faults] == ["corruption/fog/3/ece 0.1"]


def test_the_scaled_ece_has_the_accuracy_of_the_unscaled() -> None:
    """Temperature scaling changes no prediction: there is one accuracy."""
    scaled = {"test_accuracy": 0.9, "test_scaled_confidence": 0.8}
    assert with_metrics(**scaled, test_scaled_ece=0.1).faults == []
    assert with_metrics(**scaled, test_scaled_ece=0.05).faults == [
        "test/scaled/ece 0.0500 is impossible beside accuracy 0.9000 and confidence 0.8000: "
        "it lies outside [0.1000, 0.3000]"
    ]
    normalised = {"test_normalised_confidence": 0.8, "test_normalised_ece": 0.05}
    assert with_metrics(test_accuracy=0.9, **normalised).faults == []


def test_predictions_that_disagree_with_the_metrics_are_named() -> None:
    save(predictions())
    assert run().faults == []
    save(predictions(prediction=np.array([0, 1, 0, 1])))
    assert run().faults == [
        "test/accuracy 0.7500, but its saved predictions give 0.5000",
        "test/ece 0.0500, but its saved predictions give 0.2000",
    ]
    save(predictions(confidence=np.array([0.6, 0.6, 0.6, 1.0])))  # 0.7 in the mean
    assert run().faults == ["test/ece 0.0500, but its saved predictions give 0.5500"]
    save(predictions(confidence=np.full(4, 0.75)))
    assert len(run().faults) == 2
    save(predictions(confidence=np.full(4, 0.7, np.float32)))
    assert run().faults == []  # what float32 rounds off
    assert with_metrics(test_nll=1.0).faults == []


def test_predictions_are_read_without_their_logits() -> None:
    save(predictions(logits=np.zeros((4, 10)), brier=np.ones(4)))
    found_run = run()
    assert found_run.predictions is not None
    assert set(found_run.predictions) == {
        "index",
        "label",
        "prediction",
        "confidence",
        "nll",
        "brier",
    }
    assert found_run.faults == []


def first_rows(n: int) -> dict[str, np.ndarray]:
    return {name: value[:n] for name, value in predictions().items()}


@pytest.mark.parametrize(
    "arrays",
    [
        {"label": np.zeros(4)},
        predictions(prediction=np.zeros(3)),
        predictions(prediction=np.array(1)),
        predictions(confidence=np.zeros((4, 2))),
        predictions(nll=np.array([None] * 4)),
        predictions(prediction=np.array(["a"] * 4)),
        predictions(confidence=np.array([0.5, 0.5, 0.5, 1.5])),
        predictions(confidence=np.array([0.5, 0.5, 0.5, np.nan])),
        predictions(nll=np.array([0.5, 0.5, 0.5, np.inf])),
        first_rows(0),
    ],
    ids=["lack", "lengths", "scalar", "shape", "objects", "texts", "above", "nan", "inf", "none"],
)
def test_predictions_of_another_form_are_damaged(arrays: dict[str, np.ndarray]) -> None:
    save(arrays)
    assert run().predictions is None
    assert run().faults == ["predictions/test.npz is damaged"]


def test_predictions_that_are_damaged_anywhere_are_named() -> None:
    path = save(predictions(confidence=np.random.default_rng(0).random(4)))
    original, rng = path.read_bytes(), np.random.default_rng(1)
    contents = [b"", b"\x80\x04 no zip", original[:100], original[: len(original) // 2]]
    for _ in range(300):
        changed = bytearray(original)
        changed[rng.integers(len(original))] ^= int(rng.integers(1, 256))
        contents.append(bytes(changed))
    fault_lists = []
    for content in contents:
        path.write_bytes(content)
        fault_lists.append(run().faults)
    assert fault_lists[:4] == [["predictions/test.npz is damaged"]] * 4
    assert sum(faults == ["predictions/test.npz is damaged"] for faults in fault_lists) > 150
    np.save(path.with_suffix(""), np.arange(4))
    path.with_suffix(".npy").rename(path)  # an array that is no archive
    assert run().faults == ["predictions/test.npz is damaged"]


def test_rows_are_numbers_where_they_can_be() -> None:
    found_run = run(vicinal_csv="split,lam,network,nl\ntest,0.5,student,1.25\ntest,1,teacher,\n")
    first, second = found_run.rows("vicinal.csv")
    assert first == {"split": "test", "lam": 0.5, "network": "student", "nl": 1.25}
    assert second["lam"] == 1
    assert np.isnan(second["nl"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, []),
        ("", []),
        ("a,b\n", []),
        (b"a,b\n\xff\xfe,2\n", []),
        # more than there are columns
        ("val/accuracy,b\n1,2,3,4\n", [{"val/accuracy": 1.0, "b": 2.0}]),
        ("val/accuracy,b\nx,2\n0.5,2\n", [{"val/accuracy": 0.5, "b": 2.0}]),
        ("a,b\n" + "x" * 200_000 + ",2\n", []),
    ],
)
def test_damaged_rows_stop_nothing(content: str | bytes | None, expected: list[object]) -> None:
    assert run(history_csv=content).rows("history.csv") == expected


def test_a_line_that_breaks_off_lacks_its_last_numbers() -> None:
    (row,) = run(history_csv="val/accuracy,b\n1\n").rows("history.csv")
    assert row["val/accuracy"] == 1
    assert np.isnan(row["b"])


TABLES = {
    "reliability.csv": "split,count,accuracy,confidence\ntest,4,0.5,0.75\ntest,0,nan,nan\n",
    "vicinal.csv": "split,network,lam\ntrain,network,0.5\n",
    "history.csv": "val/accuracy\n0.5\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_lacks_a_column_has_no_rows_and_is_named(name: str) -> None:
    key, original = name.replace(".", "_"), TABLES[name]
    assert len(run(**{key: original}).rows(name)) == original.count("\n") - 1
    assert run().faults == []
    columns = original.partition("\n")[0]
    damaged = ["", f"{columns}\n", "a,b\n1,2\n", b"\xff\xfe"]
    damaged += [original.replace(column, "other", 1) for column in columns.split(",")]
    for content in damaged:
        assert run(**{key: content}).rows(name) == []
        assert run().faults == [f"{name} is damaged"]
    lines = [*original.splitlines(), *original.splitlines()[1:]]
    without_number = "\n".join([*lines[:-1], lines[-1].replace("0.5", "x").replace("nan", "x")])
    assert len(run(**{key: without_number}).rows(name)) == len(lines) - 2  # the others are kept
    assert run().faults == [f"{name} is damaged"]


def test_damaged_features_are_named() -> None:
    sound = {
        "tsne": np.zeros((3, 2)), "position": np.array([0, 1, 1]), "classes": np.array(["a", "b"]),
    }  # fmt: skip
    path = save(sound, "features.npz")
    assert run().faults == []
    damaged = {
        "tsne": [np.zeros((3, 1)), np.full((3, 2), np.nan)],
        "position": [np.array([0, 1]), np.array([0, 1, 2])],
        "classes": [np.array([1, 2]), np.full(2, 2**32 - 1, np.uint32).view("<U1")],
    }
    for name, arrays in damaged.items():
        for array in arrays:
            save(sound | {name: array}, "features.npz")
            assert run().faults == ["features.npz is damaged"]
    save({"tsne": np.zeros((3, 2))}, "features.npz")
    assert run().faults == ["features.npz is damaged"]
    path.write_bytes(path.read_bytes()[:100])
    assert run().faults == ["features.npz is damaged"]


def setting(config: str, teacher: str = "t1", **fingerprints: str) -> str:
    record = json.dumps({"fingerprints": {"teacher": teacher, **fingerprints}})
    return run(config_yaml=f"{{{config}}}", provenance_json=record).setting


def test_a_setting_is_what_the_seeds_of_a_row_share() -> None:
    usual = "task: distill, trainer: {max_epochs: 3}, data: {size: 16}"
    for equal in (
        f"{usual}, seed: 1",
        f"{usual}, run: {{root: DIR}}, logger: 1",
        "task: distill, trainer: {threads: 4, max_epochs: 3}, data: {root: DIR, size: 16}",
    ):
        assert setting(equal) == setting(usual)
    for different in (
        "task: distill, trainer: {max_epochs: 4}, data: {size: 16}",
        "task: finetune, trainer: {max_epochs: 3}, data: {size: 16}",
        f"{usual}, temperature: 4",
        f"{usual}, protocol: parity",
        f"{usual}, student: {{args: {{depth: 8}}}}",
    ):
        assert setting(different) != setting(usual)
    assert setting(usual, "t2") != setting(usual)


def test_one_thing_named_in_two_ways_is_one_setting() -> None:
    usual = "task: distill, student: {name: n, args: {width: 1}, export: here}, data: {size: 16}"
    for equal in (
        usual.replace("export: here", "export: /else/where"),
        usual.replace("export: here", "run: a, weights: a/weights.safetensors"),
        usual.replace("width: 1", "width: 1.0"),
        f"{usual}, stage1: {{epochs: 3}}",  # of a random backbone
        usual.replace("size: 16", "size: 16, resident: false, root: DIR, cache_dir: DIR"),
    ):
        assert setting(equal) == setting(usual)
    started = usual.replace("export: here", "pretrained: w.pth")
    other = started.replace("w.pth", "./w.pth")
    assert setting(started, start="1") == setting(other, start="1")
    assert setting(started, start="1") != setting(started, start="2")
    assert setting(f"{started}, stage1: {{epochs: 3}}") != setting(
        f"{started}, stage1: {{epochs: 4}}"
    )


def test_arrays_that_cannot_be_read_are_none() -> None:
    names = ("tsne", "position", "classes")
    assert run().arrays("features.npz", names) == {}
    arrays = {"tsne": np.zeros((3, 2)), "features": np.zeros((3, 9)), "position": np.arange(3)}
    path = save(arrays, "features.npz")
    assert list(run().arrays("features.npz", names)) == ["tsne", "position"]
    path.write_bytes(path.read_bytes()[:200])
    assert run().arrays("features.npz", names) == {}


def test_a_directory_with_any_of_a_runs_files_is_found() -> None:
    root = Path("runs")
    others = ("f/history.csv", ".sweep/x.lock", "reproduction-smoke.json", "config.yaml")
    files = ("d/config.yaml", "a/status.json", "b/c/metrics.json", "e/provenance.json")
    for name in (*files, *others):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    found_runs = find_runs(root)
    assert [found_run.path for found_run in found_runs] == ["a", "b/c", "d", "e"]
    assert found_runs[0].problems == ("config.yaml is missing", "provenance.json is missing")


def test_keys_that_once_named_no_experiment_are_one_setting_at_their_usual_value() -> None:
    """A network in another memory format has another dropout: its run is no seed of the row."""

    def recipe(trainer: str) -> str:
        return run(config_yaml=f"task: finetune\ntrainer: {{max_epochs: 1{trainer}}}\n").recipe

    without_keys = recipe("")
    assert recipe(", channels_last: true, compile: false, threads: 3") == without_keys
    assert recipe(", channels_last: false") != without_keys
    assert recipe(", compile: true") != without_keys
