"""The confidence penalty (Pereyra et al., 2017, arXiv:1701.06548)."""

import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.distillation import check_weights, mixed_cross_entropy
from mixkd.losses.precision import as_float


def confidence_penalty(
    logits: Tensor, label: Tensor, partner: Tensor, lam: Tensor, *, weight: float = 0.1
) -> Tensor:
    """Return CE - weight * H(p): an answer of high entropy costs less.

    H(p) = -sum_k p_k log p_k is the entropy, as in the paper; some ports (by-liu/MbLS) take the
    mean over classes in place of the sum. It asks for no label: on a mixed image it is that of the
    answer, and the cross-entropy is with both labels, by lambda.

    Args:
        logits: shape [b, classes].
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners.
        lam: shape [b], in [0, 1]; 1 where nothing is mixed.
        weight: of the entropy, 0 or more; 0.1 is usual.

    Returns:
        float32 scalar in nats, or float64 of float64 logits.

    Raises:
        ValueError: if shapes do not agree, or for another weight.

    Examples:
        >>> import torch
        >>> label, lam = torch.tensor([0]), torch.ones(1)
        >>> loss = confidence_penalty(torch.zeros(1, 4), label, label, lam, weight=0.25)
        >>> round(loss.item(), 4)  # of log 4 three quarters
        1.0397
    """
    check_weights(weight=weight)
    log_p = F.log_softmax(as_float(logits), dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
    return mixed_cross_entropy(logits, label, partner, lam) - weight * entropy
