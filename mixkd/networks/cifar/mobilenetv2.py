"""The MobileNetV2 (Sandler et al., 2018) for CIFAR of RepDistiller's models/mobilenetv2.py.

Unlike the published network, and timm's, it has ReLU, not ReLU6, an expanding convolution in the
first block too, and counts of channels that are no multiples of 8. Parameters bear the names of the
public checkpoints: conv1.0, blocks.0.0.conv.0, conv2.0, classifier.0.
"""

from itertools import pairwise

from torch import Tensor, nn

from mixkd.networks.cifar.layers import draw_classifier, draw_convolutions, stages

# Of every group of blocks: expansion (None: the network's), channels at width 1, blocks, stride.
GROUPS = (
    (1, 16, 1, 1),
    (None, 24, 2, 1),
    (None, 32, 3, 2),
    (None, 64, 4, 2),
    (None, 96, 3, 1),
    (None, 160, 3, 2),
    (None, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1x1, depthwise 3x3 and 1x1 convolutions, added to what goes in where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, inputs, h, w] to [n, outputs, h / stride, w / stride], of either sign."""
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class CifarMobileNetV2(nn.Module):
    """A stem of stride 2, seven groups of inverted residuals and a 1x1 convolution.

    Its stages, as in the field's hints, are groups 1, 2, 4 and 6, whose features no ReLU follows.
    Convolutions are drawn as He et al. (2015) draw them, by fan-out, and the classifier from
    N(0, 0.01^2).

    Args:
        num_classes: how many logits it gives.
        width: what the counts of channels are multiplied by, and rounded down; those of the last
            convolution, 1280, only where it is above 1.
        expansion: how much wider a block is within, but for the first.
    """

    def __init__(self, num_classes: int, width: float = 0.5, expansion: int = 6) -> None:
        super().__init__()
        counts = [int(width * channels) for channels in (32, *(group[1] for group in GROUPS))]
        last = int(1280 * max(width, 1))
        self.conv1 = _convolution(3, counts[0], 3, 2)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                InvertedResidual(inputs, outputs, stride, wider or expansion),
                *(InvertedResidual(outputs, outputs, 1, wider or expansion)
                  for _ in range(blocks - 1)),
            )
            for (inputs, outputs), (wider, _, blocks, stride)
            in zip(pairwise(counts), GROUPS, strict=True)
        )  # fmt: skip
        self.conv2 = _convolution(counts[-1], last, 1, 1)
        classifier = nn.Linear(last, num_classes)
        self.classifier = nn.Sequential(classifier)
        self.feature_info = stages("blocks.1", "blocks.2", "blocks.4", "blocks.6")
        draw_convolutions(self)
        draw_classifier(classifier)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, h, w] to logits [n, num_classes]."""
        x = self.conv1(x)
        for group in self.blocks:
            x = group(x)
        logits: Tensor = self.classifier(self.conv2(x).mean(dim=(2, 3)))
        return logits


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Return a convolution with BatchNorm and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
