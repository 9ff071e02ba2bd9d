"""Networks: a core that gives logits, its input size and normalisation; weights in and out.

A new network is a file in conf/network/: a timm name, or a factory and its arguments.
"""

import argparse
import hashlib
import json
import os
import pickle
import random
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from functools import cached_property
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from safetensors import safe_open
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mixkd.config.network import HeadConfig, NetworkConfig, Precision
from mixkd.console import say
from mixkd.errors import Problem, UserError, nearest, shortened, shown
from mixkd.files.reading import read_mapping
from mixkd.files.writing import file_fingerprint
from mixkd.networks.origin import WEIGHTS, told_names
from mixkd.networks.state_dict import Candidate, check_kind, checked, find, fits, some, unwrapped

# Arguments of timm.create_model that read files or fetch: weights and pretrained are for that.
RESERVED = {
    "checkpoint_path",
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "cache_dir",
}


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

    It is no nn.Module, so that no optimizer, checkpoint, DDP wrapper or train() reaches it.

    Args:
        network: the teacher, or a function that loads it when it is first asked.
        precision: `float32` or `bf16`, whatever the student's.
    """

    def __init__(
        self, network: Network | Callable[[], Network], precision: Precision = "float32"
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
        path, key = Path(pretrained), "network.pretrained"
        spare = tuple(f"{head}." for head in _head_names(core))
        _load(core, read_tensors(path, key)[0], path, key, spare, model=(name, args))
    return core


def _converted(
    core: nn.Module, name: str, args: Mapping[str, Any], candidate: Candidate, path: Path, key: str
) -> dict[str, Tensor] | None:
    """Return weights as timm takes them up: of other names, of other sizes; None if it does not."""
    given = unwrapped(candidate)
    for each, value in given.items():
        check_kind(each, value, value, path, key)
        if value.nbytes > value.untyped_storage().nbytes():  # it claims more than the file holds
            return None
    given = {n: v.float() if v.is_floating_point() else v for n, v in given.items()}
    # timm is strict about a file's names where its model has as many classes.
    heads = [given[n] for head in _head_names(core) if (n := f"{head}.weight") in given]
    usual = (getattr(core, "pretrained_cfg", None) or {}).get("num_classes", 1000)
    for classes in (len(heads[0]),) if heads and heads[0].dim() else (usual, 0):
        read: list[Mapping[str, Tensor]] = []
        overlay = {"num_classes": classes, "label_offset": None}
        for seed in (0, 1):
            try:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    model = timm.create_model(
                        name, pretrained=True, num_classes=classes,
                        pretrained_cfg_overlay=overlay | {"state_dict": dict(given)}, **args,
                    )  # fmt: skip
            except Exception:  # whatever its conversion makes of the file of another model
                break
            read.append(model.state_dict())
        # Not of all models is it strict: what a seed decides was not in the file.
        if len(read) == 2 and all(torch.equal(value, read[1][n]) for n, value in read[0].items()):
            say(f"{key}: {path} is of other names or sizes; timm fits it to {name}")
            return dict(read[0])
    return None


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


def build_network(cfg: NetworkConfig, classes: Sequence[str], key: str) -> Network:
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
        model = None if cfg.name is None or cfg.factory else (cfg.name, cfg.args or {})
        load_weights(core, Path(cfg.pretrained), f"{key}.pretrained", classes, model=model)
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


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Query a network on the CPU; leave its mode, buffers and what is random as they were."""
    training, buffers = network.training, {n: b.clone() for n, b in network.named_buffers()}
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
        network.train(training)
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                if name in buffers:
                    buffer.copy_(buffers[name])


def check_logits(network: Network, classes: int, shape: tuple[int, int], key: str) -> None:
    """Query a network once, in eval mode on two grey images, to see that it gives logits.

    Raises:
        UserError: if it fails on such images or gives anything else.
    """
    try:
        # Not in inference mode, in which a tensor that a network keeps is of no use in training.
        with undisturbed(network), torch.no_grad():
            answer = network.eval().answer(torch.full((2, 3, *shape), 0.5))
    except Exception as error:  # whatever a stranger's network makes of it
        said = f"fails on {shape[1]}x{shape[0]} images: {_first_line(error)}"
        raise UserError.of(key, said) from error
    _check_answer(answer, (2, classes), key)


def check_training(
    network: Network, classes: int, shape: tuple[int, int], key: str, batch: int
) -> None:
    """Take one step of a network that learns, but for the update, to see that it can.

    Args:
        network: on the CPU; `unreached` is set.
        classes: of the data.
        shape: of its views, height and width.
        key: what to call it, for messages.
        batch: images of a process at a time; two are tried first, which takes less time.

    Raises:
        UserError: if it fails in training mode, gives no logits there, or nothing of it learns.
    """
    learning = {name: p for name, p in network.core.named_parameters() if p.requires_grad}
    if not learning:
        raise UserError.of(key, "has no parameter that learns (requires_grad)")
    noise = torch.Generator().manual_seed(0)
    for images in dict.fromkeys((2, batch)):
        view = torch.rand(images, 3, *shape, generator=noise)
        try:
            with undisturbed(network):
                answer = network.train().answer(view)
                logits = _check_answer(answer, (images, classes), key, " while it trains")
                gradients: Sequence[Tensor | None] = [None] * len(learning)
                if logits.requires_grad:
                    total = logits.float().sum()
                    gradients = torch.autograd.grad(total, [*learning.values()], allow_unused=True)
            break
        except UserError:
            raise
        except Exception as error:  # whatever a stranger's network makes of it
            cause = error
    else:
        said = f"fails in training on {batch} images of {shape[1]}x{shape[0]}"
        raise UserError.of(key, f"{said}: {_first_line(cause)}") from cause
    unreached = [name for name, g in zip(learning, gradients, strict=True) if g is None]
    if len(unreached) == len(learning):
        raise UserError.of(key, "gives logits that depend on no parameter that learns")
    if unreached:
        say(f"{key}: {some(unreached)} learn nothing: the logits do not depend on them")
    network.unreached = unreached


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _described(answer: Any) -> str:
    """Return what a network returned, in few words."""
    if isinstance(answer, Tensor):
        return f"{answer.dtype} {tuple(answer.shape)}"
    count = f" of {len(answer)}" if isinstance(answer, Sized) else ""
    return f"a {type(answer).__name__}{count}"


def _check_answer(answer: object, shape: tuple[int, int], key: str, when: str = "") -> Tensor:
    """Return the logits among what a network returned.

    Raises:
        UserError: if they are not floats of this shape.
    """
    logits: object = logits_of(answer)
    if not isinstance(logits, Tensor) or logits.shape != shape or not logits.is_floating_point():
        images = "two" if shape[0] == 2 else shape[0]
        raise UserError.of(
            key,
            f"gives {_described(logits)} for {images} images{when}; takes logits of shape "
            f"{shape}, one for each class of the data ({key}.args={{num_classes: {shape[1]}}} is "
            "passed to a factory)",
        )
    if answer is not logits:
        say(f"{key}: returns {_described(answer)}{when}: the logits are taken, the others not")
    return logits


def use_channels_last(network: Network, check: Callable[[], object], key: str) -> None:
    """Keep a pixel's channels together in memory, where convolutions are faster.

    A network that fails then, as one that flattens by `view`, stays as it is; a line says so.

    Args:
        network: changed in place.
        check: queries it, and raises what it fails with.
        key: what to call it.

    Raises:
        UserError: as `check`.
    """
    try:
        network.to(memory_format=torch.channels_last)
        check()
    except (RuntimeError, UserError) as error:
        network.to(memory_format=torch.contiguous_format)
        check()
        say(f"{key}: not in channels_last, where it fails ({error})")


def _core(cfg: NetworkConfig, classes: int, key: str) -> nn.Module:
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
        if isinstance(pretrained, str) and "pretrained" not in parameters:
            raise UserError.of(
                f"{key}.pretrained",
                f"got a file; {cfg.label} has no argument `pretrained` that reads one; take "
                f"{key}.weights=FILE, or a timm network (network=timm network.name=NAME)",
            )
        if "pretrained" in parameters or open_ended:
            args |= {} if pretrained is None else {"pretrained": pretrained}
        elif pretrained:
            asked = "weights" if cfg.weights == "pretrained" else "pretrained"
            raise UserError.of(f"{key}.{asked}", f"{cfg.label} has no pretrained weights")
    try:
        # A run and an export bring their weights: what they name is built, and fetches none.
        with fetching_nothing(key) if cfg.run or cfg.export else nullcontext():
            core = factory(**args)
    except UserError as error:  # from our own factories, which do not know their section
        here = (
            Problem(p.key.replace("network", key, 1), p.text.replace("network.", f"{key}."))
            for p in error.problems
        )
        raise UserError(*here) from error
    except FAILURES as error:
        cause: Exception = error
        if cfg.factory is not None and pretrained:  # is it the arguments, or the weights?
            without = _failure(factory, args | {"pretrained": False})
            if without is None:
                raise UserError.of(
                    f"{key}.pretrained",
                    f"got {shown(pretrained)}, of which {cfg.label} makes no network of {classes} "
                    f"classes ({_first_line(error)}); take a timm network (network=timm "
                    f"network.name=NAME), which gets a new head, or {key}.weights=FILE",
                ) from error
            cause = without
        said = f"{cfg.label} does not take {args}: {_first_line(cause)}"
        raise UserError.of(f"{key}.args", said) from error
    if not isinstance(core, nn.Module):
        raise UserError.of(f"{key}.factory", f"returned {type(core).__name__}; takes an nn.Module")
    if any(is_lazy(tensor) for tensor in (*core.parameters(), *core.buffers())):
        said = (
            "returned lazy layers, which the first images give a size; takes layers that have one"
        )
        raise UserError.of(f"{key}.factory", said)
    return core


# What a factory raises where its arguments do not fit, or its weights cannot be fetched.
FAILURES = (TypeError, ValueError, RuntimeError, AssertionError, OSError)


def _failure(factory: Callable[..., Any], args: Mapping[str, Any]) -> Exception | None:
    try:
        factory(**args)
    except FAILURES as error:
        return error
    return None


@contextmanager
def fetching_nothing(key: str) -> Iterator[None]:
    """Let torch's hub, and so torchvision, take weights from its cache alone.

    Raises:
        UserError: naming `key`, if some would be fetched.
    """

    def refuse(url: str, path: str, *_: object, **__: object) -> None:
        text = f"a run or an export asks for {shortened(url)}, which it may not have fetched"
        raise UserError.of(f"{key}.args", f"{text}; put it at {path} yourself")

    original = torch.hub.download_url_to_file
    torch.hub.download_url_to_file = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.hub.download_url_to_file = original


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


def _check_imagenet(classes: Sequence[str], head: HeadConfig | None, key: str) -> None:
    """Refuse a pretrained head where it is replaced, or where the classes are not ImageNet's."""
    imagenet = ImageNetInfo("imagenet-1k").label_names()  # type: ignore[no-untyped-call]
    if list(classes) != list(imagenet):
        raise UserError.of(
            f"{key}.weights",
            f"got pretrained, a head of ImageNet's 1,000 classes; the data has {some(classes)}",
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
    parts = [network.core.get_submodule(name) for name in _head_names(network.core)]
    if not parts:
        raise UserError.of(key, "only timm networks say which part is their head; takes 0")
    return parts[0] if len(parts) == 1 else nn.ModuleList(parts)


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
    names = _head_names(core)
    return names[0] if len(names) == 1 else None


def _head_names(core: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that give a timm model's logits: several average theirs."""
    names = (getattr(core, "pretrained_cfg", None) or {}).get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _replace_head(core: nn.Module, head: HeadConfig, classes: int, key: str) -> None:
    name = _head_name(core)
    linear = None if name is None else core.get_submodule(name)
    if name is None or not isinstance(linear, nn.Linear):
        raise UserError.of(f"{key}.head", "only timm networks with one linear classifier take one")
    new = BottleneckHead(linear.in_features, head.units, head.dropout, classes)
    core.set_submodule(name, new)


# What may stand beside the weights of a checkpoint, and only holds values: timm's options and the
# numbers of NumPy, under its older name too.
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")
      for core in ("core", "_core")),
]  # fmt: skip


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
                saved = json.loads((file.metadata() or {}).get("classes", "null"))
            if saved is not None and not is_list_of_texts(saved):
                raise ValueError("its class names are no list of texts")
            return found, saved
        zipped = zipfile.is_zipfile(path)
        if zipped:  # torch compresses nothing
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > path.stat().st_size:
                raise ValueError(f"its parts take {size:,} bytes, more than the file")
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True), None
    except Exception as error:  # whatever its readers make of a file that is no state dict
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError) and zipped:
            said = _needed_globals(path) or said
        raise UserError.of(
            key, f"{path} cannot be read as safetensors or a plain state dict: {said}"
        ) from error


def is_list_of_texts(value: object) -> bool:
    """Return whether a value of a file is a list of texts."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _needed_globals(path: Path) -> str | None:
    """Return what of a file is no tensor and would have to be called; torch advises to do so."""
    try:
        with torch.serialization.safe_globals(HARMLESS):
            names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # the pickle is damaged: its reader has said so
        return None
    if not names:
        return None
    return f"it holds {some(names)}, which mixkd does not call; save the state dict alone"


def load_weights(
    core: nn.Module,
    path: Path,
    key: str,
    classes: Sequence[str],
    model: tuple[str, Mapping[str, Any]] | None = None,
) -> None:
    """Load weights strictly into a core, found in the file by its names and shapes.

    Args:
        core: the network that the names and shapes have to fit.
        path: the file.
        key: the configuration key that named it, for messages.
        classes: the data's; a file that mixkd saved for others is refused, and so is one of
            timm's form whose config.json has these in another order.
        model: timm's name of the core and the arguments it was made with, where timm may convert
            other names and sizes.

    Raises:
        UserError: if names, shapes or classes differ, or values are not finite; it says which.
    """
    held, trained_on = read_tensors(path, key)
    if trained_on is None and sorted(named := named_beside(path)) == sorted(classes):
        trained_on = named  # others may be the same classes, spelt in another way
    if trained_on is not None and trained_on != list(classes):
        raise UserError.of(
            key,
            f"{path} was trained on the {len(trained_on)} classes {some(trained_on)}; "
            f"the data has the {len(classes)} classes {some(classes)}",
        )
    _load(core, held, path, key, model=model)


def _load(
    core: nn.Module,
    held: Any,
    path: Path,
    key: str,
    spare: tuple[str, ...] = (),
    model: tuple[str, Mapping[str, Any]] | None = None,
) -> None:
    """Load what of a file fits a core; `spare` begins the names that stay as they are."""
    own = core.state_dict()
    candidate = find(held, own, path, key, spare)
    weights = candidate.tensors
    if model is not None and not fits(candidate, own, spare):
        weights = _converted(core, *model, candidate, path, key) or weights
    kept = {n: value for n, value in own.items() if n.startswith(spare)}
    read = {n: value for n, value in weights.items() if not n.startswith(spare)}
    weights = checked(own, read | kept, path, key)
    _check_finite(core, {n: weights[n] for n in read}, path, key)
    core.load_state_dict(weights)


def named_beside(path: Path) -> list[str]:
    """Return the class names in the config.json beside weights of timm's form; [] without them."""
    if path.name != WEIGHTS["export"]:
        return []
    try:
        return told_names(read_mapping(path.with_name("config.json")))
    except (OSError, ValueError, TypeError, AttributeError):
        return []  # there is none, or it is another library's


def _check_finite(core: nn.Module, weights: Mapping[str, Tensor], path: Path, key: str) -> None:
    # Of buffers statistics alone: others, such as masks, may hold infinities.
    learned = {name for name, _ in core.named_parameters()}
    counted = [name for name in weights if name in learned or "running_" in name]
    wrong = sorted(name for name in counted if not weights[name].isfinite().all())
    if wrong:
        raise UserError.of(
            key, f"{path} holds values that are not finite, in {some(wrong)}; takes another file"
        )


def weights_fingerprint(core: nn.Module, cfg: NetworkConfig) -> str:
    """Return the sha256 of the file that a core's weights came from, or of the weights."""
    file = cfg.weights if cfg.weights not in (None, "pretrained") else cfg.pretrained
    if isinstance(file, str):  # whatever a new head is
        return file_fingerprint(file)
    digest = hashlib.sha256()
    for name, value in core.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_weights(core: nn.Module, path: Path, classes: Sequence[str]) -> None:
    """Write a core's weights as safetensors, with the class names in the metadata."""
    state = {n: t.detach().cpu().clone().contiguous() for n, t in core.state_dict().items()}
    # Not save_file: what it raises where the disk is full is no OSError.
    path.write_bytes(safetensors.torch.save(state, {"classes": json.dumps(list(classes))}))
