"""Helpers that build networks as a command does."""

from omegaconf import OmegaConf
from torch import nn

from mixkd.config.network import NetworkConfig
from mixkd.networks.build import build_network
from mixkd.networks.network import Network
from mixkd.request import compose


def section(*overrides: str) -> NetworkConfig:
    raw = OmegaConf.to_container(compose("finetune", list(overrides))["network"])
    return NetworkConfig.model_validate(raw)


def build(*overrides: str, classes: int = 10) -> Network:
    return build_network(section(*overrides), [f"class{k}" for k in range(classes)], "network")


def trainable(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
