"""A network: a core that gives logits, its input size and its normalisation; a frozen teacher."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from mixkd.config.network import Precision
from mixkd.errors import UserError, check_that


def logits_of(answer: Any) -> Any:
    """Return the logits among what a network returns: what is named so, else the first tensor.

    Others return auxiliary logits beside them while they train, as GoogLeNet does.
    """
    if isinstance(answer, Mapping):  # `logits` of a transformers network, `out` of torchvision's
        named = (answer[name] for name in ("logits", "out") if name in answer)
        return next(named, next(iter(answer.values()), None))
    if isinstance(answer, (tuple, list)):
        return getattr(answer, "logits", next((a for a in answer if isinstance(a, Tensor)), answer))
    return answer if isinstance(answer, Tensor) else getattr(answer, "logits", answer)


class Network(nn.Module):
    """A classifier of views: resizes where its input size differs, normalises, gives logits.

    Args:
        core: maps normalised images to logits.
        mean: of each input channel in [0, 1].
        std: of each input channel.
        input_size: pixels of a side; None takes views as they are.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        core: nn.Module,
        mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
        std: Sequence[float] = IMAGENET_DEFAULT_STD,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        self.core, self.input_size = core, input_size
        self.unreached: list[str] = []  # parameters of the core that no gradient reaches
        # Not persistent: saved weights bear the core's own names and nothing else.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, view: Tensor) -> Tensor:
        """Map views, float [b, 3, h, w] in [0, 1], to logits [b, classes]."""
        logits: Tensor = logits_of(self.answer(view))
        return logits

    def answer(self, view: Tensor) -> Any:
        """Return all that the core returns of views, float [b, 3, h, w] in [0, 1]."""
        size = self.input_size
        if size is not None and view.shape[-2:] != (size, size):
            view = F.interpolate(view, (size, size), mode="bilinear", antialias=True)
        return self.core((view - self.mean) / self.std)


class FrozenTeacher:
    """A network that is queried and never learns.

    It is no nn.Module, so that no optimizer, checkpoint, DDP wrapper or train() reaches it. A
    function in place of the network loads it when it is first asked; it computes in `precision`,
    whatever the student's.
    """

    def __init__(
        self, network: nn.Module | Callable[[], nn.Module], precision: Precision = "float32"
    ) -> None:
        takes = "a torch.nn.Module, or a function that loads one"
        check_that("teacher", network, callable, takes)
        self._source = network
        self._bf16 = precision == "bf16"
        self._device: torch.device | None = None

    @cached_property
    def network(self) -> nn.Module:
        """The teacher, loaded."""
        source = self._source
        network: nn.Module = source if isinstance(source, nn.Module) else source()
        network.eval().requires_grad_(False)
        return network if self._device is None else network.to(self._device)

    def load(self) -> None:
        """Load the teacher now."""
        assert self.network is not None

    def to(self, device: torch.device) -> "FrozenTeacher":
        """Move the teacher to a device, now or when it is loaded."""
        self._device = device
        if "network" in self.__dict__:
            self.network.to(device)
        return self

    def __call__(self, view: Tensor) -> Tensor:
        """Return the logits of views, float32, without gradients."""
        half = torch.autocast(view.device.type, torch.bfloat16, enabled=self._bf16)
        with torch.inference_mode(), half:
            logits: Tensor = logits_of(self.network(view))
        return logits.float().clone()  # a normal tensor: a loss may save it for its backward pass

    def state_dict(self) -> dict[str, Tensor]:
        """Return the teacher's parameters and buffers."""
        return self.network.state_dict()


class BottleneckHead(nn.Sequential):
    """The paper's head: Linear(features, units, no bias), BatchNorm, ReLU, Dropout, Linear."""

    def __init__(self, features: int, units: int, dropout: float, classes: int) -> None:
        super().__init__(
            nn.Linear(features, units, bias=False),
            nn.BatchNorm1d(units),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(units, classes),
        )


def head_of(network: Network, key: str) -> nn.Module:
    """Return the part of a network that is new where its backbone is pretrained."""
    parts = [network.core.get_submodule(name) for name in head_names(network.core)]
    if not parts:
        raise UserError.of(key, "only timm networks say which part is their head; takes 0")
    return parts[0] if len(parts) == 1 else nn.ModuleList(parts)


def head_names(core: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that give a timm model's logits: several average theirs."""
    names = (getattr(core, "pretrained_cfg", None) or {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)
