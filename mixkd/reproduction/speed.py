"""Timing networks on this machine."""

import time
from collections.abc import Callable

import torch
import yaml
from torch import nn

from mixkd.config.network import NetworkConfig
from mixkd.networks.build import build_network
from mixkd.networks.checks import check_logits, use_channels_last
from mixkd.reproduction.price import Model, Speed

LEAST = 1.0  # seconds that are timed at least, after a first step that is not


def measure_speed(model: Model, threads: int) -> Speed:
    """Return the speed of a network with random weights, on the GPU or on so many threads.

    Of a batch it is fed as much as it answers in a second or so.
    """
    torch.set_num_threads(threads)
    section = NetworkConfig.model_validate(
        dict.fromkeys(NetworkConfig.model_fields) | yaml.safe_load(model.section)
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = build_network(section, [str(k) for k in range(model.classes)], "network")
    if model.channels_last:
        shape = (model.size, model.size)
        use_channels_last(
            network, lambda: check_logits(network, model.classes, shape, "network"), "network"
        )
    network.to(device).eval()
    pair = torch.rand(2, 3, model.size, model.size, device=device)
    an_image = _seconds(torch.inference_mode()(lambda: network(pair)), device, least=0.0) / 2
    count = max(2, min(model.batch, int(LEAST / max(an_image, 1e-6))))
    view = torch.rand(count, 3, model.size, model.size, device=device)
    label = torch.zeros(count, dtype=torch.int64, device=device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    half = torch.autocast(device, torch.bfloat16, enabled=model.precision == "bf16")

    def step() -> None:
        optimizer.zero_grad()
        with half:
            loss = nn.functional.cross_entropy(network(view), label)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def answer() -> None:
        with torch.inference_mode(), half:
            network(view)

    network.train()
    train = count / _seconds(step, device)
    network.eval()
    forward = count / _seconds(answer, device)
    parameters = sum(p.numel() for p in network.parameters())
    return Speed(train, forward, parameters)


def _seconds(work: Callable[[], object], device: str, least: float = LEAST) -> float:
    """Return the seconds of a piece of work: the shortest, as other work on the machine adds."""
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds: list[float] = []
    while sum(seconds) < least or len(seconds) < 3:
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
