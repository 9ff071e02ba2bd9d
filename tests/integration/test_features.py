"""`mixkd evaluate features=true`."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import v_measure_score

from mixkd.metrics.features import clusters, embedding
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.features import last_layer
from mixkd.networks.network import BottleneckHead, Network
from mixkd.request import request

Mixkd = Callable[..., int]
WORDS = ["network=resnet20", "network.args.depth=8", "network.weights=w.pt", "data=digits",
         "data.limit_train=60", "data.limit_test=100"]  # fmt: skip


@pytest.fixture
def core() -> CifarResNet:
    core = CifarResNet(8, 10)
    core(torch.randn(64, 3, 32, 32))
    torch.save(core.state_dict(), "w.pt")
    return core.eval()


@pytest.mark.integration
def test_features_are_what_the_last_layer_sees(mixkd: Mixkd, core: CifarResNet) -> None:
    overrides = [
        "features=true",
        "features.classes=['3','1','8']",
        "save_logits=true",
        "run.dir=run",
    ]
    assert mixkd("evaluate", *WORDS, *overrides) == 0
    with np.load("run/features.npz", allow_pickle=False) as saved:
        found = dict(saved)
    assert found["classes"].tolist() == ["3", "1", "8"]
    assert set(found["label"].tolist()) == {1, 3, 8}
    n = len(found["label"])
    assert found["features"].shape == (n, 64)
    assert found["tsne"].shape == (n, 2)
    # The last layer's answers to them are the logits.
    predictions = np.load("run/predictions/test.npz")
    at = np.flatnonzero(np.isin(predictions["index"], found["index"]))
    assert len(at) == n
    linear = [m for m in core.modules() if isinstance(m, torch.nn.Linear)][-1]
    with torch.no_grad():
        logits = linear(torch.from_numpy(found["features"])).numpy()
    np.testing.assert_allclose(logits, predictions["logits"][at], atol=1e-4)
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["features/n"] == n
    assert metrics["features/v_measure"] == pytest.approx(
        v_measure_score(found["label"], found["cluster"])
    )
    assert Path("run/figures/features.png").is_file()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("features.classes=[cat,dog]", "features.classes: got 'cat'; the data has no such class"),
        (
            "features.classes=3",
            "features.classes: got 3; takes a list of two or more class names, or null",
        ),
        ("features.n_images=7", "test images of class "),
        ("features.classes=['3']", "features.classes: got ['3']; takes a list of two or more"),
        ("features.classes=['3','3']", "takes each once"),
    ],
)
@pytest.mark.usefixtures("core")
def test_mistakes_get_one_message(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    assert mixkd("evaluate", *WORDS, word) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_clusters_of_parted_classes_are_the_classes() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 20)
    features = 10 * np.eye(3)[label] + rng.normal(size=(60, 3))
    cluster = clusters(features, 3, seed=0)
    assert v_measure_score(label, cluster) == 1
    assert v_measure_score(label, np.zeros(60)) == 0
    assert np.array_equal(cluster, clusters(features, 3, seed=0))
    assert embedding(features, seed=0).shape == (60, 2)


@pytest.mark.parametrize(
    ("overrides", "features"),
    [
        (["network=mobilenetv2", "network.args.width=0.35"], 256),
        (["network=vit_b16", "network.pretrained=false"], 768),
        (["network=resnet152v2", "network.pretrained=false"], 2048),
        (["network=resnet20"], 64),
    ],
)
def test_the_last_layer_is_known(overrides: list[str], features: int) -> None:
    from mixkd.networks.build import build_network

    cfg = request("finetune", overrides)
    with torch.device("meta"):
        network = build_network(cfg.learner, "abcde", "network")  # type: ignore[union-attr]
    layer = last_layer(network, "features")
    assert layer.weight.shape[:2] == (5, features)


def test_the_paper_heads_last_layer_follows_its_256_units() -> None:
    core = timm.create_model("mobilenetv2_035", num_classes=5)
    core.classifier = BottleneckHead(1280, 256, 0.3, 5)
    assert last_layer(Network(core), "features") is core.classifier[4]
