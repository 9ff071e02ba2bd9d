import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from mixkd.networks.build import build_network
from mixkd.networks.network import Network
from mixkd.request import request
from mixkd.training.fit import prepare


@pytest.mark.parametrize("name", ["mobilenetv2", "resnet20", "resnet18"])
def test_shared_batchnorm_keeps_the_network_as_it_is(name: str) -> None:
    overrides = [f"network={name}", "network.pretrained=false", "trainer.sync_batchnorm=true"]
    cfg = request("finetune", overrides)
    network = build_network(cfg.learner, "abc", "network").train()  # type: ignore[union-attr]
    view = torch.rand(4, 3, 32, 32)
    network(view)  # so that BatchNorm has seen something
    logits, names = network.eval()(view), list(network.state_dict())
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm2d, BatchNormAct2d))]
    prepare(cfg.trainer, network, 3, (32, 32), "network")
    shared = [m for m in network.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(shared) >= len(norms) > 5
    assert list(network.state_dict()) == names
    torch.testing.assert_close(network.eval()(view), logits)


class Flat(nn.Module):
    """Flattens by `view`, as many do: channels_last leaves it no such view."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 8 * 8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.conv(x).view(len(x), -1))
        return logits


def test_a_network_that_fails_in_channels_last_stays_contiguous(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cfg = request("finetune", ["network=resnet20"]).trainer  # type: ignore[union-attr]
    assert cfg.channels_last
    view = torch.rand(2, 3, 8, 8)
    flattening = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 3))
    for core, stays in ((Flat(), True), (flattening, False)):
        network = Network(core).train()
        logits = network(view)
        prepare(cfg, network, 3, (8, 8), "student")
        assert network.training
        messages = capsys.readouterr().err
        assert ("student: not in channels_last, where it fails (" in messages) == stays
        assert ("view size is not compatible" in messages) == stays
        weight = next(network.parameters())
        assert weight.is_contiguous() == stays
        assert weight.is_contiguous(memory_format=torch.channels_last) != stays
        torch.testing.assert_close(network(view), logits)
