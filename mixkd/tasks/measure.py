"""Measure a network on splits and write what is found into a run directory."""

import csv
import io
from collections.abc import Sequence

import numpy as np
from lightning.pytorch import Trainer

from mixkd.data.datamodule import ImageDataModule
from mixkd.files import replacing, write_text
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
    """Return `<split>/<metric>` of each split; write predictions, reliability.csv, figures."""
    metrics: Metrics = {}
    rows: list[dict[str, float | str]] = []
    for split in splits:
        data.tested = split
        trainer.test(classifier, data, verbose=False)
        metrics |= {f"{split}/{k}": v for k, v in classifier.testing.compute().items()}
        reliability = classifier.testing.reliability()
        rows += [{"split": split, **row} for row in reliability]
        predictions = classifier.gathered_predictions()
        if trainer.is_global_zero:
            arrays = {name: value.numpy() for name, value in predictions.items()}
            path = run.path / "predictions" / f"{split}.npz"
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            figure = reliability_figure([Curve(split, reliability, metrics[f"{split}/ece"])])
            save_figure(figure, run.path / "figures" / f"reliability-{split}")
    if trainer.is_global_zero:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(run.path / "reliability.csv", text.getvalue())
    return metrics
