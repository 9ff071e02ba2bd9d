import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mixkd.config.commands import CompareConfig
from mixkd.errors import UserError
from mixkd.tasks.compare import compare


@pytest.fixture
def runs() -> None:
    rng = np.random.default_rng(0)
    for name, noise in (("a", 0.1), ("b", 0.4)):
        folder = Path(name, "predictions")
        folder.mkdir(parents=True)
        label = np.arange(50) % 3
        np.savez(
            folder / "test.npz", index=np.arange(50), label=label,
            prediction=np.where(rng.random(50) < noise, (label + 1) % 3, label),
            confidence=rng.uniform(0.4, 1, 50), nll=rng.uniform(0, 2, 50),
        )  # fmt: skip


ARGUMENTS = ["network.run=a", "other.run=b", "draws=200"]


@pytest.mark.usefixtures("runs")
def test_a_table_is_printed_and_written() -> None:
    text = compare(CompareConfig.parse([*ARGUMENTS, "out=table.csv"]))
    assert text.startswith("50 test images, network minus other; 200 bootstrap samples")
    rows = Path("table.csv").read_text().splitlines()
    assert rows[0] == "metric,network,other,difference,95% low,95% high,p"
    assert [row.split(",")[0] for row in rows[1:]] == ["accuracy", "confidence", "ece", "nll"]
    assert text.splitlines()[-2:] == [
        "brier is not compared: the predictions of network.run lack it",
        "brier is not compared: the predictions of other.run lack it",
    ]


@pytest.mark.usefixtures("runs")
def test_comparing_is_a_function_of_a_configuration() -> None:
    config = CompareConfig(Path("a"), Path("b"), draws=200)
    assert compare(config) == compare(CompareConfig.parse(ARGUMENTS))


@pytest.mark.usefixtures("runs")
def test_metrics_that_one_run_lacks_are_named() -> None:
    path = Path("b/predictions/test.npz")
    with np.load(path) as saved:
        arrays = {name: saved[name] for name in saved.files}
    np.savez(path, **arrays, brier=arrays["nll"] / 2)
    *_, nll, last = compare(CompareConfig.parse(ARGUMENTS)).splitlines()
    assert nll.split()[0] == "nll"
    assert last == "brier is not compared: the predictions of network.run lack it"
    np.savez("a/predictions/test.npz", **arrays, brier=arrays["nll"])
    assert compare(CompareConfig.parse(ARGUMENTS)).splitlines()[-1].split()[0] == "brier"
    np.savez(path, **arrays, brier=np.full(50, np.nan))
    with pytest.raises(UserError, match=r"other.run: .* brier is not finite"):
        compare(CompareConfig.parse(ARGUMENTS))


@pytest.mark.usefixtures("runs")
def test_comparing_needs_no_torch() -> None:
    code = "import sys, mixkd.cli\ntry: mixkd.cli.main()\nfinally: print('torch' in sys.modules)"
    completed = subprocess.run(
        [sys.executable, "-c", code, "compare", *ARGUMENTS],
        capture_output=True,
        text=True,
        check=True,
    )
    assert completed.stdout.splitlines()[-1] == "False"


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["network.run=a"], "other.run: is missing; takes the directory of another run"),
        (["network.run=a", "other.run=c"], "other.run: no c/predictions/test.npz"),
        ([*ARGUMENTS, "split=train"], "network.run: no a/predictions/train.npz"),
        ([*ARGUMENTS, "drws=3"], r"drws: no such key \(did you mean draws\?\)"),
        (
            [*ARGUMENTS, f"draws={9 * 10**20}"],
            f"draws: got {9 * 10**20}; takes a whole number from",
        ),
        ([*ARGUMENTS, "draws=3"], "draws: got 3; takes a whole number from 100 to 100000"),
    ],
)
def test_mistakes_get_one_message(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(CompareConfig.parse(arguments))


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("change", [{"label": np.zeros(50)}, {"index": np.arange(50) + 1}])
def test_other_images_are_refused(change: dict[str, np.ndarray]) -> None:
    path = Path("b/predictions/test.npz")
    with np.load(path) as saved:
        arrays = {name: saved[name] for name in saved.files}
    np.savez(path, **(arrays | change))
    with pytest.raises(UserError, match=r"other.run: .* not of the same images"):
        compare(CompareConfig.parse(ARGUMENTS))


@pytest.mark.usefixtures("runs")
def test_damaged_predictions_are_refused() -> None:
    path = Path("b/predictions/test.npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"other.run: .* holds no predictions"):
        compare(CompareConfig.parse(ARGUMENTS))
    np.savez(path, index=np.arange(50), label=np.arange(50))
    with pytest.raises(UserError, match=r"lacks confidence, nll, prediction"):
        compare(CompareConfig.parse(ARGUMENTS))
