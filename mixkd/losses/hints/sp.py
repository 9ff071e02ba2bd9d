"""Similarity-preserving distillation (Tung and Mori, ICCV 2019, arXiv:1907.09682)."""

import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.precision import as_float

LAYERS = ("last_stage",)


def sp(student: Tensor, teacher: Tensor) -> Tensor:
    """Return how far the batch's similarities are apart, 1 / b^2 of a squared Frobenius norm.

    The similarities of an image are its features' inner products with those of all images of the
    batch, over their l2 norm (HobbitLong/RepDistiller; torchdistill divides by the l1 norm). On
    mixed images the similarities are those between mixed images, and nothing changes.

    Args:
        student: features, shape [b, ...].
        teacher: features, shape [b, ...].

    Returns:
        A scalar without a unit.

    Examples:
        >>> import torch
        >>> student, teacher = torch.eye(2), torch.ones(2, 2)
        >>> round(sp(student, teacher).item(), 4)  # (1, 0) and (1, 1) / sqrt 2, twice
        0.2929
    """
    of_student, of_teacher = (
        F.normalize(features @ features.T)
        for features in (as_float(student).flatten(1), as_float(teacher).flatten(1))
    )
    return (of_student - of_teacher).square().mean()
