"""Whether two quantities rank networks alike."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau

LEAST_NETWORKS = 5  # networks that a correlation takes: of four, no order has p < 0.05
NETWORK_DRAWS = 1000  # of the bootstrap, over networks


class RankCorrelation(NamedTuple):
    """Kendall's tau-b, a 95 % interval over networks, and the two-sided p of independence."""

    tau: float
    low: float
    high: float
    p: float
    n: int


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation | None:
    """Return how alike two quantities rank networks.

    None of fewer than five networks, and where a quantity is the same for all or not finite. The
    interval is of the bootstrap's percentiles, drawing networks. Both it and p take networks for
    independent, which students of one teacher, seeds and snapshots of one network are not.
    """
    both = np.array([first, second], dtype=np.float64)
    if (
        both.shape[1] < LEAST_NETWORKS
        or not np.isfinite(both).all()
        or (np.ptp(both, axis=1) == 0).any()
    ):
        return None
    whole = kendalltau(*both)
    draws = np.random.default_rng(0).integers(both.shape[1], size=(NETWORK_DRAWS, both.shape[1]))
    taus = np.array([kendalltau(*both[:, draw]).statistic for draw in draws])
    # A draw of one network again and again has none.
    low, high = np.nanpercentile(taus, [2.5, 97.5])
    return RankCorrelation(
        float(whole.statistic), float(low), float(high), float(whole.pvalue), both.shape[1]
    )
