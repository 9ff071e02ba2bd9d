"""Features of a network: what layers of it give, without touching it."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from mixkd.errors import Unfit, UserError, nearest
from mixkd.networks.checks import eval_mode
from mixkd.networks.network import Network, head_names

# What may stand for the path of a module, whose output is compared: the maps that a network's
# stages end in, the last of them, the one in their middle, and the features before the last layer.
STAGES, LAST_STAGE, MIDDLE_STAGE, PENULTIMATE = WORDS = (
    "stages", "last_stage", "middle_stage", "penultimate",
)  # fmt: skip

# How networks that do not say by `feature_info` call the modules that their stages are.
STAGE_NAME = re.compile(r"(layer|stage|block)_?\d+")


def core_of(network: nn.Module) -> nn.Module:
    """Return the network within its normalisation, whose modules bear the names users know."""
    return network.core if isinstance(network, Network) else network


def last_layer(network: nn.Module, key: str) -> nn.Module:
    """Return the layer that gives the logits: of a timm model's head, or the last linear one.

    Without any, it is the last 1x1 convolution.

    Raises:
        UserError: naming `key`, which asks for it, if there is none.
    """
    core = core_of(network)
    names = head_names(core)
    head = core.get_submodule(names[0]) if len(names) == 1 else core
    # Some heads classify by a 1x1 convolution.
    kinds = nn.Linear if head is core else nn.Linear | nn.Conv2d
    modules = list(head.modules())
    layers: list[nn.Module] = [m for m in modules if isinstance(m, kinds)]
    layers = layers or [m for m in modules if getattr(m, "kernel_size", None) == (1, 1)]
    if not layers:
        raise UserError.of(key, "the network has no linear layer to look before")
    return layers[-1]


def stages(network: nn.Module, key: str) -> list[str]:
    """Return the paths of the modules whose outputs are a network's maps, the deepest last.

    They are those of its `feature_info`, as timm's models and mixkd's have it: a list of
    {"module": path}. Otherwise its own modules called layer1, stage2, block3 and the like.

    Raises:
        UserError: naming `key`, which asks for them, if there are none.
    """
    core = core_of(network)
    told = [entry["module"] for entry in getattr(core, "feature_info", None) or []]
    paths = told or [name for name, _ in core.named_children() if STAGE_NAME.fullmatch(name)]
    if not paths:
        modules = ", ".join(name for name, _ in core.named_children())
        text = "the network does not tell its stages, by a feature_info as timm's models have it"
        raise UserError.of(key, f"{text}; takes paths of modules, within {modules or 'none'}")
    return paths


def layer_paths(network: nn.Module, layers: Sequence[str], key: str) -> list[str]:
    """Return the paths of layers: words such as `stages` stand for those that the network has.

    Raises:
        UserError: naming `key`, which gives the layers, if the network has none such.
    """
    core = core_of(network)
    paths: list[str] = []
    for layer in layers:
        if layer in (STAGES, LAST_STAGE, MIDDLE_STAGE):
            known = stages(network, key)
            middle = len(known) // 2
            chosen = {STAGES: known, LAST_STAGE: known[-1:], MIDDLE_STAGE: [known[middle]]}
            paths += chosen[layer]
        elif layer == PENULTIMATE or (layer and layer in dict(core.named_modules())):
            paths.append(layer)
        else:
            names = [*WORDS, *(name for name, _ in core.named_modules() if name)]
            top = ", ".join(name for name, _ in core.named_children())
            text = f"got {layer!r}; the network has no such module{nearest(layer, names)}"
            raise UserError.of(key, f"{text}; takes paths such as {top}, or {', '.join(WORDS)}")
    return paths


class Features:
    """What layers of a network gave in its latest forward pass.

    Hooks are on the network's own modules: make this after whatever copies the network.

    Args:
        network: any that gives logits.
        paths: of modules, whose outputs are kept; or `penultimate`, what the last layer is given.
        key: the configuration key that asks for them, for messages.
    """

    def __init__(self, network: nn.Module, paths: Sequence[str], key: str) -> None:
        self._key, self._core = key, core_of(network)
        self._names: list[str] = []  # of the layers, for messages
        self._latest: dict[int, tuple[Tensor, int]] = {}  # and which version of the values it was
        for number, path in enumerate(paths):
            if path == PENULTIMATE:
                layer = last_layer(network, key)
                layer.register_forward_pre_hook(partial(self._keep_input, number))
                self._names.append(f"its logits by {layer}")
            else:
                hook: Callable[..., None] = partial(self._keep_output, number)
                self._core.get_submodule(path).register_forward_hook(hook)
                self._names.append(path)

    def _keep_input(self, number: int, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._keep(number, inputs[0].flatten(1))

    def _keep_output(self, number: int, layer: nn.Module, inputs: Any, output: Any) -> None:
        self._keep(number, output)

    def _keep(self, number: int, features: Any) -> None:
        if not isinstance(features, Tensor):
            text = f"{self._names[number]} gives {type(features).__name__}"
            raise Unfit.of(self._key, f"{text}; takes a layer that gives a tensor")
        version = 0 if features.is_inference() else features._version
        self._latest[number] = features, version

    def taken(self) -> list[Tensor]:
        """Return them, in order, as float32, and forget them: [b, features] or [b, c, h, w].

        Tokens are maps, without those of no place; a loss may save them for its backward pass.

        Raises:
            Unfit: if a layer took no part, or the next one wrote over what it gave.
        """
        latest, self._latest = self._latest, {}
        for number, name in enumerate(self._names):
            if number not in latest:
                verb = "give" if name.startswith("its logits") else "use"
                raise Unfit.of(self._key, f"the network does not {verb} {name}")
        return [self._as_features(name, *latest[n]) for n, name in enumerate(self._names)]

    def _as_features(self, name: str, features: Tensor, version: int) -> Tensor:
        if not features.is_inference() and features._version != version:
            text = f"what {name} gives is overwritten by the layer after it"
            raise Unfit.of(self._key, f"{text}; takes that one's output")
        features = features.float().clone() if features.is_inference() else features.float()
        return as_map(features, self._core)


def as_map(features: Tensor, core: nn.Module) -> Tensor:
    """Return features as [b, c, h, w] where they are tokens, [b, n, c], or channels are last.

    Tokens of no place, such as a classifier's, come first, and are left out.
    """
    if features.ndim == 4 and getattr(core, "output_fmt", None) == "NHWC":
        return features.permute(0, 3, 1, 2)
    if features.ndim != 3:
        return features
    tokens = features[:, int(getattr(core, "num_prefix_tokens", 0) or 0) :].mT
    b, channels, count = tokens.shape
    side = isqrt(count)
    return tokens.reshape(b, channels, *((side, side) if side**2 == count else (count, 1)))


def feature_shapes(
    network: nn.Module, features: Features, size: Sequence[int]
) -> list[tuple[int, ...]]:
    """Return the shapes of one image's features, of images of a size (height, width)."""
    parameter = next(network.parameters(), torch.zeros(()))
    with torch.no_grad(), eval_mode(network):
        network(torch.zeros(2, 3, *size, device=parameter.device))
    return [tuple(f.shape[1:]) for f in features.taken()]
