"""FitNets: the teacher's feature map, regressed (Romero et al., ICLR 2015, arXiv:1412.6550)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = ("middle_stage",)


class FitNet(nn.Module):
    """The mean squared difference between the teacher's map and a regression of the student's.

    The regression is a convolution, BatchNorm and a ReLU, which learn with the student. As in the
    published code (HobbitLong/RepDistiller, ConvReg) the convolution brings the student's height to
    the teacher's: of stride 2 where it is twice as high, transposed where it is half, without
    padding where it is higher in another way, and of one pixel where they are equal. Where its map
    is then of another size, as where the student's is lower in another way, which that code
    refuses, the teacher's is averaged to it. On mixed images both networks see the same one, and
    nothing changes.

    Args:
        student_shape: (channels, height, width) of the student's map.
        teacher_shape: (channels, height, width) of the teacher's.

    Raises:
        ValueError: if they are no maps.

    Examples:
        >>> import torch
        >>> hint = FitNet((16, 8, 8), (32, 4, 4))
        >>> hint(torch.rand(2, 16, 8, 8), torch.rand(2, 32, 4, 4)).shape
        torch.Size([])
    """

    def __init__(self, student_shape: Sequence[int], teacher_shape: Sequence[int]) -> None:
        super().__init__()
        if len(student_shape) != 3 or len(teacher_shape) != 3:
            text = f"got features of shapes {list(student_shape)} and {list(teacher_shape)}"
            raise ValueError(f"{text}; fitnet takes maps, [channels, height, width]")
        (inputs, height, _), (outputs, target, _) = student_shape, teacher_shape
        self.conv: nn.Module
        if height == 2 * target:
            self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        elif 2 * height == target:
            self.conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
        else:
            self.conv = nn.Conv2d(inputs, outputs, 1 + max(height - target, 0))
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps [b, channels, height, width]; return a scalar without a unit."""
        regressed = F.relu(self.bn(self.conv(student)))
        if regressed.shape[2:] != teacher.shape[2:]:
            teacher = F.adaptive_avg_pool2d(teacher, (regressed.shape[2], regressed.shape[3]))
        return F.mse_loss(regressed, teacher)
