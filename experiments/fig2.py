"""Figure 2: decision boundaries of a toy problem under ERM, mixup, KD and mixup-based KD.

`python -m experiments.fig2`. Points of the plane are images of one pixel, whose red and green are
the coordinates: the modules, losses and stream are those of any other training.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import nn

from mixkd.compose import compose
from mixkd.config import Finetune, Mix, validate
from mixkd.console import say
from mixkd.data.datamodule import ImageDataModule, make_stream
from mixkd.data.images import AnyImages, Images, Splits
from mixkd.modules.distillation import Distillation
from mixkd.modules.learner import Learner
from mixkd.modules.supervised import Supervised
from mixkd.networks import FrozenTeacher, Network
from mixkd.optimization import FixedSchedule, Optimization, half_cosine
from mixkd.report.reliability import COLOURS, save_figure
from mixkd.tasks.fit import make_trainer

CLASSES = ("a", "b", "c")
METHODS = ("erm", "mixup", "kd", "kd_mixup")
OUT = Path("reports/fig2")

MIX = Mix(lam="uniform", a=1.0, per="sample", kind="mixup")


def main(words: Sequence[str] = ()) -> None:
    """Train a teacher and the four students, and draw what each answers over the plane."""
    epochs = int(words[0]) if words else 40
    splits = toy_splits()
    teacher = train("erm", splits, 128, epochs)
    networks = {"teacher": teacher}
    for method in METHODS:
        networks[method] = train(method, splits, 16, epochs, teacher)
    save_figure(boundaries_figure(networks, splits.train), OUT / "fig2")
    print(f"{OUT}/fig2.png, fig2.svg")


def toy_splits(n: int = 600, seed: int = 0) -> Splits:
    """Return three classes, the arms of a spiral with noise, as images of one pixel."""

    def spiral(part: int, count: int) -> Images:
        rng = np.random.default_rng([seed, part])
        label = np.arange(count) % len(CLASSES)
        along = rng.uniform(0.12, 1, count)
        angle = 2.2 * along + 2 * np.pi * label / 3 + rng.normal(0, 0.3, count)
        xy = 0.5 + 0.45 * along[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        pixels = np.zeros((count, 1, 1, 3))
        pixels[:, 0, 0, :2] = xy.clip(0, 1) * 255
        return Images.of(pixels.round().astype(np.uint8), label)

    return Splits(spiral(0, n), spiral(1, n // 4), spiral(2, n // 4), CLASSES)


def train(
    method: str, splits: Splits, width: int, epochs: int, teacher: Network | None = None
) -> Network:
    """Return a network of two hidden layers of a width, trained by a method."""
    say(f"{method}, {width} units")
    torch.manual_seed(0)
    core = nn.Sequential(
        nn.Flatten(), nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, len(CLASSES)),
    )  # fmt: skip
    network = Network(core, mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 1.0])
    rates = FixedSchedule([half_cosine(0.01, 0, epoch / epochs) for epoch in range(epochs)])
    optimization = Optimization(partial(torch.optim.Adam, lr=0.0), rates)
    learner: Learner
    if method in ("erm", "mixup"):
        learner = Supervised(network, optimization, seed=0)
    else:
        assert teacher is not None
        learner = Distillation(
            network, optimization, 0, teacher=FrozenTeacher(teacher), temperature=2.0,
            alpha=0.0, beta=1.0, t_squared=True,
        )  # fmt: skip
    # Of the shipped settings only the views and the batch are used.
    words = ["network=resnet20", "data.pad=0", "data.batch_size=50", "trainer.accelerator=cpu"]
    cfg = validate(compose("finetune", words))
    assert isinstance(cfg, Finetune)
    stream = make_stream(cfg.data, splits, MIX if "mixup" in method else None, seed=0)
    data = ImageDataModule(splits, cfg.data, stream)
    learner.train()
    make_trainer(cfg.trainer, max_epochs=epochs).fit(learner, data)
    return network


def boundaries_figure(networks: dict[str, Network], images: AnyImages) -> Figure:
    """Return a panel a network: probabilities as mixtures of the classes' colours, boundaries."""
    side = np.linspace(0, 1, 300)
    x, y = np.meshgrid(side, side)
    view = torch.zeros(x.size, 3, 1, 1)
    view[:, 0, 0, 0], view[:, 1, 0, 0] = (torch.from_numpy(v.ravel()).float() for v in (x, y))
    colours = np.array([to_rgb(c) for c in COLOURS[: len(CLASSES)]])
    assert isinstance(images, Images)
    points = images.pixels[:, :2, 0, 0].numpy() / 255
    figure = Figure(figsize=(2.4 * len(networks), 2.9), layout="constrained")
    panels = zip(figure.subplots(1, len(networks)), networks.items(), strict=True)
    for axes, (name, network) in panels:
        with torch.inference_mode():
            p = network.eval()(view).softmax(dim=1).numpy()
        picture = (p @ colours).reshape(*x.shape, 3)
        axes.imshow(picture, extent=(0, 1, 0, 1), origin="lower", alpha=0.75)
        best = p.argmax(axis=1).reshape(x.shape)
        for k in range(len(CLASSES)):
            axes.contour(x, y, best == k, levels=[0.5], colors="black", linewidths=0.8)
        for k, marker in enumerate(("o", "s", "^")):
            at = points[images.labels.numpy() == k][::4]
            axes.scatter(at[:, 0], at[:, 1], s=8, marker=marker, color=colours[k],
                         edgecolors="black", linewidths=0.3)  # fmt: skip
        axes.set(xticks=[0, 1], yticks=[0, 1], xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        axes.set_title(f"{name}\nconfidence {p.max(axis=1).mean():.2f}", fontsize="medium")
    return figure


if __name__ == "__main__":
    main(sys.argv[1:])
