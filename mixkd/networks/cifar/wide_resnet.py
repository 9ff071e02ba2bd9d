"""The wide ResNets of Zagoruyko and Komodakis (2016), as RepDistiller's models/wrn.py has them.

Without dropout. Parameters bear the names of the public checkpoints: conv1, block1.layer.0.bn1,
block2.layer.0.convShortcut, bn1, fc.
"""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.networks.cifar.layers import blocks_per_stage, draw_convolutions, stages


class PreactivationBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU, added to a shortcut.

    The shortcut is what goes in; where the channels differ, it is a 1x1 convolution of what goes in
    after the first BatchNorm and ReLU.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs
        self.convShortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, h / stride, w / stride], of either sign."""
        y = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(y)
        added: Tensor = self.conv2(F.relu(self.bn2(self.conv1(y)))) + shortcut
        return added


class WideResNet(nn.Module):
    """Three stages of n blocks with 16, 32 and 64 times `width` channels: depth 6n + 4.

    A stage's features are its sums, before the next BatchNorm and ReLU. Convolutions are drawn as
    He et al. (2015) draw them, by fan-out.

    Raises:
        ValueError: if the depth is not 6n + 4.
    """

    def __init__(self, num_classes: int, depth: int, width: int) -> None:
        super().__init__()
        blocks = blocks_per_stage(depth, 4, "16, 22, 28, 40")
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1 = _stage(16, 16 * width, blocks, 1)
        self.block2 = _stage(16 * width, 32 * width, blocks, 2)
        self.block3 = _stage(32 * width, 64 * width, blocks, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        self.feature_info = stages("block1", "block2", "block3")
        draw_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, h, w] to logits [n, num_classes]."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        logits: Tensor = self.fc(F.relu(self.bn1(x)).mean(dim=(2, 3)))
        return logits


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (PreactivationBlock(outputs, outputs, 1) for _ in range(blocks - 1))
    layer = nn.Sequential(PreactivationBlock(inputs, outputs, stride), *rest)
    return nn.Sequential(OrderedDict(layer=layer))
