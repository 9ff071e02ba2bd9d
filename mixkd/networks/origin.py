"""Runs and exports: where they are, what they say of network and data, and what may be called.

Needs no torch.
"""

import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mixkd.config.data import WHICH, DataConfig
from mixkd.config.fields import SPLIT, keys
from mixkd.config.parts import factories
from mixkd.config.shipped import shipped_values
from mixkd.data.contents import IMAGES
from mixkd.errors import UserError
from mixkd.files import layout
from mixkd.files.reading import Damaged, read_mapping

# What says how the network of a run, or of an export, is built; and its weights.
SAVED = {"run": layout.CONFIG, "export": "config.json"}
WEIGHTS = {"run": layout.WEIGHTS, "export": "model.safetensors"}

# What is read of an export, and what begins the address of one on the Hugging Face Hub.
FILES = (SAVED["export"], WEIGHTS["export"])
PREFIX = "hf_hub:"

MOST_CLASSES = 2**20

# Where factories have moved to that the configurations of older runs and exports name.
MOVED = {"mixkd.cifar_resnet.cifar_resnet": "mixkd.networks.cifar.resnet.cifar_resnet"}

# A run directory is data: calling what it names must not do more than build a network. Whole
# packages would be too much: torch alone has functions that run any command.
SAFE_FACTORY = re.compile(
    r"mixkd\.networks\.mobilenetv2|mixkd\.networks\.cifar\.\w+\.\w+"
    r"|torch\.nn\.[A-Z]\w*|torchvision\.models\.[a-z]\w*"
)


def fetched(export: str, key: str) -> Path:
    """Return a folder, or what hf_hub:USER/NAME[@REVISION] is downloaded to, once for all."""
    if not export.startswith(PREFIX):
        folder = Path(os.path.expanduser(export))
        if not os.path.isfile(folder / FILES[0]):
            text = f"got {export!r}; no export there: the folder holds a {FILES[0]}"
            raise UserError.of(key, text)
        return folder
    from huggingface_hub import snapshot_download

    name, _, revision = export.removeprefix(PREFIX).partition("@")
    try:
        downloaded = snapshot_download(
            name, revision=revision or None, allow_patterns=list(FILES),
            library_name="mixkd", library_version=version("mixkd"),
        )  # fmt: skip
        return Path(downloaded)
    except (OSError, ValueError) as error:
        text = f"got {export!r}, which the Hub did not give: {reason(error)}"
        raise UserError.of(key, text) from error


def reason(error: Exception) -> str:
    """Return what the Hub said in refusing, in one line."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def with_moved(saved: Any) -> Any:
    """Return a saved configuration, or a part of one, with the present names of its factories."""
    if isinstance(saved, dict):
        return {
            key: MOVED.get(value, value)
            if key == "factory" and isinstance(value, str)
            else with_moved(value)
            for key, value in saved.items()
        }
    return [with_moved(value) for value in saved] if isinstance(saved, list) else saved


def saved_config(path: Path) -> dict[str, Any]:
    """Return {network, data, images} of a run's config.yaml or an export's config.json.

    Images are the sha256 of each split's, where they are files; an export has its `weights`', too.
    A ValueError says what is wrong with the file.
    """
    if path.name == SAVED["export"]:
        return _exported_config(path)
    try:
        saved = with_moved(read_mapping(path))
        learner = {"finetune": "network", "distill": "student", "evaluate": ""}[saved["task"]]
        network, data = (dict(saved[learner]), dict(saved["data"])) if learner else ({}, {})
    except Damaged as error:
        raise ValueError(f"is no run's configuration: {error.why}") from error
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError("is no run's configuration") from error
    if not learner:
        text = "is of an evaluation, which trains nothing; takes a finetune or distill run"
        raise ValueError(text)
    if strange := network.keys() - shipped_values("network", "_none").keys():
        other = min(map(str, strange))
        raise ValueError(f"is of another version of mixkd, where there is a {learner}.{other}")
    try:
        return {"network": network, "data": data, "images": recorded_images(path.parent)}
    except Damaged as error:
        raise ValueError(f"has no sound record beside it: {error}") from error


def recorded_images(run: Path) -> dict[str, str]:
    """Return the sha256 of the images of each split, as far as a run has recorded them."""
    try:
        prints = read_mapping(run / layout.PROVENANCE)["fingerprints"]
        return {key.removeprefix(IMAGES): str(prints[key]) for key in prints if IMAGES in key}
    except (FileNotFoundError, LookupError, TypeError):
        return {}


def _exported_config(path: Path) -> dict[str, Any]:
    """Return {network, data} of an export, or of any timm model in timm's form of the Hub."""
    try:
        saved = read_mapping(path)
        if "mixkd" in saved:
            record = with_moved(saved["mixkd"])
            sections = {key: dict(record[key]) for key in ("network", "data")}
            images = {str(key): str(value) for key, value in record.get("images", {}).items()}
            return sections | {"images": images, "weights": str(record["weights"])}
        preprocessing = saved.get("pretrained_cfg", saved)
        network = {"name": str(saved["architecture"]), "args": saved.get("model_args")}
        label_names(saved)
        network |= {key: list(preprocessing[key]) for key in ("mean", "std")}
        network |= {"input_size": preprocessing["input_size"][-1]}
        return {"network": network, "data": {}, "images": {}}
    except Damaged as error:
        text = f"is of no network that timm or mixkd knows: {error.why}"
        raise ValueError(text) from error
    except (OSError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ValueError("is of no network that timm or mixkd knows") from error


def label_names(saved: Mapping[str, Any]) -> list[str]:
    """Return the class names that a config.json of timm's form holds, or their numbers."""
    if names := class_names(saved):
        return names
    preprocessing = saved.get("pretrained_cfg", saved)
    count = int(saved.get("num_classes") or preprocessing.get("num_classes"))
    if count > MOST_CLASSES:
        raise ValueError(f"num_classes is {count}")
    return [str(k) for k in range(count)]


def class_names(saved: Mapping[str, Any]) -> list[str]:
    """Return the class names that a config.json of timm's form holds; [] where it holds none."""
    names = saved.get("label_names") or saved.get("pretrained_cfg", saved).get("label_names") or []
    if not isinstance(names, list):
        raise TypeError("label_names is no list")
    return [str(name) for name in names]


def without_file(network: dict[str, Any]) -> dict[str, Any]:
    """Return a network without the file of its pretrained weights, which may be gone."""
    return network | {"pretrained": bool(network.get("pretrained")) or None}


def same_images(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether two roots, by the sha256 of their splits, train and select by the same images.

    Where there is a test/, val/ selects; else it reports, and selection is held out of train/.
    """
    selecting = [images.get("val") if "test" in images else None for images in (one, other)]
    return one.get("train") == other.get("train") is not None and selecting[0] == selecting[1]


def other_split(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return how the same data set holds out other images than other data; "" if it does not.

    Where the test images select, none are held out.
    """
    split_keys = keys(DataConfig, SPLIT)
    is_same = all(one.get(key) == other.get(key) for key in split_keys)
    if not same_source(one, other) or is_same or other.get("selection") == "test":
        return ""
    return ", ".join(f"data.{key}={one.get(key)}" for key in split_keys)


def same_source(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether data are of one data set, or of any folders, by their sections."""
    return all(one.get(key) == other.get(key) for key in WHICH)


def is_trusted(factory: Any, trust: Any) -> bool:
    """Return whether a callable that a stranger's file names is safe, or of a package to trust."""
    packages = trust if isinstance(trust, list) else []
    is_safe = SAFE_FACTORY.fullmatch(str(factory)) is not None
    return is_safe or re.split(r"[./]", str(factory))[0] in packages


def distrusted(section: Any, trust: Any) -> Iterator[str]:
    """Yield the callables that a section of a stranger's file names and that may not be called."""
    yield from (path for _, path in factories(section) if not is_trusted(path, trust))
