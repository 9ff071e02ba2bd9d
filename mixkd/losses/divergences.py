"""Divergences by name: how a student's logits are compared with its teacher's.

Each is a function f(student, teacher, ...) of logits [b, classes] that gives a float32 scalar; of
GIVEN it is called with those that its signature takes.
"""

from collections.abc import Callable

from torch import Tensor

from mixkd.errors import nearest
from mixkd.losses.distillation import distillation_kl

# What a divergence and a hint may ask for by name: `temperature`, and of the batch `label` and
# `partner`, int64 [b], and `lam`, float32 [b] in [0, 1].
GIVEN = ("temperature", "label", "partner", "lam")

DIVERGENCES: dict[str, Callable[..., Tensor]] = {"kl": distillation_kl}


def divergence_of(name: str) -> Callable[..., Tensor]:
    """Return a divergence by its name.

    Raises:
        ValueError: if there is none.
    """
    if name not in DIVERGENCES:
        close = nearest(name, DIVERGENCES)
        raise ValueError(f"got divergence {name!r}; takes {', '.join(DIVERGENCES)}{close}")
    return DIVERGENCES[name]
