"""Any model, asked for the logits of images and left as it was."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Model = Callable[[Tensor], Tensor]


def asked(model: Model, device: torch.device | str = "cpu") -> Model:
    """Return a function from images to a model's logits on a device, float [b, classes].

    A module is asked on its own device. The function raises a TypeError if they are no logits.
    """
    parameter = next(iter(model.parameters()), None) if isinstance(model, nn.Module) else None

    def ask(images: Tensor) -> Tensor:
        logits: Any = model(images if parameter is None else images.to(parameter.device))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.is_floating_point():
            is_tensor = isinstance(logits, Tensor)
            got = f"{logits.dtype} {list(logits.shape)}" if is_tensor else type(logits).__name__
            raise TypeError(
                f"the model gives {got}; takes logits, floats [b, classes]. If they are within "
                "that, give a function: lambda images: model(images).logits"
            )
        return logits.to(device)

    return ask
