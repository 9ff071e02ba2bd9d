"""The toy problem of Figure 2."""

from pathlib import Path

import pytest
import torch

from experiments.fig2 import main, toy_splits, train
from mixkd.data.images import Images

pytestmark = pytest.mark.integration


def test_points_are_images_of_one_pixel() -> None:
    splits = toy_splits()
    for split, n in (("train", 600), ("val", 150), ("test", 150)):
        images = splits[split]
        assert isinstance(images, Images)
        assert images.pixels.shape == (n, 3, 1, 1)
        assert images.labels.bincount().tolist() == [n // 3] * 3
        assert not images.pixels[:, 2].any()  # blue is unused


def test_a_network_learns_it_and_mixup_makes_it_less_sure() -> None:
    splits = toy_splits()
    view = splits.test.pixels.float() / 255  # type: ignore[union-attr]
    sure = {}
    for method in ("erm", "mixup"):
        network = train(method, splits, 32, 15)
        with torch.no_grad():
            p = network.eval()(view).softmax(dim=1)
        assert (p.argmax(dim=1) == splits.test.labels).float().mean() > 0.8
        sure[method] = p.max(dim=1).values.mean().item()
    assert sure["mixup"] < sure["erm"] - 0.05


def test_the_figure_is_drawn() -> None:
    main(["1"])
    for suffix in ("png", "svg"):
        assert Path(f"reports/fig2/fig2.{suffix}").stat().st_size > 10_000
