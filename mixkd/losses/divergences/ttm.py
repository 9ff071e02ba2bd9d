"""Transformed teacher matching (Zheng and Yang, ICLR 2024, arXiv:2402.11148)."""

import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.precision import as_float
from mixkd.losses.temperature import Temperature, soften


def ttm(
    student: Tensor, teacher: Tensor, *, temperature: Temperature, t_squared: float = 1.0
) -> Tensor:
    """Return the mean of KL(p_t^T || p_s): the teacher is softened, the student is not.

    T is 1 over the exponent that the paper raises the teacher's probabilities to: the published
    0.1 is temperature=10. Nothing is multiplied by T squared, as the student's logits are not
    divided: whatever `t_squared` is does not matter. No label enters: on mixed images it is what it
    is on others.

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
        >>> round(ttm(student, teacher, temperature=2.0).item(), 4)  # 3/4 against 1/2
        0.1308
    """
    return matched(student, teacher, temperature).mean()


def matched(student: Tensor, teacher: Tensor, temperature: Temperature) -> Tensor:
    """Return KL(p_t^T || p_s) of each image, shape [b]."""
    q = F.log_softmax(soften(teacher, temperature), dim=1)
    p = F.log_softmax(as_float(student), dim=1)
    return F.kl_div(p, q, log_target=True, reduction="none").sum(dim=1)
