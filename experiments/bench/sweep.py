"""A sweep over temperatures: one teacher's answers on tape, and asked for in every run."""

import io
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from experiments.bench.parts import (
    configured,
    mixed_stream,
    random_splits,
    timm_network,
    training_seconds,
)
from experiments.bench.timing import Figure, in_turn
from mixkd.data.batches import make_views, vicinal_batch
from mixkd.data.images import Images
from mixkd.modules.distillation import Distillation
from mixkd.modules.optimization import optimization
from mixkd.modules.supervised import Supervised
from mixkd.modules.tape import Tape, TapedTeacher
from mixkd.networks.network import FrozenTeacher

SIDE, BATCH, STEPS, TEMPERATURES = 64, 32, 6, 6


def figures(repeats: int) -> Iterator[Figure]:
    """Yield what six temperatures cost, of one teacher pass and six trainings of the student."""
    times = compared(repeats)
    pairs = zip(times["teacher"], times["student"], strict=True)
    least = [teacher + TEMPERATURES * student for teacher, student in pairs]
    taped = [
        first + (TEMPERATURES - 1) * other
        for first, other in zip(times["recording"], times["reading"], strict=True)
    ]
    yield Figure(
        "six temperatures, ConvNeXt-Tiny to MobileNetV2 at 64 px, with teacher.tape: "
        "time / (one teacher pass + six student-only trainings)",
        tuple(a / b for a, b in zip(taped, least, strict=True)),
        "One run records, five read; none of the five loads the teacher. Of training steps alone.",
        ("at most", 1.1),
    )
    yield Figure(
        "the same, each run asking the teacher: time / (one pass + six trainings)",
        tuple(TEMPERATURES * a / b for a, b in zip(times["live"], least, strict=True)),
        "What the sweep costs without a tape. The heavier the teacher, the more.",
    )


def compared(repeats: int) -> dict[str, list[float]]:
    """Return the seconds of an epoch.

    `recording`, `reading` and `live` distil; `student` learns from mixed labels alone, and
    `teacher` is asked about the mixed images alone.
    """
    splits = random_splits(STEPS * BATCH, SIDE)
    cfg = configured(f"data.batch_size={BATCH}", "trainer.max_epochs=1")
    stream, network = mixed_stream(cfg, splits), timm_network("convnext_tiny")
    teacher = FrozenTeacher(network)
    images, views, rows = splits.train, make_views(cfg.data, splits), torch.arange(BATCH)
    assert isinstance(images, Images)

    def distilled(taped: TapedTeacher | None) -> float:
        network = timm_network("mobilenetv2_100")
        learner = Distillation(
            network,
            teacher,
            temperature=4.0,
            alpha=0.1,
            beta=0.9,
            taped=taped,
            **optimization(cfg, network),
        )
        with redirect_stderr(io.StringIO()):  # what a run says of its tape
            return training_seconds(cfg, splits, learner, stream)

    def student() -> float:
        network = timm_network("mobilenetv2_100")
        learner = Supervised(network, **optimization(cfg, network))
        return training_seconds(cfg, splits, learner, stream)

    def asked() -> float:
        batches = [
            vicinal_batch(images, stream.plan(0, step), rows, views).mixed for step in range(STEPS)
        ]
        started = time.perf_counter()
        for mixed in batches:
            teacher(mixed)
        return time.perf_counter() - started

    with TemporaryDirectory() as folder:

        def taped(name: str) -> TapedTeacher:
            shape = (stream.steps_per_epoch, stream.batch_size, len(splits.classes))
            return TapedTeacher(Tape(Path(folder), {"of": name}, shape, "float16"), epochs=1)

        distilled(taped("read"))  # records
        number = iter(range(repeats + 1))
        works = {
            "recording": lambda: distilled(taped(f"recorded {next(number)}")),
            "reading": lambda: distilled(taped("read")),
            "live": lambda: distilled(None),
            "student": student,
            "teacher": asked,
        }
        return in_turn(works, repeats)
