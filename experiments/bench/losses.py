"""What another divergence, or a hint, costs: a training step of MobileNetV2 over that of `kl`."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from experiments.bench.parts import (
    configured,
    mixed_stream,
    random_splits,
    timm_network,
    training_seconds,
)
from experiments.bench.timing import Figure, in_turn, ratios
from experiments.bench.training import ADAMW
from mixkd.modules.distillation import Distillation
from mixkd.modules.optimization import FixedSchedule

BATCH, STEPS = 64, 12

CHOICES: dict[str, dict[str, Any]] = {
    "kl": {},
    "dkd": {"divergence": "dkd"},
    "rkd": {"hint": "rkd"},
}


def figures(repeats: int) -> Iterator[Figure]:
    """Yield the time of a step with each choice, over that of `kl`."""
    splits = random_splits(STEPS * BATCH, 32, classes=100)
    cfg = configured(f"data.batch_size={BATCH}", "trainer.max_epochs=1")

    def trained(**choice: Any) -> float:
        student, teacher = (timm_network(n, 100) for n in ("mobilenetv2_100", "resnet10t"))
        options: dict[str, Any] = {
            "optimizer": ADAMW,
            "schedule": FixedSchedule([1e-3]),
            "alpha": 1.0,
        }
        learner = Distillation(student, teacher, temperature=4.0, **options, **choice)
        return training_seconds(cfg, splits, learner, mixed_stream(cfg, splits))

    works = {name: partial(trained, **choice) for name, choice in CHOICES.items()}
    times = in_turn(works, 3 * repeats)
    for name in works:
        if name != "kl":
            yield Figure(
                f"MobileNetV2 from ResNet-10-T, 32 px, {BATCH} images, 100 classes, "
                f"seconds a step: {name} / kl",
                ratios(times[name], times["kl"]),
                "What is computed of 64 rows is little beside the networks; of relations it grows "
                "with the cube of the batch.",
                ("at most", 1.03),
            )
