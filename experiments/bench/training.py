"""A training step: mixup distillation through mixkd and Lightning, and in a bare loop."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.bench.parts import (
    configured,
    linear,
    mixed_stream,
    random_splits,
    timm_network,
    training_seconds,
)
from experiments.bench.timing import Figure, in_turn, ratios
from mixkd.data.images import Images
from mixkd.modules.distillation import Distillation
from mixkd.modules.optimization import FixedSchedule
from mixkd.networks.network import Network

PAD, TEMPERATURE, ALPHA, BETA = 4, 4.0, 0.1, 0.9
ADAMW = partial(torch.optim.AdamW, lr=1e-3, fused=True)


def figures(repeats: int) -> Iterator[Figure]:
    """Yield the time of a step above the bare loop's, and the ratio for a real student."""
    steps, small = 1000, partial(linear, 8)
    times = compared(small, small, side=8, steps=steps, batch=64, repeats=repeats)
    pairs = zip(times["mixkd"], times["bare"], strict=True)
    yield Figure(
        "training step, linear network, 64 images of 8 px: mixkd - bare loop",
        tuple(1e3 * (mixkd - bare) / steps for mixkd, bare in pairs),
        "A step costs this much more than in a loop written by hand that does the same work: "
        "half of it are Lightning's hooks, the rest a stream that any run can resume and losses "
        "that are logged apart.",
        ("at most", 1.0),
        "ms",
    )
    student, teacher = partial(timm_network, "mobilenetv2_100"), partial(timm_network, "resnet10t")
    # Many short pieces: the difference is small beside what else happens on a machine.
    times = compared(student, teacher, side=32, steps=12, batch=64, repeats=3 * repeats)
    yield Figure(
        "MobileNetV2 from ResNet-10-T, 32 px, images per second: mixkd / bare loop",
        ratios(times["bare"], times["mixkd"]),
        "With a student of the paper's kind the networks' own work hides the rest.",
        ("at least", 0.98),
    )


def compared(
    student: Callable[[], Network],
    teacher: Callable[[], Network],
    *,
    side: int,
    steps: int,
    batch: int,
    repeats: int,
) -> dict[str, list[float]]:
    """Return the seconds of an epoch of `steps` steps: `mixkd` and `bare`.

    Args:
        student: makes it.
        teacher: the same.
        side: of the images, in pixels.
        steps: of an epoch.
        batch: images of a step.
        repeats: how often.
    """
    splits = random_splits(steps * batch, side)
    cfg = configured(f"data.batch_size={batch}", "trainer.max_epochs=1")

    def through_mixkd() -> float:
        learner = Distillation(
            student(),
            teacher(),
            temperature=TEMPERATURE,
            alpha=ALPHA,
            beta=BETA,
            optimizer=ADAMW,
            schedule=FixedSchedule([1e-3]),
        )
        return training_seconds(cfg, splits, learner, mixed_stream(cfg, splits))

    def by_hand() -> float:
        images = splits.train
        assert isinstance(images, Images)
        return bare_epoch(images, student(), teacher(), steps, batch)

    return in_turn({"mixkd": through_mixkd, "bare": by_hand}, repeats)


def bare_epoch(images: Images, student: Network, teacher: Network, steps: int, batch: int) -> float:
    """Train for an epoch without any framework; return the seconds."""
    teacher.eval().requires_grad_(False)
    student.train()
    optimizer = ADAMW(student.parameters())
    order = torch.randperm(len(images))
    started = time.perf_counter()
    for step in range(steps):
        at = order[step * batch : (step + 1) * batch]
        view = bare_views(images.pixels[at])
        label = images.labels[at]
        lam, partner = torch.rand(batch), torch.randperm(batch)
        mixed = torch.lerp(view[partner], view, lam.view(-1, 1, 1, 1))
        with torch.no_grad():
            answers = teacher(mixed)
        logits = student(mixed)
        log_p = logits.log_softmax(1)
        first, second = (log_p.gather(1, y[:, None])[:, 0] for y in (label, label[partner]))
        ce = -(lam * first + (1 - lam) * second).mean()
        log_s, log_t = ((z / TEMPERATURE).log_softmax(1) for z in (logits, answers))
        kd = F.kl_div(log_s, log_t, reduction="batchmean", log_target=True)
        loss = ALPHA * ce + BETA * TEMPERATURE**2 * kd
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def bare_views(pixels: Tensor) -> Tensor:
    """Pad, crop and flip at random: uint8 [b, 3, side, side] to float32 in [0, 1]."""
    batch, _, side, _ = pixels.shape
    padded = F.pad(pixels, (PAD,) * 4).flatten(2)
    top, left = torch.randint(0, 2 * PAD + 1, (2, batch, 1))
    rows = top + torch.arange(side)
    columns = torch.arange(side).expand(batch, side)
    columns = left + torch.where(torch.rand(batch, 1) < 0.5, columns.flip(1), columns)
    at = (rows[:, :, None] * (side + 2 * PAD) + columns[:, None, :]).view(batch, 1, -1)
    view = padded.gather(2, at.expand(-1, 3, -1)).view(batch, 3, side, side)
    return view.float().div_(255)
