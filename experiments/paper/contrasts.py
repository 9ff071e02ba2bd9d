"""Differences between settings over seeds, tested together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import stats

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Contrast:
    """The mean difference of a quantity between two settings, paired by seed.

    Attributes:
        mean: of the differences.
        low: end of the 95 % interval of the mean, by Student's t.
        high: its other end.
        p: of Student's t for paired samples, two-sided, not corrected.
        spread: standard deviation of the differences.
        seeds: how many pairs.
    """

    mean: float
    low: float
    high: float
    p: float
    spread: float
    seeds: int

    @property
    def detectable(self) -> float:
        """The true difference that so many seeds would find at 5 % in about 80 of 100 studies.

        It is (t of 0.975 + t of 0.8) * spread / sqrt(seeds), with seeds - 1 degrees of freedom.
        """
        quantiles = stats.t.ppf([(1 + LEVEL) / 2, POWER], self.seeds - 1)
        return float(quantiles.sum()) * self.spread / sqrt(self.seeds)


def contrast(minuend: Mapping[int, float], subtrahend: Mapping[int, float]) -> Contrast | None:
    """Return the difference of two settings, each value by seed; None of fewer than two seeds."""
    seeds = sorted(minuend.keys() & subtrahend.keys())
    if len(seeds) < 2:
        return None
    differences = np.array([minuend[seed] - subtrahend[seed] for seed in seeds])
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    if spread == 0:  # every seed says the same: no noise to hold it against
        return Contrast(mean, mean, mean, float(mean == 0), 0.0, len(seeds))
    test = stats.ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(LEVEL)
    return Contrast(mean, float(low), float(high), float(test.pvalue), spread, len(seeds))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number after Holm (1979), in the order given.

    The k-th smallest of n, counted from 0, is multiplied by n - k; none is smaller than the one
    before it, nor above 1.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    ascending = np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(ascending, 1.0)
    return corrected.tolist()
