"""The ShuffleNet (Zhang et al., 2018) for CIFAR of RepDistiller's models/ShuffleNetv1.py.

It has three groups, and a 1x1 stem in place of a strided one with pooling. Parameters bear the
names of the public checkpoints: conv1, bn1, layer1.0.conv1, linear.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.networks.cifar.layers import shuffled, stages

GROUPS = 3  # of the 1x1 convolutions
STEM = 24  # channels of the stem, too few to be grouped


class ShuffleBottleneck(nn.Module):
    """A grouped 1x1 convolution, a shuffle, depthwise 3x3 and grouped 1x1 convolutions; a ReLU.

    With stride 1 what goes in is added; with stride 2 its 3x3 means are appended as channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        added = outputs - inputs if stride == 2 else outputs
        middle = added // 4
        self.stride = stride
        self.groups = 1 if inputs == STEM else GROUPS
        self.conv1 = nn.Conv2d(inputs, middle, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, added, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(added)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, h / stride, w / stride]."""
        y = shuffled(F.relu(self.bn1(self.conv1(x))), self.groups)
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.stride == 1:
            return F.relu(x + y)
        return F.relu(torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], dim=1))


class CifarShuffleNetV1(nn.Module):
    """Three stages of 4, 8 and 4 blocks with 240, 480 and 960 channels.

    Layers are drawn as torch does by default.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = _stage(STEM, 240, 4)
        self.layer2 = _stage(240, 480, 8)
        self.layer3 = _stage(480, 960, 4)
        self.linear = nn.Linear(960, num_classes)
        self.feature_info = stages("layer1", "layer2", "layer3")

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, h, w] to logits [n, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    rest = (ShuffleBottleneck(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(ShuffleBottleneck(inputs, outputs, 2), *rest)
