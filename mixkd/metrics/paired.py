"""Paired differences of two networks on the same images. NumPy and SciPy alone."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from mixkd.metrics import BINS

Predictions = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Difference:
    """A metric of both networks, and first minus second with a 95 % interval and a p-value.

    The interval is of the bootstrap over images, its percentiles. `p` is two-sided: McNemar's exact
    test for accuracy, for the others the share of the bootstrap on the far side of 0, doubled; and
    NaN for ECE. Noise alone gives an ECE, more of it to the less confident network, so that neither
    its interval nor a p-value is one of the difference in calibration: see its noise floor.
    """

    metric: str
    first: float
    second: float
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    Args:
        first: bool, shape [n], where the first network is right.
        second: bool, shape [n].
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def compare(
    first: Predictions, second: Predictions, draws: int = 2000, seed: int = 0
) -> list[Difference]:
    """Return the differences in accuracy, confidence, ece, nll and brier.

    Args:
        first: `label`, `prediction`, `confidence`, `nll` and, where known, `brier` of each image,
            shape [n], as predictions/<split>.npz holds them.
        second: of the same images, in the same order.
        draws: bootstrap samples.
        seed: of the bootstrap.
    """
    n = len(first["label"])
    means: dict[str, list[np.ndarray]] = {}
    for own in (first, second):
        right = (own["prediction"] == own["label"]).astype(np.float64)
        columns = {
            "accuracy": right,
            **{k: own[k] for k in ("confidence", "nll", "brier") if k in own},
        }
        for name, values in columns.items():
            means.setdefault(name, []).append(values)
    gaps = [(_bins(own["confidence"]), (own["prediction"] == own["label"]) - own["confidence"])
            for own in (first, second)]  # fmt: skip

    statistics: dict[str, Callable[[np.ndarray, int], float]] = {
        name: lambda weight, k, both=both: float(weight @ both[k] / n)  # type: ignore[misc]
        for name, both in means.items()
        if len(both) == 2
    }
    statistics["ece"] = lambda weight, k: float(
        np.abs(np.bincount(gaps[k][0], weight * gaps[k][1], BINS)).sum() / n
    )
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in statistics}
    for _ in range(draws):
        weight = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        for name, statistic in statistics.items():
            found[name].append(statistic(weight, 0) - statistic(weight, 1))

    rows = []
    once = np.ones(n)
    for name, statistic in statistics.items():
        drawn = np.array(found[name])
        low, high = np.quantile(drawn, [0.025, 0.975])
        p = min(1.0, 2 * min((drawn <= 0).mean(), (drawn >= 0).mean()) + 1 / draws)
        if name == "ece":
            p = math.nan
        if name == "accuracy":
            p = mcnemar(means[name][0] == 1, means[name][1] == 1)
        rows.append(Difference(name, statistic(once, 0), statistic(once, 1), low, high, float(p)))
    order = ("accuracy", "confidence", "ece", "nll", "brier")
    return sorted(rows, key=lambda row: order.index(row.metric))


def _bins(confidence: np.ndarray) -> np.ndarray:
    edges = np.array([k / BINS for k in range(BINS + 1)])
    return (np.searchsorted(edges, confidence, side="right") - 1).clip(0, BINS - 1)
