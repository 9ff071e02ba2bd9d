"""`mixkd compare`: paired differences of two runs, from their saved predictions. Needs no torch."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixkd.config.overrides import by_key
from mixkd.errors import UserError, shortened
from mixkd.files.reading import Damaged, read_arrays
from mixkd.files.writing import write_csv
from mixkd.metrics.paired import NAMES, lacking, same_images, unfit
from mixkd.metrics.paired import compare as differences

KEYS = {
    "network.run": "the directory of a run",
    "other.run": "the directory of another run",
    "split": "a split that both have predictions of; test unless given",
    "draws": "bootstrap samples, 100 to 100000; 2000 unless given",
    "out": "a .csv file to write the table to",
}
MOST_DRAWS = 100_000
COLUMNS = ("metric", "network", "other", "difference", "95% low", "95% high", "p")


def compare(words: Sequence[str]) -> str:
    """Return a table of the differences, network minus other, over the images that both know.

    Args:
        words: `network.run=DIR other.run=DIR [split=test] [draws=2000] [out=FILE]`.

    Raises:
        UserError: for another key, or runs without predictions of the same images.
    """
    given = by_key(words, KEYS)
    draws = given.get("draws", "2000")
    if not re.fullmatch("[0-9]{3,6}", draws) or not 100 <= int(draws) <= MOST_DRAWS:
        text = f"got {shortened(draws)}; takes a whole number from 100 to {MOST_DRAWS}"
        raise UserError.of("draws", text)
    out = Path(os.path.expanduser(given["out"])) if "out" in given else None
    if out is not None and out.is_dir():
        raise UserError.of("out", f"got {given['out']!r}, a folder; takes {KEYS['out']}")
    split = given.get("split", "test")
    first, second = (_predictions(given, key, split) for key in ("network.run", "other.run"))
    if not same_images([first, second]):
        raise UserError.of(
            "other.run", "its predictions are not of the same images as those of network.run"
        )
    rows = differences([first], [second], int(draws))
    table = [
        dict(
            zip(
                COLUMNS,
                (r.metric, r.first, r.second, r.difference, r.low, r.high, r.p),
                strict=True,
            )
        )
        for r in rows
    ]
    if out is not None:
        write_csv(out, table)
    lines = [
        f"{len(first['label']):,} {split} images, network minus other; {draws} bootstrap samples"
    ]
    lines.append("  ".join(f"{name:>10}" for name in COLUMNS))
    for row in table:
        cells = [str(row["metric"]), *(f"{row[name]:.4f}" for name in COLUMNS[1:-1])]
        cells.append("-" if row["metric"] == "ece" else f"{row['p']:.2g}")
        lines.append("  ".join(f"{cell:>10}" for cell in cells))
    for key, predictions in (("network.run", first), ("other.run", second)):
        for name in lacking(predictions):
            lines.append(f"{name:>10}  not compared: the predictions of {key} lack it")
    return "\n".join(lines)


def _predictions(given: dict[str, str], key: str, split: str) -> dict[str, np.ndarray]:
    if key not in given:
        raise UserError.of(key, f"is missing; takes {KEYS[key]}")
    run = Path(os.path.expanduser(given[key]))
    path = run / "predictions" / f"{split}.npz"
    try:
        found = read_arrays(path, NAMES, run)
    except FileNotFoundError as error:
        raise UserError.of(key, f"no {path}; takes the directory of a finished run") from error
    except Damaged as error:
        raise UserError.of(key, f"{path} holds no predictions: {error.why}") from error
    if fault := unfit(found):
        raise UserError.of(key, f"{path} {fault}; takes those of a finished run")
    return found
