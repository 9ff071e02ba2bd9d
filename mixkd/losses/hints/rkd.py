"""Relational knowledge distillation (Park et al., CVPR 2019, arXiv:1904.05068)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.precision import as_float

LAYERS = ("penultimate",)

SMALLEST_SQUARE = 1e-12  # of a distance, as in the authors' code


def rkd(student: Tensor, teacher: Tensor, *, distance: float = 25.0, angle: float = 50.0) -> Tensor:
    """Return how far the distances and the angles between a batch's images are apart.

    Distances are over each network's own mean distance; an angle is the cosine, at one image,
    between the directions of two others. Of both the Huber loss is averaged over all pairs or
    triples, those of an image with itself among them, as in the authors' code (lenscloth/RKD). Its
    gradient is enormous where two images have the same features; here such a pair has no direction.
    Angles come from inner products, in float64 as those of near images cancel: time and memory grow
    with b^3, but not with the features. On
    mixed images the relations are those between mixed images, and nothing changes.

    Args:
        student: features, shape [b, ...].
        teacher: features, shape [b, ...].
        distance: weight of the distances.
        angle: weight of the angles.

    Returns:
        A scalar without a unit.

    Examples:
        >>> features = torch.rand(5, 16)
        >>> rkd(features, 2 * features).item() < 1e-6
        True
    """
    of_student, of_teacher = (_products(features.flatten(1)) for features in (student, teacher))
    near, target = _squares(of_student), _squares(of_teacher)
    loss = torch.zeros((), dtype=torch.float64, device=student.device)
    if distance:
        loss = loss + distance * F.smooth_l1_loss(_distances(near), _distances(target))
    if angle:
        cosine, of_target = _cosines(of_student, near), _cosines(of_teacher, target)
        loss = loss + angle * F.smooth_l1_loss(cosine, of_target)
    return loss.to(as_float(student).dtype)


def _products(features: Tensor) -> Tensor:
    """Return inner products [b, b], of features around their mean: differences stay the same."""
    features = features.double()
    centred = features - features.mean(dim=0)
    return centred @ centred.T


def _squares(products: Tensor) -> Tensor:
    """Return squared distances, [b, b]; 0 where they are within rounding."""
    norms = products.diagonal()
    sums = norms[:, None] + norms
    squares = sums - 2 * products
    return squares.masked_fill(squares <= 8 * torch.finfo(squares.dtype).eps * sums, 0)


def _distances(squares: Tensor) -> Tensor:
    """Return distances over their mean, 0 of an image from itself."""
    itself = torch.eye(len(squares), dtype=torch.bool, device=squares.device)
    distances = squares.clamp_min(SMALLEST_SQUARE).sqrt().masked_fill(itself, 0)
    count = max(len(squares) * (len(squares) - 1), 1)
    return distances / (distances.sum() / count).clamp_min(SMALLEST_SQUARE)


def _cosines(products: Tensor, squares: Tensor) -> Tensor:
    """Return the cosine at image i between the directions of images j and k, [b, b, b]."""
    apart = squares > 0
    inverse = torch.where(apart, squares, 1).rsqrt() * apart
    rows = products.diagonal()[:, None] - products  # of i and j: x_i.x_i - x_i.x_j
    angles = products + (rows[:, :, None] - products[:, None, :])
    return angles * inverse[:, :, None] * inverse[:, None, :]
