"""Paired differences of two networks on the same images. NumPy and SciPy alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from mixkd.metrics import BINS, standard_error

Predictions = Mapping[str, np.ndarray]

# What predictions/<split>.npz holds of each image, as far as it is used here.
NEEDED = ("index", "label", "prediction", "confidence", "nll")
OPTIONAL = ("brier",)
ARRAYS = (*NEEDED, *OPTIONAL)


@dataclass(frozen=True)
class Difference:
    """A metric of both networks, and first minus second with a 95 % interval and a p-value.

    The interval is of the bootstrap over images, its percentiles. `p` is two-sided: McNemar's exact
    test for the accuracies of two single networks, else 2 (k + 1) / (B + 1), at most 1, where k of
    B bootstrap samples are at 0 or beyond; and NaN for ECE. Noise alone gives an ECE, more of it to
    the less confident network, so that neither its interval nor a p-value is one of the difference
    in calibration: see its noise floor.
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


def unfit(predictions: Predictions) -> str:
    """Return what is wrong with saved predictions, arrays by name; an empty text if nothing is."""
    if missing := {*NEEDED} - predictions.keys():
        return f"lacks {', '.join(sorted(missing))}"
    n = len(predictions["label"])
    for name, array in predictions.items():
        if array.dtype.kind not in "iuf" or array.shape != (n,) or not n:
            return f"holds no predictions: {name} is {array.dtype} {list(array.shape)}"
    confidence = predictions["confidence"]
    if not ((confidence >= 0) & (confidence <= 1)).all():
        return "holds no predictions: confidence goes beyond [0, 1]"
    for name in ("nll", *OPTIONAL):
        if name in predictions and not np.isfinite(predictions[name]).all():
            return f"holds no predictions: {name} is not finite"
    return ""


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Return McNemar's exact two-sided p-value of where two networks are right: bool [n]."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second, 0.5).pvalue)


def paired_differences(
    first: Sequence[Predictions], second: Sequence[Predictions], draws: int = 2000, seed: int = 0
) -> list[Difference]:
    """Return the differences in accuracy, confidence, ece, nll and brier, means over seeds.

    The bootstrap draws images, the same ones for every seed: it says what other test images would
    have changed, not what other seeds would have. It does not depend on the order of the images,
    and differs in sign alone where the networks change places.

    Args:
        first: of each seed, `label`, `prediction`, `confidence`, `nll` and `brier` of each image,
            shape [n], as predictions/<split>.npz holds them; those without brier are not compared
            by it.
        second: of the same images, in the same order.
        draws: bootstrap samples.
        seed: of the bootstrap.
    """
    n = len(first[0]["label"])
    positions = _order([first, second])
    first, second = (
        [{name: values[positions] for name, values in arrays.items()} for arrays in both]
        for both in (first, second)
    )
    means = [_means(first), _means(second)]
    gaps = [[_gaps(arrays) for arrays in both] for both in (first, second)]

    def statistic(name: str, weight: np.ndarray, k: int) -> float:
        if name == "ece":
            return float(np.mean([_ece(bins, weight * gap) for bins, gap in gaps[k]]))
        return float(weight @ means[k][name] / n)

    metrics = ("accuracy", "confidence", "ece", "nll", "brier")
    names = [name for name in metrics if name == "ece" or all(name in both for both in means)]
    rng = np.random.default_rng(seed)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(draws):
        weight = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        for name in names:
            samples[name].append(statistic(name, weight, 0) - statistic(name, weight, 1))

    rows = []
    once = np.ones(n)
    for name in names:
        drawn = np.array(samples[name])
        low, high = np.quantile(drawn, [0.025, 0.975])
        beyond = int(min((drawn <= 0).sum(), (drawn >= 0).sum()))
        p = min(1.0, 2 * (beyond + 1) / (draws + 1))
        if name == "ece":
            p = math.nan
        if name == "accuracy" and len(first) == len(second) == 1:
            p = mcnemar(means[0][name] == 1, means[1][name] == 1)
        values = statistic(name, once, 0), statistic(name, once, 1)
        rows.append(Difference(name, *values, low, high, float(p)))
    return rows


def lacking(predictions: Predictions) -> tuple[str, ...]:
    """Return the metrics that predictions cannot be compared by."""
    return tuple(name for name in OPTIONAL if name not in predictions)


def are_paired(all_of: Sequence[Predictions]) -> bool:
    """Return whether predictions are of the same images in the same order."""
    first = all_of[0]
    return all(
        np.array_equal(first[name], other[name]) for other in all_of for name in ("index", "label")
    )


def expected_calibration_error(predictions: Predictions) -> float:
    """Return the ECE of predictions (eq. 16)."""
    return _ece(*_gaps(predictions))


def _ece(bins: np.ndarray, gaps: np.ndarray) -> float:
    return float(np.abs(np.bincount(bins, gaps, BINS)).sum() / len(gaps))


def _means(of_seeds: Sequence[Predictions]) -> dict[str, np.ndarray]:
    """Return each image's values, means over seeds, shape [n]."""
    values = {"accuracy": [arrays["prediction"] == arrays["label"] for arrays in of_seeds]}
    for name in ("confidence", "nll", *OPTIONAL):
        if all(name in arrays for arrays in of_seeds):
            values[name] = [arrays[name] for arrays in of_seeds]
    return {name: np.stack(x).mean(axis=0, dtype=np.float64) for name, x in values.items()}


def _order(networks: Sequence[Sequence[Predictions]]) -> np.ndarray:
    """Return an order of the images: not that in which they came, whichever network is first."""
    names = ("nll", "confidence", "prediction", "label", *OPTIONAL)
    columns = [
        [arrays[name] for arrays in seeds for name in names if name in arrays] for seeds in networks
    ]
    columns.sort(key=lambda values: [np.sort(column).tobytes() for column in values])
    return np.lexsort([column for values in columns for column in values])


def _gaps(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's bin, and what it adds to that bin's gap."""
    confidence, hit = predictions["confidence"], predictions["prediction"] == predictions["label"]
    edges = np.array([k / BINS for k in range(BINS + 1)])
    bins = (np.searchsorted(edges, confidence, side="right") - 1).clip(0, BINS - 1)
    return bins, hit - confidence


def accuracy_gain(
    network: np.ndarray,
    other: np.ndarray,
    clean: tuple[np.ndarray, np.ndarray] | None,
    *,
    paired: bool = True,
) -> dict[str, float]:
    """Return what one network gains in accuracy over another on corrupted images.

    A more accurate network is also more accurate on corrupted images. `gain_beyond_clean` is the
    gain less that on clean images: by how much less its accuracy falls (the relative form of
    Hendrycks and Dietterich's corruption error, as a difference).

    Args:
        network: 1 where it is right: bool or float, shape [n]; a mean over sets of the same images
            where there are several.
        other: of the other network, on the same images.
        clean: both on the clean images, each [m].
        paired: whether those are the same images in the same order.

    Returns:
        Fractions: `gain` and its paired standard error `gain_se`; with `clean`, also
        `gain_beyond_clean` and, where it is paired, its standard error.
    """
    difference = network.astype(np.float64) - other
    gains = {"gain": float(difference.mean()), "gain_se": standard_error(difference)}
    if clean is not None:
        before = clean[0].astype(np.float64) - clean[1]
        gains["gain_beyond_clean"] = gains["gain"] - float(before.mean())
        if paired:
            gains["gain_beyond_clean_se"] = standard_error(difference - before)
    return gains
