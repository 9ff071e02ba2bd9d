"""torchmetrics metrics with a functional core."""

import math

import numpy as np

BINS = 15  # of the ECE, equal widths (the authors' number)


def standard_error(values: np.ndarray) -> float:
    """Return the standard error of a mean of independent values; NaN of fewer than two."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
