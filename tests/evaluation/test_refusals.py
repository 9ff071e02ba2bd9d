"""What the library's functions and metrics refuse, each with a ValueError that says why."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torchmetrics import Accuracy

from mixkd import (
    Calibration,
    ClasswiseECE,
    Line,
    Linearity,
    TemperatureFit,
    VicinalLinearity,
    answers_between,
    fit_temperature,
    load_network,
    measure_calibration,
    measure_linearity,
    pair_values,
    plot_linearity,
    plot_reliability,
)

IMAGES, LABEL = torch.rand(12, 3, 8, 8), torch.arange(12) % 3
LOGITS = torch.randn(12, 3)
BATCHES = [(IMAGES, LABEL)]


def model(images: torch.Tensor) -> torch.Tensor:
    return images.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measure_calibration(model, IMAGES, LABEL, temperature=0), "temperature: got 0"),
        (lambda: measure_calibration(model, IMAGES, LABEL, temperature=-1.0), "temperature: got"),
        (
            lambda: measure_calibration(model, BATCHES, temperature=torch.inf),
            "temperature: got inf",
        ),
        (
            lambda: measure_calibration(model, BATCHES, temperature=torch.nan),
            "temperature: got nan",
        ),
        (lambda: measure_calibration(model, IMAGES, LABEL, batch_size=0), "batch_size: got 0"),
        (lambda: measure_calibration(model, IMAGES), "got none labels for 12 images"),
        (lambda: measure_calibration(model, IMAGES, LABEL[:, None]), "labels torch.int64 .12, 1."),
        (lambda: measure_calibration(model, IMAGES, LABEL.float()), "labels torch.float32"),
        (lambda: measure_calibration(model, IMAGES, LABEL + 1), "labels from 1 to 3; takes 0 to 2"),
        (
            lambda: measure_calibration(model, IMAGES, LABEL - 1),
            "labels from -1 to 1; takes 0 to 2",
        ),
        (lambda: measure_calibration(model, [IMAGES]), "batch of type Tensor"),
        (lambda: measure_calibration(model, []), "no images"),
        (
            lambda: measure_calibration(model, BATCHES, metrics={"mine": max}),  # type: ignore[dict-item]
            "metrics.mine: got builtin_function_or_method, which is no Metric",
        ),
        (
            lambda: measure_calibration(
                model,
                BATCHES,
                metrics={"each": Accuracy("multiclass", num_classes=3, average=None)},
            ),
            r"metrics.each: compute gives Tensor \[3\]; takes a number",
        ),
        (
            lambda: measure_calibration(
                model, BATCHES, metrics={"of_two": Accuracy("multiclass", num_classes=2)}
            ),
            "metrics.of_two: ",
        ),
        (lambda: fit_temperature(model, IMAGES, LABEL, batch_size=-1), "batch_size: got -1"),
        (lambda: fit_temperature(model, IMAGES, LABEL[:5]), "got 5 labels for 12 images"),
        (lambda: fit_temperature(model, IMAGES, LABEL + 1), "labels from 1 to 3"),
        (lambda: fit_temperature(model, []), "no images"),
        (lambda: measure_linearity(model, IMAGES, lambdas=2), "lambdas: got 2"),
        (lambda: measure_linearity(model, IMAGES, n_pairs=0), "n_pairs: got 0"),
        (lambda: measure_linearity(model, IMAGES, seed=-1), "seed: got -1"),
        (lambda: measure_linearity(model, IMAGES, batch_size=0), "batch_size: got 0"),
        (lambda: measure_linearity(model, IMAGES, IMAGES[:3]), "partners .3, 3, 8, 8."),
        (lambda: measure_linearity(model, IMAGES[:1]), "got images .0, 3, 8, 8."),
        (lambda: measure_linearity(model, BATCHES, IMAGES), "partners beside batches"),
        (lambda: measure_linearity(model, []), "no images"),
        (lambda: plot_reliability(model), "images: got none"),
        (lambda: plot_reliability({}), "source: got an empty mapping"),
        (lambda: plot_reliability(Calibration()), "no images were counted"),
        (lambda: plot_reliability(model, IMAGES, LABEL[:3]), "got 3 labels for 12"),
        (lambda: plot_linearity(model), "images: got none"),
        (lambda: plot_linearity(Linearity({}, {}), IMAGES), "beside a Linearity"),
        (lambda: plot_linearity(model, IMAGES, lambdas=1), "lambdas: got 1"),
        (lambda: Calibration(bins=0), "bins: got 0"),
        (lambda: Calibration().compute(), "no images"),
        (lambda: Calibration().update(LOGITS, LABEL[:3]), r"int64 \[3\]; takes float logits"),
        (lambda: Calibration().update(LOGITS[0], LABEL[:3]), r"float32 \[3\]"),
        (lambda: Calibration().update(LOGITS.long(), LABEL), "torch.int64 .12, 3."),
        (lambda: Calibration().update(LOGITS, LABEL.int()), "torch.int32 .12."),
        (lambda: Calibration().update(LOGITS, LABEL + 1), "labels from 1 to 3"),
        (lambda: ClasswiseECE(classes=0), "classes: got 0"),
        (lambda: ClasswiseECE(classes=3, bins=-1), "bins: got -1"),
        (lambda: ClasswiseECE(classes=4).update(LOGITS, LABEL), r"takes float logits \[n, 4\]"),
        (lambda: ClasswiseECE(classes=4).compute(), "no images"),
        (lambda: TemperatureFit().update(LOGITS, LABEL[:3]), r"int64 \[3\]"),
        (lambda: TemperatureFit().compute(), "no images"),
        (lambda: Line(LOGITS, LOGITS[:3]), r"float32 \[3, 3\]; takes floats"),
        (lambda: Line(LOGITS.long(), LOGITS.long()), "torch.int64"),
        (lambda: Line(LOGITS, LOGITS).at(1.5), "lam: got 1.5"),
        (lambda: pair_values(Line(LOGITS, LOGITS), LOGITS, -0.1), "lam: got -0.1"),
        (lambda: pair_values(Line(LOGITS, LOGITS), LOGITS[:1], 0.5), r"mixed: got \[1, 3\]"),
        (lambda: answers_between({"a": model}, IMAGES, IMAGES[:2], [0, 1]), "takes floats"),
        (lambda: answers_between({"a": model}, IMAGES, IMAGES, [0, 0.5]), "lambdas: got"),
        (lambda: VicinalLinearity([], [0, 1]), "networks: got"),
        (lambda: VicinalLinearity("network", [0, 1]), "networks: got 'network'"),
        (lambda: VicinalLinearity(["network"], [0, 0.5, 0.5, 1]), "lambdas: got"),
        (lambda: VicinalLinearity(["network"], []), "lambdas: got"),
        (lambda: VicinalLinearity(["network"], [0, 1], {"netwrok": 1.0}), "mean network"),
        (lambda: VicinalLinearity(["network"], [0, 1], {"network": 0}), "temperatures of network"),
        (lambda: VicinalLinearity(["network"], [0, 1]).compute(), "no pairs"),
        (lambda: load_network("there/is/none"), "there/is/none"),
        (lambda: load_network("hf_hub:"), "hf_hub"),
        (lambda: load_network(""), "export"),
    ],
)
def test_a_bad_value_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
