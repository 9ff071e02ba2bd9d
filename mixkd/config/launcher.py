"""The sections `launcher`, `sweep`, `run` and `logger`: where jobs run, are kept and shown."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from mixkd.config.fields import PATH, Count, CountOrNull, Flag, Positive, Section, each_once, takes
from mixkd.config.parts import NamedPartsConfig


class RunConfig(Section):
    """Where a run is kept."""

    dir: Annotated[str | None, PATH, takes("a directory, or null")]
    root: Annotated[str, PATH, takes("a directory", min_length=1)]
    force: Flag


class LocalConfig(Section):
    """Jobs on this machine."""

    name: Literal["local"]
    parallel: Annotated[int, takes("a whole number from 1 to 1024", ge=1, le=1024)]


class SlurmConfig(Section):
    """Jobs on a SLURM cluster, through submitit."""

    name: Literal["slurm"]
    partition: Annotated[str | None, takes("a name, or null")]
    account: Annotated[str | None, takes("a name, or null")]
    timeout_min: Annotated[int, takes("a whole number of minutes, 1 or more", ge=1)]
    requeues: Annotated[int, takes("a whole number, 0 or more", ge=0)]
    cpus_per_task: CountOrNull
    mem_gb: Annotated[Positive | None, takes("a number of gigabytes above 0, or null")]
    gpus: Flag
    parallel: Count
    setup: Annotated[list[str], takes("a list of lines of shell")]
    wait: Flag


LauncherConfig = Annotated[LocalConfig | SlurmConfig, Field(discriminator="name")]


class SweepConfig(Section):
    """What the jobs of a sweep share; the sweep sets its name."""

    name: Annotated[str | None, takes("a name, or null")]
    fail_fast: Flag
    trials: CountOrNull
    objectives: Annotated[
        list[Literal["accuracy", "ece", "nll", "brier"]],
        AfterValidator(each_once),
        takes("a list of accuracy, ece, nll, brier", min_length=1),
    ]


# What W&B takes as the name of a project or an entity, here before anything is trained.
WANDB_NAME = r"^[^/\\#?%:]+$"
WANDB_NAMED = r"a name of up to 128 letters, without / \ # ? % and :"


WandbName = Annotated[str, Field(pattern=WANDB_NAME, max_length=128)]
WandbGroup = Annotated[str, Field(min_length=1, max_length=128)]
WandbTag = Annotated[str, Field(min_length=1, max_length=64)]


class WandbConfig(Section):
    """Weights & Biases: names as it takes them."""

    project: Annotated[WandbName, takes(WANDB_NAMED)]
    entity: Annotated[WandbName | None, takes(f"{WANDB_NAMED}, or null")]
    group: Annotated[WandbGroup | None, takes("a name of up to 128 letters, or null")]
    tags: Annotated[list[WandbTag], takes("a list of words of up to 64 letters")]
    mode: Literal["auto", "online", "offline"]


class LoggerConfig(NamedPartsConfig):
    """Lightning loggers beside history.csv; null: without it. Any other by name, as a part."""

    csv: Annotated[dict[str, Any] | None, takes("{}, or null", max_length=0)]
    tensorboard: Annotated[dict[str, Any] | None, takes("{}, or null", max_length=0)]
    wandb: WandbConfig | None
