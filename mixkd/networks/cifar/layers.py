"""What several families of the CIFAR networks share."""

from torch import Tensor, nn


def stages(*modules: str) -> list[dict[str, str]]:
    """Return a network's `feature_info`, in timm's form: the paths of its stages, in order.

    What such a module gives is the feature map [n, channels, h, w] of its stage.
    """
    return [{"module": module} for module in modules]


def blocks_per_stage(depth: int, rest: int, usual: str) -> int:
    """Return n of the depth 6n + rest: three stages of n blocks, each of two convolutions.

    Raises:
        ValueError: if the depth is another; it names the `usual` ones.
    """
    blocks, left = divmod(depth - rest, 6)
    if left or blocks < 1:
        raise ValueError(f"depth {depth} is not 6n + {rest} ({usual})")
    return blocks


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return a learned shortcut: a 1x1 convolution with BatchNorm; nothing for equal channels."""
    if inputs == outputs:
        return nn.Sequential()
    convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Return feature maps [n, groups * k, h, w] with the first channel of every group first."""
    n, channels, h, w = x.shape
    return x.reshape(n, groups, channels // groups, h, w).transpose(1, 2).flatten(1, 2)


def draw_convolutions(network: nn.Module) -> None:
    """Draw a network's convolutions from N(0, 2 / (outputs * kernel area)); their biases are 0.

    This is the initialisation of He et al. (2015) that keeps the size of gradients (fan-out).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def draw_classifier(linear: nn.Linear) -> None:
    """Draw the weights of a classifier from N(0, 0.01^2); its biases are 0."""
    nn.init.normal_(linear.weight, 0, 0.01)
    nn.init.zeros_(linear.bias)
