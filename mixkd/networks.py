"""Networks: a core that gives logits, its input size and normalisation; weights in and out.

A new network is a file in conf/network/: a timm name, or a factory and its arguments.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from safetensors import safe_open
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn

from mixkd import config
from mixkd.console import say
from mixkd.errors import Problem, UserError, nearest
from mixkd.files import file_fingerprint
from mixkd.inherit import WEIGHTS, told_names
from mixkd.reading import read_mapping

# Arguments of timm.create_model that read files or fetch: weights and pretrained are for that.
RESERVED = {
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
}

# Prefixes that wrappers put before every name; taken off when weights are read.
PREFIXES = ("module.", "_orig_mod.", "state_dict.", "network.", "model.", "core.")


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
        # Not persistent: saved weights bear the core's own names and nothing else.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, view: Tensor) -> Tensor:
        """Map views, float [b, 3, h, w] in [0, 1], to logits [b, classes]."""
        size = self.input_size
        if size is not None and view.shape[-2:] != (size, size):
            view = F.interpolate(view, (size, size), mode="bilinear", antialias=True)
        logits: Tensor = self.core((view - self.mean) / self.std)
        return logits


class FrozenTeacher:
    """A network that is queried and never learns.

    It is no nn.Module, so that no optimizer, checkpoint, DDP wrapper or train() reaches it.

    Args:
        network: the teacher, or a function that loads it when it is first asked.
        precision: `float32` or `bf16`, whatever the student's.
    """

    def __init__(
        self, network: Network | Callable[[], Network], precision: config.Precision = "float32"
    ) -> None:
        self._given = network
        self._bf16 = precision == "bf16"
        self._device: torch.device | None = None

    @cached_property
    def network(self) -> Network:
        """The teacher, loaded."""
        given = self._given
        network = given if isinstance(given, Network) else given()
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
            logits: Tensor = self.network(view)
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


def timm_core(
    name: str, num_classes: int, pretrained: bool | str | None = None, **args: Any
) -> nn.Module:
    """Return a timm model.

    Args:
        name: timm's, with a tag where one is meant.
        num_classes: of the new head.
        pretrained: true fetches timm's weights; a path reads them from there, all but the head's.
        args: more arguments of `timm.create_model`.

    Raises:
        UserError: if timm has no such model, or its weights cannot be fetched.
    """
    if not timm.is_model(name):
        close = nearest(name.partition(".")[0], timm.list_models())
        raise UserError.of("network.name", f"timm has no model {name!r}{close}")
    known = timm.get_pretrained_cfg(name)
    if pretrained is True and not (known and known.has_weights):
        raise UserError.of("network.pretrained", f"got true; timm has no weights of {name}")
    try:
        core: nn.Module = timm.create_model(
            name, num_classes=num_classes, pretrained=pretrained is True, **args
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise UserError.of(
            "network.pretrained",
            f"the weights of {name} could not be fetched ({str(error).splitlines()[0]}); give a "
            "file (network.pretrained=FILE), name a mirror (HF_ENDPOINT=URL in the environment), "
            "or start from random weights (network.pretrained=false)",
        ) from error
    if isinstance(pretrained, str):
        _load_backbone(core, Path(pretrained))
    return core


def _load_backbone(core: nn.Module, path: Path) -> None:
    """Load all of a timm model but its head from a file in timm's own form."""
    weights, _ = read_weights(path, "network.pretrained")
    head, own = f"{_head_name(core)}.", core.state_dict()
    backbone = {n: v for n, v in without_prefixes(weights, own).items() if not n.startswith(head)}
    kept = {name: value for name, value in own.items() if name.startswith(head)}
    check_names(own, backbone | kept, path, "network.pretrained")
    _check_finite(backbone, path, "network.pretrained")
    core.load_state_dict(backbone | kept)


def mobilenetv2(
    num_classes: int, width: float = 1.0, pretrained: bool | str | None = None
) -> nn.Module:
    """Return timm's MobileNetV2 of a width multiplier.

    Raises:
        UserError: if timm has no MobileNetV2 of that width.
    """
    names = {int(n[-3:]) / 100: n for n in timm.list_models("mobilenetv2_???")}
    if width not in names:
        widths = ", ".join(f"{w:g}" for w in sorted(names))
        raise UserError.of("network.args.width", f"got {width}; takes {widths}")
    return timm_core(names[width], num_classes, pretrained)


def build_network(cfg: config.Network, classes: Sequence[str], key: str) -> Network:
    """Build a network for a number of classes, with its weights where the configuration names any.

    Args:
        cfg: the network's section.
        classes: the data's; it has to give a logit for each.
        key: the section's name, for messages.

    Raises:
        UserError: if there is no such network, or its weights or output do not fit.
    """
    if cfg.args and (reserved := RESERVED & cfg.args.keys()):
        raise UserError.of(
            f"{key}.args", f"got {', '.join(sorted(reserved))}; take {key}.weights or .pretrained"
        )
    if cfg.weights == "pretrained":
        _check_imagenet(classes, cfg.head, key)
    core = _core(cfg, len(classes), key)
    if cfg.head is not None:
        _replace_head(core, cfg.head, len(classes), key)
    if cfg.weights == "pretrained" and isinstance(cfg.pretrained, str):
        load_weights(core, Path(cfg.pretrained), f"{key}.pretrained", classes)
    elif cfg.weights == "pretrained":
        _check_pretrained_head(core, key)
    elif cfg.weights is not None:
        load_weights(core, Path(cfg.weights), f"{key}.weights", classes)
    known = getattr(core, "pretrained_cfg", None) or {}
    pretrained = cfg.pretrained or cfg.weights == "pretrained"
    own = known.get("input_size", [None])[-1]
    size = own if pretrained or known.get("fixed_input_size") else None
    size = (cfg.args or {}).get("img_size", size)  # timm's argument for a size other than its own
    return Network(
        core,
        cfg.mean or known.get("mean", IMAGENET_DEFAULT_MEAN),
        cfg.std or known.get("std", IMAGENET_DEFAULT_STD),
        cfg.input_size or size,
    )


def check_logits(network: Network, classes: int, shape: tuple[int, int], key: str) -> None:
    """Query a network once, in eval mode on two grey images, to see that it gives logits.

    Raises:
        UserError: if it fails on such images or gives anything else.
    """
    training = network.training
    try:
        with torch.inference_mode():
            logits = network.eval()(torch.full((2, 3, *shape), 0.5))
    except Exception as error:  # whatever a stranger's network makes of it
        said = f"{type(error).__name__}: {error}"
        raise UserError.of(key, f"fails on {shape[1]}x{shape[0]} images: {said}") from error
    finally:
        network.train(training)
    right = isinstance(logits, Tensor) and logits.shape == (2, classes)
    if not right or not logits.is_floating_point():
        tensor = isinstance(logits, Tensor)
        got = f"{logits.dtype} {tuple(logits.shape)}" if tensor else type(logits).__name__
        raise UserError.of(
            key,
            f"gives {got} for two images; takes logits of shape (2, {classes}), one for each class "
            f"of the data ({key}.args={{num_classes: {classes}}} is passed to a factory)",
        )


def use_channels_last(network: Network, classes: int, shape: tuple[int, int], key: str) -> None:
    """Keep a pixel's channels together in memory, where convolutions are faster; check the logits.

    A network that fails then, as one that flattens by `view`, stays as it is; a line says so.

    Raises:
        UserError: as `check_logits`.
    """
    try:
        network.to(memory_format=torch.channels_last)
        check_logits(network, classes, shape, key)
    except (RuntimeError, UserError) as error:
        network.to(memory_format=torch.contiguous_format)
        check_logits(network, classes, shape, key)
        say(f"{key}: not in channels_last, where it fails ({error})")


def _core(cfg: config.Network, classes: int, key: str) -> nn.Module:
    args = dict(cfg.args or {})
    # Weights of our own replace pretrained ones: there is nothing to fetch.
    pretrained = False if cfg.weights is not None else cfg.pretrained
    if cfg.weights == "pretrained":  # a file's are loaded with the head, by the caller
        pretrained = not isinstance(cfg.pretrained, str)
    if cfg.factory is None:
        assert cfg.name is not None
        factory: Callable[..., Any] = timm_core
        args = {"name": cfg.name, "num_classes": classes, "pretrained": pretrained} | args
    else:
        factory = import_callable(cfg.factory, f"{key}.factory")
        try:
            parameters = signature(factory).parameters
        except ValueError as error:
            raise UserError.of(f"{key}.factory", f"{cfg.factory} makes no network") from error
        open_ended = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
        if "num_classes" in parameters or open_ended:
            args.setdefault("num_classes", classes)
        if "pretrained" in parameters or open_ended:
            args |= {} if pretrained is None else {"pretrained": pretrained}
        elif pretrained:
            asked = "weights" if cfg.weights == "pretrained" else "pretrained"
            raise UserError.of(f"{key}.{asked}", f"{cfg.label} has no pretrained weights")
    try:
        core = factory(**args)
    except UserError as error:  # from our own factories, which do not know their section
        here = (
            Problem(p.key.replace("network", key, 1), p.text.replace("network.", f"{key}."))
            for p in error.problems
        )
        raise UserError(*here) from error
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UserError.of(f"{key}.args", f"{cfg.label} does not take {args}: {error}") from error
    if not isinstance(core, nn.Module):
        raise UserError.of(f"{key}.factory", f"returned {type(core).__name__}; takes an nn.Module")
    return core


def import_callable(path: str, key: str) -> Callable[..., Any]:
    """Import `package.module.function`.

    Raises:
        UserError: naming `key`, if there is none.
    """
    module, _, name = path.rpartition(".")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a console script does not look there by itself
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError.of(key, f"got {path!r}; takes package.module.function ({error})") from error
    if not callable(found):
        raise UserError.of(key, f"{path} is no callable")
    function: Callable[..., Any] = found
    return function


def _check_imagenet(classes: Sequence[str], head: config.Head | None, key: str) -> None:
    """Refuse a pretrained head where it is replaced, or where the classes are not ImageNet's."""
    imagenet = ImageNetInfo("imagenet-1k").label_names()  # type: ignore[no-untyped-call]
    if list(classes) != list(imagenet):
        raise UserError.of(
            f"{key}.weights",
            f"got pretrained, a head of ImageNet's 1,000 classes; the data has {_some(classes)}",
        )
    if head is not None:
        raise UserError.of(f"{key}.weights", f"got pretrained; takes {key}.head=null beside it")


def _check_pretrained_head(core: nn.Module, key: str) -> None:
    trained_on = (getattr(core, "pretrained_cfg", None) or {}).get("num_classes")
    if trained_on != 1000:
        raise UserError.of(
            f"{key}.weights", f"got pretrained; timm's head has {trained_on} classes, not 1,000"
        )


def head_of(network: Network, key: str) -> nn.Module:
    """Return the part of a network that is new where its backbone is pretrained.

    Raises:
        UserError: if it is not known, as for a factory that is not timm's.
    """
    name = _head_name(network.core)
    if name is None:
        raise UserError.of(key, "only timm networks say which part is their head; takes 0")
    return network.core.get_submodule(name)


def last_layer(network: Network) -> nn.Module:
    """Return the layer that gives the logits: of the head where it is known, else the last linear.

    Raises:
        UserError: if there is none.
    """
    name = _head_name(network.core)
    head = network.core if name is None else network.core.get_submodule(name)
    layers = [m for m in head.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    if name is None:
        layers = [m for m in layers if isinstance(m, nn.Linear)]
    if not layers:
        raise UserError.of("features", "got true; the network has no linear layer to look before")
    return layers[-1]


def _head_name(core: nn.Module) -> str | None:
    name = (getattr(core, "pretrained_cfg", None) or {}).get("classifier")
    return name if isinstance(name, str) else None


def _replace_head(core: nn.Module, head: config.Head, classes: int, key: str) -> None:
    name = _head_name(core)
    linear = None if name is None else core.get_submodule(name)
    if name is None or not isinstance(linear, nn.Linear):
        raise UserError.of(f"{key}.head", "only timm networks with one linear classifier take one")
    new = BottleneckHead(linear.in_features, head.units, head.dropout, classes)
    core.set_submodule(name, new)


def read_tensors(path: Path, key: str) -> tuple[Any, list[str] | None]:
    """Return what a file of tensors holds, and the class names where mixkd saved them.

    Nothing in the file is executed.

    Raises:
        UserError: if it is neither safetensors nor in torch's own format.
    """
    try:
        if path.suffix == ".safetensors":
            found = safetensors.torch.load_file(path)
            with safe_open(path, "pt") as file:
                saved = (file.metadata() or {}).get("classes")
            return found, None if saved is None else list(map(str, json.loads(saved)))
        return torch.load(path, map_location="cpu", weights_only=True), None
    except Exception as error:  # whatever its readers make of a file that is no state dict
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError.of(
            key, f"{path} cannot be read as safetensors or a plain state dict: {said}"
        ) from error


def read_weights(path: Path, key: str) -> tuple[dict[str, Tensor], list[str] | None]:
    """Read a state dict: safetensors, or torch's own format, also a Lightning checkpoint.

    Nothing in the file is executed.

    Returns:
        The tensors by name, and the class names where mixkd saved them.

    Raises:
        UserError: if the file is neither, or holds no tensors.
    """
    found, classes = read_tensors(path, key)
    while isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not any(isinstance(v, Tensor) for v in found.values()):
        raise UserError.of(key, f"{path} holds no state dict")
    return {str(n): value for n, value in found.items() if isinstance(value, Tensor)}, classes


def load_weights(core: nn.Module, path: Path, key: str, classes: Sequence[str]) -> None:
    """Load weights strictly into a core. Prefixes that wrappers gave to all names are taken off.

    Args:
        core: the network that the names and shapes have to fit.
        path: the file.
        key: the configuration key that named it, for messages.
        classes: the data's; a file that mixkd saved for others is refused, and so is one of
            timm's form whose config.json has these in another order.

    Raises:
        UserError: if names, shapes or classes differ, or values are not finite; it says which.
    """
    (weights, trained_on), own = read_weights(path, key), core.state_dict()
    if trained_on is None and sorted(named := named_beside(path)) == sorted(classes):
        trained_on = named  # others may be the same classes, spelt in another way
    if trained_on is not None and trained_on != list(classes):
        raise UserError.of(
            key,
            f"{path} was trained on the {len(trained_on)} classes {_some(trained_on)}; "
            f"the data has the {len(classes)} classes {_some(classes)}",
        )
    weights = without_prefixes(weights, own)
    check_names(own, weights, path, key)
    # Of buffers statistics alone: others, such as masks, may hold infinities.
    learned = {name for name, _ in core.named_parameters()}
    counted = {name: v for name, v in weights.items() if name in learned or "running_" in name}
    _check_finite(counted, path, key)
    core.load_state_dict(weights)


def named_beside(path: Path) -> list[str]:
    """Return the class names in the config.json beside weights of timm's form; [] without them."""
    if path.name != WEIGHTS["export"]:
        return []
    try:
        return told_names(read_mapping(path.with_name("config.json")))
    except (OSError, ValueError, TypeError, AttributeError):
        return []  # there is none, or it is another library's


def without_prefixes(weights: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights without the prefixes that wrappers gave to all names, and with all counters.

    Checkpoints older than BatchNorm's counter of batches lack it; with a momentum it is not used.
    """
    counters = {n: v for n, v in own.items() if n.endswith(".num_batches_tracked")}
    while not own.keys() & weights.keys():
        prefix = next((p for p in PREFIXES if all(n.startswith(p) for n in weights)), None)
        if prefix is None:
            break
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return counters | weights


def check_names(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], path: Path, key: str
) -> None:
    """Refuse weights whose names or shapes are not the network's own.

    Raises:
        UserError: naming `key`; it says which.
    """
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    shapes = [n for n in own if n in weights and own[n].shape != weights[n].shape]
    if missing or unknown:
        raise UserError.of(
            key,
            f"{path} is of another network: it lacks {_some(missing)} and adds {_some(unknown)}",
        )
    if shapes:
        name = shapes[-1]
        theirs, ours = tuple(weights[name].shape), tuple(own[name].shape)
        text = f"{path} is of another shape: {name} is {theirs}, here {ours}"
        if theirs[1:] == ours[1:] and len(shapes) <= 2:
            text = f"{path} was trained on {theirs[0]} classes; the data has {ours[0]}"
        raise UserError.of(key, text)


def _check_finite(weights: Mapping[str, Tensor], path: Path, key: str) -> None:
    wrong = sorted(name for name, value in weights.items() if not value.isfinite().all())
    if wrong:
        raise UserError.of(
            key, f"{path} holds values that are not finite, in {_some(wrong)}; takes another file"
        )


def weights_fingerprint(core: nn.Module, cfg: config.Network) -> str:
    """Return the sha256 of the file that a core's weights came from, or of the weights."""
    if cfg.weights not in (None, "pretrained"):
        return file_fingerprint(cfg.weights)
    digest = hashlib.sha256()
    for name, value in core.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_weights(core: nn.Module, path: Path, classes: Sequence[str]) -> None:
    """Write a core's weights as safetensors, with the class names in the metadata."""
    state = {n: t.detach().cpu().clone().contiguous() for n, t in core.state_dict().items()}
    # Not save_file: what it raises where the disk is full is no OSError.
    path.write_bytes(safetensors.torch.save(state, {"classes": json.dumps(list(classes))}))


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most]) or "nothing"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
