"""`mixkd evaluate corruptions=true`, whole."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mixkd.config.sources import CIFAR10

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
SMALL = ["network=resnet20", "network.args.depth=8", "data.limit_train=400", "data.limit_test=61"]
TRAIN = ["finetune", *SMALL, "data.batch_size=16", "trainer.max_epochs=2", "callbacks=none"]
FEW = ["corruptions=true", "corruptions.names=[fog,contrast]"]


@pytest.fixture(scope="module")
def trained(run_once: Mixkd, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two trained networks, `one` and `two`."""
    place = tmp_path_factory.mktemp("trained")
    for seed, name in enumerate(("one", "two")):
        assert run_once(*TRAIN, f"seed={seed}", f"run.dir={place / name}") == 0
    return place


@pytest.fixture
def runs(trained: Path) -> None:
    """The trained networks, in the test's own folder."""
    for run in trained.iterdir():
        shutil.copytree(run, run.name)


def table(run: str) -> list[dict[str, str]]:
    with open(Path(run) / "corruptions.csv", newline="") as file:
        return list(csv.DictReader(file))


def metrics(run: str) -> dict[str, Any]:
    return dict(json.loads((Path(run) / "metrics.json").read_text()))


def test_metrics_table_gains_and_figures(mixkd: Mixkd, runs: None) -> None:
    arguments = [
        "evaluate",
        "network.run=one",
        "baselines.erm=two",
        *FEW,
        "corruptions.severities=[1,5]",
    ]
    assert mixkd(*arguments, "run.dir=out") == 0
    found, rows = metrics("out"), table("out")
    assert not any(name.startswith("vicinal/") for name in found)
    order = [(r["network"], r["corruption"], r["severity"]) for r in rows]
    assert order[:4] == [
        ("network", "clean", "0"), ("erm", "clean", "0"),
        ("network", "fog", "1"), ("erm", "fog", "1"),
    ]  # fmt: skip
    assert len(rows) == 2 * (1 + 2 * 3 + 1)
    by = dict(zip(order, rows, strict=True))

    # The clean rows are what evaluation of either finds.
    assert mixkd("evaluate", "network.run=two", "run.dir=other") == 0
    for run, name in (("out", "network"), ("other", "erm")):
        for column in ("accuracy", "confidence", "ece", "nll"):
            value = float(by[(name, "clean", "0")][column])
            assert value == pytest.approx(metrics(run)[f"test/{column}"], abs=1e-9)

    errors = []
    for name in ("fog", "contrast"):
        for severity in (1, 5):
            row = by[("network", name, str(severity))]
            for column in ("accuracy", "confidence", "ece"):
                assert found[f"corruption/{name}/{severity}/{column}"] == float(row[column])
            gain = float(row["accuracy"]) - float(by[("erm", name, str(severity))]["accuracy"])
            assert float(row["gain_erm"]) == pytest.approx(gain)
            clean = float(by[("network", "clean", "0")]["gain_erm"])
            assert float(row["gain_beyond_clean_erm"]) == pytest.approx(gain - clean)
            errors.append(float(row["gain_se_erm"]))
        values = [found[f"corruption/{name}/{severity}/ece"] for severity in (1, 5)]
        assert found[f"corruption/{name}/mean/ece"] == pytest.approx(np.mean(values))
    assert min(errors) >= 0 < max(errors)  # both may be right on the same images of one severity
    means = [found[f"corruption/{name}/mean/accuracy"] for name in ("fog", "contrast")]
    assert found["corruption/mean/accuracy"] == pytest.approx(np.mean(means))
    assert found["corruption/fog/1/n"] == 61
    assert found["corruption/fog/5/accuracy"] != found["corruption/fog/1/accuracy"]
    for name in ("accuracy", "ece", "confidence"):
        assert (Path("out/figures") / f"corruptions-{name}.png").is_file()
    assert float(by[("network", "fog", "1")]["scaled/ece"]) > 0  # there are held-out images


def test_two_processes_find_what_one_does(mixkd: Mixkd, runs: None) -> None:
    overrides = ["network.run=one", *FEW, "corruptions.severities=[3]"]
    assert mixkd("evaluate", *overrides, "run.dir=single") == 0
    two_of = ["trainer.devices=2", "trainer.accelerator=cpu", "data.cache_dir=another"]
    assert mixkd("evaluate", *overrides, *two_of, "run.dir=pair") == 0
    expected, found = metrics("single"), metrics("pair")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    (one,) = Path("cache/mixkd/corrupted").glob("*/fog.npy")
    (two,) = Path("another/corrupted").glob("*/fog.npy")
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["corruptions.names=[fogg]"], "corruptions.names: got 'fogg'; takes paper, all, or some"),
        (["corruptions.names=most"], "corruptions.names: got 'most'; takes paper, all, or a list"),
        (["corruptions.severities=[0]"], "corruptions.severities[0]: got 0"),
        (["corruptions.severities=[]"], "corruptions.severities: got []; takes a list"),
        (["corruptions.source=cifar_c"], "corruptions.source: got 'cifar_c'; takes made"),
        (["corruptions.source=imagenet_c"], "corruptions.root: got null; takes the folder"),
        (["corruptions.root=x"], "corruptions.root: got a folder; corruptions.source=made reads"),
        (["corruptions.source=cifar10_c", "corruptions.root=x"],
         "corruptions.source: cifar10_c has 10 classes, airplane, automobile, bird"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    mixkd: Mixkd, runs: None, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mixkd("evaluate", "network.run=one", "corruptions=true", *overrides, "run.dir=out") == 2
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


def test_no_temperature_is_fitted_on_what_a_network_may_have_trained_on(
    mixkd: Mixkd, runs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mixkd(*TRAIN, "data.split_seed=1", "run.dir=other") == 0
    arguments = ["evaluate", "network.run=one", *FEW[:1], "corruptions.names=[contrast]"]
    few = [*arguments, "corruptions.severities=[5]"]
    assert mixkd(*few, "baselines.same=two", "baselines.other=other", "run.dir=out") == 0
    assert "baselines.other: no temperature scaling" in capsys.readouterr().err
    scaled = {row["network"]: row["scaled/ece"] != "" for row in table("out")}
    assert scaled == {"network": True, "same": True, "other": False}


def test_a_temperature_beside_weights_of_a_file_may_be_too_low_and_it_says_so(
    mixkd: Mixkd, runs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mixkd("evaluate", "network.run=one", *FEW[:1]) == 0
    assert "too low" not in capsys.readouterr().err
    overrides = [word for word in TRAIN[1:] if word.startswith(("network", "data", "trainer.acc"))]
    weights = ["evaluate", "data=digits", *overrides]
    assert mixkd(*weights, "network.weights=one/weights.safetensors") == 0
    assert "too low" not in capsys.readouterr().err  # beside it stands what it has seen
    shutil.copy("one/weights.safetensors", "alone.safetensors")
    assert mixkd(*weights, "network.weights=alone.safetensors", "run.dir=alone") == 0
    assert "network: if these weights have seen the held-out images" in capsys.readouterr().err


def test_published_images_are_limited_as_the_clean_ones(mixkd: Mixkd) -> None:
    """Ten classes of CIFAR-10 as they are published, and as a folder of images of its names."""
    rng = np.random.default_rng(0)
    label = np.tile(np.arange(10), 4)
    Path("c/CIFAR-10-C").mkdir(parents=True)
    pixels = rng.integers(0, 256, (5 * 40, 32, 32, 3), dtype=np.uint8)
    np.save("c/CIFAR-10-C/fog.npy", pixels)
    np.save("c/CIFAR-10-C/labels.npy", np.tile(label, 5))
    for split, count in (("train", 80), ("test", 40)):
        for k in range(count):
            folder = Path("images") / split / CIFAR10[k % 10]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
                folder / f"{k:03d}.png"
            )
    folder = ["data=imagefolder", "data.root=images", "data.holdout=0.25", "data.limit_test=20"]
    train = ["finetune", *SMALL[:2], *folder, "data.batch_size=16", "trainer.max_epochs=1"]
    assert mixkd(*train, "run.dir=one") == 0
    assert mixkd(*train, "seed=1", "run.dir=two") == 0
    arguments = ["evaluate", "network.run=one", "baselines.erm=two", "corruptions=true",
             "corruptions.source=cifar10_c", "corruptions.root=c", "corruptions.names=[fog]",
             "corruptions.severities=[2]"]  # fmt: skip
    assert mixkd(*arguments, "run.dir=out") == 0
    found = metrics("out")
    assert found["corruption/fog/2/n"] == found["corruption/clean/n"] == 20
    # The folder is in the order of its classes, the published set is not: nothing is paired.
    assert "corruption/fog/2/gain_beyond_clean_erm" in found
    assert "corruption/fog/2/gain_beyond_clean_se_erm" not in found
