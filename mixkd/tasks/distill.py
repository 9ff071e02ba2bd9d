"""`mixkd distill`: a student learns a frozen teacher's answers."""

import torch

from mixkd import config
from mixkd.data.datamodule import ImageDataModule, load_splits, make_stream, make_views
from mixkd.errors import UserError
from mixkd.modules.distillation import Distillation
from mixkd.networks import FrozenTeacher, build_network, check_logits, weights_fingerprint
from mixkd.optimization import Optimization
from mixkd.provenance import stream_seed
from mixkd.run import Metrics, Run
from mixkd.tasks.fit import fit, prepare, stages


def distill(cfg: config.Distill) -> Metrics:
    """Train one student from one teacher and return the student's metrics.

    Raises:
        UserError: if the data, a network or the run directory is not fit for use.
    """
    run = Run(cfg)
    finished = run.finished_metrics()
    if finished is not None:
        return finished
    splits = load_splits(cfg.data)
    run = Run(cfg)  # again: files that were downloaded or unpacked just now are part of its name
    classes = splits.classes
    if cfg.temperature == "sigma" and len(classes) == 2:
        raise UserError.of(
            "temperature", "got sigma with 2 classes, where its gradient vanishes; takes a number"
        )
    stream = make_stream(
        cfg.data, splits, cfg.method.mix, stream_seed(cfg), devices=cfg.trainer.devices
    )
    shape = make_views(cfg.data, splits).shape

    teacher = build_network(cfg.teacher, classes, "teacher")
    check_logits(teacher, len(classes), shape, "teacher")
    prepare(cfg.trainer, teacher)

    torch.manual_seed(cfg.seed)
    student = build_network(cfg.student, classes, "student")
    check_logits(student, len(classes), shape, "student")
    prepare(cfg.trainer, student)

    learner = Distillation(
        student,
        Optimization.of(cfg),
        cfg.seed,
        teacher=FrozenTeacher(teacher, cfg.teacher.precision or cfg.trainer.precision),
        temperature=cfg.temperature,
        alpha=cfg.method.alpha,
        beta=cfg.method.beta,
        t_squared=cfg.method.t_squared,
    )
    data = ImageDataModule(splits, cfg.data, parts=cfg.trainer.accumulate)
    fingerprints = {
        **splits.fingerprints,
        "teacher": weights_fingerprint(teacher.core, cfg.teacher),
    }
    if cfg.student.weights or cfg.student.pretrained:
        fingerprints["start"] = weights_fingerprint(student.core, cfg.student)
    return fit(cfg, run, stages(cfg, learner, stream, splits), data, fingerprints)
