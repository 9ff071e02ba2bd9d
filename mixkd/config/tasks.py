"""The configuration of each task."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mixkd.config.analyses import (
    AnalysisConfig,
    analysis_names,
    prefix_of,
    section_of_analysis,
    with_analyses,
)
from mixkd.config.data import CorruptedDataConfig, DataConfig, NamedDataConfig
from mixkd.config.fields import (
    CONTENT,
    PATH,
    PLACE,
    REPEAT,
    AsBefore,
    File,
    Flag,
    HubName,
    Section,
    Seed,
    SplitNames,
    takes,
    value_of,
)
from mixkd.config.launcher import LauncherConfig, LoggerConfig, RunConfig, SweepConfig
from mixkd.config.network import (
    NetworkConfig,
    Precision,
    TeacherConfig,
    is_given,
    network_mistakes,
    none_if_not_given,
)
from mixkd.config.parts import FILE_NAMES, PartConfig, name_mistakes
from mixkd.config.sources import CORRUPTED
from mixkd.config.training import (
    AnyHintConfig,
    CallbacksConfig,
    CheckpointConfig,
    DivergenceConfig,
    LabelMethodConfig,
    MachineConfig,
    OptimizerConfig,
    PlateauConfig,
    ScheduleConfig,
    Stage1Config,
    StreamConfig,
    TeacherMethodConfig,
    TrainerConfig,
)
from mixkd.errors import Problem

# Names of what is measured of every split, which a user's metric cannot bear; nor `signed`, whose
# `gap` would be one.
MEASURED = (
    "accuracy", "confidence", "ece", "signed_gap", "nll", "brier", "n", "ece_classwise",
    "ece_adaptive", "ece_noise_floor", "ece_least", "ece_most", "scaled", "normalised",
    "signed",
)  # fmt: skip


# A multiple of each row of logits' own standard deviation: its base, 1 where there is none.
SIGMA = r"^([1-9]\d{0,5}(\.\d+)?|0\.\d*[1-9]\d*)?sigma$"


def plain_sigma(text: str) -> str:
    """Return the one spelling of a multiple of sigma: `sigma` of 1sigma, `2sigma` of 2.0sigma."""
    base = text.removesuffix("sigma")
    base = base.rstrip("0").rstrip(".") if "." in base else base
    return "sigma" if base == "1" else f"{base}sigma"


class TaskConfig(Section):
    """What every task has."""

    seed: Annotated[Seed, REPEAT]
    launcher: Annotated[LauncherConfig, PLACE]
    sweep: Annotated[SweepConfig, PLACE]
    logger: Annotated[LoggerConfig, PLACE]
    trust: Annotated[list[str], PLACE, takes("a list of package names")]
    run: Annotated[RunConfig, PLACE]
    metrics: Annotated[dict[str, PartConfig], AsBefore({}), takes("metrics by name")]
    data: DataConfig


class TrainingConfig(TaskConfig):
    """What finetune and distill share."""

    task: str
    protocol: Literal["none", "corrected", "parity", "crd"]
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    trainer: TrainerConfig
    callbacks: Annotated[CallbacksConfig, PLACE]
    checkpoint: Annotated[CheckpointConfig, PLACE]
    stage1: Stage1Config
    stream: Annotated[StreamConfig, REPEAT]

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what does not go together, in a configuration of values of any type."""
        source, task = value_of(raw, "data.source"), str(raw.get("task"))
        if source in CORRUPTED:
            yield Problem("data", f"{source} holds test images alone; `mixkd evaluate` takes it")
        for key in ("network", "teacher", "student"):
            yield from network_mistakes(key, raw.get(key), task)
        lowest, rate = value_of(raw, "schedule.min_lr"), value_of(raw, "optimizer.lr")
        are_numbers = isinstance(lowest, (int, float)) and isinstance(rate, (int, float))
        if are_numbers and 0 < rate < lowest:
            yield Problem("schedule.min_lr", f"got {lowest}; takes at most optimizer.lr, {rate}")
        yield from _milestone_mistakes(raw)
        yield from _sharing_mistakes(raw)
        yield from name_mistakes("metrics", raw.get("metrics"), MEASURED)

    @property
    def stream_seed(self) -> int:
        """The seed of the vicinal stream: `stream.seed`, or `seed` where that is null."""
        return self.seed if self.stream.seed is None else self.stream.seed

    @property
    def is_selected_on_test(self) -> bool:
        """Whether the test images choose an epoch, or a rate."""
        chooses = self.trainer.select != "last" or isinstance(self.schedule, PlateauConfig)
        return self.data.selection == "test" and chooses

    @property
    def stage1_epochs(self) -> int:
        """How long the head is trained alone: not at all on a random backbone."""
        return self.stage1.epochs if self.learner.starts_pretrained else 0

    @property
    def images_at_a_time(self) -> int:
        """How many images a process learns from at once: its share, or part of it, of a batch."""
        return self.data.batch_size // (self.trainer.devices * self.trainer.accumulate)

    @property
    @abstractmethod
    def learner(self) -> NetworkConfig:
        """The network that learns."""


def _milestone_mistakes(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a milestone that a training does not reach."""
    if value_of(raw, "schedule.name") != "multistep":
        return
    milestones = value_of(raw, "schedule.milestones")
    key = "schedule.length" if value_of(raw, "schedule.stretch") else "trainer.max_epochs"
    end = value_of(raw, key)
    if isinstance(milestones, list) and all(isinstance(n, int) for n in (end, *milestones)):
        for milestone in [m for m in milestones if m >= end][:1]:
            text = f"got {milestone}; takes epochs below {key}, {end}"
            yield Problem("schedule.milestones", text)


def _sharing_mistakes(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what devices, and the parts that each takes one after another, cannot share."""
    batch, devices = value_of(raw, "data.batch_size"), value_of(raw, "trainer.devices")
    parts = value_of(raw, "trainer.accumulate")
    if not all(isinstance(number, int) for number in (batch, devices, parts)):
        return
    if value_of(raw, "callbacks.linearity.every_n_epochs") is not None:
        pairs = value_of(raw, "callbacks.linearity.n_pairs")
        if isinstance(pairs, int) and 0 < pairs < devices:
            text = f"got {pairs}; takes a pair a device or more"
            yield Problem("callbacks.linearity.n_pairs", text)
    shares = max(devices, 1) * max(parts, 1)
    key = "data.batch_size" if parts == 1 else "trainer.accumulate"
    if batch % shares:
        by = f"got {batch}, which {devices} devices cannot share"
        if parts != 1:
            by = f"got {parts}; {devices} x {parts} parts cannot share a batch of {batch}"
        yield Problem(key, f"{by} equally; takes a data.batch_size divisible by {shares}")
    elif 2 <= batch < 2 * shares:
        yield Problem(key, f"leaves {batch // shares} image a device and part; takes two or more")


class FinetuneConfig(TrainingConfig):
    """mixkd finetune."""

    task: Literal["finetune"]
    network: NetworkConfig
    method: LabelMethodConfig

    @property
    def learner(self) -> NetworkConfig:
        """The network that learns."""
        return self.network


class DistillConfig(TrainingConfig):
    """mixkd distill."""

    task: Literal["distill"]
    teacher: Annotated[TeacherConfig, REPEAT]
    student: NetworkConfig
    temperature: Annotated[
        Annotated[str, Field(pattern=SIGMA), AfterValidator(plain_sigma)]
        | Annotated[float, Field(gt=0, le=1e6)],
        takes("a number above 0 and up to 1e6; or sigma, 2sigma and so on"),
    ]
    deviation: Annotated[
        Literal["population", "sample"],
        AsBefore("population"),
        takes("population or sample"),
    ]
    method: TeacherMethodConfig
    divergence: Annotated[DivergenceConfig, AsBefore({"name": "kl"})]
    hint: Annotated[AnyHintConfig, AsBefore({"name": "none"})]

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a loss of nothing, and what has no part in it, as well."""
        yield from super().mistakes(raw)
        compares, hints = (value_of(raw, f"{key}.name") != "none" for key in ("divergence", "hint"))
        if not compares and not hints:
            text = "got none with hint=none, where no teacher is asked; `mixkd finetune` needs none"
            yield Problem("divergence", text)
        elif value_of(raw, "method.alpha") == 0 and not (
            (compares and value_of(raw, "method.beta") != 0)
            or (hints and value_of(raw, "hint.weight") != 0)
        ):
            key = "method.beta" if compares else "hint.weight"
            yield Problem(key, "got 0 with method.alpha=0, which leaves nothing to learn")
        if raw.get("deviation") != "population" and not isinstance(raw.get("temperature"), str):
            text = f"got {raw.get('deviation')}; it is of temperature=sigma, 2sigma and so on"
            yield Problem("deviation", text)

    @property
    def learner(self) -> NetworkConfig:
        """The network that learns."""
        return self.student

    @property
    def teacher_precision(self) -> Precision:
        """How the teacher computes: by default as the student does."""
        return self.teacher.precision or self.trainer.precision


def _baseline_names(baselines: dict[str, NetworkConfig]) -> dict[str, NetworkConfig]:
    for name in baselines:
        # Columns and metrics of such a baseline would bear other ones' names.
        is_taken = re.match(r"network$|student$|teacher$|scaled|(\w+_)?se$", name)
        if is_taken or not re.fullmatch(r"[a-z]\w*", name):
            raise ValueError(
                f"{name} is no name for a baseline; takes small letters, digits and _, and not "
                "network, student, teacher, scaled or se"
            )
    return baselines


def _taken_by_metrics() -> set[str]:
    """Return what the names of metrics begin with, and what reports call what they measure."""
    prefixes = {prefix_of(name).rstrip("/") for name in analysis_names()}
    others = {"train", "val", "test", "training", "scaled", "calibration", "selected_epoch"}
    return {*analysis_names(), *prefixes, *others, *MEASURED, *FILE_NAMES}


def asked_analyses(raw: Mapping[str, Any]) -> list[str]:
    """Return the names of the analyses that a configuration, values of any type, asks for."""
    return [name for name in analysis_names() if value_of(raw, f"{name}.enabled")]


@with_analyses(lambda name: (section_of_analysis(name), ...))
class EvaluateConfig(TaskConfig):
    """mixkd evaluate."""

    task: Literal["evaluate"]
    data: Annotated[DataConfig | CorruptedDataConfig, Field(discriminator="source")]
    network: NetworkConfig
    teacher: Annotated[TeacherConfig | None, BeforeValidator(none_if_not_given)]
    baselines: Annotated[
        dict[str, NetworkConfig], AfterValidator(_baseline_names), takes("runs by name, {erm: DIR}")
    ]
    trainer: MachineConfig
    splits: SplitNames
    save_logits: Flag
    reestimate_batchnorm: Flag
    analyses: Annotated[dict[str, PartConfig], AsBefore({}), takes("analyses by name")]

    @property
    def shipped_analyses(self) -> dict[str, AnalysisConfig]:
        """The sections of the analyses that are asked for, by name, in order."""
        sections = {name: getattr(self, name) for name in analysis_names()}
        return {name: section for name, section in sections.items() if section.enabled}

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what does not go together, in a configuration of values of any type."""
        if value_of(raw, "data.source") in CORRUPTED:
            if raw.get("reestimate_batchnorm") is True:
                text = "got true; corrupted data have no training images"
                yield Problem("reestimate_batchnorm", text)
            if (splits := raw.get("splits")) != ["test"]:
                yield Problem("splits", f"got {splits}; corrupted images are [test] alone")
        asked = asked_analyses(raw)
        for name in asked:
            yield from section_of_analysis(name).contradictions(raw[name], raw)
        yield from network_mistakes("network", raw.get("network"), "evaluate")
        yield from name_mistakes("metrics", raw.get("metrics"), MEASURED)
        yield from name_mistakes("analyses", raw.get("analyses"), _taken_by_metrics())
        if not is_given(teacher := raw.get("teacher")):
            return
        yield from network_mistakes("teacher", teacher, "evaluate")
        questions = {name: section_of_analysis(name).shared_question for name in analysis_names()}
        questions = {name: question for name, question in questions.items() if question}
        if not questions.keys() & asked:
            overrides = " or ".join(f"{name}=true" for name in questions)
            text = f"is asked {' or '.join(questions.values())}; add {overrides}"
            yield Problem("teacher", text)
        if value_of(teacher, "precision") is not None:
            yield Problem("teacher.precision", "evaluation takes trainer.precision, of them all")
        if value_of(teacher, "tape") is not None:
            yield Problem("teacher.tape", "is of `mixkd distill`; an evaluation has no stream")


class EvaluateLogitsConfig(Section):
    """mixkd evaluate logits=FILE: logits that come from elsewhere, without images or networks."""

    task: Literal["evaluate"]
    seed: Annotated[Seed, PLACE]
    launcher: Annotated[LauncherConfig, PLACE]
    sweep: Annotated[SweepConfig, PLACE]
    run: Annotated[RunConfig, PLACE]
    data: Annotated[NamedDataConfig, PLACE]
    logits: Annotated[File, CONTENT, takes("a .npz file of logits [n, classes] and label [n]")]


class ExportConfig(Section):
    """mixkd export: a finished run's network, for other tools."""

    task: Literal["export"]
    trust: Annotated[list[str], takes("a list of package names")]
    network: NetworkConfig
    data: DataConfig
    format: Literal["safetensors", "onnx", "torch"]
    out: Annotated[str | None, PATH, takes("a folder, or null")]
    force: Flag
    report: Annotated[str | None, PATH, takes("a folder of `mixkd report`, or null")]
    license: Annotated[str | None, takes("a license's identifier, such as mit, or null")]
    push: Annotated[HubName | None, takes("hf_hub:USER/NAME, or null")]
    push_private: Flag


class SweepSettings(Section):
    """How the jobs of a sweep are launched, and where their runs are."""

    launcher: LauncherConfig
    sweep: SweepConfig
    run: RunConfig


TRAININGS: dict[str, type[FinetuneConfig] | type[DistillConfig]] = {
    "finetune": FinetuneConfig,
    "distill": DistillConfig,
}
TASKS: dict[str, type[FinetuneConfig] | type[DistillConfig] | type[EvaluateConfig]] = {
    **TRAININGS,
    "evaluate": EvaluateConfig,
}
# The schema of each command that Hydra composes.
SCHEMAS: dict[str, type[Section]] = {**TASKS, "export": ExportConfig}
Config = FinetuneConfig | DistillConfig | EvaluateConfig | EvaluateLogitsConfig
