"""What can be set: a choice's speed over that of the default, for MobileNetV2 at 32 px."""

import os
import shutil
from collections.abc import Iterator
from functools import partial

import torch

from experiments.bench.parts import (
    configured,
    mixed_stream,
    random_splits,
    timm_network,
    training_seconds,
)
from experiments.bench.timing import Figure, in_turn, ratios
from mixkd.console import cores
from mixkd.modules.optimization import optimization
from mixkd.modules.supervised import Supervised

BATCH, STEPS = 64, 8
CHOICES = {
    "optimizer.fused=false": "One kernel for all parameters is the default.",
    "trainer.channels_last=false": "The pixels' channels together is the default.",
    "trainer.precision=bf16": "Off by default: few CPUs compute in bfloat16, and those that do are "
    "slower in depthwise convolutions, as here; dense networks and GPUs gain.",
    "trainer.threads=1": "Two such jobs at once, as launcher.parallel=2 runs them, are faster than "
    "one of two threads where this is above 0.5.",
}


def figures(repeats: int) -> Iterator[Figure]:
    """Yield the speed of each choice."""
    splits = random_splits(STEPS * BATCH, 32)
    threads = torch.get_num_threads()

    def trained(*overrides: str) -> float:
        cfg = configured(f"data.batch_size={BATCH}", "trainer.max_epochs=2", *overrides)
        network = timm_network("mobilenetv2_100", 10, *overrides)
        learner = Supervised(network, **optimization(cfg, network))
        seconds = training_seconds(cfg, splits, learner, mixed_stream(cfg, splits))
        torch.set_num_threads(threads)
        return seconds

    works = {"default": trained} | {word: partial(trained, word) for word in CHOICES}
    times = in_turn(works, repeats)
    for word, says in CHOICES.items():
        values = ratios(times["default"], times[word])
        yield Figure(f"{word}: images per second / default ({cores()} cores)", values, says)
    if shutil.which(os.environ.get("CXX", "c++")) is None:
        return  # nothing to compile with
    compiled = in_turn({"default": trained, "on": partial(trained, "trainer.compile=true")}, 2)
    yield Figure(
        "trainer.compile=true: images per second / default",
        ratios(compiled["default"], compiled["on"]),
        "Off by default: the first step takes a minute or more, which only a gain would pay for.",
    )
