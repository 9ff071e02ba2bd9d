"""Losses that ask which class an image is of: of a mixed image both classes are, by lambda."""

from collections.abc import Callable

from torch import Tensor


def by_lambda(
    loss_of: Callable[[Tensor], Tensor], label: Tensor, partner: Tensor | None, lam: Tensor | None
) -> Tensor:
    """Return lam * loss(label) + (1 - lam) * loss(partner) of each image, [b].

    Args:
        loss_of: maps classes, int64 [b], to the loss of each image, [b].
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners; None: nothing is mixed.
        lam: shape [b], in [0, 1]; None beside no partner.

    Raises:
        ValueError: if a partner is given without lam, or lam without a partner.

    Examples:
        >>> import torch
        >>> by_lambda(Tensor.float, torch.tensor([2]), torch.tensor([4]), torch.tensor([0.75]))
        tensor([2.5000])
    """
    if (partner is None) != (lam is None):
        raise ValueError("got one of partner and lam; takes both, or neither without mixing")
    loss = loss_of(label)
    if partner is not None and lam is not None:
        lam = lam.to(loss.dtype)
        loss = lam * loss + (1 - lam) * loss_of(partner)
    return loss
