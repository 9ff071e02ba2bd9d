"""Feature maps of two networks, brought to one size."""

import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.precision import as_float


def to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return two maps [b, channels, height, width], the larger averaged to the smaller's size.

    They are float32, or float64 where they were.

    Raises:
        ValueError: if they are no maps.

    Examples:
        >>> import torch
        >>> student, teacher = to_smaller(torch.rand(2, 16, 8, 8), torch.rand(2, 64, 4, 4))
        >>> student.shape, teacher.shape
        (torch.Size([2, 16, 4, 4]), torch.Size([2, 64, 4, 4]))
    """
    if student.ndim != 4 or teacher.ndim != 4:
        shapes = f"{list(student.shape)} and {list(teacher.shape)}"
        raise ValueError(f"got features of shapes {shapes}; takes [b, channels, height, width]")
    student, teacher = as_float(student), as_float(teacher)
    size = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    return F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
