"""Whether two quantities rank networks alike."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap, kendalltau

LEAST = 5  # networks that a correlation takes: of four, no order has p < 0.05
DRAWS = 1000


class RankCorrelation(NamedTuple):
    """Kendall's tau-b, a 95 % interval over networks, and the two-sided p of independence."""

    tau: float
    low: float
    high: float
    p: float
    n: int


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation | None:
    """Return how alike two quantities rank networks; None of fewer than five.

    The interval is of the bootstrap's percentiles, drawing networks: it takes them for independent
    draws of all that there might be, which snapshots and seeds of one network are not.

    Args:
        first: a value a network.
        second: the same networks' other values.
    """
    if len(first) < LEAST:
        return None

    def tau(x: np.ndarray, y: np.ndarray) -> float:
        # A draw may hold one network alone, again and again.
        found = kendalltau(x, y).statistic
        return 0.0 if np.isnan(found) else float(found)

    whole = kendalltau(first, second)
    drawn = bootstrap(
        (np.asarray(first), np.asarray(second)),
        tau,
        paired=True,
        vectorized=False,
        n_resamples=DRAWS,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return RankCorrelation(
        float(whole.statistic), float(drawn.low), float(drawn.high), float(whole.pvalue), len(first)
    )
