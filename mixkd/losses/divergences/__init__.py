"""Divergences by name: how a student's logits are compared with its teacher's.

Each is a file of its name here, with a function of that name: f(student, teacher, ...) of logits
[b, classes] that gives a float32 scalar. Of GIVEN it is called with those that its signature takes.
"""

from collections.abc import Callable

from torch import Tensor

from mixkd.losses.names import loss_of

# What a divergence and a hint may ask for by name: `temperature`; `t_squared`, which softened parts
# are to be multiplied by: a divergence that takes it does so itself, others are multiplied as a
# whole; and of the batch `label` and `partner`, int64 [b], `lam`, float32 [b] in [0, 1], and
# `index` and `partner_index`, int64 [b], the images' positions in their data set.
GIVEN = ("temperature", "t_squared", "label", "partner", "lam", "index", "partner_index")


def divergence_of(name: str) -> Callable[..., Tensor]:
    """Return a divergence by its name.

    Args:
        name: such as `kl`.

    Raises:
        ValueError: if there is none.

    Examples:
        >>> import torch
        >>> logits = torch.zeros(2, 5)
        >>> divergence_of("kl")(logits, logits, temperature=2.0).item()
        0.0
    """
    return loss_of(__name__, __path__, name, "divergence")
