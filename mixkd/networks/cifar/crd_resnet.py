"""The CIFAR ResNets of the benchmark of Tian et al. (2020, CRD): RepDistiller's models/resnet.py.

Unlike those of He et al. (resnet.py) they learn their shortcuts and may be wider: resnet8x4 has
stages of 64, 128 and 256 channels after a stem of 32. Parameters bear the names of the public
checkpoints: conv1, bn1, layer1.0.conv1, layer2.0.downsample.0, fc.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.networks.cifar.layers import blocks_per_stage, draw_convolutions, projection, stages
from mixkd.networks.cifar.resnet import DEPTHS, BasicBlock


class DownsampleBlock(BasicBlock):
    """Two 3x3 convolutions, added to a learned shortcut where the channels differ, then a ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.downsample = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, h / stride, w / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class CrdResNet(nn.Module):
    """A stem and three stages of n blocks: depth 6n + 2.

    Convolutions are drawn as He et al. (2015) draw them, by fan-out.

    Args:
        num_classes: how many logits it gives.
        depth: 8, 14, 20, 32, 44, 56, 110 ...
        channels: of the stem and the three stages.

    Raises:
        ValueError: if the depth is not 6n + 2, or the channels are not four.
    """

    def __init__(
        self, num_classes: int, depth: int, channels: Sequence[int] = (16, 16, 32, 64)
    ) -> None:
        super().__init__()
        blocks = blocks_per_stage(depth, 2, DEPTHS)
        stem, first, second, third = channels
        self.conv1 = nn.Conv2d(3, stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, first, blocks, 1)
        self.layer2 = _stage(first, second, blocks, 2)
        self.layer3 = _stage(second, third, blocks, 2)
        self.fc = nn.Linear(third, num_classes)
        self.feature_info = stages("layer1", "layer2", "layer3")
        draw_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, h, w] to logits [n, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (DownsampleBlock(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(DownsampleBlock(inputs, outputs, stride), *rest)
