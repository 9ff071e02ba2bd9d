"""The schema of every task: types, units, which fields name an experiment.

Defaults live in conf/ alone. `validate` turns a composed configuration into a typed one, or raises
one `UserError` with every problem in it. Nothing heavy is imported here.
"""

import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mixkd.config.void import void_problems
from mixkd.data.corruption_names import PAPER, STANDARD
from mixkd.data.listing import renamings, to_rename
from mixkd.errors import (
    Problem,
    UserError,
    nearest,
    schema_problem,
    section_of,
    shortened,
    shown,
    takes_section,
)
from mixkd.networks.origin import NETWORKS, fill_from_runs

# Marks a field that cannot change a result: it is left out of the experiment's hash.
PLACE = "place"
# Marks text that names a file or a folder: there `~` is the user's home.
PATH = "path"


def _existing_file(path: str) -> str:
    if not os.path.isfile(path):  # which a name too long for the system is not, without an error
        raise ValueError("no such file")
    return path


def _existing_run(path: str) -> str:
    if not os.path.isfile(Path(path) / "config.yaml"):
        raise ValueError("no run there: a run directory holds a config.yaml")
    return path


def _each_once(names: list[Any]) -> list[Any]:
    if len(set(names)) < len(names):
        raise ValueError("takes each once")
    return names


def takes(text: str, **constraints: Any) -> Any:
    """Return a pydantic field described by what it takes; the text is part of error messages."""
    return Field(description=text, **constraints)


Fraction = Annotated[float, takes("a number in [0, 1]", ge=0, le=1)]
Positive = Annotated[float, takes("a number above 0", gt=0)]
NonNegative = Annotated[float, takes("a number, 0 or more", ge=0)]
Count = Annotated[int, takes("a whole number, 1 or more", ge=1)]
Epochs = Annotated[int, takes("a whole number from 1 to 100000", ge=1, le=100_000)]
Seed = Annotated[int, takes("a whole number from 0 to 2**63 - 1", ge=0, le=2**63 - 1)]
Flag = Annotated[bool, takes("true or false")]
File = Annotated[str, PATH, AfterValidator(_existing_file), takes("a file")]
Weights = Annotated[
    str, PATH, AfterValidator(lambda path: path if path == "pretrained" else _existing_file(path))
]
HubName = Annotated[str, takes("hf_hub:USER/NAME", pattern=r"^hf_hub:[\w.-]+/[\w.-]+$")]
RunDir = Annotated[
    str, PATH, AfterValidator(_existing_run), takes("the directory of a finished run")
]
Name = Annotated[str, takes("letters, digits, _, - and .", pattern=r"^\w[\w.-]*$")]
Channels = Annotated[list[float], takes("three numbers", min_length=3, max_length=3)]


class Section(BaseModel):
    """Part of a configuration: strict types, no unknown keys, no change after validation."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def places(section: type[Section]) -> Iterator[str]:
    """Yield the keys of a section that cannot change a result."""
    return (key for key, field in section.model_fields.items() if PLACE in field.metadata)


MOST_SIDE = 4096
PIXELS = takes(f"a whole number of pixels from 8 to {MOST_SIDE}, or null", ge=8, le=MOST_SIDE)


Splits = Annotated[
    list[Literal["train", "val", "test"]],
    AfterValidator(_each_once),
    takes("a list of train, val, test", min_length=1),
]


class Run(Section):
    """Where a run is kept."""

    dir: Annotated[str | None, PLACE, PATH, takes("a directory, or null")]
    root: Annotated[str, PLACE, PATH, takes("a directory", min_length=1)]
    force: Annotated[Flag, PLACE]


class Stream(Section):
    """Where the vicinal stream starts."""

    seed: Annotated[Seed | None, takes("a whole number, 0 or more, or null")]


class Data(Section):
    """A data set, its split and its views. Sizes in pixels."""

    source: Literal["digits", "cifar10", "cifar100", "imagefolder", "imagenet"]
    name: Name
    root: Annotated[str | None, PLACE, PATH, takes("a folder")]
    download: Annotated[Flag, PLACE]
    resident: Annotated[Flag, PLACE]
    workers: Annotated[
        int | None, PLACE, takes("a whole number from 0 to 256, or null", ge=0, le=256)
    ]
    size: Annotated[int | None, PIXELS]
    resize: Annotated[int | None, PIXELS]
    pad: Annotated[int, takes("a whole number of pixels, 0 to 512", ge=0, le=512)]
    flip: Flag
    holdout: Annotated[float, takes("a number above 0 and below 1", gt=0, lt=1)]
    split_seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]
    selection: Literal["holdout", "test"]
    limit_train: Annotated[Count | None, takes("a whole number, 1 or more, or null")]
    limit_test: Annotated[Count | None, takes("a whole number, 1 or more, or null")]
    batch_size: Annotated[int, takes("a whole number, 2 or more", ge=2)]
    eval_batch_size: Annotated[Count, PLACE]
    cache_dir: Annotated[str, PLACE, PATH, takes("a directory")]


class CorruptedData(Data):
    """Corrupted test images: one corruption at one severity."""

    source: Literal["cifar10_c", "cifar100_c", "imagenet_c"]  # type: ignore[assignment]
    corruption: Annotated[Name, takes("the name of a corruption, such as fog")]
    severity: Annotated[int, takes("a whole number from 1 to 5", ge=1, le=5)]


class Head(Section):
    """The paper's bottleneck head; see networks.BottleneckHead."""

    units: Count
    dropout: Annotated[float, takes("a number in [0, 1)", ge=0, lt=1)]


class Network(Section):
    """A network: a timm name or a factory, its weights, its own normalisation."""

    name: Annotated[str | None, takes("the name of a timm model")]
    factory: Annotated[str | None, takes("a dotted path, package.module.function")]
    args: Annotated[dict[str, Any] | None, takes("keyword arguments, {key: value}")]
    pretrained: Annotated[bool | File | None, takes("true, false, a file of weights, or null")]
    head: Head | None
    weights: Annotated[Weights | None, takes("a file of weights, pretrained, or null")]
    run: Annotated[RunDir | None, PLACE, takes("the directory of a finished run, or null")]
    export: Annotated[
        str | None,
        PLACE,
        PATH,
        takes("a folder of `mixkd export`, hf_hub:USER/NAME[@REVISION], or null"),
    ]
    mean: Annotated[Channels | None, takes("three numbers, or null")]
    std: Annotated[
        Annotated[list[Positive], Field(min_length=3, max_length=3)] | None,
        takes("three numbers above 0, or null"),
    ]
    input_size: Annotated[int | None, PIXELS]

    @property
    def starts_pretrained(self) -> bool:
        """Whether its backbone is pretrained and its head is new."""
        return bool(self.pretrained) and self.weights is None

    @property
    def label(self) -> str:
        """The network's name in run names, tables and figures."""
        if self.name is not None:
            return self.name.partition(".")[0]  # without timm's tag
        return (self.factory or "network").rpartition(".")[2]


Protocol = Literal["none", "corrected", "parity"]
Precision = Literal["float32", "bf16"]


class Teacher(Network):
    """A network that is queried, in its own precision; null: the student's."""

    auto: Annotated[Flag, PLACE]
    precision: Annotated[Precision | None, takes("float32, bf16, or null")]
    tape: Annotated[str | None, PLACE, PATH, takes("a folder, or null")]
    tape_precision: Literal["float16", "float32"]
    tape_gb: Annotated[Positive, PLACE]


class Mix(Section):
    """How two images become one."""

    lam: Annotated[
        Literal["uniform", "beta"] | Fraction, takes("uniform, beta, or a number in [0, 1]")
    ]
    a: Positive
    per: Literal["sample", "batch"]
    kind: Literal["mixup", "cutmix"]


class LabelMethod(Section):
    """A method that learns from labels only; it mixes images where `mix` is given."""

    name: Literal["erm", "mixup"]
    label_smoothing: Annotated[float, takes("a number in [0, 1)", ge=0, lt=1)]
    mix: Mix | None


class TeacherMethod(Section):
    """A method that learns a teacher's answers: alpha * CE + beta * KL, eq. 2 and 9."""

    name: Literal["kd", "kd_mixup"]
    mix: Mix | None
    alpha: NonNegative
    beta: NonNegative
    t_squared: Flag


class SGD(Section):
    """Stochastic gradient descent. lr is the peak learning rate."""

    name: Literal["sgd"]
    lr: Positive
    momentum: Annotated[float, takes("a number in [0, 1)", ge=0, lt=1)]
    nesterov: Flag
    weight_decay: NonNegative
    fused: Flag


class Adam(Section):
    """Adam, or AdamW with decoupled weight decay. lr is the peak learning rate."""

    name: Literal["adam", "adamw"]
    lr: Positive
    betas: Annotated[
        list[Annotated[float, Field(ge=0, lt=1)]],
        takes("two numbers in [0, 1)", min_length=2, max_length=2),
    ]
    weight_decay: NonNegative
    fused: Flag


class Constant(Section):
    """One learning rate throughout."""

    name: Literal["constant"]


class Cosine(Section):
    """Linear warm-up over whole epochs, then half a cosine."""

    name: Literal["cosine"]
    warmup_epochs: Annotated[int, takes("a whole number, 0 or more", ge=0)]
    min_lr: NonNegative


class Plateau(Section):
    """Lower the rate when the held-out NLL stops falling."""

    name: Literal["plateau"]
    factor: Annotated[float, takes("a number above 0 and below 1", gt=0, lt=1)]
    patience: Annotated[int, takes("a whole number of epochs, 1 or more", ge=1)]
    min_delta: NonNegative
    min_lr: NonNegative


class Segment(Section):
    """One piece of a piecewise schedule; epochs from 0, both ends inclusive."""

    start: NonNegative
    end: Positive
    lr0: NonNegative
    lr1: NonNegative
    shape: Literal["linear", "cosine"]


class Piecewise(Section):
    """The paper's student schedule, as data."""

    name: Literal["piecewise"]
    stretch: Flag
    length: Annotated[int, takes("a whole number of epochs, 2 or more", ge=2)]
    segments: Annotated[list[Segment], takes("a list of segments", min_length=1)]


class Machine(Section):
    """Where and how to compute. Of evaluation, threads, format and compiling change rounding alone.

    So does data.eval_batch_size, and data.resident and data.workers change nothing.
    """

    accelerator: Annotated[Literal["auto", "cpu", "gpu"], PLACE]
    strategy: Annotated[Literal["auto", "ddp"], PLACE]
    devices: Annotated[int, takes("a whole number from 1 to 1024", ge=1, le=1024)]
    threads: Annotated[
        int | None, PLACE, takes("a whole number from 1 to 1024, or null", ge=1, le=1024)
    ]
    precision: Precision
    channels_last: Annotated[Flag, PLACE]
    compile: Annotated[Flag, PLACE]


class Trainer(Machine):
    """How long and how to train, and which epoch to keep.

    Dropout on feature maps draws its mask in the order in which pixels lie in memory, and compiled
    code draws another one: so both are part of the experiment. Threads leave the mask as it is.
    """

    channels_last: Flag
    compile: Flag
    max_epochs: Epochs
    select: Literal["accuracy", "nll", "ece", "last"]
    clip_norm: Annotated[Positive | None, takes("a number above 0, or null")]
    accumulate: Count
    ema: Annotated[float | None, takes("a number above 0 and below 1, or null", gt=0, lt=1)]
    sync_batchnorm: Flag


class Stage1(Section):
    """Training of the head alone before the network is trained whole; lr is constant."""

    epochs: Annotated[int, takes("a whole number from 0 to 100000", ge=0, le=100_000)]
    lr: Positive


# What W&B takes as the name of a project or an entity, here before anything is trained.
WANDB_NAME = r"^[^/\\#?%:]+$"
WANDB_NAMED = r"a name of up to 128 letters, without / \ # ? % and :"


class Wandb(Section):
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


class Logger(Section):
    """Lightning loggers beside history.csv; null: without it."""

    csv: Annotated[dict[str, Any] | None, takes("{}, or null", max_length=0)]
    tensorboard: Annotated[dict[str, Any] | None, takes("{}, or null", max_length=0)]
    wandb: Wandb | None


class CalibrationMonitor(Section):
    """A reliability diagram while a network trains."""

    every_n_epochs: Annotated[Count | None, takes("a whole number of epochs, 1 or more, or null")]


class LinearityMonitor(CalibrationMonitor):
    """Vicinal analysis while a network trains."""

    n_pairs: Count
    lambdas: Annotated[int, takes("a whole number from 3 to 1001", ge=3, le=1001)]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]


class Callbacks(Section):
    """What is looked at on the held-out images while a network trains."""

    calibration: CalibrationMonitor
    linearity: LinearityMonitor


class Checkpoint(Section):
    """When to write last.ckpt beside the ends of epochs."""

    every_n_steps: Annotated[Count | None, takes("a whole number of steps, 1 or more, or null")]


class Local(Section):
    """Jobs on this machine."""

    name: Literal["local"]
    parallel: Annotated[int, takes("a whole number from 1 to 1024", ge=1, le=1024)]


class Slurm(Section):
    """Jobs on a SLURM cluster, through submitit."""

    name: Literal["slurm"]
    partition: Annotated[str | None, takes("a name, or null")]
    account: Annotated[str | None, takes("a name, or null")]
    timeout_min: Annotated[int, takes("a whole number of minutes, 1 or more", ge=1)]
    requeues: Annotated[int, takes("a whole number, 0 or more", ge=0)]
    cpus_per_task: Annotated[Count | None, takes("a whole number, 1 or more, or null")]
    mem_gb: Annotated[Positive | None, takes("a number of gigabytes above 0, or null")]
    gpus: Flag
    parallel: Count
    setup: Annotated[list[str], takes("a list of lines of shell")]
    wait: Flag


Launcher = Annotated[Local | Slurm, Field(discriminator="name")]


class Sweep(Section):
    """What the jobs of a sweep share; the sweep sets its name."""

    name: Annotated[str | None, takes("a name, or null")]
    fail_fast: Flag
    trials: Annotated[Count | None, takes("a whole number, 1 or more, or null")]
    objectives: Annotated[
        list[Literal["accuracy", "ece", "nll", "brier"]],
        AfterValidator(_each_once),
        takes("a list of accuracy, ece, nll, brier", min_length=1),
    ]


class Task(Section):
    """What every task has."""

    seed: Seed
    launcher: Annotated[Launcher, PLACE]
    sweep: Annotated[Sweep, PLACE]
    logger: Annotated[Logger, PLACE]
    trust: Annotated[list[str], PLACE, takes("a list of package names")]
    run: Run
    data: Data


class Training(Task):
    """What finetune and distill share."""

    task: str
    protocol: Protocol
    optimizer: Annotated[SGD | Adam, Field(discriminator="name")]
    schedule: Annotated[Constant | Cosine | Plateau | Piecewise, Field(discriminator="name")]
    trainer: Trainer
    callbacks: Annotated[Callbacks, PLACE]
    checkpoint: Annotated[Checkpoint, PLACE]
    stage1: Stage1
    stream: Stream

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
    def learner(self) -> Network:
        """The network that learns."""


class Finetune(Training):
    """mixkd finetune."""

    task: Literal["finetune"]
    network: Network
    method: LabelMethod

    @property
    def learner(self) -> Network:
        """The network that learns."""
        return self.network


class Distill(Training):
    """mixkd distill."""

    task: Literal["distill"]
    teacher: Teacher
    student: Network
    temperature: Annotated[
        Literal["sigma"] | Annotated[float, Field(gt=0, le=1e6)],
        takes("a number above 0 and up to 1e6, or sigma"),
    ]
    method: TeacherMethod

    @property
    def learner(self) -> Network:
        """The network that learns."""
        return self.student


class Vicinal(Section):
    """Vicinal analysis: how networks answer between pairs of images."""

    enabled: Flag
    splits: Splits
    n_pairs: Count
    lambdas: Annotated[int, takes("a whole number from 3 to 1001", ge=3, le=1001)]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]
    pairs: Annotated[str | None, PATH, takes("a .npz file of pairs, or null")]


class Corruptions(Section):
    """The test images, corrupted: which corruptions and severities, made here or published."""

    enabled: Flag
    source: Literal["made", "cifar10_c", "cifar100_c", "imagenet_c"]
    root: Annotated[str | None, PLACE, PATH, takes("a folder, or null")]
    names: Annotated[
        Literal["paper", "all"]
        | Annotated[list[Name], Field(min_length=1), AfterValidator(_each_once)],
        takes("paper, all, or a list of names such as fog, each once"),
    ]
    severities: Annotated[
        list[Annotated[int, Field(ge=1, le=5)]],
        AfterValidator(_each_once),
        takes("a list of whole numbers from 1 to 5", min_length=1),
    ]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the corruptions."""
        match self.names:
            case "paper":
                return PAPER
            case "all":
                return STANDARD
            case _:
                return tuple(self.names)


class Features(Section):
    """Penultimate features of test images: t-SNE, clusters and their V-measure."""

    enabled: Flag
    classes: Annotated[
        Annotated[list[str], Field(min_length=2), AfterValidator(_each_once)] | None,
        takes("a list of two or more class names, or null"),
    ]
    n_images: Annotated[int, takes("a whole number, 5 or more", ge=5)]
    seed: Annotated[int, takes("a whole number from 0 to 4294967295", ge=0, le=2**32 - 1)]


def _baseline_names(baselines: dict[str, Network]) -> dict[str, Network]:
    for name in baselines:
        # Of which columns and metrics would bear other ones' names.
        taken = re.match(r"network$|student$|teacher$|scaled|(\w+_)?se$", name)
        if taken or not re.fullmatch(r"[a-z]\w*", name):
            raise ValueError(
                f"{name} is no name for a baseline; takes small letters, digits and _, and not "
                "network, student, teacher, scaled or se"
            )
    return baselines


class Evaluate(Task):
    """mixkd evaluate."""

    task: Literal["evaluate"]
    data: Annotated[Data | CorruptedData, Field(discriminator="source")]
    network: Network
    teacher: Teacher | None
    baselines: Annotated[
        dict[str, Network], AfterValidator(_baseline_names), takes("runs by name, {erm: DIR}")
    ]
    trainer: Machine
    splits: Splits
    save_logits: Flag
    reestimate_batchnorm: Flag
    vicinal: Vicinal
    corruptions: Corruptions
    features: Features

    def published(
        self, name: str, severity: int, source: str, size: int | None = None
    ) -> CorruptedData:
        """Return the data of a corruption and severity in a published form.

        Args:
            name: of the corruption.
            severity: from 1 to 5.
            source: cifar10_c, cifar100_c or imagenet_c.
            size: of the views in pixels; None: that of `data`.
        """
        on_disk = source in ON_DISK
        chosen = {
            "source": source,
            "name": f"{source}-{name}-{severity}",
            "root": self.corruptions.root or (self.data.root if on_disk else "datasets"),
            "download": not on_disk,
            "resident": False,
            "workers": self.data.workers if on_disk else 0,
            "corruption": name,
            "severity": severity,
        }
        if size is not None:
            chosen |= {"size": size, "resize": None}
        return CorruptedData.model_validate(self.data.model_dump() | chosen)


class NamedData(Section):
    """Data of which only the name is known."""

    name: Name


class EvaluateLogits(Section):
    """mixkd evaluate logits=FILE: logits that come from elsewhere, without images or networks."""

    task: Literal["evaluate"]
    seed: Seed
    launcher: Annotated[Launcher, PLACE]
    sweep: Annotated[Sweep, PLACE]
    run: Run
    data: NamedData
    logits: Annotated[File, takes("a .npz file of logits [n, classes] and label [n]")]


class Export(Section):
    """mixkd export: a finished run's network, for other tools."""

    task: Literal["export"]
    trust: Annotated[list[str], takes("a list of package names")]
    network: Network
    data: Data
    format: Literal["safetensors", "onnx", "torch"]
    out: Annotated[str | None, PATH, takes("a folder, or null")]
    force: Flag
    report: Annotated[str | None, PATH, takes("a folder of `mixkd report`, or null")]
    license: Annotated[str | None, takes("a license's identifier, such as mit, or null")]
    push: Annotated[HubName | None, takes("hf_hub:USER/NAME, or null")]
    push_private: Flag


class SweepSettings(Section):
    """How the jobs of a sweep are launched, and where their runs are."""

    launcher: Launcher
    sweep: Sweep
    run: Run


TASKS: dict[str, type[Finetune] | type[Distill] | type[Evaluate]] = {
    "finetune": Finetune,
    "distill": Distill,
    "evaluate": Evaluate,
}
METHODS = {
    "finetune": get_args(LabelMethod.model_fields["name"].annotation),
    "distill": get_args(TeacherMethod.model_fields["name"].annotation),
}
Config = Finetune | Distill | Evaluate | EvaluateLogits

CORRUPTED = get_args(CorruptedData.model_fields["source"].annotation)
SOURCES = (*get_args(Data.model_fields["source"].annotation), *CORRUPTED)
ON_DISK = ("imagefolder", "imagenet", "imagenet_c")  # data that may stay there


def validate(cfg: DictConfig) -> Config:
    """Return the typed configuration of a task.

    Args:
        cfg: a composed configuration; `cfg.task` names the schema.

    Raises:
        UserError: with every problem found, each naming its key, what it got and what it takes.
    """
    raw = _resolved(cfg)
    if str(raw.get("task")) not in TASKS:
        raise UserError.of("task", f"got {shown(raw.get('task'))}; the command sets it")
    schema = TASKS[raw["task"]]
    if wrong := list(_no_sections(schema, raw)):
        raise UserError(*wrong)
    if raw.get("logits") is not None:
        return _validate_logits(raw)
    raw.pop("logits", None)
    if raw["task"] == "evaluate" and isinstance(raw["teacher"], dict):
        given = ("name", "factory", "run", "export", "weights")
        raw["teacher"] = raw["teacher"] if any(raw["teacher"].get(k) for k in given) else None
    problems = list(fill_from_runs(raw))
    known = {p.key for p in problems}
    config = None
    try:
        config = schema.model_validate(raw)
    except ValidationError as error:
        for details in error.errors():
            problem = schema_problem(schema, raw, details)
            if problem.key == "data.source" and raw["data"].get("source") == "run":
                continue  # what is wrong is the run that was to say it, or that there is none
            # Of a union pydantic names the whole, and then a part of it.
            if not {problem.key, problem.key.partition("[")[0]} & {p.key for p in problems}:
                problems.append(problem)
    # A key is named once: by the section as a whole where that is what is wrong.
    for found in _contradictions(raw):
        if found.key not in known:
            within = re.compile(rf"{re.escape(found.key)}([.\[]|$)")
            outside = (p for p in problems if not within.match(p.key))
            problems = [*outside, found]
            known.add(found.key)
    told = {p.key for p in problems}
    problems += [found for found in void_problems(raw) if found.key not in told]
    if problems:
        raise UserError(*problems)
    assert config is not None
    return config


def validate_export(cfg: DictConfig) -> Export:
    """Return the typed configuration of `mixkd export`.

    Raises:
        UserError: as `validate` does.
    """
    raw = _resolved(cfg)
    optional = {n for n, f in Export.model_fields.items() if type(None) in get_args(f.annotation)}
    if wrong := [p for p in _no_sections(Export, raw) if p.key not in optional]:
        raise UserError(*wrong)
    if raw["network"].get("run") is None:
        raise UserError.of("network.run", "got null; takes the directory of a finished run")
    problems = list(fill_from_runs(raw))
    try:
        config = Export.model_validate(raw)
    except ValidationError as error:
        known = {problem.key for problem in problems}
        found = (schema_problem(Export, raw, e) for e in error.errors())
        problems += [p for p in found if p.key not in known]
        # What the run was to say of the data is not known where the run is at fault.
        unsaid = {f"data.{key}" for key, value in raw["data"].items() if value == "run"}
        told = [p for p in problems if p.key not in unsaid]
        problems = told or [Problem("data", "the run says nothing of it; take data=NAME")]
    if problems:
        raise UserError(*problems)
    return config


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Return a composed configuration without Hydra's own part.

    Raises:
        UserError: if it refers to what is not there.
    """
    try:
        raw = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        said = str(error.msg).splitlines()[0]
        text = f"{said}; takes a value, or ${{KEY}} for that of another key"
        raise UserError.of(error.full_key or "config", text) from error
    raw.pop("hydra", None)
    return raw


def _no_sections(schema: type[Section], raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is missing, or is no section where the schema has one."""
    for name, field in schema.model_fields.items():
        section = section_of(field.annotation)
        if raw.get(name) is None:
            yield Problem(name, "is missing; leave it out of the command")
        elif section is not None and not isinstance(raw[name], dict):
            yield Problem(name, f"got {shown(raw[name])}; {takes_section(section)}")


def sweep_settings(cfg: DictConfig) -> SweepSettings:
    """Return what of a composed configuration is for its launcher.

    Raises:
        UserError: as `validate` does.
    """
    raw = _resolved(cfg)
    named = {key: raw[key] for key in SweepSettings.model_fields}
    try:
        return SweepSettings.model_validate(named)
    except ValidationError as error:
        problems = [schema_problem(SweepSettings, named, e) for e in error.errors()]
        raise UserError(*problems) from error


def _validate_logits(raw: Mapping[str, Any]) -> EvaluateLogits:
    named = {key: raw[key] for key in EvaluateLogits.model_fields}
    name = raw["data"]["name"]
    named["data"] = {"name": "logits" if name == "run" else name}
    problems = [
        Problem(key, "beside logits=FILE, which brings its own answers; leave it out")
        for key in ("network", "teacher")
        if any(raw[key].get(k) is not None for k in ("name", "factory", "run", "export", "weights"))
    ]
    problems += [
        Problem(key, "beside logits=FILE; it asks a network, and there is none")
        for key in ("vicinal", "corruptions", "features")
        if raw[key]["enabled"]
    ]
    usual: dict[str, Any] = {
        "splits": ["test"],
        "save_logits": False,
        "reestimate_batchnorm": False,
        "baselines": {},
        "logger": {"csv": None, "tensorboard": None, "wandb": None},
    }
    problems += [
        Problem(key, "does nothing beside logits=FILE; leave it out")
        for key, value in usual.items()
        if raw[key] != value
    ]
    try:
        config = EvaluateLogits.model_validate(named)
    except ValidationError as error:
        problems += [schema_problem(EvaluateLogits, named, e) for e in error.errors()]
    if problems:
        raise UserError(*problems)
    return config


def _contradictions(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what no single field can know. Values may be of any type: the schema checks those."""
    network = raw.get("network")
    run = None
    if isinstance(network, dict) and not network.get("weights"):
        # One that has been found, and brought its weights, may not say of which data it is.
        run = network.get("run") or network.get("export")
    yield from _data_contradictions(raw["data"], raw["task"], run)
    if raw["data"].get("source") in CORRUPTED and raw.get("reestimate_batchnorm") is True:
        yield Problem("reestimate_batchnorm", "got true; corrupted data have no training images")
    if raw["data"].get("source") in CORRUPTED and raw.get("splits", ["test"]) != ["test"]:
        yield Problem("splits", f"got {raw['splits']}; corrupted images are [test] alone")
    if isinstance(corruptions := raw.get("corruptions"), dict) and corruptions.get("enabled"):
        yield from _corruption_contradictions(corruptions, raw["data"])
    for section in NETWORKS:
        network = raw.get(section)
        if isinstance(network, dict):
            yield from _network_contradictions(section, network, raw["task"])
    if raw["task"] == "evaluate" and isinstance(teacher := raw.get("teacher"), dict):
        if not (raw["vicinal"].get("enabled") or raw["corruptions"].get("enabled")):
            yield Problem(
                "teacher",
                "is asked between images or corrupted ones; add vicinal=true or corruptions=true",
            )
        if teacher.get("precision") is not None:
            yield Problem("teacher.precision", "evaluation takes trainer.precision, of them all")
        if teacher.get("tape") is not None:
            yield Problem("teacher.tape", "is of `mixkd distill`; an evaluation has no stream")
    expected = METHODS.get(raw["task"])
    method = raw.get("method", {}).get("name")
    if expected and method not in expected:
        yield Problem(
            "method", f"got {method}; `mixkd {raw['task']}` takes {' or '.join(expected)}"
        )
    elif expected and (method in ("erm", "kd")) != (raw["method"].get("mix") is None):
        mix = shortened(str(raw["method"].get("mix")))
        yield Problem("method", f"{method} with mix={mix}; take another method")
    weights = raw.get("method", {})
    if raw["task"] == "distill" and weights.get("alpha") == 0 == weights.get("beta"):
        yield Problem("method.beta", "got 0 with alpha=0, which leaves nothing to learn")
    optimizer, schedule = raw.get("optimizer", {}), raw.get("schedule", {})
    lowest, rate = schedule.get("min_lr"), optimizer.get("lr")
    if isinstance(lowest, (int, float)) and isinstance(rate, (int, float)) and 0 < rate < lowest:
        yield Problem("schedule.min_lr", f"got {lowest}; takes at most optimizer.lr, {rate}")
    if optimizer.get("nesterov") is True and optimizer.get("momentum") == 0:
        yield Problem("optimizer.momentum", "got 0 with nesterov=true; takes a number above 0")
    batch, trainer = raw["data"].get("batch_size"), raw["trainer"]
    devices, parts = trainer.get("devices"), trainer.get("accumulate", 1)
    whole = isinstance(batch, int) and isinstance(devices, int) and isinstance(parts, int)
    if whole and isinstance(callbacks := raw.get("callbacks"), dict):
        own = callbacks.get("linearity")
        watched = isinstance(own, dict) and own.get("every_n_epochs") is not None
        pairs = own["n_pairs"] if isinstance(own, dict) and watched else None
        if isinstance(pairs, int) and 0 < pairs < devices:
            yield Problem(
                "callbacks.linearity.n_pairs", f"got {pairs}; takes a pair a device or more"
            )
    if whole and raw["task"] != "evaluate":
        shares = max(devices, 1) * max(parts, 1)
        if batch % shares:
            if parts == 1:
                key, by = "data.batch_size", f"got {batch}, which {devices} devices cannot share"
            else:
                key = "trainer.accumulate"
                by = f"got {parts}; {devices} x {parts} parts cannot share a batch of {batch}"
            yield Problem(key, f"{by} equally; takes a data.batch_size divisible by {shares}")
        elif 2 <= batch < 2 * shares:
            key = "data.batch_size" if parts == 1 else "trainer.accumulate"
            yield Problem(
                key, f"leaves {batch // shares} image a device and part; takes two or more"
            )
    segments = schedule.get("segments")
    if not isinstance(segments, list) or not all(isinstance(s, dict) for s in segments):
        return
    for index, segment in enumerate(segments):
        if segment.get("start") == segment.get("end"):
            yield Problem(f"schedule.segments[{index}].end", "takes an epoch after its start")
    for index, (a, b) in enumerate(pairwise(segments)):
        if a.get("end") != b.get("start"):
            yield Problem(
                f"schedule.segments[{index + 1}].start",
                f"got {b.get('start')}; takes {a.get('end')}, where the segment before it ends",
            )


def _data_contradictions(data: Mapping[str, Any], task: str, run: Any) -> Iterator[Problem]:
    source, root = data.get("source"), data.get("root") or None
    if source == "run":
        if not run:  # else what is wrong with the run is said of it
            yield Problem("data", "no data set chosen; take data=NAME (`mixkd list datasets`)")
        return
    if source not in SOURCES:
        yield Problem(
            "data.source",
            f"got {source!r}; takes {', '.join(SOURCES)}{nearest(str(source), SOURCES)}",
        )
        return
    if source in CORRUPTED and task != "evaluate":
        yield Problem("data", f"{source} holds test images alone; `mixkd evaluate` takes it")
    if source in CORRUPTED and data.get("corruption") is None:
        yield Problem("data.corruption", "got null; takes the name of a corruption, such as fog")
    if source == "digits" and root is not None:
        yield Problem(
            "data.root", f"got {root!r} with data=digits; take data=imagefolder for a folder"
        )
    elif source != "digits" and root is None:
        yield Problem("data.root", "got null; takes the folder that holds train/ and test/")
    elif source in ON_DISK and not os.path.isdir(str(root)):
        what = "is no folder" if os.path.exists(str(root)) else "no such folder"
        yield Problem("data.root", f"got {shown(root)}; {what}; takes the one that holds train/")
    # Before its files are listed, which of a root that is none, such as /, would take long.
    elif source == "imagefolder" and not os.path.isdir(os.path.join(str(root), "train")):
        text = (
            f"got {shown(root)}, which holds no train/; takes a folder of train/ with val/, test/"
        )
        rename = renamings(Path(str(root)), ("train", "val", "test"))
        yield Problem("data.root", f"{text} or both{to_rename(rename)}")
    size, resize, resident = data.get("size"), data.get("resize"), data.get("resident")
    if resident is False and source not in (*ON_DISK, *CORRUPTED):
        yield Problem("data.resident", f"got false; {source} lives in memory, and takes true")
    if resident is True and source in CORRUPTED and source not in ON_DISK:
        yield Problem("data.resident", f"got true; {source} is read in place, and takes false")
    if resident is False and source in ON_DISK and size is None:
        yield Problem(
            "data.size",
            "got null; images that stay on disk are all resized: takes a number of pixels",
        )
    if isinstance(resize, int) and size is None:
        text = f"got {resize} without data.size, the views' side after it; takes both"
        yield Problem("data.resize", text)
    elif isinstance(resize, int) and isinstance(size, int) and resize < size:
        yield Problem("data.resize", f"got {resize}; takes at least data.size, {size}")


def _corruption_contradictions(
    corruptions: Mapping[str, Any], data: Mapping[str, Any]
) -> Iterator[Problem]:
    names, source = corruptions.get("names"), corruptions.get("source")
    if data.get("source") in CORRUPTED:
        yield Problem("corruptions", "got true on data that are corrupted already")
    if isinstance(names, list) and source == "made":
        for name in names:
            if isinstance(name, str) and name not in STANDARD:
                yield Problem(
                    "corruptions.names",
                    f"got {name!r}; takes paper, all, or some of {', '.join(STANDARD)}"
                    f"{nearest(str(name), STANDARD)}",
                )
    if corruptions.get("root") is not None and source == "made":
        yield Problem("corruptions.root", "got a folder; corruptions.source=made reads none")
    if source == "imagenet_c" and corruptions.get("root") is None:
        yield Problem("corruptions.root", "got null; takes the folder of ImageNet-C")
    elif source == "imagenet_c" and data.get("size") is None:
        yield Problem("data.size", "got null; imagenet_c takes a number of pixels")


def _network_contradictions(
    section: str, network: Mapping[str, Any], task: str
) -> Iterator[Problem]:
    whole = network.get("run") or network.get("export")
    name, trained = network.get("name"), whole or network.get("weights")
    if not (name or network.get("factory") or whole):
        yield Problem(
            section,
            f"none chosen; take {section}=NAME (`mixkd list networks`), {section}.run=DIR "
            f"or {section}.factory=package.module.function"
            + (f", beside {section}.weights" if trained else ""),
        )
    elif section == "teacher" and not trained:
        yield Problem(
            "teacher",
            f"{name or network.get('factory')} has no weights trained on these classes; take "
            "teacher.run=DIR (a finished `mixkd finetune`) or teacher.weights=FILE",
        )
    # A bare factory may bring its own weights; pretrained ones get a new, random head.
    elif task == "evaluate" and name and not trained:
        yield Problem(
            section,
            f"{name} has no trained weights; take network.run=DIR or network.weights=FILE "
            "(network.weights=pretrained on ImageNet)",
        )
