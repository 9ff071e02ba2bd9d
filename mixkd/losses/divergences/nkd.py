"""Normalised knowledge distillation (Yang et al., ICCV 2023, arXiv:2303.13005)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.precision import as_float
from mixkd.losses.targets import by_lambda
from mixkd.losses.temperature import Temperature, soften, squared


def nkd(
    student: Tensor, teacher: Tensor, *, temperature: Temperature, t_squared: float | None = None,
    label: Tensor, partner: Tensor | None = None, lam: Tensor | None = None, gamma: float = 1.5,
) -> Tensor:  # fmt: skip
    """Return -p_t(y) log p_s(y) + gamma * T^2 * H(others of the teacher, others of the student).

    The first part is at temperature 1; the second is the cross-entropy, not the KL divergence,
    between their softmax at T over the classes other than y. On a mixed image both classes take the
    part of y, by lambda; the published code (yzd-v/cls_KD) takes the larger one alone. It is to be
    added to the cross-entropy with the labels: method.alpha=1.

    Args:
        student: logits, shape [b, classes].
        teacher: logits, shape [b, classes].
        temperature: of the second part.
        t_squared: multiplies the second part; None: T squared.
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners; None: nothing is mixed.
        lam: shape [b], in [0, 1].
        gamma: weight of the second part.

    Returns:
        A scalar in nats, T squared included.

    Examples:
        >>> logits, label = torch.zeros(1, 3), torch.tensor([0])
        >>> round(nkd(logits, logits, temperature=1.0, label=label, gamma=0.0).item(), 4)
        0.3662
    """
    factor = gamma * (squared(temperature) if t_squared is None else t_squared)
    p, q = (F.log_softmax(as_float(logits), dim=1) for logits in (student, teacher))
    soft_p, soft_q = soften(student, temperature), soften(teacher, temperature)

    def of_class(target: Tensor) -> Tensor:
        is_target = F.one_hot(target, p.shape[1]).bool()
        log_p, log_q = (x.gather(1, target[:, None]).squeeze(1) for x in (p, q))
        others_p, others_q = (
            (x - x.masked_fill(is_target, -torch.inf).logsumexp(dim=1, keepdim=True)).masked_fill(
                is_target, 0
            )  # before exp(), which may be infinite there
            for x in (soft_p, soft_q)
        )
        others = (others_q.exp() * others_p).sum(dim=1)
        return -log_q.exp() * log_p - factor * others

    return by_lambda(of_class, label, partner, lam).mean()
