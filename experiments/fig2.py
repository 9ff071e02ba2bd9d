"""Figure 2: decision boundaries under ERM, mixup, KD and mixup-based KD, on a toy problem.

The paper's is a sketch; this one is computed. Points of the plane are images of one pixel, whose
red and green are the coordinates: modules, losses and stream are those of any other training.
Colours mix the classes' colours by probability; lines are boundaries. Confidence: its mean over the
plane.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mixkd.console import say
from mixkd.files.arrays import read_arrays
from mixkd.files.reading import Damaged
from mixkd.files.writing import replacing
from mixkd.plots.style import COLOURS
from mixkd.report.sections import Drawing
from mixkd.report.table import Column, Table, Value
from mixkd.reproduction.scale import Scale
from mixkd.reproduction.study import StudyRun

from .paper.comparison import Comparison
from .paper.study import PaperStudy

if TYPE_CHECKING:
    from mixkd.data.splits import Splits
    from mixkd.networks.network import Network

CLASSES = ("a", "b", "c")
METHODS = ("erm", "mixup", "kd", "kd_mixup")
SAVED_ARRAYS = ("epochs", "points", "labels", "teacher", *METHODS)  # that are kept
SIDE = 300  # points of the plane, each way


def runs(study: PaperStudy) -> list[StudyRun]:
    """Return nothing: the toy networks are no runs."""
    return []


def make(scale: Scale, folder: Path) -> None:
    """Train a teacher and the four students, and keep what each answers over the plane."""
    epochs = scale.settings.toy_epochs
    path = folder / "fig2.npz"
    if path.is_file() and _saved(path).get("epochs") == epochs:
        return
    splits = toy_splits()
    teacher = train_toy("erm", splits, 128, epochs)
    networks = {"teacher": teacher}
    for method in METHODS:
        networks[method] = train_toy(method, splits, 16, epochs, teacher)
    points, labels = plane_of(splits)
    answers = {name: over_the_plane(network) for name, network in networks.items()}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        arrays = answers | {"epochs": np.array(epochs), "points": points, "labels": labels}
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def render(comparison: Comparison, folder: Path) -> Iterator[Table | Drawing]:
    """Yield the figure, and the mean confidences in it."""
    arrays = _saved(folder / "fig2.npz")
    if not {*SAVED_ARRAYS} <= arrays.keys():
        return
    points, labels, epochs = (arrays.pop(name) for name in ("points", "labels", "epochs"))
    about = f"A toy problem of three classes; {epochs} epochs, one seed."
    figure = boundaries_figure(arrays, points, labels)
    yield Drawing("fig2", "Decision boundaries", about, figure)
    columns = [Column("network", "Network"), Column("confidence", "Mean confidence", 3)]
    rows: list[dict[str, Value]] = [
        {"network": name, "confidence": float(p.max(axis=2).mean())} for name, p in arrays.items()
    ]
    yield Table("fig2-numbers", "Mean confidence over the plane", about, columns, rows)


def _saved(path: Path) -> dict[str, np.ndarray]:
    """Return what was kept; nothing where it is missing or damaged."""
    try:
        # A link would be out of the folder of runs.
        return read_arrays(path, SAVED_ARRAYS, path.parent.parent)
    except (FileNotFoundError, Damaged):
        return {}


def toy_splits(n: int = 600, seed: int = 0) -> Splits:
    """Return three classes, the arms of a spiral with noise, as images of one pixel."""
    from mixkd.data.images import Images
    from mixkd.data.splits import Splits

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


def plane_of(splits: Splits) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of the training points, float [n, 2], and their classes, int [n]."""
    from mixkd.data.images import Images

    assert isinstance(splits.train, Images)
    return splits.train.pixels[:, :2, 0, 0].numpy() / 255, splits.train.labels.numpy()


def train_toy(
    method: str, splits: Splits, width: int, epochs: int, teacher: Network | None = None
) -> Network:
    """Return a network of two hidden layers of a width, trained by a method."""
    import torch
    from torch import nn

    from mixkd.config.tasks import FinetuneConfig
    from mixkd.data.batches import make_stream
    from mixkd.data.module import ImageDataModule
    from mixkd.modules.distillation import Distillation
    from mixkd.modules.learner import Learner
    from mixkd.modules.optimization import FixedSchedule, half_cosine
    from mixkd.modules.supervised import Supervised
    from mixkd.networks.network import Network
    from mixkd.request import request
    from mixkd.training.fit import make_trainer
    from mixkd.vicinal import Mixing

    say(f"{method}, {width} units")
    torch.manual_seed(0)
    core = nn.Sequential(
        nn.Flatten(), nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, len(CLASSES)),
    )  # fmt: skip
    network = Network(core, mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 1.0])
    rates = FixedSchedule([half_cosine(0.01, 0, epoch / epochs) for epoch in range(epochs)])
    adam = partial(torch.optim.Adam, lr=0.0)
    learner: Learner
    if method in ("erm", "mixup"):
        learner = Supervised(network, optimizer=adam, schedule=rates)
    else:
        assert teacher is not None
        learner = Distillation(network, teacher, optimizer=adam, schedule=rates)
    # Of the shipped settings only the views and the batch are used.
    overrides = ["network=resnet20", "data.pad=0", "data.batch_size=50", "trainer.accelerator=cpu"]
    cfg = request("finetune", overrides)
    assert isinstance(cfg, FinetuneConfig)
    mix = Mixing("uniform") if "mixup" in method else None
    stream = make_stream(cfg.data, splits, mix, seed=0)
    data = ImageDataModule(splits, cfg.data, stream)
    learner.train()
    make_trainer(cfg.trainer, max_epochs=epochs).fit(learner, data)
    return network


def over_the_plane(network: Network) -> np.ndarray:
    """Return a network's probabilities over the plane, float [SIDE, SIDE, classes]."""
    import torch

    side = np.linspace(0, 1, SIDE)
    x, y = np.meshgrid(side, side)
    view = torch.zeros(x.size, 3, 1, 1)
    view[:, 0, 0, 0], view[:, 1, 0, 0] = (torch.from_numpy(v.ravel()).float() for v in (x, y))
    with torch.inference_mode():
        p = network.eval()(view).softmax(dim=1).numpy()
    return np.asarray(p.reshape(SIDE, SIDE, len(CLASSES)))


def boundaries_figure(
    answers: Mapping[str, np.ndarray], points: np.ndarray, labels: np.ndarray
) -> Figure:
    """Return a panel a network: probabilities as mixtures of the classes' colours, boundaries.

    Args:
        answers: network -> probabilities over the plane, float [SIDE, SIDE, classes].
        points: coordinates of the training points, float [n, 2].
        labels: their classes, int [n].
    """
    colours = np.array([to_rgb(c) for c in COLOURS[: len(CLASSES)]])
    figure = Figure(figsize=(2.4 * len(answers), 2.9), layout="constrained")
    side = np.linspace(0, 1, SIDE)
    for axes, (name, p) in zip(figure.subplots(1, len(answers)), answers.items(), strict=True):
        axes.imshow(p @ colours, extent=(0, 1, 0, 1), origin="lower", alpha=0.75)
        for k in range(len(CLASSES)):
            best = p.argmax(axis=2) == k
            axes.contour(side, side, best, levels=[0.5], colors="black", linewidths=0.8)
        for k, marker in enumerate(("o", "s", "^")):
            at = points[labels == k][::4]
            axes.scatter(at[:, 0], at[:, 1], s=8, marker=marker, color=colours[k],
                         edgecolors="black", linewidths=0.3)  # fmt: skip
        axes.set(xticks=[0, 1], yticks=[0, 1], xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
        axes.set_title(f"{name}\nconfidence {p.max(axis=2).mean():.2f}", fontsize="medium")
    return figure
