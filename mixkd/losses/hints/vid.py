"""Variational information distillation (Ahn et al., CVPR 2019, arXiv:1904.05835)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mixkd.losses.feature_maps import to_smaller

LAYERS = ("stages",)

EPSILON = 1e-5  # of a variance
FIRST_VARIANCE = 5.0


class VID(nn.Module):
    """The negative log-likelihood of the teacher's map under a Gaussian, a half log 2 pi apart.

    Three 1x1 convolutions, which learn with the student, regress its mean from the student's map;
    its variance, one a channel, learns too (in megvii-research/mdistiller it never does). As in
    HobbitLong/RepDistiller it is the mean over all entries, where the paper sums over channels and
    pixels, and the larger map is averaged to the size of the smaller first. On mixed images both
    networks see the same one, and nothing changes.

    Args:
        student_shape: (channels, height, width) of the student's map.
        teacher_shape: (channels, height, width) of the teacher's.

    Examples:
        >>> VID((16, 8, 8), (32, 4, 4))(torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)).shape
        torch.Size([])
    """

    def __init__(self, student_shape: Sequence[int], teacher_shape: Sequence[int]) -> None:
        super().__init__()
        inputs, outputs = student_shape[0], teacher_shape[0]
        first = math.log(math.exp(FIRST_VARIANCE - EPSILON) - 1)
        self.log_scale = nn.Parameter(torch.full((outputs,), first))
        self.regressor = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False), nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
        )  # fmt: skip

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps [b, channels, height, width]; return a scalar in nats."""
        student, teacher = to_smaller(student, teacher)
        variance = (nn.functional.softplus(self.log_scale) + EPSILON)[:, None, None]
        difference: Tensor = (self.regressor(student) - teacher).square()
        return 0.5 * (difference / variance + variance.log()).mean()
