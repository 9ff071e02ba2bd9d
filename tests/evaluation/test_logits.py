"""`mixkd evaluate logits=FILE`: metrics of logits from any program."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from mixkd.config.commands import CompareConfig
from mixkd.files.arrays import Archive
from mixkd.tasks.compare import compare

Mixkd = Callable[..., int]


def case(n: int = 600, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    logits = 3 * rng.normal(size=(n, classes)) + 3 * np.eye(classes)[label]
    return logits.astype(np.float32), label


def measured(pattern: str = "*") -> tuple[Path, dict[str, float]]:
    (run,) = Path("runs").glob(f"logits/evaluate/{pattern}")
    return run, json.loads((run / "metrics.json").read_text())


def test_logits_from_elsewhere_are_measured_and_compared(mixkd: Mixkd) -> None:
    logits, label = case()
    held_out, held_out_label = case(seed=1)
    np.savez("a.npz", logits=logits, label=label, val_logits=held_out, val_label=held_out_label)
    assert mixkd("evaluate", "logits=a.npz") == 0
    run, metrics = measured("a-logits-*")
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    rows = np.arange(len(label))
    assert metrics["test/n"] == 600
    assert metrics["test/accuracy"] == pytest.approx((logits.argmax(1) == label).mean())
    assert metrics["test/nll"] == pytest.approx(-log_p[rows, label].mean())
    lowest, highest = metrics["test/ece_least"], metrics["test/ece_most"]
    assert lowest == pytest.approx(abs(metrics["test/signed_gap"]))
    assert lowest - 1e-12 <= metrics["test/ece"] <= highest
    assert highest == pytest.approx(2 - metrics["test/accuracy"] - metrics["test/confidence"])
    best = minimize_scalar(
        lambda t: (
            -log_softmax(held_out.astype(np.float64) / t, axis=1)[rows, held_out_label].mean()
        ),
        bounds=(0.1, 10),
        method="bounded",
        options={"xatol": 1e-8},
    )
    assert metrics["test/scaled/temperature"] == pytest.approx(best.x, rel=1e-6)
    assert (run / "figures" / "reliability-test.png").is_file()

    # Other logits of the same images, under the plural name, compare with them.
    np.savez("b.npz", logits=logits * 0.5, labels=label)
    assert mixkd("evaluate", "logits=b.npz") == 0
    other, halved = measured("b-logits-*")
    assert "test/scaled/ece" not in halved
    table = compare(CompareConfig.parse([f"network.run={run}", f"other.run={other}", "draws=200"]))
    line = next(line for line in table.splitlines() if line.split()[0] == "nll")
    assert float(line.split()[3]) == pytest.approx(
        metrics["test/nll"] - halved["test/nll"], abs=1e-4
    )


def test_a_best_temperature_beyond_the_range_is_told(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    logits, label = case()
    held_out = {"val_logits": 9 * np.eye(5)[label], "val_label": label}  # all right
    np.savez("a.npz", logits=logits, label=label, **held_out)
    assert mixkd("evaluate", "logits=a.npz") == 0
    assert "the best temperature is beyond 0.05 to 20" in capsys.readouterr().err
    assert "test/scaled/ece" not in measured()[1]


def test_the_order_of_images_changes_no_metric(mixkd: Mixkd) -> None:
    """Of two levels of confidence: first as the images come, then the hits first."""
    _, label = case()
    logits = np.where(np.arange(600)[:, None] % 3, 3.0, 1.0) * np.eye(5)[(label + 1) % 5]
    logits[::4] = 3.0 * np.eye(5)[label[::4]]
    hits = np.argsort(logits.argmax(1) != label, kind="stable")
    metrics = []
    for name, order in (("shuffled", np.arange(600)), ("sorted", hits)):
        np.savez(f"{name}.npz", logits=logits[order], label=label[order])
        assert mixkd("evaluate", f"logits={name}.npz") == 0
        metrics.append(measured(f"{name}-*")[1])
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-12)


def test_saved_predictions_of_a_run_give_its_own_metrics(mixkd: Mixkd) -> None:
    logits, label = case()
    order = np.random.default_rng(2).permutation(len(label))
    np.savez("shuffled.npz", logits=logits[order], label=label[order], index=order)
    np.savez("plain.npz", logits=logits, label=label)
    assert mixkd("evaluate", "logits=shuffled.npz") == 0
    assert mixkd("evaluate", "logits=plain.npz", "data.name=other") == 0
    run, metrics = measured()
    unshuffled = next(Path("runs").glob("other/evaluate/*"))
    expected = json.loads((unshuffled / "metrics.json").read_text())
    assert metrics == pytest.approx(expected, abs=1e-12)
    shuffled_predictions, predictions = (
        np.load(r / "predictions" / "test.npz") for r in (run, unshuffled)
    )
    assert all(
        np.array_equal(shuffled_predictions[name], predictions[name])
        for name in ("index", "label", "prediction")
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": case()[0]}, "lacks label; it has logits"),
        ({"label": case()[1]}, "lacks logits"),
        ({"logits": case()[0][0], "label": case()[1]}, "logits is float32 [5]; takes floats"),
        ({"logits": case()[0], "label": case()[1][:-1]}, "label is int64 [599]; takes integers"),
        ({"logits": case()[0], "label": case()[1] + 1}, "label goes from 1 to 5; 5 logits take 0"),
        ({"logits": case()[0] * np.inf, "label": case()[1]}, "logits are not all finite"),
        ({"logits": case()[0], "label": case()[1], "index": np.zeros(600, int)}, "each image once"),
    ],
)
def test_a_malformed_file_of_logits_is_refused(
    mixkd: Mixkd, arrays: dict[str, np.ndarray], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez("a.npz", **arrays)
    assert mixkd("evaluate", "logits=a.npz") == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network=resnet20", "network: beside logits=FILE"),
        ("vicinal=true", "vicinal: beside logits=FILE; it asks a network"),
        ("logits=b.npz", "logits: got 'b.npz'; no such file"),
    ],
)
def test_keys_that_do_not_go_with_logits_are_refused(
    mixkd: Mixkd, override: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logits, label = case()
    np.savez("a.npz", logits=logits, label=label)
    assert mixkd("evaluate", "logits=a.npz", override) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble, ">f2"])
def test_logits_of_any_machine_are_measured_alike(mixkd: Mixkd, dtype: str) -> None:
    logits, label = case()
    logits = logits.astype(np.float16).astype(np.float32)
    np.savez("plain.npz", logits=logits, label=label)
    np.savez("other.npz", logits=logits.astype(dtype), label=label.astype(">u2"))
    metrics = []
    for name in ("plain", "other"):
        assert mixkd("evaluate", f"logits={name}.npz") == 0
        metrics.append(measured(f"{name}-*")[1])
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("prefix", ["", "val_"])
def test_probabilities_are_noticed(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str], dtype: str, prefix: str
) -> None:
    logits, label = case()
    p = np.exp(log_softmax(logits, axis=1)).astype(dtype)
    arrays = {"logits": logits, "label": label, "val_logits": logits, "val_label": label}
    np.savez("a.npz", **arrays | {f"{prefix}logits": p})
    assert mixkd("evaluate", "logits=a.npz") == 0
    (line,) = (x for x in capsys.readouterr().err.splitlines() if x.startswith("note: "))
    assert f"{prefix}logits go from" in line
    assert "in rows that sum to 1, as probabilities do; they are measured as logits" in line
    np.savez("b.npz", **arrays)
    assert mixkd("evaluate", "logits=b.npz") == 0
    assert "probabilities" not in capsys.readouterr().err


def test_only_what_is_needed_is_read_and_only_where_shapes_agree(
    mixkd: Mixkd, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logits, label = case()
    names: list[str] = []
    original = Archive.read
    monkeypatch.setattr(
        Archive, "read", lambda self, name: names.append(name) or original(self, name)
    )
    np.savez("a.npz", logits=logits, label=label, features=np.zeros((600, 9)), index=label[:-1])
    assert mixkd("evaluate", "logits=a.npz") == 2
    assert "599 of index for 600 images" in capsys.readouterr().err
    assert names == ["logits", "label"]
    np.savez("a.npz", logits=logits, label=label[:-1])
    assert mixkd("evaluate", "logits=a.npz") == 2
    assert names == ["logits", "label"]
