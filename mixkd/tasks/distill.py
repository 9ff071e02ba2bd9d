"""`mixkd distill`: a student learns a frozen teacher's answers."""

from functools import partial

import torch

from mixkd import config
from mixkd.data.datamodule import ImageDataModule, load_splits, make_stream
from mixkd.errors import UserError
from mixkd.fingerprints import file_fingerprint
from mixkd.modules.distillation import Distillation
from mixkd.networks import FrozenTeacher, build_network, check_logits
from mixkd.optimization import make_optimizer, make_schedule
from mixkd.provenance import stream_seed
from mixkd.run import Metrics, Run
from mixkd.tasks.fit import fit


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
    classes, size = splits.classes, splits.train.pixels.shape[-1]
    if cfg.temperature == "sigma" and len(classes) == 2:
        raise UserError.of(
            "temperature", "got sigma with 2 classes, where its gradient vanishes; takes a number"
        )
    stream = make_stream(cfg.data, splits, cfg.method.mix, stream_seed(cfg))

    assert cfg.teacher.weights is not None
    teacher = build_network(cfg.teacher, classes, "teacher")
    check_logits(teacher, len(classes), size, "teacher")

    torch.manual_seed(cfg.seed)
    student = build_network(cfg.student, classes, "student")
    check_logits(student, len(classes), size, "student")

    learner = Distillation(
        student,
        FrozenTeacher(teacher),
        cfg.temperature,
        alpha=cfg.method.alpha,
        beta=cfg.method.beta,
        t_squared=cfg.method.t_squared,
        optimizer=partial(make_optimizer, cfg.optimizer),
        schedule=make_schedule(cfg.schedule, cfg.optimizer.lr, cfg.trainer.max_epochs),
        seed=cfg.seed,
    )
    data = ImageDataModule(splits, cfg.data, stream)
    fingerprints = {"data": splits.fingerprint, "teacher": file_fingerprint(cfg.teacher.weights)}
    if cfg.student.weights is not None:
        fingerprints["start"] = file_fingerprint(cfg.student.weights)
    return fit(cfg, run, learner, data, fingerprints)
