from pathlib import Path

import pytest
import torch
from building import build

from mixkd.errors import UserError
from mixkd.networks.cifar.resnet import DistillerResNet
from mixkd.networks.weights import load_weights

PUBLIC = Path(__file__).parents[4] / "shared" / "data"
NAMES = [f"class{k}" for k in range(100)]
FACTORY = "network.factory=mixkd.networks.cifar.resnet.DistillerResNet"


def test_a_stage_ends_in_a_relu_and_an_addition_within_it_does_not() -> None:
    network = DistillerResNet(14, 10).eval()
    seen = {}
    for name in ("layer1.0", "layer1.1", "layer2"):
        module = network.get_submodule(name)
        module.register_forward_hook(
            lambda m, args, out, name=name: seen.update({name: (args[0], out)})
        )
    with torch.no_grad():
        network(torch.rand(2, 3, 32, 32))
    assert seen["layer1.0"][1].min() < 0  # goes into the next block as it is
    assert torch.equal(seen["layer1.0"][1], seen["layer1.1"][0])
    assert torch.equal(seen["layer1.1"][1].relu(), seen["layer2"][0])


@pytest.mark.parametrize("depth", [20, 32])
def test_the_public_checkpoints_load_strictly(depth: int) -> None:
    path = PUBLIC / f"resnet{depth}_cifar100.pth"
    if not path.is_file():
        pytest.skip("the public checkpoint is not in the repository")
    network = DistillerResNet(depth, 100)
    load_weights(network, path, "network.weights", NAMES)
    saved = torch.load(path, map_location="cpu", weights_only=True)["model_state_dict"]
    assert {f"module.{name}" for name in network.state_dict()} == saved.keys()
    assert torch.equal(network.linear.weight, saved["module.linear.weight"])


def test_another_depth_is_refused() -> None:
    with pytest.raises(UserError, match=r"network.args: .*depth 33 is not 6n \+ 2"):
        build(FACTORY, "network.name=public", "network.args.depth=33")
