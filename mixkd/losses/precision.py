"""The numbers that losses are computed in."""

import torch
from torch import Tensor


def as_float(x: Tensor) -> Tensor:
    """Return numbers as float32; float64 stays as it is."""
    return x if x.dtype == torch.float64 else x.float()
