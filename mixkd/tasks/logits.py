"""`mixkd evaluate logits=FILE`: measure logits that come from elsewhere."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from mixkd.config import EvaluateLogits
from mixkd.errors import UserError
from mixkd.files import file_fingerprint, write_csv, write_json
from mixkd.metrics.calibration import TemperatureFit
from mixkd.metrics.measurement import Measurement
from mixkd.modules.classifier import fitted_temperature
from mixkd.run import Metrics, Run
from mixkd.tasks.measure import record

BATCH = 1000


def evaluate_logits(cfg: EvaluateLogits, run: Run | None = None) -> Metrics:
    """Return `test/<metric>` of logits in a file; write predictions, reliability.csv, a figure.

    The file is an npz of `logits` [n, classes] and `label` [n], such as `predictions/test.npz` of a
    run with `save_logits=true`. `index` [n] says which images they are, else they are in order.
    With `val_logits` and `val_label` of held-out images, temperature scaling is fitted on those.

    Raises:
        UserError: if the file holds anything else.
    """
    run = run or Run(cfg)
    finished = run.finished_metrics()
    if finished is not None:
        return finished
    path = Path(cfg.logits)
    arrays = _read(path)
    logits, label = _checked(path, arrays, "")
    index = arrays.get("index", np.arange(len(label)))
    if index.dtype.kind not in "iu" or len(np.unique(index)) != len(index) or index.ndim != 1:
        raise UserError.of("logits", f"{path}: index takes each image once, integers [n]")
    if len(index) != len(label):
        raise UserError.of("logits", f"{path}: {len(index)} of index for {len(label)} images")
    temperature = None
    if "val_logits" in arrays:
        fit = TemperatureFit()
        val_logits, val_label = _checked(path, arrays, "val_")
        if val_logits.shape[1] != logits.shape[1]:
            text = f"val_logits are of {val_logits.shape[1]} classes, logits of {logits.shape[1]}"
            raise UserError.of("logits", f"{path}: {text}")
        fit.update(val_logits, val_label)
        temperature = fitted_temperature(fit)
    measurement = Measurement(logits.shape[1], temperature)
    batches = (
        torch.split(x, BATCH) for x in (logits, label, torch.from_numpy(index.astype(np.int64)))
    )
    for batch in zip(*batches, strict=True):
        measurement.update(*batch)
    fingerprints = {"logits": file_fingerprint(path)}
    with run.started(fingerprints, device="1 x cpu"):
        metrics, rows = record(measurement, "test", run, writes=True)
        write_csv(run.path / "reliability.csv", rows)
        write_json(run.path / "metrics.json", metrics)
    return metrics


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in saved.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, BadZipFile) as error:
        raise UserError.of("logits", f"{path} is no npz of arrays: {error}") from error
    for name in ("label", "val_label"):  # the plural is as common
        if f"{name}s" in arrays:
            arrays.setdefault(name, arrays.pop(f"{name}s"))
    return arrays


def _checked(path: Path, arrays: dict[str, np.ndarray], part: str) -> tuple[Tensor, Tensor]:
    """Return logits, float [n, classes], and labels, int64 [n]."""
    missing = [name for name in (f"{part}logits", f"{part}label") if name not in arrays]
    if missing:
        has = ", ".join(sorted(arrays)) or "nothing"
        raise UserError.of("logits", f"{path} lacks {' and '.join(missing)}; it has {has}")
    logits, label = arrays[f"{part}logits"], arrays[f"{part}label"]
    if logits.ndim != 2 or logits.dtype.kind != "f" or 0 in logits.shape or logits.shape[1] < 2:
        got = f"{logits.dtype} {list(logits.shape)}"
        raise UserError.of("logits", f"{path}: {part}logits is {got}; takes floats [n, classes]")
    n, classes = logits.shape
    if label.dtype.kind not in "iu" or label.shape != (n,):
        got = f"{label.dtype} {list(label.shape)}"
        raise UserError.of("logits", f"{path}: {part}label is {got}; takes integers [{n}]")
    if label.min() < 0 or label.max() >= classes:
        raise UserError.of(
            "logits",
            f"{path}: {part}label goes from {label.min()} to {label.max()}; {classes} logits take "
            f"0 to {classes - 1}",
        )
    if not np.isfinite(logits).all():
        raise UserError.of("logits", f"{path}: {part}logits are not all finite")
    return torch.from_numpy(logits), torch.from_numpy(label.astype(np.int64))
