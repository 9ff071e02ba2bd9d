"""Temperatures: what logits are divided by before they are compared."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from torch import Tensor

from mixkd.losses.precision import as_float

# Below this a row of logits counts as constant under `sigma`: it is divided by this instead.
SMALLEST_STD = 1e-6

PUBLISHED_EPSILON = 1e-7  # added to the sample's, as logit standardisation's code does


@dataclass(frozen=True)
class Sigma:
    """Each row of logits is divided by `base` times its own standard deviation.

    Base 1 with the population's deviation is the paper's `sigma`. Logit standardisation (Sun et
    al., CVPR 2024, arXiv:2403.01427) has base 2; its code takes the sample's deviation, whose
    divisor is one less than the number of classes.

    Examples:
        >>> import torch
        >>> soften(torch.tensor([[2.0, 0.0]]), Sigma(base=2.0)).tolist()
        [[1.0, 0.0]]
    """

    base: float = 1.0
    deviation: Literal["population", "sample"] = "population"


Temperature = float | Literal["sigma"] | Sigma


def soften(logits: Tensor, temperature: Temperature) -> Tensor:
    """Divide logits by a temperature (eq. 7).

    Args:
        logits: shape [b, classes].
        temperature: a positive number; `sigma`: each row is divided by its own population standard
            deviation; or a `Sigma`.

    Returns:
        float32, or float64 if the logits are, shape [b, classes].

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
    logits = as_float(logits)
    if isinstance(temperature, Real):
        return logits / temperature
    sigma = Sigma() if temperature == "sigma" else temperature
    assert isinstance(sigma, Sigma)
    is_sample = sigma.deviation == "sample"
    variance = logits.var(dim=1, keepdim=True, correction=int(is_sample))
    std = variance.clamp_min(SMALLEST_STD**2).sqrt()
    return logits / (sigma.base * (std + PUBLISHED_EPSILON if is_sample else std))


def squared(temperature: Temperature) -> float:
    """Return T squared, by which the gradients of softened logits shrink; of `Sigma`, its base's.

    Examples:
        >>> squared(4.0), squared("sigma"), squared(Sigma(base=2.0))
        (16.0, 1.0, 4.0)
    """
    if temperature == "sigma":
        return 1.0
    return float(temperature.base if isinstance(temperature, Sigma) else temperature) ** 2


def check_temperature(temperature: Temperature) -> None:
    """Refuse what is no positive finite number, `sigma` or `Sigma` of one, by a ValueError."""
    if temperature == "sigma":
        return
    number = temperature.base if isinstance(temperature, Sigma) else temperature
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    if not (is_number and 0 < number < math.inf):
        raise ValueError(
            f"got a temperature of {temperature!r}; takes a number above 0, or 'sigma'"
        )
    if isinstance(temperature, Sigma) and temperature.deviation not in ("population", "sample"):
        raise ValueError(f"got deviation={temperature.deviation!r}; takes population or sample")
