"""Weights in and out: files of tensors are read without running anything, and fitted to a core."""

import argparse
import hashlib
import json
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from safetensors import safe_open
from torch import Tensor, nn

from mixkd.config.network import NetworkConfig
from mixkd.console import say
from mixkd.errors import UserError
from mixkd.files.reading import read_mapping
from mixkd.files.writing import file_fingerprint
from mixkd.networks.network import head_names
from mixkd.networks.origin import SAVED, WEIGHTS, class_names
from mixkd.networks.state_dict import (
    Candidate,
    brief,
    check_kind,
    checked,
    find,
    first_few,
    fits,
    unwrapped,
)  # fmt: skip


class LeftOut:
    """Stands for an array of NumPy, which is no weights; whatever makes one holds nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# What may stand beside the weights of a checkpoint, and only holds values: timm's options, and
# the numbers and arrays of NumPy, under its older name too.
HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    *(type(np.dtype(kind))
      for kind in ("float64", "float32", "int64", "int32", "uint32", "uint8", "bool")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar")
      for core in ("core", "_core")),
    *((LeftOut, f"numpy.{name}")
      for name in ("ndarray", "core.multiarray._reconstruct", "_core.multiarray._reconstruct")),
]  # fmt: skip

TimmModel = tuple[str, Mapping[str, Any]]  # timm's name, and the arguments that a core is made with


def read_tensors(path: Path, key: str) -> tuple[Any, list[str] | None]:
    """Return what a file of tensors holds, and the class names where mixkd saved them.

    The file is safetensors, or in torch's own format; nothing in it is executed.
    """
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
            with safe_open(path, "pt") as file:
                classes = json.loads((file.metadata() or {}).get("classes", "null"))
            texts = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
            if classes is not None and not texts:
                raise ValueError("its class names are no list of texts")
            return tensors, classes
        if zipfile.is_zipfile(path):  # torch compresses nothing
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > path.stat().st_size:
                raise ValueError(f"its parts take {size:,} bytes, more than the file")
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True), None
    except Exception as error:  # whatever its readers make of a file that is no state dict
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, (pickle.UnpicklingError, RuntimeError)):
            reason = _damage(error)
        text = f"{path} cannot be read as safetensors or a plain state dict: {reason}"
        raise UserError.of(key, text) from error


def _damage(error: Exception) -> str:
    """Return why torch did not load a file; its own text advises to run what the file holds."""
    if needed := re.search(r"(?:GLOBAL |but got <class ')([^\s']+)", str(error)):
        return f"it holds {brief(needed[1])}, which mixkd does not call; save the state dict alone"
    return "it is damaged, or not what torch.save writes by default"


def load_weights(
    core: nn.Module, path: Path, key: str, classes: Sequence[str], model: TimmModel | None = None
) -> None:
    """Load weights strictly into a core, found in the file by its names and shapes.

    A file that mixkd saved for other classes is refused, and so is one of timm's form whose
    config.json has these in another order.

    Args:
        core: the network that the names and shapes have to fit.
        path: the file.
        key: the configuration key that named it, for messages.
        classes: the names of the classes of the data.
        model: what timm makes the core of, where it may convert other names and sizes.

    Raises:
        UserError: if names, shapes or classes differ, or values are not finite; it says which.
    """
    content, trained_on = read_tensors(path, key)
    if trained_on is None and sorted(names := _config_classes(path)) == sorted(classes):
        trained_on = names  # others may be the same classes, spelt in another way
    if trained_on is not None and trained_on != list(classes):
        text = f"{path} was trained on the {len(trained_on)} classes {first_few(trained_on)}; "
        text += f"the data has the {len(classes)} classes {first_few(classes)}"
        raise UserError.of(key, text)
    fit_weights(core, content, path, key, model=model)


def fit_weights(
    core: nn.Module, content: Any, path: Path, key: str, spare: tuple[str, ...] = (),
    model: TimmModel | None = None,
) -> None:  # fmt: skip
    """Load what of a file fits a core, as `load_weights` does whatever the classes.

    The tensors whose names begin as one of `spare` does, such as `head.`, stay as they are.
    """
    expected = core.state_dict()
    candidate = find(content, expected, path, key, spare)
    weights = candidate.tensors
    if model is not None and not fits(candidate, expected, spare):
        weights = _converted(core, *model, candidate, path, key) or weights
    unchanged = {n: value for n, value in expected.items() if n.startswith(spare)}
    loaded = {n: value for n, value in weights.items() if not n.startswith(spare)}
    weights = checked(expected, loaded | unchanged, path, key)
    # Of buffers statistics alone: others, such as masks, may hold infinities.
    learned = {name for name, _ in core.named_parameters()}
    measured = [name for name in loaded if name in learned or "running_" in name]
    if wrong := sorted(name for name in measured if not weights[name].isfinite().all()):
        text = f"{path} holds values that are not finite, in {first_few(wrong)}"
        raise UserError.of(key, f"{text}; takes another file")
    core.load_state_dict(weights)


def _config_classes(path: Path) -> list[str]:
    """Return the class names in the config.json beside weights of timm's form; [] without them."""
    if path.name != WEIGHTS["export"]:
        return []
    try:
        return class_names(read_mapping(path.with_name(SAVED["export"])))
    except (OSError, ValueError, TypeError, AttributeError):
        return []  # there is none, or it is another library's


def _converted(
    core: nn.Module, name: str, args: Mapping[str, Any], candidate: Candidate, path: Path, key: str
) -> dict[str, Tensor] | None:  # fmt: skip
    """Return weights as timm takes them up: of other names, of other sizes; None if it does not."""
    tensors = unwrapped(candidate)
    for tensor_name, value in tensors.items():
        check_kind(tensor_name, value, value, path, key)
        if value.nbytes > value.untyped_storage().nbytes():  # it claims more than the file holds
            return None
    tensors = {n: v.float() if v.is_floating_point() else v for n, v in tensors.items()}
    # timm is strict about a file's names where its model has as many classes.
    heads = [tensors[n] for head in head_names(core) if (n := f"{head}.weight") in tensors]
    usual = (getattr(core, "pretrained_cfg", None) or {}).get("num_classes", 1000)
    guesses = (getattr(core, "num_classes", usual), usual, 0)
    for classes in (len(heads[0]),) if heads and heads[0].dim() else dict.fromkeys(guesses):
        read: list[Mapping[str, Tensor]] = []
        overlay = {"num_classes": classes, "label_offset": None}
        for seed in (0, 1):
            try:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    model = timm.create_model(
                        name, pretrained=True, num_classes=classes,
                        pretrained_cfg_overlay=overlay | {"state_dict": dict(tensors)}, **args,
                    )  # fmt: skip
            except Exception:  # whatever its conversion makes of the file of another model
                break
            read.append(model.state_dict())
        # Not of all models is it strict: what a seed decides was not in the file.
        if len(read) == 2 and all(torch.equal(value, read[1][n]) for n, value in read[0].items()):
            place = f" ({candidate.place})" if candidate.path or candidate.prefix else ""
            say(f"{key}: {path}{place} is of other names or sizes; timm fits it to {name}")
            return dict(read[0])
    return None


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
