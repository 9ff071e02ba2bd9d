from pathlib import Path

import pytest
import torch
from building import build, trainable
from torch import nn

from mixkd.errors import UserError
from mixkd.networks.cifar.resnet import CifarResNet
from mixkd.networks.weights import load_weights

RESNET56 = Path(__file__).parents[4] / "shared" / "data" / "resnet56-4bfd9763.th"


NAMES = [f"class{k}" for k in range(10)]


# He et al. (2016), Table 6: 0.27 M, 0.46 M, 0.66 M, 0.85 M, 1.7 M.
@pytest.mark.parametrize(
    ("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)]
)
def test_cifar_resnets_have_the_published_sizes(depth: int, millions: float) -> None:
    digits = 1 if depth == 110 else 2
    assert round(trainable(CifarResNet(depth, 10)) / 1e6, digits) == millions


def test_cifar_resnet_of_another_depth_is_refused() -> None:
    with pytest.raises(UserError, match=r"network.args: .*depth 21 is not 6n \+ 2"):
        build("network=resnet20", "network.args.depth=21")


@pytest.mark.skipif(not RESNET56.is_file(), reason="the public checkpoint is not in the repository")
def test_a_public_checkpoint_loads_strictly() -> None:
    core = CifarResNet(56, 10)
    load_weights(core, RESNET56, "network.weights", NAMES)
    published = torch.load(RESNET56, map_location="cpu", weights_only=True)["state_dict"]
    state = core.state_dict()
    for name, value in published.items():
        assert torch.equal(state[name.removeprefix("module.")], value), name
    added = state.keys() - {name.removeprefix("module.") for name in published}
    assert all(name.endswith("num_batches_tracked") for name in added)


def test_option_a_shortcut_subsamples_and_pads_channels() -> None:
    block = CifarResNet(20, 10).layer2[0].eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 16, 6, 6)
    y = block(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()
