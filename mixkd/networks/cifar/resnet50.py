"""The ResNet-50 for CIFAR of RepDistiller's models/resnetv2.py: He et al. (2016) without pooling.

Its stem is one 3x3 convolution of stride 1. Parameters bear the names of the public checkpoints:
conv1, bn1, layer1.0.conv1, layer1.0.shortcut.0, linear.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.networks.cifar.layers import draw_convolutions, projection, stages


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to four times the width, added to a shortcut, then a ReLU."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, 4 * width, h / stride, w / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class CifarResNet50(nn.Module):
    """Four stages of 3, 4, 6 and 3 blocks with 256, 512, 1024 and 2048 channels.

    Convolutions are drawn as He et al. (2015) draw them, by fan-out.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 3, 1)
        self.layer2 = _stage(256, 128, 4, 2)
        self.layer3 = _stage(512, 256, 6, 2)
        self.layer4 = _stage(1024, 512, 3, 2)
        self.linear = nn.Linear(2048, num_classes)
        self.feature_info = stages("layer1", "layer2", "layer3", "layer4")
        draw_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, h, w] to logits [n, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = (Bottleneck(4 * width, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)
