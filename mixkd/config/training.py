"""The sections of a training: what is learned, how, how long, and what is watched meanwhile."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from mixkd.config.fields import (
    PLACE,
    REPEAT,
    AsBefore,
    BelowOne,
    Count,
    Epochs,
    Flag,
    Lambdas,
    Name,
    NonNegative,
    NumpySeed,
    OpenUnitInterval,
    Positive,
    Section,
    Seed,
    UnitInterval,
    each_once,
    one_of,
    takes,
)
from mixkd.config.network import Precision
from mixkd.config.parts import ARGUMENTS, DOTTED, HintConfig, NamedPartsConfig, PartConfig
from mixkd.config.shipped import label_losses
from mixkd.errors import Problem, shortened, shown


class StreamConfig(Section):
    """Where the vicinal stream starts."""

    seed: Annotated[Seed | None, REPEAT, takes("a whole number, 0 or more, or null")]


class MixConfig(Section):
    """How two images become one."""

    lam: Annotated[
        Literal["uniform", "beta"] | UnitInterval, takes("uniform, beta, or a number in [0, 1]")
    ]
    a: Positive
    per: Literal["sample", "batch"]
    kind: Literal["mixup", "cutmix", "switch"]
    prob: Annotated[float, AsBefore(1.0), takes("a number above 0 and up to 1", gt=0, le=1)]
    switch_prob: Annotated[UnitInterval, AsBefore(0.5)]
    cutmix_a: Annotated[Positive | None, AsBefore(None), takes("a number above 0, or null")]


class MethodConfig(Section):
    """What is learned; images are mixed where `mix` is given."""

    command: ClassVar[str]  # whose method it is
    mixes: ClassVar[Mapping[str, bool]]  # of names that say whether images are mixed

    name: str
    mix: MixConfig | None
    factory: Annotated[str | None, AsBefore(None), DOTTED] = None
    args: Annotated[dict[str, Any], AsBefore({}), ARGUMENTS] = Field(default_factory=dict)

    @property
    def part(self) -> PartConfig | None:
        """The learner of the user's that the method is; None: a shipped one."""
        return None if self.factory is None else PartConfig(factory=self.factory, args=self.args)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of its methods."""
        return tuple(cls.mixes)

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a method of another command, and one that does not mix as its name says."""
        name, mix = raw.get("name"), raw.get("mix")
        *names, last = cls.names()
        if name not in (*names, last):
            text = f"`mixkd {cls.command}` takes {', '.join(names)} or {last}"
            yield Problem("", f"got {name}; {text}")
        elif cls.mixes.get(name, mix is not None) != (mix is not None):
            yield Problem("", f"{name} with mix={shortened(str(mix))}; take another method")
        elif name in cls.mixes and raw.get("args") and raw.get("factory") is None:
            yield Problem("args", "of a method.factory, which is not given; leave it out")


class LabelMethodConfig(MethodConfig):
    """A method that learns from labels only, by the cross-entropy or by the loss of its name."""

    command = "finetune"
    mixes: ClassVar[Mapping[str, bool]] = {"erm": False, "mixup": True}

    label_smoothing: BelowOne = 0.0

    @property
    def loss(self) -> str | None:
        """The loss, a file of mixkd/losses/labels, whose arguments are `args`; None: the usual."""
        return None if self.name in self.mixes else self.name

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of its methods, those of further losses among them."""
        return (*super().names(), *label_losses())

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield keys that a loss of its name leaves without effect as well."""
        yield from super().mistakes(raw)
        name = raw.get("name")
        if name not in label_losses():
            return
        if raw.get("label_smoothing"):
            text = f"got {shown(raw['label_smoothing'])} beside the loss {name}"
            yield Problem("label_smoothing", f"{text}; it is of method=erm and method=mixup")
        if raw.get("factory") is not None:
            text = f"got {shown(raw['factory'])} beside the loss {name}"
            yield Problem("factory", f"{text}; a learner of your own takes method=erm or mixup")


class TeacherMethodConfig(MethodConfig):
    """A method that learns a teacher's answers: alpha * CE + beta * KL, eq. 2 and 9."""

    command = "distill"
    mixes: ClassVar[Mapping[str, bool]] = {"kd": False, "kd_mixup": True}

    alpha: NonNegative
    beta: NonNegative
    t_squared: Flag
    warmup_epochs: Annotated[
        int, AsBefore(0), takes("a whole number of epochs, 0 or more", ge=0)
    ] = 0


class SGDConfig(Section):
    """Stochastic gradient descent. lr is the peak learning rate."""

    name: Literal["sgd"]
    lr: Positive
    momentum: BelowOne
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


class TimmOptimizerConfig(Section):
    """An optimizer of timm's, by its name there. lr is the peak learning rate."""

    library: Literal["timm"]
    name: Annotated[str, takes("the name of an optimizer of timm's, such as lion")]
    lr: Positive
    weight_decay: NonNegative
    args: Annotated[dict[str, Any], takes("keyword arguments, {key: value}")]


class OwnOptimizerConfig(PartConfig):
    """An optimizer of one's own: called with the parameters, and its arguments."""


if TYPE_CHECKING:
    OptimizerConfig = SGDConfig | AdamConfig | TimmOptimizerConfig | OwnOptimizerConfig
else:
    OptimizerConfig = one_of(SGDConfig, AdamConfig, TimmOptimizerConfig, OwnOptimizerConfig)


class ConstantConfig(Section):
    """One learning rate throughout."""

    name: Literal["constant"]


# Rates once changed between epochs alone.
By = Annotated[Literal["epoch", "step"], AsBefore("epoch"), takes("epoch or step")]


class CosineConfig(Section):
    """Linear warm-up over whole epochs, then half a cosine."""

    name: Literal["cosine"]
    by: By
    warmup_epochs: Annotated[int, takes("a whole number, 0 or more", ge=0)]
    min_lr: NonNegative


class PlateauConfig(Section):
    """Lower the rate when the held-out NLL stops falling."""

    name: Literal["plateau"]
    factor: OpenUnitInterval
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
    by: By
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


class MultistepConfig(Section):
    """The rate is multiplied by gamma at every milestone; epochs from 0."""

    name: Literal["multistep"]
    milestones: Annotated[list[Count], takes("a list of epochs, in order", min_length=1)]
    gamma: OpenUnitInterval
    stretch: Flag
    length: Annotated[int, takes("a whole number of epochs, 2 or more", ge=2)]

    @classmethod
    def mistakes(cls, raw: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a milestone that does not come after the one before it."""
        milestones = raw.get("milestones")
        if not isinstance(milestones, list) or not all(isinstance(m, int) for m in milestones):
            return
        for index, (before, after) in enumerate(pairwise(milestones), start=1):
            if after <= before:
                text = f"got {after}; takes an epoch after {before}, the milestone before it"
                yield Problem(f"milestones[{index}]", text)


class OneCycleConfig(Section):
    """Half a cosine up to the peak, and half a cosine down."""

    name: Literal["onecycle"]
    by: By
    pct_start: OpenUnitInterval
    div_factor: Annotated[float, takes("a number, 1 or more", ge=1)]
    final_div_factor: Annotated[float, takes("a number, 1 or more", ge=1)]


class OwnScheduleConfig(PartConfig):
    """A schedule of one's own: called with the optimizer, it gives a scheduler of torch's kind."""

    by: Literal["epoch", "step"] = "epoch"


if TYPE_CHECKING:
    ScheduleConfig = (
        ConstantConfig
        | CosineConfig
        | PlateauConfig
        | PiecewiseConfig
        | MultistepConfig
        | OneCycleConfig
        | OwnScheduleConfig
    )
else:
    ScheduleConfig = one_of(
        ConstantConfig,
        CosineConfig,
        PlateauConfig,
        PiecewiseConfig,
        MultistepConfig,
        OneCycleConfig,
        OwnScheduleConfig,
    )


class KLConfig(Section):
    """The Kullback-Leibler divergence from the teacher's probabilities (eq. 1)."""

    name: Literal["kl"]


class NoComparisonConfig(Section):
    """Logits, or features, are not compared."""

    name: Literal["none"]


if TYPE_CHECKING:
    DivergenceConfig = KLConfig | NoComparisonConfig | PartConfig
    AnyHintConfig = NoComparisonConfig | HintConfig
else:
    DivergenceConfig = one_of(KLConfig, NoComparisonConfig, PartConfig)
    AnyHintConfig = one_of(NoComparisonConfig, HintConfig)


class MachineConfig(Section):
    """Where and how to compute: of an evaluation, threads, format and compiling change rounding."""

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
    """How long and how to train, and which epoch to keep."""

    # Dropout on feature maps draws its mask in the order in which pixels lie in memory, and
    # compiled code draws another one: so both are part of the experiment.
    channels_last: Annotated[Flag, AsBefore(True)]
    compile: Annotated[Flag, AsBefore(False)]
    max_epochs: Epochs
    select: Literal["accuracy", "nll", "ece", "last"]
    clip_norm: Annotated[Positive | None, takes("a number above 0, or null")]
    accumulate: Count
    ema: Annotated[OpenUnitInterval | None, takes("a number above 0 and below 1, or null")]
    sync_batchnorm: Flag


class Stage1Config(Section):
    """Training of the head alone before the network is trained whole; lr is constant."""

    epochs: Annotated[int, takes("a whole number from 0 to 100000", ge=0, le=100_000)]
    lr: Positive


class CheckpointConfig(Section):
    """When to write last.ckpt beside the ends of epochs."""

    every_n_steps: Annotated[Count | None, takes("a whole number of steps, 1 or more, or null")]


class CalibrationMonitorConfig(Section):
    """A reliability diagram while a network trains."""

    every_n_epochs: Annotated[Count | None, takes("a whole number of epochs, 1 or more, or null")]


class LinearityMonitorConfig(CalibrationMonitorConfig):
    """Vicinal analysis while a network trains."""

    n_pairs: Count
    lambdas: Lambdas
    seed: NumpySeed


class CorruptionMonitorConfig(CalibrationMonitorConfig):
    """Accuracy and calibration on corrupted images while a network trains."""

    names: Annotated[
        list[Name], AfterValidator(each_once), takes("a list of corruptions", min_length=1)
    ]
    severities: Annotated[
        list[Annotated[int, Field(ge=1, le=5)]],
        AfterValidator(each_once),
        takes("a list of whole numbers from 1 to 5", min_length=1),
    ]


class CallbacksConfig(NamedPartsConfig):
    """What is looked at on the held-out images while a network trains; others by name, as parts."""

    calibration: CalibrationMonitorConfig
    linearity: LinearityMonitorConfig
    corruption: CorruptionMonitorConfig
