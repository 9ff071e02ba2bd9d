"""The VGG networks (Simonyan and Zisserman, 2015) for CIFAR of RepDistiller's models/vgg.py.

They have BatchNorm, biases and a single linear layer. Parameters bear the names of the public
checkpoints: block0.0, block0.1, block4.3, classifier.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.networks.cifar.layers import draw_classifier, draw_convolutions, stages

# How many convolutions each of the five blocks has, by depth; the linear layers of the ImageNet
# networks, which count in the depth, are one here.
CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class CifarVgg(nn.Module):
    """Five blocks of 3x3 convolutions with 64, 128, 256, 512 and 512 channels.

    Maxima of 2x2 pixels are taken before blocks 1 to 3, and before block 4 in images of 64 pixels
    alone. The stages are blocks 1 to 4; block 0 is the stem. Convolutions are drawn as He et al.
    (2015) draw them, by fan-out, and the classifier from N(0, 0.01^2).

    Raises:
        ValueError: if the depth is none of 8, 11, 13, 16, 19.
    """

    def __init__(self, num_classes: int, depth: int) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise ValueError(f"depth {depth} is none of {', '.join(map(str, CONVOLUTIONS))}")
        counts = CONVOLUTIONS[depth]
        self.block0 = _block(3, 64, counts[0])
        self.block1 = _block(64, 128, counts[1])
        self.block2 = _block(128, 256, counts[2])
        self.block3 = _block(256, 512, counts[3])
        self.block4 = _block(512, 512, counts[4])
        self.classifier = nn.Linear(512, num_classes)
        self.feature_info = stages("block1", "block2", "block3", "block4")
        draw_convolutions(self)
        draw_classifier(self.classifier)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [n, 3, h, w], of 8 pixels or more a side, to logits [n, num_classes]."""
        height = x.shape[2]
        x = self.block0(x)
        for block in (self.block1, self.block2, self.block3):
            x = block(F.max_pool2d(x, 2))
        x = self.block4(F.max_pool2d(x, 2) if height == 64 else x)
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def _block(inputs: int, outputs: int, convolutions: int) -> nn.Sequential:
    """Return 3x3 convolutions, each with BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, *[outputs] * (convolutions - 1)):
        layers += [nn.Conv2d(channels, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
