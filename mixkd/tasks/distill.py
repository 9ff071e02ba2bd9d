"""`mixkd distill`: a student learns a frozen teacher's answers."""

from inspect import isclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mixkd.config.data import DataConfig
from mixkd.config.fields import ARCHITECTURE, DATASET, LIMIT, SPLIT, VIEW, keys, pruned
from mixkd.config.network import NetworkConfig
from mixkd.config.parts import HintConfig, PartConfig
from mixkd.config.tasks import DistillConfig
from mixkd.config.training import MixConfig, NoComparisonConfig
from mixkd.console import say
from mixkd.data.batches import make_stream, make_views, mixing_of
from mixkd.data.splits import Splits, load_splits
from mixkd.errors import UserError, first_line, shortened
from mixkd.files.writing import file_fingerprint
from mixkd.losses.divergences import GIVEN, divergence_of
from mixkd.losses.hints import MADE_WITH
from mixkd.losses.temperature import Sigma, Temperature
from mixkd.metrics.parts import make_metrics
from mixkd.modules.comparison import Comparison
from mixkd.modules.distillation import Distillation
from mixkd.modules.hint import Hint
from mixkd.modules.optimization import optimization
from mixkd.modules.tape import Tape, TapedTeacher
from mixkd.networks.build import build_network
from mixkd.networks.network import FrozenTeacher, Network
from mixkd.networks.weights import weights_fingerprint
from mixkd.parts import FAILURES, arguments, function_of, import_callable, named_arguments
from mixkd.runs.leaks import refuse_leaks
from mixkd.runs.run import Metrics, Run
from mixkd.task import task
from mixkd.training.fit import fit, make_learner, prepare
from mixkd.vicinal import VicinalBatch, VicinalStream


@task
def distill(cfg: DistillConfig, run: Run) -> Metrics:
    """Train one student from one teacher and return the student's metrics.

    Raises:
        UserError: if the data, a network or the run directory is not fit for use.
    """
    splits = load_splits(cfg.data)
    run.refuse_changed()
    networks = {"teacher": cfg.teacher, "student": cfg.student}
    run.trained_on = refuse_leaks(networks, cfg.data, run.images, splits)
    classes = splits.classes
    if isinstance(cfg.temperature, str) and len(classes) == 2:
        text = f"got {cfg.temperature} with 2 classes, where its gradient vanishes; takes a number"
        raise UserError.of("temperature", text)
    stream = make_stream(
        cfg.data, splits, cfg.method.mix, cfg.stream_seed, devices=cfg.trainer.devices
    )
    shape = make_views(cfg.data, splits).shape
    divergence = _divergence(cfg)
    asks_for_features = not isinstance(cfg.hint, NoComparisonConfig)

    def load() -> Network:
        network = build_network(cfg.teacher, classes, "teacher")
        prepare(cfg.trainer, network, len(classes), shape, "teacher")
        return network

    teacher = FrozenTeacher(load, cfg.teacher_precision)
    if cfg.teacher.weights in (None, "pretrained"):  # not known by a file
        assert isinstance(teacher.network, Network)
        taught = weights_fingerprint(teacher.network.core, cfg.teacher)
    else:
        taught = file_fingerprint(cfg.teacher.weights)
    taped = _taped(cfg, splits, stream, taught) if cfg.teacher.tape is not None else None
    if taped is not None and asks_for_features:
        say("hint: the teacher is asked for its features all the same; its tape holds logits alone")
    if taped is None or not taped.tape.has(taped.epochs) or asks_for_features:
        teacher.load()  # now: what is wrong with it is told before anything starts

    torch.manual_seed(cfg.seed)
    student = build_network(cfg.student, classes, "student")
    prepare(cfg.trainer, student, len(classes), shape, "student", cfg.images_at_a_time)

    hint: dict[str, Any] = {}
    if not isinstance(cfg.hint, NoComparisonConfig):
        made = _hint(cfg.hint, student, teacher.network, shape, splits)
        hint = {"hint": made, "hint_weight": cfg.hint.weight}
    own_metrics = make_metrics(cfg.metrics, len(classes))
    learner = make_learner(
        cfg.method,
        Distillation,
        student,
        teacher,
        temperature=_softening(cfg),
        divergence=divergence,
        **hint,
        alpha=cfg.method.alpha,
        beta=cfg.method.beta,
        t_squared=cfg.method.t_squared,
        warmup_epochs=cfg.method.warmup_epochs,
        mixing=mixing_of(cfg.method.mix),
        taped=taped,
        metrics=own_metrics,
        **optimization(cfg, student),
    )
    if isinstance(learner, Distillation):
        learner.try_out(_random_batch(splits, shape), len(classes))
    return fit(cfg, run, learner, splits, {"teacher": taught}, own_metrics)


def _random_batch(splits: Splits, shape: tuple[int, int], size: int = 4) -> VicinalBatch:
    """Return random pixels, as if they were those of the first training images, mixed."""
    label, index = splits.train.labels[:size].cpu(), splits.train.index[:size].cpu()
    pixels = torch.rand(len(label), 3, *shape, generator=torch.Generator().manual_seed(0))
    lam, row = torch.full((len(label),), 0.75), torch.arange(len(label))
    return VicinalBatch(pixels, lam, label, label.flip(0), index, index.flip(0), 0, 0, row)


def _softening(cfg: DistillConfig) -> Temperature:
    """Return what logits are divided by, as losses take it."""
    if not isinstance(cfg.temperature, str):
        return cfg.temperature
    sigma = Sigma(float(cfg.temperature.removesuffix("sigma") or 1), cfg.deviation)
    return "sigma" if sigma == Sigma() else sigma


def _divergence(cfg: DistillConfig) -> Comparison | None:
    """Return how logits of two networks are compared.

    Raises:
        UserError: if the user's own has other arguments.
    """
    if isinstance(cfg.divergence, NoComparisonConfig):
        return None
    if not isinstance(cfg.divergence, PartConfig):
        return divergence_of(cfg.divergence.name)
    divergence: Comparison = function_of(cfg.divergence, "divergence", 2, offered=GIVEN)
    return divergence


def _hint(
    cfg: HintConfig, student: Network, teacher: nn.Module, shape: tuple[int, int], splits: Splits
) -> Hint:
    """Return how features of two networks are compared.

    Raises:
        UserError: if it has other arguments, or the networks no such layers.
    """
    function, options = import_callable(cfg.factory, "hint.factory"), {}
    if isclass(function):  # it is made for the shapes of features
        named_arguments(function, cfg.factory, cfg.args, "hint", offered=MADE_WITH)
        options = arguments(cfg.args, "hint.args")
    else:
        function = function_of(cfg, "hint", 2, offered=GIVEN)
    try:
        return Hint(
            function,
            student,
            teacher,
            student_layers=cfg.student_layers,
            teacher_layers=cfg.teacher_layers,
            image_size=shape,
            train_index=splits.train.index,
            train_label=splits.train.labels,
            **options,
        )
    except UserError:
        raise
    except FAILURES as error:
        text = f"{cfg.factory} fails with {shortened(str(cfg.args))}: {first_line(error)}"
        raise UserError.of("hint", text) from error


def _taped(cfg: DistillConfig, splits: Splits, stream: VicinalStream, taught: str) -> TapedTeacher:
    """Return the tape of a teacher along a stream, known by everything that its answers depend on.

    Raises:
        UserError: if it would be too large, or what is there of it is damaged.
    """
    assert cfg.teacher.tape is not None
    which = {*keys(DataConfig, DATASET, SPLIT, LIMIT, VIEW)}
    key = {
        "teacher": taught,
        "network": cfg.teacher.model_dump(include={*keys(NetworkConfig, ARCHITECTURE)}),
        "precision_of_teacher": cfg.teacher_precision,
        "images": dict(sorted(splits.fingerprints.items())),
        "data": pruned(DataConfig, cfg.data.model_dump(include=which)),
        "mixing": cfg.method.mix and pruned(MixConfig, cfg.method.mix.model_dump()),
        "stream": {"seed": stream.seed, "stage": stream.stage, "groups": stream.groups},
    }
    if cfg.method.mix is not None and cfg.method.mix.kind != "mixup":
        key["boxes"] = "of whole pixels"  # tapes of before have others, rounded to the nearest
    shape = (stream.steps_per_epoch, stream.batch_size, len(splits.classes))
    tape = Tape(Path(cfg.teacher.tape).expanduser(), key, shape, cfg.teacher.tape_precision)
    tape.check_size(cfg.trainer.max_epochs, cfg.teacher.tape_gb)
    tape.check(cfg.trainer.max_epochs)
    return TapedTeacher(tape, cfg.trainer.max_epochs)
