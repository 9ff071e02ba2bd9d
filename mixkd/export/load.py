"""A network from an export, for Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixkd.config.messages import schema_problems
from mixkd.config.network import NetworkConfig
from mixkd.config.shipped import shipped_values
from mixkd.errors import UserError
from mixkd.files.reading import read_mapping
from mixkd.networks.build import build_network
from mixkd.networks.network import Network
from mixkd.networks.origin import SAVED, label_names
from mixkd.networks.weights import read_tensors
from mixkd.runs.inherit import fill_network


def load_network(export: str, trust: Sequence[str] = ()) -> tuple[Network, list[str]]:
    """Return the network of an export, in eval mode on the CPU, and its class names.

    The network takes float images [b, 3, h, w] in [0, 1], which it normalises itself, and gives
    logits [b, classes]. Weights and config.json are read; nothing in them is executed.

    Args:
        export: a folder that `mixkd export` wrote, or hf_hub:USER/NAME[@REVISION]; timm's own
            models on the Hub are read too.
        trust: packages, beside mixkd, timm and torch's, whose callables may build the network.

    Raises:
        UserError: if there is no such export, or its parts do not fit.

    Examples:
        >>> import torch
        >>> network, classes = load_network("hf_hub:user/name")  # doctest: +SKIP
        >>> logits = network(torch.rand(8, 3, 32, 32))  # doctest: +SKIP
        >>> [classes[k] for k in logits.argmax(dim=1)]  # doctest: +SKIP
    """
    section = shipped_values("network", "_none") | {"export": export}
    raw: dict[str, Any] = {"task": "load", "network": section, "data": {}, "trust": list(trust)}
    problems = list(fill_network(raw, "network", section))
    if problems:
        raise UserError(*problems)
    try:
        cfg = NetworkConfig.model_validate(section)
    except ValidationError as error:
        raise UserError(*schema_problems(NetworkConfig, section, error)) from error
    path = Path(section["weights"])
    _, classes = read_tensors(path, "network.export")
    classes = classes or label_names(read_mapping(path.with_name(SAVED["export"])))
    network = build_network(cfg, classes, "network")
    network.eval()
    return network, classes
