"""Margin-based label smoothing, MbLS (Liu et al., CVPR 2022, arXiv:2111.15430)."""

from torch import Tensor

from mixkd.losses.distillation import check_weights, mixed_cross_entropy
from mixkd.losses.precision import as_float


def margin(
    logits: Tensor, label: Tensor, partner: Tensor, lam: Tensor, *, margin: float = 10.0,
    weight: float = 0.1,
) -> Tensor:  # fmt: skip
    """Return CE + weight * mean of max(0, max_j z_j - z_k - margin): logits stay close together.

    The mean is over images and classes k, as in the authors' code (by-liu/MbLS, `LogitMarginL1`);
    the paper writes a sum over classes, with which the weight would be smaller by their number. The
    penalty asks for no label: on a mixed image it is that of the answer, and the cross-entropy is
    with both labels, by lambda.

    Args:
        logits: shape [b, classes].
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners.
        lam: shape [b], in [0, 1]; 1 where nothing is mixed.
        margin: how far a logit may lie below the largest, 0 or more; the authors' is 10 on CIFAR.
        weight: of the penalty, 0 or more.

    Returns:
        float32 scalar, or float64 of float64 logits.

    Raises:
        ValueError: if shapes do not agree, or for another margin or weight.

    Examples:
        >>> import torch
        >>> logits, label, lam = torch.tensor([[12.0, 0.0]]), torch.tensor([0]), torch.ones(1)
        >>> round(margin(logits, label, label, lam, weight=0.5).item(), 4)  # half of 2 / 2
        0.5
    """
    check_weights(margin=margin, weight=weight)
    logits = as_float(logits)
    below = logits.max(dim=1, keepdim=True).values - logits
    penalty = (below - margin).relu().mean()
    return mixed_cross_entropy(logits, label, partner, lam) + weight * penalty
