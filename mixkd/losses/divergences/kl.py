"""The Kullback-Leibler divergence from the teacher's probabilities, the paper's (eq. 1)."""

from torch import Tensor

from mixkd.losses.distillation import distillation_kl
from mixkd.losses.temperature import Temperature


def kl(student: Tensor, teacher: Tensor, *, temperature: Temperature) -> Tensor:
    """Return the mean of KL(p_t^T || p_s^T) over a batch; see `distillation_kl`."""
    return distillation_kl(student, teacher, temperature)
