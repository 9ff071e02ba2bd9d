"""Knowledge review (Chen et al., CVPR 2021, arXiv:2104.09044)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mixkd.losses.precision import as_float

LAYERS = ("stages", "penultimate")
JOINT = True

MOST_CHANNELS = 512  # within the fusion, as in the authors' code


class ReviewKD(nn.Module):
    """Compares each of the teacher's maps with a fusion of the student's at its depth and deeper.

    From the deepest on, an attention that learns with the student mixes a map with what came of the
    deeper ones (ABF), and a convolution brings it to the teacher's channels; maps are compared at
    several resolutions (HCL). Features of one pixel are maps, too: the last of the default ones.
    The authors take maps before their ReLU, and here what the layers give; name others by
    hint.student_layers. They let the loss grow over the first 20 epochs: method.warmup_epochs=20.
    On mixed images both networks see the same one, and nothing changes.

    Args:
        student_shape: of each of the student's maps, (channels, height, width) or (features,).
        teacher_shape: of each of the teacher's.

    Examples:
        >>> hint = ReviewKD([(8, 8, 8), (16, 4, 4)], [(32, 8, 8), (64, 4, 4)])
        >>> student, teacher = ([torch.rand(2, c, s, s) for c, s in zip(channels, (8, 4))]
        ...                     for channels in ((8, 16), (32, 64)))
        >>> hint(student, teacher).shape
        torch.Size([])
    """

    def __init__(
        self, student_shape: Sequence[Sequence[int]], teacher_shape: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        within = min(MOST_CHANNELS, student_shape[-1][0])
        last = len(student_shape) - 1
        self.fusions = nn.ModuleList(
            Fusion(s[0], within, t[0], fuses=number < last)
            for number, (s, t) in enumerate(zip(student_shape, teacher_shape, strict=True))
        )

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Compare maps, the deepest last; return a scalar without a unit."""
        loss, deeper = torch.zeros((), device=student[0].device), None
        for fusion, own, target in reversed(
            list(zip(self.fusions, map(as_map, student), map(as_map, teacher), strict=True))
        ):
            fused, deeper = fusion(own, deeper, target.shape[2:])
            loss = loss + hierarchical(fused, target)
        return loss


class Fusion(nn.Module):
    """Attention-based fusion of a map with what came of the deeper ones."""

    def __init__(self, inputs: int, within: int, outputs: int, fuses: bool) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv2d(inputs, within, 1, bias=False), nn.BatchNorm2d(within))
        self.conv2 = nn.Sequential(
            nn.Conv2d(within, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.attention = nn.Conv2d(2 * within, 2, 1) if fuses else None
        for module in (*self.conv1, *self.conv2):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)

    def forward(
        self, own: Tensor, deeper: Tensor | None, size: Sequence[int]
    ) -> tuple[Tensor, Tensor]:
        """Return a map of the teacher's channels and `size`, and what shallower ones fuse with."""
        fused = self.conv1(own)
        if self.attention is not None and deeper is not None:
            deeper = F.interpolate(deeper, fused.shape[2:])
            weights = self.attention(torch.cat([fused, deeper], dim=1)).sigmoid()
            fused = fused * weights[:, :1] + deeper * weights[:, 1:]
        if fused.shape[2:] != torch.Size(size):
            fused = F.interpolate(fused, tuple(size))
        return self.conv2(fused), fused


def as_map(features: Tensor) -> Tensor:
    """Return features [b, channels], or maps, as maps [b, channels, height, width]."""
    return features[:, :, None, None] if features.ndim == 2 else features


def hierarchical(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared difference of two maps at several resolutions (HCL).

    Whole maps weigh 1, their means over 4x4, 2x2 and 1x1 fields, where the map has more, a half, a
    quarter and an eighth in this order; the weights are divided by their sum.

    Args:
        student: shape [b, channels, height, width].
        teacher: the same shape.

    Returns:
        A scalar without a unit.

    Examples:
        >>> student, teacher = torch.tensor([[[[3.0, -1.0], [0.0, 0.0]]]]), torch.zeros(1, 1, 2, 2)
        >>> hierarchical(student, teacher).item()  # (10 / 4 + 1/2 * 1/4) / (3/2)
        1.75
    """
    student, teacher = as_float(student), as_float(teacher)
    loss, weight, total = F.mse_loss(student, teacher), 1.0, 1.0
    for side in (4, 2, 1):
        if side >= student.shape[2]:
            continue
        weight /= 2
        total += weight
        own, target = (F.adaptive_avg_pool2d(maps, side) for maps in (student, teacher))
        loss = loss + weight * F.mse_loss(own, target)
    return loss / total
