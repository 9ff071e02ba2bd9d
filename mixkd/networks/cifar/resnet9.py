"""The ResNet-9 of the DAWNBench entries for CIFAR-10: accurate after few epochs.

After D. Page, "How to train your ResNet" (2018): two residual blocks, pooling by maxima, and logits
scaled by an eighth.
"""

from torch import Tensor, nn

from mixkd.networks.cifar.layers import stages

SCALE = 0.125  # of the logits


class Residual(nn.Sequential):
    """Two 3x3 convolutions, added to what goes in."""

    def __init__(self, channels: int) -> None:
        super().__init__(convolution(channels, channels), convolution(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, channels, h, w] to the same shape."""
        added: Tensor = x + self[1](self[0](x))
        return added


class ResNet9(nn.Module):
    """Eight 3x3 convolutions, with 64, 128, 256 and 512 channels at width 1, and a linear layer.

    Raises:
        ValueError: if a width leaves no whole number of channels.
    """

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        channels = [int(width * count) for count in (64, 128, 256, 512)]
        if channels[0] < 1 or channels[0] != width * 64:
            raise ValueError(f"width {width} of 64 channels is no whole number, 1 or more")
        first, second, third, last = channels
        self.stem = convolution(3, first)
        self.stage1 = nn.Sequential(convolution(first, second), nn.MaxPool2d(2), Residual(second))
        self.stage2 = nn.Sequential(convolution(second, third), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(convolution(third, last), nn.MaxPool2d(2), Residual(last))
        self.linear = nn.Linear(last, num_classes, bias=False)
        self.feature_info = stages("stage1", "stage2", "stage3")

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, h, w], of 8 pixels or more a side, to logits [n, num_classes]."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: Tensor = self.linear(x.amax(dim=(2, 3))) * SCALE
        return logits


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """Return a 3x3 convolution with BatchNorm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )
