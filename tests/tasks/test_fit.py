import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from mixkd.compose import compose
from mixkd.config import validate
from mixkd.networks import build_network
from mixkd.tasks.fit import prepare


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet20", "resnet18"])
def test_shared_batchnorm_keeps_the_network_as_it_is(name: str) -> None:
    words = [f"network={name}", "network.pretrained=false", "trainer.sync_batchnorm=true"]
    cfg = validate(compose("finetune", words))
    network = build_network(cfg.learner, "abc", "network").train()  # type: ignore[union-attr]
    view = torch.rand(4, 3, 32, 32)
    network(view)  # so that BatchNorm has seen something
    before, names = network.eval()(view), list(network.state_dict())
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, BatchNormAct2d))]
    prepare(cfg.trainer, network)
    shared = [m for m in network.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(shared) >= len(norms) > 5
    assert list(network.state_dict()) == names
    torch.testing.assert_close(network.eval()(view), before)
