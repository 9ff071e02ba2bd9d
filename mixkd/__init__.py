"""mixkd: mixup-based knowledge distillation, and whether its confidence can be trusted.

As a library it works on any PyTorch model, without configurations or run directories:

- losses, on logits: `distillation_kl`, `mixed_cross_entropy`, `distillation`, `soften`, `Losses`
- the vicinal stream: `VicinalStream`, `Mixing`, `vicinal_batches`, `VicinalBatch`, `mix`
- metrics, streamed: `Calibration`, `ClasswiseECE`, `TemperatureFit`; between images
  `VicinalLinearity` of `answers_between`, and its parts `Line` and `pair_values`
- analysis of a model on images: `measure_calibration`, `fit_temperature`, `measure_linearity`,
  `Linearity`
- networks of `mixkd export`, from a folder or the Hugging Face Hub: `load_network`

They are imported when they are first asked for, so that `import mixkd` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixkd.data.batches import vicinal_batches
    from mixkd.evaluation.library import (
        Linearity,
        fit_temperature,
        measure_calibration,
        measure_linearity,
    )
    from mixkd.export.load import load_network
    from mixkd.losses.distillation import (
        Losses,
        distillation,
        distillation_kl,
        mixed_cross_entropy,
        soften,
    )
    from mixkd.metrics.calibration import Calibration, ClasswiseECE, TemperatureFit
    from mixkd.metrics.vicinal import Line, VicinalLinearity, answers_between, pair_values
    from mixkd.vicinal import Mixing, VicinalBatch, VicinalStream, mix

__version__ = "0.1.0"

__all__ = [
    "Calibration", "ClasswiseECE", "Line", "Linearity", "Losses", "Mixing", "TemperatureFit",
    "VicinalBatch", "VicinalLinearity", "VicinalStream", "answers_between", "distillation",
    "distillation_kl", "fit_temperature", "load_network", "measure_calibration",
    "measure_linearity", "mix", "mixed_cross_entropy", "pair_values", "soften", "vicinal_batches",
]  # fmt: skip

_HOMES = {
    "evaluation.library": "Linearity fit_temperature measure_calibration measure_linearity",
    "data.batches": "vicinal_batches",
    "export.load": "load_network",
    "losses.distillation": "Losses distillation distillation_kl mixed_cross_entropy soften",
    "metrics.calibration": "Calibration ClasswiseECE TemperatureFit",
    "metrics.vicinal": "Line VicinalLinearity answers_between pair_values",
    "vicinal": "Mixing VicinalBatch VicinalStream mix",
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(f"mixkd.{module}"), name)
    raise AttributeError(f"module 'mixkd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
