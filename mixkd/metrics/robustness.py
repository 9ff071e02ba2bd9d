"""What corruption does to networks, and what a gain in robustness is beyond one in accuracy."""

from collections.abc import Mapping, Sequence

import numpy as np

from mixkd.metrics.vicinal import standard_error


def mean_of(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over sets of equal numbers of images; `n` is their sum."""
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return means | {"n": int(sum(row["n"] for row in rows))}


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
