"""`mixkd distill`: a student learns a frozen teacher's answers."""

from pathlib import Path

import torch

from mixkd.config.data import DataConfig
from mixkd.config.fields import ARCHITECTURE, DATASET, LIMIT, SPLIT, VIEW, keys, pruned
from mixkd.config.network import NetworkConfig
from mixkd.config.parts import PartConfig
from mixkd.config.tasks import DistillConfig
from mixkd.config.training import MixConfig, NoHintConfig
from mixkd.data.batches import make_stream, make_views, mixing_of
from mixkd.data.splits import Splits, load_splits
from mixkd.errors import UserError
from mixkd.files.writing import file_fingerprint
from mixkd.losses.divergences import GIVEN
from mixkd.metrics.parts import make_metrics
from mixkd.modules.distillation import Comparison, Distillation
from mixkd.modules.optimization import optimization
from mixkd.modules.tape import Tape, TapedTeacher
from mixkd.networks.build import build_network
from mixkd.networks.network import FrozenTeacher, Network
from mixkd.networks.weights import weights_fingerprint
from mixkd.parts import function_of
from mixkd.runs.leaks import refuse_leaks
from mixkd.runs.run import Metrics, Run
from mixkd.task import task
from mixkd.training.fit import fit, make_learner, prepare
from mixkd.vicinal import VicinalStream


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
    if cfg.temperature == "sigma" and len(classes) == 2:
        text = "got sigma with 2 classes, where its gradient vanishes; takes a number"
        raise UserError.of("temperature", text)
    stream = make_stream(
        cfg.data, splits, cfg.method.mix, cfg.stream_seed, devices=cfg.trainer.devices
    )
    shape = make_views(cfg.data, splits).shape
    divergence, hint = _comparisons(cfg)

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
    if taped is None or not taped.tape.has(taped.epochs):
        teacher.load()  # now: what is wrong with it is told before anything starts

    torch.manual_seed(cfg.seed)
    student = build_network(cfg.student, classes, "student")
    prepare(cfg.trainer, student, len(classes), shape, "student", cfg.images_at_a_time)

    learner = make_learner(
        cfg.method,
        Distillation,
        student,
        teacher,
        temperature=cfg.temperature,
        divergence=divergence,
        hint=hint,
        hint_weight=0.0 if isinstance(cfg.hint, NoHintConfig) else cfg.hint.weight,
        alpha=cfg.method.alpha,
        beta=cfg.method.beta,
        t_squared=cfg.method.t_squared,
        mixing=mixing_of(cfg.method.mix),
        taped=taped,
        metrics=make_metrics(cfg.metrics, len(classes)),
        **optimization(cfg, student),
    )
    return fit(cfg, run, learner, splits, {"teacher": taught})


def _comparisons(cfg: DistillConfig) -> tuple[str | Comparison, Comparison | None]:
    """Return how logits and features of two networks are compared.

    Raises:
        UserError: if the user's own has other arguments, or a hint is asked for beside a tape.
    """

    def part(section: PartConfig, key: str) -> Comparison:
        comparison: Comparison = function_of(section, key, 2, offered=GIVEN)
        return comparison

    divergence: str | Comparison = (
        part(cfg.divergence, "divergence")
        if isinstance(cfg.divergence, PartConfig)
        else cfg.divergence.name
    )
    if isinstance(cfg.hint, NoHintConfig):
        return divergence, None
    if cfg.teacher.tape is not None:
        text = "asks for the teacher's features, and a tape holds its logits alone"
        raise UserError.of("hint", f"{text}; leave teacher.tape out")
    return divergence, part(cfg.hint, "hint")


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
