"""Further metrics that a configuration asks for by name, a user's own or a library's."""

from collections.abc import Mapping
from typing import Any

from mixkd.config.parts import PartConfig
from mixkd.errors import UserError
from mixkd.parts import made


def make_metrics(parts: Mapping[str, PartConfig], classes: int) -> dict[str, Any]:
    """Return metrics of logits [b, classes] and int64 labels [b], by name.

    Raises:
        UserError: for one that cannot be made, or that does not count as torchmetrics' do.
    """
    metrics = {}
    for name, part in parts.items():
        key = f"metrics.{name}"
        metrics[name] = made(part, key, num_classes=classes, task="multiclass")
        lacking = [n for n in ("update", "compute", "reset") if not hasattr(metrics[name], n)]
        if lacking:
            text = f"{part.factory} gives {type(metrics[name]).__name__}, without "
            raise UserError.of(f"{key}.factory", f"{text}{' and '.join(lacking)}")
    return metrics
