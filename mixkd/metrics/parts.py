"""Metrics that users bring: any of torchmetrics', or their own."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from mixkd.config.parts import PartConfig
from mixkd.errors import UserError, check_that, first_line
from mixkd.parts import FAILURES, made


def make_metrics(parts: Mapping[str, PartConfig], classes: int) -> dict[str, Metric]:
    """Return metrics by their names, made for so many classes.

    `num_classes` and `task`, multiclass, are offered to them, as torchmetrics' take them.

    Raises:
        UserError: if one cannot be made, is no metric, or does not give numbers, when it is tried.
    """
    metrics = {
        name: checked_metric(
            name, made(part, f"metrics.{name}", num_classes=classes, task="multiclass")
        )
        for name, part in parts.items()
    }
    trial = NamedMetrics(metrics)
    trial.update(torch.eye(classes), torch.arange(classes))
    trial.compute()
    return metrics


def checked_metric(name: str, metric: Any) -> Metric:
    """Return what is a metric of torchmetrics, which processes can share; else a UserError."""
    if not isinstance(metric, (Metric, MetricCollection)):
        text = f"got {type(metric).__name__}, which is no Metric of torchmetrics"
        raise UserError.of(f"metrics.{name}", text)
    return metric  # type: ignore[return-value]


class NamedMetrics(nn.Module):
    """Metrics by name, updated with float32 logits [b, classes] and int64 labels [b].

    They are copies: those that are given stay as they are.
    """

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        super().__init__()
        check_that("metrics", metrics, lambda it: isinstance(it, Mapping), "metrics by name")
        self._names = tuple(metrics)
        copies = (checked_metric(name, metric).clone() for name, metric in metrics.items())
        self._metrics = nn.ModuleList(copies)
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        for metric in self._metrics:
            metric.reset()  # type: ignore[operator]

    def update(self, logits: Tensor, label: Tensor) -> None:
        """Count a batch.

        Raises:
            UserError: if a metric does not take it.
        """
        for name, metric in zip(self._names, self._metrics, strict=True):
            with _named(name):
                metric.update(logits.float(), label)  # type: ignore[operator]

    def compute(self) -> dict[str, float]:
        """Return NAME of a metric that gives a number, NAME_KEY of one that gives several by keys.

        Raises:
            UserError: if a metric gives anything else.
        """
        values: dict[str, float] = {}
        for name, metric in zip(self._names, self._metrics, strict=True):
            with _named(name):
                result = metric.compute()  # type: ignore[operator]
            several = isinstance(result, Mapping)
            for key, value in result.items() if several else [(None, result)]:
                is_number = isinstance(value, (Tensor, float, int))
                if not is_number or torch.as_tensor(value).numel() != 1:
                    shape = f" {list(value.shape)}" if isinstance(value, Tensor) else ""
                    text = f"compute gives {type(value).__name__}{shape}; takes a number"
                    raise UserError.of(f"metrics.{name}", text)
                values[f"{name}_{key}" if several else name] = float(value)
        return values


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say of which metric an error is."""
    try:
        yield
    except UserError:
        raise
    except FAILURES as error:
        raise UserError.of(f"metrics.{name}", first_line(error)) from error
