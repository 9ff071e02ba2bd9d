"""`mixkd evaluate logits=FILE`: measure logits that come from elsewhere."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mixkd.config.tasks import EvaluateLogitsConfig
from mixkd.console import note
from mixkd.errors import UserError, shortened
from mixkd.evaluation.calibration import fitted_temperature, write_split
from mixkd.files.arrays import Archive, open_npz
from mixkd.files.layout import METRICS, RELIABILITY
from mixkd.files.reading import Damaged
from mixkd.files.writing import file_fingerprint, write_csv, write_json
from mixkd.metrics.calibration import TemperatureFit
from mixkd.metrics.measurement import Measurement
from mixkd.runs.run import Metrics, Run

BATCH = 1000
SUM_TOLERANCE = 0.01  # of what rows of probabilities sum to, in float16 or as printed


def evaluate_logits(cfg: EvaluateLogitsConfig, run: Run) -> Metrics:
    """Return `test/<metric>` of logits in a file; write predictions, reliability.csv, a figure.

    The file is an npz of `logits` [n, classes] and `label` [n], such as `predictions/test.npz` of a
    run with `save_logits=true`. `index` [n] says which images they are, else they are in order.
    With `val_logits` and `val_label` of held-out images, temperature scaling is fitted on those.
    """
    path = Path(cfg.logits)
    try:
        with open_npz(path) as archive:
            logits, label = _read(path, archive, "")
            index = _read_index(path, archive, len(label))
            held_out = _read(path, archive, "val_") if "val_logits" in archive.names else None
    except Damaged as error:
        raise UserError.of("logits", f"{path} is no npz of arrays: {error.why}") from error
    temperature = None
    if held_out is not None:
        fit = TemperatureFit()
        if held_out[0].shape[1] != logits.shape[1]:
            text = f"val_logits are of {held_out[0].shape[1]} classes, logits of {logits.shape[1]}"
            raise UserError.of("logits", f"{path}: {text}")
        for part in zip(*(torch.split(x, BATCH) for x in held_out), strict=True):
            fit.update(*part)
        temperature = fitted_temperature(fit)
    measurement = Measurement(logits.shape[1], temperature)
    images = logits, label, torch.from_numpy(index.astype(np.int64))
    for batch in zip(*(torch.split(x, BATCH) for x in images), strict=True):
        measurement.update(*batch)
    fingerprints = {"logits": file_fingerprint(path)}
    with run.started(fingerprints, device="1 x cpu"):
        metrics, rows = write_split(measurement, "test", run, writes=True)
        write_csv(run.path / RELIABILITY, rows)
        write_json(run.path / METRICS, metrics)
    return metrics


def _read(path: Path, archive: Archive, part: str) -> tuple[Tensor, Tensor]:
    """Return logits, float [n, classes], and labels, int64 [n], once their shapes are right."""
    plural = f"{part}labels" in archive.names and f"{part}label" not in archive.names
    names = f"{part}logits", f"{part}labels" if plural else f"{part}label"
    if missing := [name for name in names if name not in archive.names]:
        has = shortened(", ".join(sorted(archive.names)) or "nothing")
        raise UserError.of("logits", f"{path} lacks {' and '.join(missing)}; it has {has}")
    logits_header, label_header = map(archive.header, names)
    shape = logits_header.shape
    if len(shape) != 2 or logits_header.dtype.kind != "f" or 0 in shape or shape[1] < 2:
        got = f"{part}logits is {logits_header}"
        raise UserError.of("logits", f"{path}: {got}; takes floats [n, classes]")
    n, classes = shape
    if label_header.dtype.kind not in "iu" or label_header.shape != (n,):
        got = f"{part}label is {label_header}"
        raise UserError.of("logits", f"{path}: {got}; takes integers [{n}]")
    logits, label = map(archive.read, names)
    if label.min() < 0 or label.max() >= classes:
        raise UserError.of(
            "logits",
            f"{path}: {part}label goes from {label.min()} to {label.max()}; {classes} logits take "
            f"0 to {classes - 1}",
        )
    lowest, highest = logits.min(), logits.max()
    if not np.isfinite([lowest, highest]).all():
        raise UserError.of("logits", f"{path}: {part}logits are not all finite")
    if lowest >= 0 and highest <= 1 + SUM_TOLERANCE:
        sums = logits.sum(axis=1, dtype=np.float64)
        rows = ", in rows that sum to 1" if abs(sums - 1).max() <= SUM_TOLERANCE else ""
        note(
            f"logits: {path}: {part}logits go from {lowest:.3g} to {highest:.3g}{rows}, as "
            "probabilities do; they are measured as logits, after a softmax. If they are "
            "probabilities, give their logarithms"
        )
    return torch.from_numpy(logits), torch.from_numpy(label.astype(np.int64))


def _read_index(path: Path, archive: Archive, n: int) -> np.ndarray:
    """Return which images they are, integers [n]: in order where the file does not say."""
    if "index" not in archive.names:
        return np.arange(n)
    header = archive.header("index")
    if header.dtype.kind not in "iu" or len(header.shape) != 1:
        raise UserError.of("logits", f"{path}: index is {header}; takes integers [{n}]")
    if header.shape != (n,):
        raise UserError.of("logits", f"{path}: {header.shape[0]} of index for {n} images")
    index = archive.read("index")
    if len(np.unique(index)) != n or index.max() > np.iinfo(np.int64).max:
        raise UserError.of("logits", f"{path}: index takes each image once, integers [n]")
    return index
