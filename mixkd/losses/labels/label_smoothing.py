"""Label smoothing (Szegedy et al., CVPR 2016, arXiv:1512.00567)."""

from torch import Tensor

from mixkd.losses.distillation import mixed_cross_entropy


def label_smoothing(
    logits: Tensor, label: Tensor, partner: Tensor, lam: Tensor, *, smoothing: float = 0.05
) -> Tensor:
    """Return the cross-entropy with labels of which a share is spread evenly over all classes.

    On a mixed image the label is lam * label + (1 - lam) * partner before it is smoothed, as timm
    has it. Values are those of torch's `cross_entropy(..., label_smoothing=smoothing)`.

    Args:
        logits: shape [b, classes].
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners.
        lam: shape [b], in [0, 1]; 1 where nothing is mixed.
        smoothing: the share, in [0, 1); studies of calibration take 0.05 (Mukhoti et al., 2020).

    Returns:
        A scalar in nats.

    Raises:
        ValueError: if shapes do not agree, or for another share.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 1.0]]).log()  # sure to 3/4 of class 0
        >>> label, lam = torch.tensor([0]), torch.ones(1)
        >>> round(label_smoothing(logits, label, label, lam, smoothing=0.5).item(), 4)
        0.5623
    """
    return mixed_cross_entropy(logits, label, partner, lam, smoothing)
