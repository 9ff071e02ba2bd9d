"""The squared difference of logits (Kim et al., IJCAI 2021, arXiv:2105.08919)."""

from torch import Tensor

from mixkd.losses.temperature import Temperature, soften


def mse(student: Tensor, teacher: Tensor, *, temperature: Temperature) -> Tensor:
    """Return the mean of (z_s / T - z_t / T)^2 over images and classes.

    `Distillation` multiplies it by T squared: then a number T does not matter, and it is the mean
    squared difference of the logits as they are. Under `sigma` it is that of logits over their own
    standard deviations. No label enters: on mixed images it is what it is on others.

    Args:
        student: logits, shape [b, classes].
        teacher: logits, shape [b, classes].
        temperature: of both networks.

    Returns:
        A scalar without a unit, without T squared.

    Examples:
        >>> import torch
        >>> mse(torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 2.0]]), temperature=1.0).item()
        4.0
    """
    return (soften(student, temperature) - soften(teacher, temperature)).square().mean()
