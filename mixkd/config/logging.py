"""The sections `logger` and `callbacks`."""

from typing import Annotated, Any, Literal

from pydantic import Field

from mixkd.config.fields import Count, NumpySeed, Section, takes

# What W&B takes as the name of a project or an entity, here before anything is trained.
WANDB_NAME = r"^[^/\\#?%:]+$"
WANDB_NAMED = r"a name of up to 128 letters, without / \ # ? % and :"


class WandbConfig(Section):
    """Weights & Biases: names as it takes them."""

    project: Annotated[str, takes(WANDB_NAMED, pattern=WANDB_NAME, max_length=128)]
    entity: Annotated[
        Annotated[str, Field(pattern=WANDB_NAME, max_length=128)] | None,
        takes(f"{WANDB_NAMED}, or null"),
    ]
    group: Annotated[
        Annotated[str, Field(min_length=1, max_length=128)] | None,
        takes("a name of up to 128 letters, or null"),
    ]
    tags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]],
        takes("a list of words of up to 64 letters"),
    ]
    mode: Literal["auto", "online", "offline"]


class LoggerConfig(Section):
    """Lightning loggers beside history.csv; null: without it."""

    csv: Annotated[dict[str, Any] | None, takes("{}, or null", max_length=0)]
    tensorboard: Annotated[dict[str, Any] | None, takes("{}, or null", max_length=0)]
    wandb: WandbConfig | None


class CalibrationMonitorConfig(Section):
    """A reliability diagram while a network trains."""

    every_n_epochs: Annotated[Count | None, takes("a whole number of epochs, 1 or more, or null")]


class LinearityMonitorConfig(CalibrationMonitorConfig):
    """Vicinal analysis while a network trains."""

    n_pairs: Count
    lambdas: Annotated[int, takes("a whole number from 3 to 1001", ge=3, le=1001)]
    seed: NumpySeed


class CallbacksConfig(Section):
    """What is looked at on the held-out images while a network trains."""

    calibration: CalibrationMonitorConfig
    linearity: LinearityMonitorConfig
