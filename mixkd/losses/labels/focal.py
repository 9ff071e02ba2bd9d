"""Focal loss (Lin et al., ICCV 2017, arXiv:1708.02002), for calibration (Mukhoti et al., 2020)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.distillation import check_weights
from mixkd.losses.precision import as_float
from mixkd.losses.targets import by_lambda


def focal(
    logits: Tensor, label: Tensor, partner: Tensor, lam: Tensor, *, gamma: float = 3.0
) -> Tensor:
    """Return the mean of -(1 - p_y)^gamma log p_y: what the network is sure of weighs less.

    On a mixed image it is lam times the loss of its label and 1 - lam times that of its partner's.
    The published code (torrvision/focal_calibration) computes 1 - p_y from p_y; here it is a sum
    over the other classes, so that the gradient is finite for any gamma where p_y rounds to 1.

    Args:
        logits: shape [b, classes].
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners.
        lam: shape [b], in [0, 1]; 1 where nothing is mixed.
        gamma: 0 or more; 0 is the cross-entropy, 3 the fixed one of Mukhoti et al.
            (NeurIPS 2020, arXiv:2002.09437).

    Returns:
        float32 scalar in nats, or float64 of float64 logits.

    Raises:
        ValueError: for another gamma.

    Examples:
        >>> logits = torch.tensor([[3.0, 1.0]]).log()  # sure to 3/4 of class 0
        >>> label, lam = torch.tensor([0]), torch.ones(1)
        >>> round(focal(logits, label, label, lam, gamma=2.0).item(), 4)  # of -log 3/4 a 16th
        0.018
    """
    check_weights(gamma=gamma)
    log_p = F.log_softmax(as_float(logits), dim=1)

    def of_class(target: Tensor) -> Tensor:
        column = target[:, None]
        log_rest = log_p.scatter(1, column, -torch.inf).logsumexp(dim=1)
        return -(gamma * log_rest).exp() * log_p.gather(1, column).squeeze(1)

    return by_lambda(of_class, label, partner, lam).mean()
