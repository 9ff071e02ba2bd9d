import math

import pytest

from experiments.paper.contrasts import contrast, holm


def test_a_contrast_by_hand() -> None:
    # Differences 1, 2, 3: mean 2, standard deviation 1, t of 0.975 with 2 degrees 4.302653.
    result = contrast({0: 2.0, 1: 4.0, 2: 6.0, 9: 0.0}, {0: 1.0, 1: 2.0, 2: 3.0, 5: 7.0})
    assert result is not None
    half = 4.302653 / math.sqrt(3)
    assert (result.mean, result.spread, result.seeds) == (2.0, 1.0, 3)
    assert [result.low, result.high] == pytest.approx([2 - half, 2 + half], rel=1e-6)
    # For t = 2 sqrt(3) with 2 degrees, p = 1 - t / sqrt(2 + t ** 2).
    t = 2 * math.sqrt(3)
    assert result.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert result.detectable == pytest.approx((4.302653 + 1.060660) / math.sqrt(3), rel=1e-6)


def test_of_one_seed_nothing_is_said() -> None:
    assert contrast({0: 1.0, 1: 2.0}, {0: 1.0, 2: 2.0}) is None


@pytest.mark.parametrize(("minuend", "p"), [({0: 1.0, 1: 2.0}, 1.0), ({0: 2.0, 1: 3.0}, 0.0)])
def test_seeds_that_all_say_the_same(minuend: dict[int, float], p: float) -> None:
    result = contrast(minuend, {0: 1.0, 1: 2.0})
    assert result is not None
    assert (result.p, result.low, result.high) == (p, result.mean, result.mean)


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, 0.03 * 2 (no less than 0.06), 0.6.
    assert holm([0.03, 0.01, 0.6, 0.02]) == pytest.approx([0.06, 0.04, 0.6, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
