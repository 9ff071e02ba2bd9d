"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017, arXiv:1612.03928)."""

import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.feature_maps import to_smaller

LAYERS = ("stages",)


def at(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of both networks' attention maps.

    An attention map is the mean over channels of squared features, over all pixels of an image of
    length 1. The larger map is averaged to the size of the smaller first. This is the authors' code
    (szagoruyko/attention-transfer), and everyone's; their eq. 2 has a norm that is not squared, and
    summed over images. On mixed images both networks see the same one, and nothing changes.

    Args:
        student: features, shape [b, channels, height, width].
        teacher: features, shape [b, other channels, height, width], of any size.

    Returns:
        A scalar without a unit.

    Examples:
        >>> import torch
        >>> features = torch.rand(2, 16, 8, 8)
        >>> at(features, 3 * features).item() < 1e-12
        True
    """
    student, teacher = to_smaller(student, teacher)
    of_student, of_teacher = (
        F.normalize(features.square().mean(dim=1).flatten(1)) for features in (student, teacher)
    )
    return (of_student - of_teacher).square().mean()
