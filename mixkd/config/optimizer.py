"""The sections `optimizer` and `schedule`."""

from typing import Annotated, Literal

from pydantic import Field

from mixkd.config.fields import Flag, NonNegative, Positive, Section, takes


class SGDConfig(Section):
    """Stochastic gradient descent. lr is the peak learning rate."""

    name: Literal["sgd"]
    lr: Positive
    momentum: Annotated[float, takes("a number in [0, 1)", ge=0, lt=1)]
    nesterov: Flag
    weight_decay: NonNegative
    fused: Flag


class AdamConfig(Section):
    """Adam, or AdamW with decoupled weight decay. lr is the peak learning rate."""

    name: Literal["adam", "adamw"]
    lr: Positive
    betas: Annotated[
        list[Annotated[float, Field(ge=0, lt=1)]],
        takes("two numbers in [0, 1)", min_length=2, max_length=2),
    ]
    weight_decay: NonNegative
    fused: Flag


class ConstantConfig(Section):
    """One learning rate throughout."""

    name: Literal["constant"]


class CosineConfig(Section):
    """Linear warm-up over whole epochs, then half a cosine."""

    name: Literal["cosine"]
    warmup_epochs: Annotated[int, takes("a whole number, 0 or more", ge=0)]
    min_lr: NonNegative


class PlateauConfig(Section):
    """Lower the rate when the held-out NLL stops falling."""

    name: Literal["plateau"]
    factor: Annotated[float, takes("a number above 0 and below 1", gt=0, lt=1)]
    patience: Annotated[int, takes("a whole number of epochs, 1 or more", ge=1)]
    min_delta: NonNegative
    min_lr: NonNegative


class SegmentConfig(Section):
    """One piece of a piecewise schedule; epochs from 0, both ends inclusive."""

    start: NonNegative
    end: Positive
    lr0: NonNegative
    lr1: NonNegative
    shape: Literal["linear", "cosine"]


class PiecewiseConfig(Section):
    """The paper's student schedule, as data."""

    name: Literal["piecewise"]
    stretch: Flag
    length: Annotated[int, takes("a whole number of epochs, 2 or more", ge=2)]
    segments: Annotated[list[SegmentConfig], takes("a list of segments", min_length=1)]
