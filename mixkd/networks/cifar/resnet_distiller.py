"""The CIFAR ResNets of karanchahal/distiller (GitHub), with public checkpoints for CIFAR-100.

They differ from He et al.'s: a stem of 64 channels, learned shortcuts, no ReLU after an addition
within a stage, and 2x2 means of the last features. Parameters bear the checkpoints' names.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions, added to a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if inputs != outputs or stride != 1:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, h / stride, w / stride], of either sign."""
        y = F.relu(self.bn1(self.conv1(x)))
        added: Tensor = self.bn2(self.conv2(y)) + self.shortcut(x)
        return added


class DistillerResNet(nn.Module):
    """Three stages of n blocks with 16, 32 and 64 channels, for images of 32 pixels: depth 6n + 2.

    Raises:
        ValueError: if the depth is not 6n + 2.
    """

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        blocks, left = divmod(depth - 2, 6)
        if left or blocks < 1:
            raise ValueError(f"depth {depth} is not 6n + 2 (20, 32, 44, 56, 110)")
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = (64, 16, 32, 64)
        for number, stride in enumerate((1, 2, 2), start=1):
            inputs, outputs = channels[number - 1 : number + 1]
            first = Block(inputs, outputs, stride)
            others = (Block(outputs, outputs, 1) for _ in range(blocks - 1))
            self.add_module(f"layer{number}", nn.Sequential(first, *others))
        self.linear = nn.Linear(4 * channels[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, 32, 32] to logits [n, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        for number in (1, 2, 3):
            x = F.relu(self.get_submodule(f"layer{number}")(x))
        logits: Tensor = self.linear(F.avg_pool2d(x, 4).flatten(1))
        return logits


def distiller_resnet(num_classes: int, depth: int = 32) -> DistillerResNet:
    """Return the ResNet of a depth."""
    return DistillerResNet(depth, num_classes)
