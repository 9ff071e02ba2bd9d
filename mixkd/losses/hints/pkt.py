"""Probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, arXiv:1803.10837)."""

import torch
from torch import Tensor

from mixkd.losses.precision import as_float

LAYERS = ("penultimate",)

EPSILON = 1e-7  # within the logarithm, as in the authors' code


def pkt(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the divergence of the student's neighbourhoods from the teacher's.

    The neighbourhood of an image are its cosine similarities with all images of the batch, moved to
    [0, 1] and divided by their sum. As in the authors' code (passalis/probabilistic_kt) p_t *
    log(p_t / p_s) is averaged over the b^2 pairs, where the paper sums. On mixed images the
    neighbours are mixed images, and nothing changes.

    Args:
        student: features, shape [b, ...].
        teacher: features, shape [b, ...].

    Returns:
        A scalar in nats.

    Examples:
        >>> import torch
        >>> student, teacher = torch.ones(2, 2), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        >>> round(pkt(student, teacher).item(), 4)  # 1 / 2 each, and 1 and 0: half of ln 2
        0.3466
    """
    p, q = (_neighbourhood(as_float(features).flatten(1)) for features in (student, teacher))
    return (q * ((q + EPSILON) / (p + EPSILON)).log()).mean()


def _neighbourhood(features: Tensor) -> Tensor:
    unit = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + EPSILON)
    similarity: Tensor = (unit @ unit.T + 1) / 2
    return similarity / similarity.sum(dim=1, keepdim=True)
