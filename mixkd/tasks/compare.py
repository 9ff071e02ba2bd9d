"""`mixkd compare`: paired differences of two runs, from their saved predictions. Needs no torch."""

from pathlib import Path
from typing import Any, NamedTuple

from tabulate import tabulate

from mixkd.config.commands import CompareConfig
from mixkd.errors import UserError
from mixkd.files.arrays import read_arrays
from mixkd.files.reading import Damaged
from mixkd.files.writing import write_csv
from mixkd.metrics.paired import ARRAYS, Predictions, are_paired, lacking, paired_differences, unfit

COLUMNS = ("metric", "network", "other", "difference", "95% low", "95% high", "p")


def compare(config: CompareConfig) -> str:
    """Return a table of the differences, network minus other, over the images that both know.

    Raises:
        UserError: for runs without predictions of the same images.
    """
    compared = differences(config)
    if config.out is not None:
        write_csv(config.out, compared.rows)
    cells = [
        [metric, *(f"{value:.4f}" for value in values), "-" if metric == "ece" else f"{p:.2g}"]
        for metric, *values, p in (row.values() for row in compared.rows)
    ]
    sides = ["left", *["right"] * (len(COLUMNS) - 1)]
    head = f"{compared.images:,} {config.split} images, network minus other; "
    return "\n".join(
        [
            f"{head}{config.draws} bootstrap samples",
            tabulate(cells, COLUMNS, "plain", disable_numparse=True, colalign=sides),
            *(
                f"{name} is not compared: the predictions of {key} lack it"
                for key, names in compared.lacking.items()
                for name in names
            ),
        ]
    )


class Comparison(NamedTuple):
    """The differences of two runs.

    Attributes:
        rows: a mapping of COLUMNS for each metric.
        images: how many images both know.
        lacking: by the key of a run, the metrics that its predictions do not give.
    """

    rows: list[dict[str, Any]]
    images: int
    lacking: dict[str, list[str]]


def differences(config: CompareConfig) -> Comparison:
    """Return the paired differences of two runs, network minus other.

    Raises:
        UserError: for runs without predictions of the same images.
    """
    network = _predictions("network.run", config.network, config.split)
    other = _predictions("other.run", config.other, config.split)
    if not are_paired([network, other]):
        text = "its predictions are not of the same images as those of network.run"
        raise UserError.of("other.run", text)
    rows = [
        (r.metric, r.first, r.second, r.difference, r.low, r.high, r.p)
        for r in paired_differences([network], [other], config.draws)
    ]
    return Comparison(
        [dict(zip(COLUMNS, row, strict=True)) for row in rows],
        len(network["label"]),
        {"network.run": list(lacking(network)), "other.run": list(lacking(other))},
    )


def _predictions(key: str, run: Path, split: str) -> Predictions:
    """Return a run's predictions; a UserError names the key that names the run."""
    path = run / "predictions" / f"{split}.npz"
    try:
        predictions = read_arrays(path, ARRAYS, run)
    except FileNotFoundError as error:
        raise UserError.of(key, f"no {path}; takes the directory of a finished run") from error
    except Damaged as error:
        raise UserError.of(key, f"{path} holds no predictions: {error.why}") from error
    if fault := unfit(predictions):
        raise UserError.of(key, f"{path} {fault}; takes those of a finished run")
    return predictions
