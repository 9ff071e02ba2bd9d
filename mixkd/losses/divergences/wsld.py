"""Weighted soft labels (Zhou et al., ICLR 2021, arXiv:2102.00650)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.precision import as_float
from mixkd.losses.targets import by_lambda
from mixkd.losses.temperature import Temperature, soften

EPSILON = 1e-7  # added to the teacher's cross-entropy, as the published code does


def wsld(
    student: Tensor, teacher: Tensor, *, temperature: Temperature, label: Tensor,
    partner: Tensor | None = None, lam: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Return the mean of w * H(p_t^T, p_s^T), w = 1 - exp(-CE_s / CE_t) of each image.

    CE_s and CE_t are the networks' cross-entropies with the label at temperature 1, on a mixed
    image with lam * label + (1 - lam) * partner; no gradient goes through w, which is near 1 where
    the teacher knows the label better than the student. As in the published code (yzd-v/cls_KD)
    H is the cross-entropy, not the KL divergence, which matters as w varies. That code multiplies
    by 2.25 (here method.beta) and by T squared, which `Distillation` does here.

    Args:
        student: logits, shape [b, classes].
        teacher: logits, shape [b, classes].
        temperature: of both networks.
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners; None: nothing is mixed.
        lam: shape [b], in [0, 1].

    Returns:
        A scalar in nats, without T squared.

    Examples:
        >>> logits, label = torch.zeros(1, 2), torch.tensor([0])
        >>> round(wsld(logits, logits, temperature=1.0, label=label).item(), 4)  # (1 - 1/e) ln 2
        0.4382
    """
    with torch.no_grad():
        of_student, of_teacher = (
            _cross_entropy(logits, label, partner, lam) for logits in (student, teacher)
        )
        weight = 1 - (-of_student / (of_teacher + EPSILON)).exp()
    log_p = F.log_softmax(soften(student, temperature), dim=1)
    q = soften(teacher, temperature).softmax(dim=1)
    return -(weight * (q * log_p).sum(dim=1)).mean()


def _cross_entropy(
    logits: Tensor, label: Tensor, partner: Tensor | None, lam: Tensor | None
) -> Tensor:
    """Return the cross-entropy of each image, [b]."""
    log_p = F.log_softmax(as_float(logits), dim=1)
    return by_lambda(
        lambda target: F.nll_loss(log_p, target, reduction="none"), label, partner, lam
    )
