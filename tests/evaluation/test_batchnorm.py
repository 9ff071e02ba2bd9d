"""BatchNorm's statistics, estimated again on clean images."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from mixkd.config.data import DataConfig
from mixkd.data.images import Images
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits, load_splits
from mixkd.evaluation.batchnorm import batch_norms, reestimate, shuffled
from mixkd.evaluation.calibration import measure_split
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.network import Network
from mixkd.request import request
from mixkd.training.fit import make_trainer

OVERRIDES = ["network=resnet20", "network.args.depth=8", "network.weights=w.pt", "data=digits",
         "data.limit_train=64", "data.limit_test=30", "trainer.accelerator=cpu"]  # fmt: skip


@pytest.fixture(autouse=True)
def weights() -> None:
    torch.save(CifarResNet(8, 10).state_dict(), "w.pt")


def test_statistics_equal_those_of_torchs_update_bn() -> None:
    cfg = request("evaluate", [*OVERRIDES, "data.eval_batch_size=16"])
    splits = load_splits(cfg.data)
    ours, theirs = (Network(CifarResNet(8, 10)).eval() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    data = ImageDataModule(splits, cfg.data)
    data.tested = "train"
    before = {n: p.clone() for n, p in ours.named_parameters()}
    reestimate(make_trainer(cfg.trainer), ours, batch_norms(ours), data)
    assert isinstance(splits.train, Images)
    views = (splits.train.pixels.float() / 255).split(16)
    update_bn(views, theirs)  # type: ignore[arg-type]
    for name, value in theirs.core.state_dict().items():
        torch.testing.assert_close(ours.core.state_dict()[name], value, atol=1e-6, rtol=1e-5)
    assert all(torch.equal(p, before[n]) for n, p in ours.named_parameters())
    assert not any(m.training for m in ours.modules())
    assert {m.momentum for m in ours.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}


def metrics(run: str) -> dict[str, float]:
    return dict(json.loads(Path(run, "metrics.json").read_text()))


@pytest.mark.integration
def test_the_option_changes_what_is_measured(mixkd: Callable[..., int]) -> None:
    overrides = [*OVERRIDES, "data.batch_size=16"]
    assert mixkd("evaluate", *overrides, "run.dir=plain") == 0
    assert mixkd("evaluate", *overrides, "reestimate_batchnorm=true", "run.dir=anew") == 0
    assert metrics("plain")["test/nll"] != metrics("anew")["test/nll"]
    sevens = ["reestimate_batchnorm=true", "data.eval_batch_size=7", "run.dir=sevens"]
    assert mixkd("evaluate", *overrides, *sevens) == 0
    assert metrics("sevens")["test/nll"] == pytest.approx(metrics("anew")["test/nll"], rel=1e-5)
    two = ["trainer.devices=2", "run.dir=two"]  # 32 images each: the same four batches
    assert mixkd("evaluate", *overrides, "reestimate_batchnorm=true", *two) == 0
    assert metrics("two")["test/nll"] == pytest.approx(metrics("anew")["test/nll"], rel=1e-5)


def test_batches_are_whole_and_of_all_classes() -> None:
    images = Images(torch.zeros(83, 3, 2, 2, dtype=torch.uint8), torch.arange(83) // 9,
                    torch.arange(83))  # fmt: skip
    splits = Splits(images, images, images, tuple("abcdefghij"))
    shuffled_images = shuffled(splits, 20, 2).train
    assert len(shuffled_images) == 80
    assert all(len(set(part.tolist())) > 5 for part in shuffled_images.labels.split(20))
    assert len(shuffled(splits, 200, 1).train) == 83  # less than a batch: as they are


@pytest.mark.integration
def test_a_network_without_batchnorm_is_refused(
    mixkd: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("normless.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3072, num_classes))\n"
    )
    overrides = ["network.factory=normless.net", *OVERRIDES[3:], "reestimate_batchnorm=true"]
    assert mixkd("evaluate", *overrides) == 2
    assert "reestimate_batchnorm: got true; the network has no BatchNorm" in capsys.readouterr().err


def test_measuring_leaves_the_statistics_alone() -> None:
    images = Images(torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8), *[torch.arange(6)] * 2)
    network = Network(CifarResNet(8, 10))
    before = {n: b.clone() for n, b in network.named_buffers()}
    cfg = DataConfig.model_construct(eval_batch_size=4, pad=0, size=None, resize=None)
    data = ImageDataModule(Splits(images, images, images, tuple("abcdefghij")), cfg)
    trainer = make_trainer(request("evaluate", OVERRIDES).trainer)
    measure_split(trainer, network, data, "test")
    assert all(torch.equal(b, before[n]) for n, b in network.named_buffers())
