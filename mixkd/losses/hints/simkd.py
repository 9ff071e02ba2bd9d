"""SimKD: the teacher's last feature map (Chen et al., CVPR 2022, arXiv:2203.14001)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.losses.feature_maps import to_smaller

LAYERS = ("last_stage",)


class SimKD(nn.Module):
    """The mean squared difference between the teacher's last map and a projection of the student's.

    The projection is a bottleneck of three convolutions, each with BatchNorm and a ReLU, which
    learns with the student (DefangChen/SimKD); the larger map is averaged to the size of the
    smaller first. The paper then answers by the teacher's own classifier on the projected features,
    so that its student carries the projection; here the student stays as it is and its own
    classifier learns from labels (method.alpha) and from the divergence. On mixed images both
    networks see the same one, and nothing changes.

    Args:
        student_shape: (channels, height, width) of the student's map.
        teacher_shape: (channels, height, width) of the teacher's.
        factor: the teacher's channels over those within the bottleneck.

    Examples:
        >>> import torch
        >>> SimKD((16, 8, 8), (32, 8, 8))(torch.rand(2, 16, 8, 8), torch.rand(2, 32, 8, 8)).shape
        torch.Size([])
    """

    def __init__(
        self, student_shape: Sequence[int], teacher_shape: Sequence[int], factor: int = 2
    ) -> None:
        super().__init__()
        inputs, outputs = student_shape[0], teacher_shape[0]
        if factor < 1 or outputs // factor < 1:
            raise ValueError(f"got factor={factor}; takes a whole number from 1 to {outputs}")
        within = outputs // factor
        self.transfer = nn.Sequential(
            nn.Conv2d(inputs, within, 1, bias=False), nn.BatchNorm2d(within), nn.ReLU(),
            nn.Conv2d(within, within, 3, padding=1, bias=False), nn.BatchNorm2d(within), nn.ReLU(),
            nn.Conv2d(within, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        )  # fmt: skip

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare maps [b, channels, height, width]; return a scalar without a unit."""
        student, teacher = to_smaller(student, teacher)
        return F.mse_loss(self.transfer(student), teacher)
