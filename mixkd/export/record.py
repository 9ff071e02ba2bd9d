"""config.json of an export: what builds the network again, in timm's form and in mixkd's own."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from mixkd.config.data import DataConfig
from mixkd.config.fields import ARCHITECTURE, PLACE, START, keys
from mixkd.config.network import NetworkConfig
from mixkd.config.tasks import ExportConfig
from mixkd.networks.network import Network
from mixkd.networks.origin import recorded_images

# timm builds these by their names; any other factory is mixkd's or the user's.
BY_NAME = (None, "mixkd.networks.mobilenetv2")

# What timm keeps of an architecture, apart from its weights.
KEPT = ("classifier", "first_conv", "fixed_input_size", "pool_size")


def record(
    cfg: ExportConfig,
    network: Network,
    classes: Sequence[str],
    shape: tuple[int, int],
    weights: str,
    temperature: float | None,
) -> dict[str, Any]:
    """Return what config.json holds, ready for JSON.

    With an `architecture` timm loads the folder. `mixkd` has the keys of `network.*` that build the
    network and those of `data.*` that make its images, without places on a disk; `images` are the
    sha256 of those that it was trained and selected on, where they were files. `shape` is height
    and width of its views, `weights` the sha256 of the run's, and `temperature` is fitted on the
    held-out images.
    """
    normalisation = {"mean": as_floats(network.mean), "std": as_floats(network.std)}
    size = network.input_size
    preprocessing: dict[str, Any] = {
        **normalisation,
        "input_size": [3, *(shape if size is None else (size, size))],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",  # the whole image, whatever its shape
        "num_classes": len(classes),
    }
    architecture = cfg.network.model_dump(include={*keys(NetworkConfig, ARCHITECTURE, START)})
    architecture |= normalisation | {"input_size": size}
    config: dict[str, Any] = {"num_classes": len(classes), "label_names": list(classes)}
    timms = getattr(network.core, "pretrained_cfg", None) or {}
    if cfg.network.factory in BY_NAME and cfg.network.head is None:
        config = {"architecture": timms["architecture"], **config}
        config["num_features"] = int(getattr(network.core, "num_features"))  # noqa: B009
        if cfg.network.factory is None and cfg.network.args:
            config["model_args"] = dict(cfg.network.args)
        preprocessing |= {key: timms[key] for key in KEPT if timms.get(key) is not None}
    return config | {
        "pretrained_cfg": preprocessing,
        "mixkd": {
            "version": version("mixkd"),
            "format": cfg.format,
            "weights": weights,
            "temperature": temperature,
            "view": list(shape),
            "network": architecture,
            "data": cfg.data.model_dump(exclude={*keys(DataConfig, PLACE)}),
            "images": recorded_images(Path(cfg.network.run or "")),
        },
    }


def about(config: dict[str, Any]) -> dict[str, Any]:
    """Return what goes into the metadata of a program: enough to use it without another file."""
    record, view = config["mixkd"], config["mixkd"]["view"]
    return {
        "classes": config["label_names"],
        "input": f"image: float32 [batch, 3, {view[0]}, {view[1]}] in [0, 1], RGB",
        "input_size": view,
        "mean": config["pretrained_cfg"]["mean"],
        "std": config["pretrained_cfg"]["std"],
        "temperature": record["temperature"],
        "weights": record["weights"],
        "mixkd": record["version"],
    }


def as_floats(values: Tensor) -> list[float]:
    """Return float32 numbers as the shortest ones that stand for them."""
    return [float(np.format_float_positional(x, trim="0")) for x in values.flatten().numpy()]
