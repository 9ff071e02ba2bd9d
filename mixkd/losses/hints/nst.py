"""Neuron selectivity transfer (Huang and Wang 2017, arXiv:1707.01219)."""

import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.feature_maps import to_smaller

LAYERS = ("stages",)


def nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy between both networks' channels.

    A channel is its map over all pixels, of length 1; the kernel is the squared inner product, and
    its means are over images and pairs of channels, the teacher's own among them
    (HobbitLong/RepDistiller). The larger map is averaged to the size of the smaller first. On mixed
    images both networks see the same one, and nothing changes.

    Args:
        student: features, shape [b, channels, height, width].
        teacher: features, shape [b, other channels, height, width], of any size.

    Returns:
        A scalar without a unit.

    Examples:
        >>> import torch
        >>> features = torch.rand(2, 16, 8, 8)
        >>> abs(nst(features, 3 * features).item()) < 1e-6
        True
    """
    s, t = (F.normalize(maps.flatten(2), dim=2) for maps in to_smaller(student, teacher))

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.mT).square().mean()

    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)
