import pytest
import torch
from building import build, trainable

from mixkd.errors import UserError
from mixkd.networks.cifar.resnet9 import ResNet9


# 3x3 kernels times channels in and out, two numbers a channel of BatchNorm, the linear layer.
@pytest.mark.parametrize(("width", "classes", "parameters"), [
    (1.0, 10, 9 * (3 * 64 + 64 * 128 + 2 * 128 * 128 + 128 * 256 + 256 * 512 + 2 * 512 * 512)
     + 2 * (64 + 3 * 128 + 256 + 3 * 512) + 512 * 10),
    (0.25, 100, 9 * (3 * 16 + 16 * 32 + 2 * 32 * 32 + 32 * 64 + 64 * 128 + 2 * 128 * 128)
     + 2 * (16 + 3 * 32 + 64 + 3 * 128) + 128 * 100),
])  # fmt: skip
def test_its_size_by_hand(width: float, classes: int, parameters: int) -> None:
    assert trainable(ResNet9(classes, width)) == parameters


def test_the_published_size() -> None:
    assert round(trainable(ResNet9(10)) / 1e6, 1) == 6.6


def test_logits_by_hand() -> None:
    network = ResNet9(10, 0.125).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        network.linear.weight.fill_(1.0)
        features = network.stage3(network.stage2(network.stage1(network.stem(x))))
        expected = features.flatten(2).max(dim=2).values.sum(dim=1) / 8
        assert features.shape == (2, 64, 4, 4)
        torch.testing.assert_close(network(x), expected[:, None].expand(2, 10))


@pytest.mark.parametrize("width", [0.0, -1.0, 0.3])
def test_another_width_is_refused(width: float) -> None:
    with pytest.raises(UserError, match=r"network.args: .*is no whole number, 1 or more"):
        build("network=resnet9", f"network.args.width={width}")
