"""Correlation congruence (Peng et al., ICCV 2019, arXiv:1904.01802)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mixkd.losses.precision import as_float

LAYERS = ("penultimate",)


class CC(nn.Module):
    """How far the relations between a batch's images are apart, of embeddings that learn.

    Args:
        student_shape: of an image's features in the student.
        teacher_shape: of an image's features in the teacher.
        dim: of both linear embeddings.
        kernel: see `correlation`.

    Examples:
        >>> CC((16,), (32,))(torch.rand(4, 16), torch.rand(4, 32)).shape
        torch.Size([])
    """

    def __init__(
        self, student_shape: Sequence[int], teacher_shape: Sequence[int], dim: int = 128,
        kernel: Literal["consecutive", "gaussian", "bilinear"] = "consecutive",
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel = checked_kernel(kernel)
        self.embed_student = nn.Linear(torch.Size(student_shape).numel(), dim)
        self.embed_teacher = nn.Linear(torch.Size(teacher_shape).numel(), dim)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare features [b, ...]; return a scalar without a unit."""
        of_student = self.embed_student(student.flatten(1))
        return correlation(of_student, self.embed_teacher(teacher.flatten(1)), self.kernel)


def correlation(
    student: Tensor, teacher: Tensor,
    kernel: Literal["consecutive", "gaussian", "bilinear"] = "consecutive",
) -> Tensor:  # fmt: skip
    """Return how far the relations between a batch's images are apart.

    The published codes disagree. `consecutive` is HobbitLong/RepDistiller's, of the field's tables,
    said to come from the authors: the mean over images of |s - t| of one times that of the next,
    summed over dimensions; it depends on the order of the batch. `gaussian` and `bilinear` are
    torchdistill's, after the paper: 1 / b^2 of the norm, which it does not square, of the
    difference between the matrices of a kernel of all pairs, x.y or the Taylor polynomial of order
    2 of a Gaussian of width 0.4. On mixed images the relations are those between mixed images.

    Args:
        student: embeddings, shape [b, dim].
        teacher: embeddings, shape [b, dim].
        kernel: which.

    Examples:
        >>> student, teacher = torch.tensor([[1.0], [2.0], [4.0]]), torch.zeros(3, 1)
        >>> correlation(student, teacher).item()  # (1 * 2 + 2 * 4) / 2
        5.0
    """
    student, teacher = as_float(student), as_float(teacher)
    if checked_kernel(kernel) == "consecutive":
        apart = (student - teacher).abs()
        return (apart[:-1] * apart[1:]).sum() / max(len(apart) - 1, 1)
    s, t = (x @ x.T for x in (student, teacher))
    if kernel == "gaussian":
        s, t = _gaussian(s), _gaussian(t)
    norm: Tensor = torch.linalg.matrix_norm(s - t)
    return norm / len(s) ** 2


def _gaussian(products: Tensor, width: float = 0.4) -> Tensor:
    """Return exp(-2w) * sum over p to 2 of (2w x.y)^p / p!."""
    scaled = 2 * width * products
    return torch.exp(torch.tensor(-2 * width, dtype=products.dtype)) * (
        1 + scaled + scaled.square() / 2
    )


def checked_kernel(
    kernel: Literal["consecutive", "gaussian", "bilinear"],
) -> Literal["consecutive", "gaussian", "bilinear"]:
    """Return a kernel's name; ValueError where there is none such."""
    if kernel not in ("consecutive", "gaussian", "bilinear"):
        raise ValueError(f"got kernel={kernel!r}; takes consecutive, gaussian or bilinear")
    return kernel
