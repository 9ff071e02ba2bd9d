"""Rank correlation, against values by hand and its own coverage."""

import math

import numpy as np
import pytest

from experiments.paper.correlation import rank_correlation


def test_tau_and_p_by_hand() -> None:
    """Of ten pairs nine agree: tau 8/10; of 5! orders, 5 are as far or further to each side."""
    correlation = rank_correlation([1, 2, 3, 4, 5], [10, 20, 40, 30, 50])
    assert correlation is not None
    assert correlation.tau == pytest.approx(0.8)
    assert correlation.p == pytest.approx(2 * 5 / math.factorial(5))
    assert correlation.n == 5
    assert correlation.low <= 0.8 <= correlation.high == 1


def test_four_networks_decide_nothing() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None


@pytest.mark.parametrize("values", [[3.0] * 6, [1, 2, 3, 4, 5, math.nan]])
def test_what_has_no_order_has_no_correlation(values: list[float]) -> None:
    assert rank_correlation(range(6), values) is None
    assert rank_correlation(values, range(6)) is None


def test_the_interval_is_of_networks() -> None:
    """The share of 95 % intervals that hold the truth, tau = 2/pi * asin(rho), of normal pairs."""
    rng = np.random.default_rng(0)
    rho, covered = 0.6, 0
    for _ in range(25):
        x, y = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 40).T
        correlation = rank_correlation(x, y)
        assert correlation is not None
        covered += correlation.low <= 2 / math.pi * math.asin(rho) <= correlation.high
    assert covered >= 21  # at 0.95, fewer are drawn once in 100 times
