"""The sections `optimizer` and `schedule`."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from mixkd.config.fields import Flag, NonNegative, Part, Positive, Section, Share, takes
from mixkd.errors import Problem


class SGDConfig(Section):
    """Stochastic gradient descent. lr is the peak learning rate."""

    name: Literal["sgd"]
    lr: Positive
    momentum: Share
    nesterov: Flag
    weight_decay: NonNegative
    fused: Flag

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a momentum that Nesterov's needs and that is not there."""
        if raw.get("nesterov") is True and raw.get("momentum") == 0:
            yield Problem("momentum", "got 0 with nesterov=true; takes a number above 0")


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
    factor: Part
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

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a segment without an epoch, and a gap between two."""
        segments = raw.get("segments")
        if not isinstance(segments, list) or not all(isinstance(s, Mapping) for s in segments):
            return
        for index, segment in enumerate(segments):
            if segment.get("start") == segment.get("end"):
                yield Problem(f"segments[{index}].end", "takes an epoch after its start")
        for index, (before, after) in enumerate(pairwise(segments), start=1):
            if before.get("end") != after.get("start"):
                text = f"got {after.get('start')}; takes {before.get('end')}, where the segment"
                yield Problem(f"segments[{index}].start", f"{text} before it ends")
