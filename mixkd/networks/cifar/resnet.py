"""The CIFAR ResNets of He et al. (2016, section 4.2), with option A shortcuts, and a variant.

Parameters bear the names of the common public checkpoints: conv1, bn1, layer1.0.conv1, linear.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.networks.cifar.layers import blocks_per_stage, projection, stages

DEPTHS = "20, 32, 44, 56, 110"  # the usual ones


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut that subsamples and pads with zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.padding = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, h / stride, w / stride]."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.padding:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """Three stages of n blocks with 16, 32 and 64 channels: depth 6n + 2.

    Raises:
        ValueError: if the depth is not 6n + 2.
    """

    stem, features, block = 16, 64, BasicBlock

    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        blocks = blocks_per_stage(depth, 2, DEPTHS)
        self.conv1 = nn.Conv2d(3, self.stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(self.stem)
        self.layer1 = self._stage(self.stem, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(self.features, num_classes)
        self.feature_info = stages("layer1", "layer2", "layer3")
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, h, w] to logits [n, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits

    def _stage(self, inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
        first = self.block(inputs, outputs, stride)
        return nn.Sequential(first, *(self.block(outputs, outputs, 1) for _ in range(blocks - 1)))


class ProjectedBlock(BasicBlock):
    """Two 3x3 convolutions, added to a learned shortcut, without a ReLU after that."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, stride)
        self.shortcut = projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, h / stride, w / stride], of either sign."""
        y = F.relu(self.bn1(self.conv1(x)))
        added: Tensor = self.bn2(self.conv2(y)) + self.shortcut(x)
        return added


class DistillerResNet(CifarResNet):
    """The ResNets of karanchahal/distiller (GitHub), for images of 32 pixels.

    They have public checkpoints for CIFAR-100. The stem has 64 channels, a ReLU follows each stage
    but no addition within one, and the linear layer sees 2x2 means of the last features.
    """

    stem, features, block = 64, 256, ProjectedBlock

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, 32, 32] to logits [n, num_classes]."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(F.avg_pool2d(x, 4).flatten(1))
        return logits

    def _stage(self, inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
        return super()._stage(inputs, outputs, blocks, stride).append(nn.ReLU())


def cifar_resnet(num_classes: int, depth: int) -> CifarResNet:
    """Return the CIFAR ResNet of a depth."""
    return CifarResNet(depth, num_classes)
