"""Measure a network on splits and write what is found into a run directory."""

from collections.abc import Sequence

import numpy as np
from lightning.pytorch import Trainer

from mixkd.data.datamodule import ImageDataModule
from mixkd.files import replacing, write_csv
from mixkd.metrics.calibration import adaptive_ece, ece_noise_floor
from mixkd.modules.classifier import Classifier
from mixkd.report.reliability import Curve, reliability_figure, save_figure
from mixkd.run import Metrics, Run


def measure(
    trainer: Trainer,
    classifier: Classifier,
    data: ImageDataModule,
    splits: Sequence[str],
    run: Run,
) -> Metrics:
    """Return `<split>/<metric>` of each split; write predictions, reliability.csv, figures.

    Temperature scaling is fitted on the held-out images, where those are not the reported ones.
    """
    if can_fit(data):
        classifier.fit_temperature(trainer, data)
    metrics: Metrics = {}
    rows: list[dict[str, float | str]] = []
    for split in splits:
        data.tested = split
        trainer.test(classifier, data, verbose=False)
        found = classifier.measured()
        if split == "val":  # the temperature was fitted on these
            found = {k: v for k, v in found.items() if not k.startswith("scaled/")}
        reliability = classifier.testing.reliability()
        rows += [{"split": split, **row} for row in reliability]
        arrays = {name: x.numpy() for name, x in classifier.gathered_predictions().items()}
        confidence = arrays["confidence"]
        found["ece_adaptive"] = adaptive_ece(confidence, arrays["prediction"] == arrays["label"])
        found["ece_noise_floor"] = ece_noise_floor(confidence)
        metrics |= {f"{split}/{name}": value for name, value in found.items()}
        if trainer.is_global_zero:
            path = run.path / "predictions" / f"{split}.npz"
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            figure = reliability_figure([Curve(split, reliability, metrics[f"{split}/ece"])])
            save_figure(figure, run.path / "figures" / f"reliability-{split}")
    if trainer.is_global_zero:
        write_csv(run.path / "reliability.csv", rows)
    return metrics


def can_fit(data: ImageDataModule) -> bool:
    """Return whether there are held-out images, apart from the test's, to fit temperatures on."""
    return len(data.splits["val"]) > 0 and data.cfg.selection != "test"
