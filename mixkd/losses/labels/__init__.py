"""Losses from labels by name, in place of the cross-entropy; each may learn from mixed images.

Each is a file of its name here, with a function of that name: f(logits, label, partner, lam, ...)
of logits [b, classes] that gives a scalar; what else it takes are keyword arguments with defaults.
A file of its name in conf/method/ makes it a method of `mixkd finetune`.
"""

from collections.abc import Callable

from torch import Tensor

from mixkd.losses.names import loss_of

# f(logits, label, partner, lam) -> a scalar: float [b, classes], int64 [b] twice, float32 [b].
LabelLoss = Callable[..., Tensor]


def label_loss_of(name: str) -> LabelLoss:
    """Return a loss from labels by its name.

    Args:
        name: such as `focal`.

    Raises:
        ValueError: if there is none.

    Examples:
        >>> import torch
        >>> logits, label, lam = torch.zeros(2, 4), torch.tensor([0, 3]), torch.ones(2)
        >>> round(label_loss_of("focal")(logits, label, label, lam, gamma=1.0).item(), 4)
        1.0397
    """
    return loss_of(__name__, __path__, name, "loss")
