"""The sections `trainer`, `stage1` and `checkpoint`: how long, where and how to compute."""

from typing import Annotated, Literal

from mixkd.config.fields import (
    PLACE,
    REPEAT,
    AsBefore,
    Count,
    Epochs,
    Flag,
    Positive,
    Section,
    takes,
)
from mixkd.config.network import Precision


class MachineConfig(Section):
    """Where and how to compute. Of evaluation, threads, format and compiling change rounding alone.

    So does data.eval_batch_size, and data.resident and data.workers change nothing.
    """

    accelerator: Annotated[Literal["auto", "cpu", "gpu"], PLACE]
    strategy: Annotated[Literal["auto", "ddp"], PLACE]
    devices: Annotated[int, REPEAT, takes("a whole number from 1 to 1024", ge=1, le=1024)]
    threads: Annotated[
        int | None, PLACE, takes("a whole number from 1 to 1024, or null", ge=1, le=1024)
    ]
    precision: Precision
    channels_last: Annotated[Flag, PLACE]
    compile: Annotated[Flag, PLACE]


class TrainerConfig(MachineConfig):
    """How long and how to train, and which epoch to keep.

    Dropout on feature maps draws its mask in the order in which pixels lie in memory, and compiled
    code draws another one: so both are part of the experiment. Threads leave the mask as it is.
    """

    channels_last: Annotated[Flag, AsBefore(True)]
    compile: Annotated[Flag, AsBefore(False)]
    max_epochs: Epochs
    select: Literal["accuracy", "nll", "ece", "last"]
    clip_norm: Annotated[Positive | None, takes("a number above 0, or null")]
    accumulate: Count
    ema: Annotated[float | None, takes("a number above 0 and below 1, or null", gt=0, lt=1)]
    sync_batchnorm: Flag


class Stage1Config(Section):
    """Training of the head alone before the network is trained whole; lr is constant."""

    epochs: Annotated[int, takes("a whole number from 0 to 100000", ge=0, le=100_000)]
    lr: Positive


class CheckpointConfig(Section):
    """When to write last.ckpt beside the ends of epochs."""

    every_n_steps: Annotated[Count | None, takes("a whole number of steps, 1 or more, or null")]
