"""What a notebook asks of any PyTorch model: calibration, a temperature, linearity between images.

A model is anything that maps a batch of images to logits: an `nn.Module`, which is asked in eval
mode on its own device and left as it was, or a function.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from mixkd.data.loaders import PairImages, Share, labelled
from mixkd.data.pairs import draw_pairs
from mixkd.errors import check_count, check_positive
from mixkd.evaluation.asking import Model, asked
from mixkd.metrics.calibration import Calibration, TemperatureFit
from mixkd.metrics.measurement import Measurement
from mixkd.metrics.vicinal import VicinalLinearity, answers_between
from mixkd.networks.checks import eval_mode

Batches = Iterable[Sequence[Tensor]]


class Linearity(NamedTuple):
    """How a model, or a student beside its teacher, answers between images.

    Attributes:
        rows: by `network`, or `student` and `teacher`: a row a lambda, in nats but for dominance:
            `lam`, `nl` (eq. 12), `entropy`, `dominance` (eq. 13), `linearity_information` (eq. 14)
            and so on; of a student also `delta_lin` (eq. 15) with its paired standard error
            `delta_lin_se`, `kl_teacher_student` and `mi_bound`.
        metrics: the headline figures: `student/nl_global` (the mean over lambda),
            `student/nl_peak`, `delta_lin_global` with its `delta_lin_global_se`, `kl_real` ...

    Examples:
        >>> rows = {"network": [{"lam": 0.5, "nl": 0.1}]}
        >>> Linearity(rows, {"network/nl_peak": 0.1}).rows["network"][0]["nl"]
        0.1
    """

    rows: dict[str, list[dict[str, Any]]]
    metrics: dict[str, float]


def measure_calibration(
    model: Model,
    images: Tensor | Batches,
    label: Tensor | None = None,
    *,
    temperature: float | None = None,
    metrics: Mapping[str, Metric] | None = None,
    batch_size: int = 500,
) -> dict[str, float]:
    """Return accuracy, confidence, ECE (eq. 16), signed gap, NLL, Brier score and so on.

    They are fractions, nats for NLL, and `n`: what `mixkd evaluate` calls `test/...`.

    Args:
        model: from images to logits.
        images: as the model takes them, shape [n, ...]; or batches (images, int64 labels), such as
            a DataLoader.
        label: int64, shape [n]; None where images are batches.
        temperature: a fitted one, for `scaled/...`.
        metrics: of torchmetrics, by names, measured beside; they stay as they are.
        batch_size: how many images are asked about at once.

    Raises:
        TypeError: if the model gives no logits.
        ValueError: if there are no images, not a label for each, or for other values.
        NotFinite: if logits are not finite.

    Examples:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
        >>> images, label = torch.rand(50, 3, 8, 8), torch.arange(50) % 10
        >>> metrics = measure_calibration(model, images, label)
        >>> metrics["n"], 0 <= metrics["ece"] <= 1
        (50, True)
        >>> loader = torch.utils.data.DataLoader(list(zip(images, label)), batch_size=20)
        >>> abs(measure_calibration(model, loader)["ece"] - metrics["ece"]) < 1e-6
        True
    """
    if temperature is not None:
        check_positive("temperature", temperature)
    measurement: Measurement | None = None
    seen = 0
    with _asking(model) as (asked,):
        for batch, labels in _batches(images, label, batch_size):
            logits = asked(batch)
            measurement = measurement or Measurement(logits.shape[1], temperature, metrics=metrics)
            measurement.update(logits, labels.cpu(), torch.arange(seen, seen + len(labels)))
            seen += len(labels)
    if measurement is None:
        raise ValueError("no images were given")
    return measurement.compute(measurement.predictions())


def fit_temperature(
    model: Model, images: Tensor | Batches, label: Tensor | None = None, *, batch_size: int = 500
) -> float:
    """Return the temperature that logits are best divided by (Guo et al. 2017), from 0.05 to 20.

    Fit it on images that neither trained the model nor measure it. Its errors are those of
    `measure_calibration`.

    Args:
        model: from images to logits.
        images: as the model takes them, shape [n, ...]; or batches (images, int64 labels).
        label: int64, shape [n]; None where images are batches.
        batch_size: how many images are asked about at once.

    Examples:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
        >>> images, label = torch.rand(50, 3, 8, 8), torch.arange(50) % 10
        >>> temperature = fit_temperature(model, images, label)
        >>> metrics = measure_calibration(model, images, label, temperature=temperature)
        >>> metrics["scaled/nll"] <= metrics["nll"]
        True
    """
    fit = TemperatureFit()
    with _asking(model) as (asked,):
        for batch, labels in _batches(images, label, batch_size):
            fit.update(asked(batch), labels.cpu())
    return fit.compute()


def measure_linearity(
    model: Model,
    images: Tensor | Iterable[Any],
    partner: Tensor | None = None,
    *,
    teacher: Model | None = None,
    lambdas: int = 21,
    n_pairs: int = 5000,
    seed: int = 0,
    batch_size: int = 500,
) -> Linearity:
    """Return how a model answers between pairs of images, and what it gains over its teacher.

    Args:
        model: from images to logits; a student where there is a teacher.
        images: as the model takes them, shape [n, ...]; or batches of them, with labels or without,
            such as a DataLoader, of which the images of pairs alone are kept where it tells how
            many there are.
        partner: the same shape: each image's other one. None: pairs of the images are drawn, of
            which no two share an image.
        teacher: from the same images to logits of the same classes; None: the model by itself.
        lambdas: points of the grid on [0, 1], 3 or more.
        n_pairs: how many pairs are drawn, at most.
        seed: of the draw.
        batch_size: how many pairs are asked about at once.

    Raises:
        TypeError: if a model gives no logits.
        ValueError: if there are no pairs, not a partner for each image, or for other values.
        NotFinite: if logits are not finite.

    Examples:
        >>> student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
        >>> teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
        >>> images = torch.rand(40, 3, 8, 8)
        >>> linearity = measure_linearity(student, images, teacher=teacher, lambdas=5)
        >>> [row["lam"] for row in linearity.rows["student"]]
        [0.0, 0.25, 0.5, 0.75, 1.0]
        >>> half = {name: rows[2] for name, rows in linearity.rows.items()}
        >>> half["student"]["delta_lin"] == half["teacher"]["nl"] - half["student"]["nl"]
        True
        >>> linearity.metrics["kl_real"] > 0
        True
    """
    check_count("lambdas", lambdas, 3)
    check_count("n_pairs", n_pairs)
    check_count("seed", seed, 0)
    check_count("batch_size", batch_size)
    if not isinstance(images, Tensor):
        if partner is not None:
            raise ValueError("got partners beside batches, of which pairs are drawn")
        images, partner = _drawn(images, n_pairs, seed)
    elif partner is None:
        i, j = (torch.from_numpy(x) for x in draw_pairs(len(images), n_pairs, seed))
        images, partner = images[i], images[j]
    if images.shape != partner.shape or len(images) == 0:
        raise ValueError(f"got images {list(images.shape)}, partners {list(partner.shape)}")
    models = {"network": model} if teacher is None else {"student": model, "teacher": teacher}
    grid = np.linspace(0, 1, lambdas).tolist()
    metric = VicinalLinearity(tuple(models), grid)
    positions = torch.split(torch.arange(len(images)), batch_size)
    parts = (torch.split(x, batch_size) for x in (images, partner))
    with _asking(*models.values()) as asked:
        networks = dict(zip(models, asked, strict=True))
        for first, second, position in zip(*parts, positions, strict=True):
            metric.update(answers_between(networks, first, second, grid), position)
    return Linearity(*metric.compute())


def count_calibration(
    model: Model, images: Tensor | Batches, label: Tensor | None, batch_size: int
) -> Calibration:
    """Return the calibration of a model on images as `measure_calibration` takes them."""
    metric = Calibration()
    with _asking(model) as (ask,):
        for batch, labels in _batches(images, label, batch_size):
            metric.update(ask(batch), labels.cpu())
    return metric


def _batches(images: Tensor | Batches, label: Tensor | None, size: int) -> Iterator[Any]:
    """Yield batches of images and int64 labels.

    Raises:
        ValueError: if there is not a label for each image.
    """
    check_count("batch_size", size)
    if not isinstance(images, Tensor):
        if label is not None:
            raise ValueError("got labels beside batches, which bring their own")
        yield from map(labelled, images)
        return
    if label is None or len(label) != len(images):
        got = "none" if label is None else len(label)
        raise ValueError(f"got {got} labels for {len(images)} images; takes one for each")
    for pair in zip(torch.split(images, size), torch.split(label, size), strict=True):
        yield labelled(pair)


def _drawn(batches: Iterable[Any], n_pairs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the images of pairs drawn among batches of images, with labels or without."""
    pairs = PairImages(Share(batches).n, n_pairs, seed)
    for batch in batches:
        pairs.add(batch if isinstance(batch, Tensor) else labelled(batch)[0])
    return pairs.pairs()


@contextmanager
def _asking(*models: Model) -> Iterator[list[Model]]:
    """Give models that answer in eval mode, without gradients, on the CPU; then leave all as was.

    On the CPU as metrics take float64, which Apple's GPUs lack.
    """
    with eval_mode(*models), torch.inference_mode():
        yield [asked(model) for model in models]
