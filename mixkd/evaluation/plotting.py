"""Plots of any model in one call, for notebooks."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from mixkd.evaluation.asking import Model
from mixkd.evaluation.library import Batches, Linearity, count_calibration, measure_linearity
from mixkd.metrics.calibration import Calibration
from mixkd.plots.reliability import Curve, reliability_figure
from mixkd.plots.vicinal import vicinal_figure


def plot_reliability(
    source: Model | Calibration | Mapping[str, Model | Calibration],
    images: Tensor | Batches | None = None,
    label: Tensor | None = None,
    *,
    title: str = "reliability",
    batch_size: int = 500,
) -> Figure:
    """Return a reliability diagram: accuracy against confidence, a dot a bin, with the ECE.

    Args:
        source: a model, asked about the images; or a `Calibration` that has counted; or several by
            their titles, for a panel each.
        images: as the model takes them, shape [n, ...]; or batches (images, int64 labels) that can
            be gone over once a model, such as a DataLoader.
        label: int64, shape [n]; None where images are batches.
        title: of a single panel.
        batch_size: how many images are asked about at once.

    Raises:
        TypeError: if a model gives no logits.
        ValueError: if there are no images, or not a label for each.
        NotFinite: if logits are not finite.

    Examples:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
        >>> images, label = torch.rand(50, 3, 8, 8), torch.arange(50) % 10
        >>> plot_reliability(model, images, label).savefig("reliability.png")
    """
    sources = source if isinstance(source, Mapping) else {title: source}
    if not sources:
        raise ValueError("source: got an empty mapping; takes models by their titles")
    curves = []
    for name, part in sources.items():
        metric = part
        if not isinstance(metric, Calibration):
            if images is None:
                raise ValueError("images: got none; takes those that the model is asked about")
            metric = count_calibration(metric, images, label, batch_size)
        curves.append(Curve(name, metric.reliability(), metric.compute()["ece"]))
    return reliability_figure(curves)


def plot_linearity(
    source: Linearity | Model, images: Tensor | Iterable[Any] | None = None, **options: Any
) -> Figure:
    """Return curves over lambda: non-linearity with its errors, entropy, and dominance.

    Args:
        source: what `measure_linearity` returned; or a model, which is measured.
        images: of a model: shape [n, ...], or batches.
        options: of `measure_linearity`, such as teacher, lambdas and n_pairs.

    Raises:
        TypeError: if a model gives no logits, or for an option that there is not.
        ValueError: for what `measure_linearity` refuses.
        NotFinite: if logits are not finite.

    Examples:
        >>> import torch
        >>> student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
        >>> teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 10))
        >>> images = torch.rand(40, 3, 8, 8)
        >>> plot_linearity(student, images, teacher=teacher).savefig("linearity.png")
    """
    if not isinstance(source, Linearity):
        if images is None:
            raise ValueError("images: got none; takes those that the model is asked about")
        source = measure_linearity(source, images, **options)
    elif images is not None or options:
        raise ValueError("got images or options beside a Linearity, which is measured already")
    return vicinal_figure(source.rows)
