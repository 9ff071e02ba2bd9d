"""Networks as a configuration names them: timm's, or those of a factory.

A new network is a file in conf/network/: a timm name, or a factory and its arguments.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mixkd.config.network import HeadConfig, NetworkConfig
from mixkd.config.shipped import group_names, shipped_values
from mixkd.errors import Problem, UserError, first_line, nearest, shortened, shown
from mixkd.networks.network import BottleneckHead, Network, head_names
from mixkd.networks.origin import MOVED
from mixkd.networks.state_dict import candidates, first_few, fits
from mixkd.networks.weights import TimmModel, fit_weights, load_weights, read_tensors
from mixkd.parts import FAILURES, arguments, import_callable

# Arguments of timm.create_model that read files or fetch: weights and pretrained are for that.
RESERVED = {
    "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir",
}  # fmt: skip


def timm_core(
    name: str, num_classes: int, pretrained: bool | str | None = None, **args: Any
) -> nn.Module:
    """Return a timm model with a new head, made by `timm.create_model` with `args`.

    `pretrained=True` fetches timm's weights; a path reads them from there, all but the head's.

    Raises:
        UserError: if timm has no such model, or its weights cannot be fetched.
    """
    key = "network.pretrained"
    if not timm.is_model(name):
        close = nearest(name.partition(".")[0], timm.list_models())
        raise UserError.of("network.name", f"timm has no model {name!r}{close}")
    published = timm.get_pretrained_cfg(name)
    if pretrained is True and not (published and published.has_weights):
        raise UserError.of(key, f"got true; timm has no weights of {name}")
    try:
        core: nn.Module = timm.create_model(
            name, num_classes=num_classes, pretrained=pretrained is True, **args
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        text = f"the weights of {name} could not be fetched ({str(error).splitlines()[0]}); "
        text += "give a file (network.pretrained=FILE), name a mirror (HF_ENDPOINT=URL in the "
        text += "environment), or start from random weights (network.pretrained=false)"
        raise UserError.of(key, text) from error
    if isinstance(pretrained, str):
        path = Path(pretrained)
        spare = tuple(f"{head}." for head in head_names(core))
        fit_weights(core, read_tensors(path, key)[0], path, key, spare, model=(name, args))
    return core


def mobilenetv2(
    num_classes: int, width: float = 1.0, pretrained: bool | str | None = None
) -> nn.Module:
    """Return timm's MobileNetV2 of a width multiplier."""
    names = {int(n[-3:]) / 100: n for n in timm.list_models("mobilenetv2_???")}
    if width not in names:
        widths = ", ".join(f"{w:g}" for w in sorted(names))
        raise UserError.of("network.args.width", f"got {width}; takes {widths}")
    return timm_core(names[width], num_classes, pretrained)


def build_network(cfg: NetworkConfig, classes: Sequence[str], key: str) -> Network:
    """Build a network that gives a logit for each of the data's classes, and load its weights.

    Args:
        cfg: the network's section.
        classes: their names.
        key: the section's name, for messages.

    Raises:
        UserError: if there is no such network, or its weights or output do not fit.
    """
    if cfg.args and (reserved := RESERVED & cfg.args.keys()):
        text = f"got {', '.join(sorted(reserved))}; take {key}.weights or .pretrained"
        raise UserError.of(f"{key}.args", text)
    if cfg.weights == "pretrained":
        _check_imagenet(classes, cfg.head, key)
    core = _core(cfg, len(classes), key)
    timms = getattr(core, "pretrained_cfg", None) or {}
    if cfg.head is not None:
        _replace_head(core, cfg.head, len(classes), key)
    model = None if cfg.name is None or cfg.factory or cfg.head else (cfg.name, cfg.args or {})
    if cfg.weights == "pretrained" and isinstance(cfg.pretrained, str):
        load_weights(core, Path(cfg.pretrained), f"{key}.pretrained", classes, model=model)
    elif cfg.weights == "pretrained":
        if (trained_on := timms.get("num_classes")) != 1000:
            text = f"got pretrained; timm's head has {trained_on} classes, not 1,000"
            raise UserError.of(f"{key}.weights", text)
    elif cfg.weights is not None:
        _load_weights(core, Path(cfg.weights), key, classes, model)
    size = timms.get("input_size", [None])[-1]
    if not (cfg.pretrained or cfg.weights == "pretrained" or timms.get("fixed_input_size")):
        size = None
    size = (cfg.args or {}).get("img_size", size)  # timm's argument for a size other than its own
    return Network(
        core,
        cfg.mean or timms.get("mean", IMAGENET_DEFAULT_MEAN),
        cfg.std or timms.get("std", IMAGENET_DEFAULT_STD),
        cfg.input_size or size,
    )


def _core(cfg: NetworkConfig, classes: int, key: str) -> nn.Module:
    factory, args = _factory_and_args(cfg, classes, key)
    try:
        # A run and an export bring their weights: what they name is built, and fetches none.
        with fetching_nothing(key) if cfg.run or cfg.export else nullcontext():
            core = factory(**args)
    except UserError as error:  # from our own factories, which do not know their section
        raise UserError(*(
            Problem(p.key.replace("network", key, 1), p.text.replace("network.", f"{key}."))
            for p in error.problems
        )) from error  # fmt: skip
    except FAILURES as error:
        cause: Exception = error
        pretrained = args.get("pretrained")
        if cfg.factory is not None and pretrained:  # is it the arguments, or the weights?
            try:
                factory(**args | {"pretrained": False})
            except FAILURES as without_weights:
                cause = without_weights
            else:
                text = f"got {shown(pretrained)}, of which {cfg.label} makes no network of "
                text += f"{classes} classes ({first_line(error)}); take a timm network (network="
                text += f"timm network.name=NAME), which gets a new head, or {key}.weights=FILE"
                raise UserError.of(f"{key}.pretrained", text) from error
        text = f"{cfg.label} does not take {args}: {first_line(cause)}"
        raise UserError.of(f"{key}.args", text) from error
    if not isinstance(core, nn.Module):
        raise UserError.of(f"{key}.factory", f"returned {type(core).__name__}; takes an nn.Module")
    if any(is_lazy(tensor) for tensor in (*core.parameters(), *core.buffers())):
        text = "returned lazy layers, which the first images give a size"
        raise UserError.of(f"{key}.factory", f"{text}; takes layers that have one")
    return core


def _factory_and_args(
    cfg: NetworkConfig, classes: int, key: str
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return what makes the core, and with which arguments."""
    args = arguments(cfg.args or {}, f"{key}.args")
    # Weights of our own replace pretrained ones: there is nothing to fetch.
    pretrained = False if cfg.weights is not None else cfg.pretrained
    if cfg.weights == "pretrained":  # a file's are loaded with the head, by the caller
        pretrained = not isinstance(cfg.pretrained, str)
    if cfg.factory is None:
        usual = {"name": cfg.name, "num_classes": classes, "pretrained": pretrained}
        return timm_core, usual | args
    factory = import_callable(MOVED.get(cfg.factory, cfg.factory), f"{key}.factory")
    try:
        parameters = signature(factory).parameters
    except ValueError as error:
        raise UserError.of(f"{key}.factory", f"{cfg.factory} makes no network") from error
    takes_any = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    if "num_classes" in parameters or takes_any:
        args.setdefault("num_classes", classes)
    if isinstance(pretrained, str) and "pretrained" not in parameters:
        text = f"got a file; {cfg.label} has no argument `pretrained` that reads one; take "
        text += f"{key}.weights=FILE, or a timm network (network=timm network.name=NAME)"
        raise UserError.of(f"{key}.pretrained", text)
    if "pretrained" in parameters or takes_any:
        args |= {} if pretrained is None else {"pretrained": pretrained}
    elif pretrained:
        option = "weights" if cfg.weights == "pretrained" else "pretrained"
        raise UserError.of(f"{key}.{option}", f"{cfg.label} has no pretrained weights")
    return factory, args


@contextmanager
def fetching_nothing(key: str) -> Iterator[None]:
    """Let torch's hub, and so torchvision, take weights from its cache alone."""

    def refuse(url: str, path: str, *_: object, **__: object) -> None:
        text = f"a run or an export asks for {shortened(url)}, which it may not have fetched"
        raise UserError.of(f"{key}.args", f"{text}; put it at {path} yourself")

    original = torch.hub.download_url_to_file
    torch.hub.download_url_to_file = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.hub.download_url_to_file = original


def _load_weights(
    core: nn.Module, path: Path, key: str, classes: Sequence[str], model: TimmModel | None
) -> None:
    """Load a file's weights; where they are those of another CIFAR network, name it."""
    try:
        load_weights(core, path, f"{key}.weights", classes, model=model)
    except UserError as error:
        content, _ = read_tensors(path, f"{key}.weights")
        networks = {key: core.state_dict()}
        networks |= {f"{key}={n}": tensors for n, tensors in _cifar_tensors(len(classes)).items()}
        choices = list(candidates(content, {n for tensors in networks.values() for n in tensors}))
        fitting = [n for n, tensors in networks.items() if any(fits(c, tensors) for c in choices)]
        if not fitting or key in fitting:
            raise
        text = f"{error.problems[0].text}; it fits {first_few(fitting)}"
        raise UserError.of(f"{key}.weights", text) from error


def _cifar_tensors(classes: int) -> dict[str, dict[str, Tensor]]:
    """Return the tensors, without values, of the shipped CIFAR networks by the networks' names."""
    tensors = {}
    for name in group_names("network"):
        values = shipped_values("network", name)
        factory = values["factory"] or ""
        if factory.startswith("mixkd.networks.cifar."):
            with torch.device("meta"):
                core = import_callable(factory, name)(num_classes=classes, **values["args"] or {})
            tensors[name] = core.state_dict()
    return tensors


def _check_imagenet(classes: Sequence[str], head: HeadConfig | None, key: str) -> None:
    """Refuse a pretrained head where it is replaced, or where the classes are not ImageNet's."""
    imagenet = ImageNetInfo("imagenet-1k").label_names()  # type: ignore[no-untyped-call]
    if list(classes) != list(imagenet):
        text = f"a head of ImageNet's 1,000 classes; the data has {first_few(classes)}"
        raise UserError.of(f"{key}.weights", f"got pretrained, {text}")
    if head is not None:
        raise UserError.of(f"{key}.weights", f"got pretrained; takes {key}.head=null beside it")


def _replace_head(core: nn.Module, head: HeadConfig, classes: int, key: str) -> None:
    names = head_names(core)
    linear = core.get_submodule(names[0]) if len(names) == 1 else None
    if not isinstance(linear, nn.Linear):
        raise UserError.of(f"{key}.head", "only timm networks with one linear classifier take one")
    new = BottleneckHead(linear.in_features, head.units, head.dropout, classes)
    core.set_submodule(names[0], new)
