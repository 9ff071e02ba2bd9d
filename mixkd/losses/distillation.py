"""Losses: pure functions on logits. Any floating dtype in, float32 out, in nats."""

import math
from numbers import Real
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.losses.precision import as_float

Temperature = float | Literal["sigma"]

# Below this a row of logits counts as constant under `sigma`: it is divided by this instead.
SMALLEST_STD = 1e-6


# A batch's losses, float32 scalars by name: `loss` is minimised, its parts are in nats, unweighted.
Losses = dict[str, Tensor]


def soften(logits: Tensor, temperature: Temperature) -> Tensor:
    """Divide logits by a temperature (eq. 7).

    Args:
        logits: shape [b, classes].
        temperature: a positive number, or `sigma`: each row is divided by its own population
            standard deviation.

    Returns:
        float32, shape [b, classes].

    Raises:
        ValueError: for another temperature, or logits of another shape.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [8.0, 4.0]])
        >>> soften(logits, 2.0).tolist()
        [[1.0, 0.0], [4.0, 2.0]]
        >>> soften(logits, "sigma").tolist()
        [[2.0, 0.0], [4.0, 2.0]]
    """
    check_temperature(temperature)
    if logits.ndim != 2:
        raise ValueError(f"got logits of shape {list(logits.shape)}; takes [b, classes]")
    logits = logits.float()
    if temperature != "sigma":
        return logits / temperature
    variance = logits.var(dim=1, keepdim=True, correction=0)
    return logits / variance.clamp_min(SMALLEST_STD**2).sqrt()


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
        temperature: a number, or `sigma`, which takes no T squared.
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
    scale = temperature**2 if t_squared and temperature != "sigma" else 1.0
    return {"loss": alpha * ce + beta * scale * kd, "ce": ce, "kd": kd}


def check_temperature(temperature: Temperature) -> None:
    """Refuse a temperature that is no positive finite number and not `sigma`, by a ValueError."""
    is_number = isinstance(temperature, Real) and not isinstance(temperature, bool)
    if temperature != "sigma" and not (is_number and 0 < temperature < math.inf):
        raise ValueError(
            f"got a temperature of {temperature!r}; takes a number above 0, or 'sigma'"
        )


def check_weights(**weights: float) -> None:
    """Refuse weights of a loss, by name, that are below 0 or not finite."""
    for name, weight in weights.items():
        is_number = isinstance(weight, Real) and not isinstance(weight, bool)
        if not (is_number and 0 <= weight < math.inf):
            raise ValueError(f"got {name}={weight!r}; takes a number, 0 or more")
