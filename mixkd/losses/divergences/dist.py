"""Relations by correlation: DIST (Huang et al., NeurIPS 2022, arXiv:2205.10536)."""

import torch
from torch import Tensor

from mixkd.losses.temperature import Temperature, soften

EPSILON = 1e-8  # added to the product of the norms, as the authors' code does


def dist(
    student: Tensor, teacher: Tensor, *, temperature: Temperature, beta: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:  # fmt: skip
    """Return beta * (1 - inter) + gamma * (1 - intra), of Pearson correlations of probabilities.

    `inter` is the mean, over images, of the correlation of the student's and the teacher's
    probabilities over classes; `intra` the mean, over classes, of that over the batch's images. No
    label enters: on mixed images it is what it is on others. The authors' code
    (hunto/image_classification_sota) multiplies by T squared, which `Distillation` does here.

    Args:
        student: logits, shape [b, classes].
        teacher: logits, shape [b, classes].
        temperature: of both networks.
        beta: weight of the relations between classes.
        gamma: weight of the relations between images.

    Returns:
        A scalar without a unit, without T squared.

    Examples:
        >>> logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 5.0]])
        >>> round(dist(logits, logits, temperature=4.0).item(), 4)
        0.0
    """
    p, q = (soften(logits, temperature).softmax(dim=1) for logits in (student, teacher))
    inter, intra = _correlation(p, q).mean(), _correlation(p.T, q.T).mean()
    return beta * (1 - inter) + gamma * (1 - intra)


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Return Pearson's correlation of each row of x, [m, n], with that of y: [m]."""
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    norms = torch.linalg.vector_norm(x, dim=1) * torch.linalg.vector_norm(y, dim=1)
    correlation: Tensor = (x * y).sum(dim=1) / (norms + EPSILON)
    return correlation
