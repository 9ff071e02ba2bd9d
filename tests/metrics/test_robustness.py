import math

import numpy as np
import pytest

from mixkd.metrics.robustness import accuracy_gain, mean_of


def test_a_gain_its_error_and_what_is_beyond_clean() -> None:
    own, other = np.array([1, 1, 0, 1]), np.array([0, 1, 0, 0])
    clean = np.array([1, 1, 1, 1]), np.array([1, 1, 1, 0])
    found = accuracy_gain(own, other, clean)
    assert found["gain"] == 0.5  # 3/4 - 1/4
    # Differences 1, 0, 0, 1: sample variance 1/3.
    assert found["gain_se"] == pytest.approx(math.sqrt(1 / 3 / 4))
    assert found["gain_beyond_clean"] == 0.25  # 1/2 less 4/4 - 3/4
    # Differences of differences 1, 0, 0, 0: sample variance 1/4.
    assert found["gain_beyond_clean_se"] == pytest.approx(math.sqrt(1 / 4 / 4))


def test_other_clean_images_have_no_paired_error() -> None:
    found = accuracy_gain(np.ones(4), np.zeros(4), (np.ones(8), np.zeros(8)), paired=False)
    assert found["gain_beyond_clean"] == 0
    assert "gain_beyond_clean_se" not in found
    assert set(accuracy_gain(np.ones(4, bool), np.zeros(4, bool), None)) == {"gain", "gain_se"}


def test_a_mean_over_severities() -> None:
    rows = [{"accuracy": 0.5, "n": 10}, {"accuracy": 0.7, "n": 10}]
    assert mean_of(rows) == {"accuracy": pytest.approx(0.6), "n": 20}
