"""Losses: pure functions on logits. Any floating dtype in; float32 out, or float64 of float64."""

import math
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.precision import as_float
from mixkd.losses.temperature import Temperature, check_temperature, soften, squared

# A batch's losses, float32 scalars by name: `loss` is minimised, its parts are in nats, unweighted.
Losses = dict[str, Tensor]


def distillation_kl(student: Tensor, teacher: Tensor, temperature: Temperature) -> Tensor:
    """Return the mean of KL(p_t^T || p_s^T) over a batch (eq. 1; eq. 9 on mixed images).

    Args:
        student: logits, shape [b, classes].
        teacher: logits, shape [b, classes].
        temperature: of both networks.

    Returns:
        float32 scalar in nats, without T squared.

    Raises:
        ValueError: if shapes differ, or there is no such temperature.

    Examples:
        >>> import torch
        >>> teacher = torch.tensor([[3.0, 1.0]]).log()  # sure to 3/4
        >>> round(distillation_kl(torch.zeros(1, 2), teacher, 1.0).item(), 4)
        0.1308
    """
    if student.shape != teacher.shape:
        shapes = f"{list(student.shape)} of the student and {list(teacher.shape)} of the teacher"
        raise ValueError(f"got logits of shapes {shapes}; takes one shape, [b, classes]")
    return F.kl_div(
        F.log_softmax(soften(student, temperature), dim=1),
        F.log_softmax(soften(teacher, temperature), dim=1),
        log_target=True,
        reduction="batchmean",
    )


def mixed_cross_entropy(
    logits: Tensor, label: Tensor, partner: Tensor, lam: Tensor, smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy with lam * label + (1 - lam) * partner (eq. 8).

    Args:
        logits: shape [b, classes].
        label: int64, shape [b].
        partner: int64, shape [b], the labels of the partners.
        lam: shape [b], in [0, 1].
        smoothing: the share of each label that is spread evenly over all classes.

    Returns:
        float32 scalar in nats.

    Raises:
        ValueError: if shapes do not agree, or the share is not in [0, 1).

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 1.0]]).log()  # sure to 3/4 of class 0
        >>> label, partner, lam = torch.tensor([0]), torch.tensor([1]), torch.tensor([0.5])
        >>> round(mixed_cross_entropy(logits, label, partner, lam).item(), 4)
        0.837
    """
    if logits.ndim != 2 or not label.shape == partner.shape == lam.shape == logits.shape[:1]:
        shapes = ", ".join(str(list(x.shape)) for x in (logits, label, partner, lam))
        raise ValueError(f"got shapes {shapes}; takes logits [b, classes] and three of [b]")
    if not 0 <= smoothing < 1:
        raise ValueError(f"got a smoothing of {smoothing}; takes a number in [0, 1)")
    log_p = F.log_softmax(as_float(logits), dim=1)
    chosen = log_p.gather(1, torch.stack([label, partner], dim=1))
    mixed = lam * chosen[:, 0] + (1 - lam) * chosen[:, 1]
    if smoothing:
        mixed = (1 - smoothing) * mixed + smoothing * log_p.mean(dim=1)
    return -mixed.mean()


def distillation(
    ce: Tensor,
    kd: Tensor,
    temperature: Temperature,
    *,
    alpha: float = 0.0,
    beta: float = 1.0,
    t_squared: bool = True,
) -> Losses:
    """Return alpha * CE + beta * T^2 * KL (eq. 2) as `loss`, and its parts as `ce` and `kd`.

    Args:
        ce: scalar in nats.
        kd: scalar in nats, at `temperature`.
        temperature: a number; or `sigma`, which takes no T squared.
        alpha: weight of the cross-entropy.
        beta: weight of the teacher's part.
        t_squared: whether the teacher's part is multiplied by T squared.

    Raises:
        ValueError: if there is no such temperature, or a weight is below 0 or not finite.

    Examples:
        >>> import torch
        >>> student, teacher = torch.zeros(8, 10), torch.randn(8, 10)
        >>> label, partner, lam = torch.zeros(8).long(), torch.ones(8).long(), torch.rand(8)
        >>> ce = mixed_cross_entropy(student, label, partner, lam)
        >>> kd = distillation_kl(student, teacher, temperature=2.0)
        >>> losses = distillation(ce, kd, temperature=2.0, alpha=0.1, beta=0.9)
        >>> bool(torch.isclose(losses["loss"], 0.1 * ce + 0.9 * 4 * kd))
        True
    """
    check_temperature(temperature)
    check_weights(alpha=alpha, beta=beta)
    scale = squared(temperature) if t_squared else 1.0
    return {"loss": alpha * ce + beta * scale * kd, "ce": ce, "kd": kd}


def check_weights(**weights: float) -> None:
    """Refuse weights of a loss, by name, that are below 0 or not finite."""
    for name, weight in weights.items():
        is_number = isinstance(weight, Real) and not isinstance(weight, bool)
        if not (is_number and 0 <= weight < math.inf):
            raise ValueError(f"got {name}={weight!r}; takes a number, 0 or more")
