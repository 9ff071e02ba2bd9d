"""Metrics on corrupted images, averaged over several sets of them."""

import numpy as np
import pytest

from mixkd.evaluation.corruptions import Answers


def test_a_mean_over_severities() -> None:
    sets = [
        Answers({"network": {"accuracy": 0.5, "n": 10}}, {"network": np.array([True, False])}),
        Answers({"network": {"accuracy": 0.7, "n": 10}}, {"network": np.array([True, True])}),
    ]
    mean = Answers.mean(sets)
    assert mean.metrics["network"] == {"accuracy": pytest.approx(0.6), "n": 20}
    assert mean.hits["network"].tolist() == [1, 0.5]
