"""What the published codes of losses gave for given inputs, in float64.

`published.json` holds, of a loss, its value, the norm of its gradient with respect to the student's
logits or features, and the inner product of that with `filling` (of maps: of the first image's
first four channels). They were made by running the codes of the repositories that it names, at
their commits; of those only numbers are here. `published.npz` holds what they were given:
logits, feature maps and vectors, in 256ths, and CRD's embeddings, memories and draws.
"""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent
LOSSES = json.loads((FOLDER / "published.json").read_text())["losses"]


def inputs(*names: str) -> list[Tensor]:
    """Return what the codes were given: numbers as float64, labels and positions as int64."""
    with np.load(FOLDER / "published.npz") as stored:
        arrays = [torch.from_numpy(stored[name]) for name in names]
    features = [name.startswith(("s_", "t_")) for name in names]
    return [
        array / 256 if is_features else array.long() if not array.is_floating_point() else array
        for array, is_features in zip(
            (a.double() if f else a for a, f in zip(arrays, features, strict=True)),
            features, strict=True,
        )
    ]  # fmt: skip


def filling(shape: torch.Size, number: int = 0) -> Tensor:
    """Return numbers in [-1, 1] that whole numbers give exactly, another series for a `number`."""
    i = np.arange(prod(shape), dtype=np.int64)
    series = (381967 * i * i + 618034 * i + 271829 * number) % 1000003
    return torch.from_numpy(2 * (series / 1000003) - 1).reshape(shape)


def filled(module: nn.Module, *without: str) -> nn.Module:
    """Return a module in float64, its weights of a series each, as the codes' modules had them."""
    module = module.double()
    with torch.no_grad():
        for number, (name, tensor) in enumerate(module.state_dict().items()):
            values = filling(tensor.shape, number)
            if name in without or name.endswith("num_batches_tracked"):
                continue
            if name.endswith("running_var"):
                tensor.copy_(1 + 0.5 * values.abs())
            elif tensor.ndim >= 2:
                tensor.copy_(values * (6 / (tensor.numel() / len(tensor))) ** 0.5)
            else:
                tensor.copy_(0.1 * values + (name.endswith("weight")))
    return module


def assert_published(
    name: str, loss: Callable[[Tensor, Tensor], Tensor], *given: Tensor, rel: float = 1e-9
) -> None:
    """Hold a loss of given student's and teacher's numbers against what the code gave."""
    student, teacher = given
    student = student.double().requires_grad_()
    value = loss(student, teacher.double())
    value.backward()
    gradient = student.grad
    assert gradient is not None
    expected, norm = LOSSES[name], gradient.norm().item()
    part = gradient[0, :4] if gradient.ndim == 4 else gradient
    along = (part * filling(part.shape)).sum().item()
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected["value"], rel=rel)
    assert norm == pytest.approx(expected["norm"], rel=rel)
    assert along == pytest.approx(expected["along"], rel=rel, abs=rel * norm)
