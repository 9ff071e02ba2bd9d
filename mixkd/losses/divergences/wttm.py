"""Weighted transformed teacher matching (Zheng and Yang, ICLR 2024, arXiv:2402.11148)."""

import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.divergences.ttm import matched
from mixkd.losses.precision import as_float
from mixkd.losses.temperature import Temperature, soften


def wttm(
    student: Tensor, teacher: Tensor, *, temperature: Temperature, t_squared: float = 1.0
) -> Tensor:
    """Return the mean of U * KL(p_t^T || p_s): the teacher's smoother answers weigh more.

    U is the sum over classes of p_t^(1/T), not normalised over the batch: 1 for a teacher that is
    sure of one class. Otherwise as `ttm`; the published exponent 0.2 is temperature=5.

    Args:
        student: logits, shape [b, classes].
        teacher: logits, shape [b, classes].
        temperature: of the teacher.
        t_squared: is not used.

    Returns:
        A scalar in nats.

    Examples:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 2), torch.tensor([[9.0, 1.0]]).log()
        >>> round(wttm(student, teacher, temperature=2.0).item(), 4)  # U is 4 / sqrt(10)
        0.1655
    """
    weight = soften(F.log_softmax(as_float(teacher), dim=1), temperature).logsumexp(dim=1).exp()
    return (weight * matched(student, teacher, temperature)).mean()
