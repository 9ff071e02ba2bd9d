"""Decoupled knowledge distillation (Zhao et al., CVPR 2022, arXiv:2203.08679)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.targets import by_lambda
from mixkd.losses.temperature import Temperature, soften


def dkd(
    student: Tensor, teacher: Tensor, *, temperature: Temperature, label: Tensor,
    partner: Tensor | None = None, lam: Tensor | None = None, alpha: float = 1.0,
    beta: float = 8.0,
) -> Tensor:  # fmt: skip
    """Return alpha * TCKD + beta * NCKD, the mean over a batch.

    TCKD is the KL divergence between (p_y, 1 - p_y) of teacher and student, NCKD the one between
    their softmax over the classes other than y. On a mixed image both classes take the part of y,
    by lambda. The published code (megvii-research/mdistiller) multiplies both by T squared, which
    `Distillation` does here; it takes logarithms of summed probabilities, which is infinite where
    they underflow, and this is not.

    Args:
        student: logits, shape [b, classes].
        teacher: logits, shape [b, classes].
        temperature: of both networks.
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners; None: nothing is mixed.
        lam: shape [b], in [0, 1].
        alpha: weight of the target class.
        beta: weight of the others; published values for CIFAR are between 1 and 8.

    Returns:
        A scalar in nats, without T squared.

    Examples:
        >>> student, teacher = torch.zeros(1, 3), torch.tensor([[6.0, 2.0, 1.0]]).log()
        >>> round(dkd(student, teacher, temperature=1.0, label=torch.tensor([0])).item(), 4)
        0.6841
    """
    p, q = soften(student, temperature), soften(teacher, temperature)

    def of_class(target: Tensor) -> Tensor:
        is_target = F.one_hot(target, p.shape[1]).bool()
        (p_target, p_rest, p_others), (q_target, q_rest, q_others) = (
            _split(logits, target, is_target) for logits in (p, q)
        )
        tckd = q_target.exp() * (q_target - p_target) + q_rest.exp() * (q_rest - p_rest)
        nckd = (q_others.exp() * (q_others - p_others)).sum(dim=1)
        return alpha * tckd + beta * nckd

    return by_lambda(of_class, label, partner, lam).mean()


def _split(logits: Tensor, target: Tensor, is_target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-probabilities of the target [b], of the rest [b], and of each within the rest.

    Those last are 0 for the target, which is not within the rest.
    """
    others = logits.masked_fill(is_target, -torch.inf)
    rest = others.logsumexp(dim=1)
    whole = logits.logsumexp(dim=1)
    chosen = logits.gather(1, target[:, None]).squeeze(1)
    within = (logits - rest[:, None]).masked_fill(is_target, 0)  # whose exp() may be infinite
    return chosen - whole, rest - whole, within
