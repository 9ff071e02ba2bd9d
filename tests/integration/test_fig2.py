"""The toy problem of Figure 2."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments.fig2 import make, render, toy_splits, train_toy
from experiments.paper.comparison import Comparison
from experiments.paper.report import reference
from mixkd.data.images import Images
from mixkd.report.results import Results
from mixkd.report.sections import Drawing
from mixkd.report.table import Table
from mixkd.reproduction.scale import load_scale

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
        network = train_toy(method, splits, 32, 15)
        with torch.no_grad():
            p = network.eval()(view).softmax(dim=1)
        assert (p.argmax(dim=1) == splits.test.labels).float().mean() > 0.8
        sure[method] = p.max(dim=1).values.mean().item()
    assert sure["mixup"] < sure["erm"] - 0.05


def test_what_is_kept_is_drawn_and_made_anew_for_other_epochs() -> None:
    scale = load_scale("smoke")
    folder = Path("kept")
    short = replace(scale, settings=scale.settings.model_copy(update={"toy_epochs": 1}))
    make(short, folder)
    before = (folder / "fig2.npz").stat().st_mtime_ns
    make(short, folder)
    assert (folder / "fig2.npz").stat().st_mtime_ns == before
    found = Comparison(Results([]), reference(), "fig2")
    drawing, table = render(found, folder)
    assert isinstance(drawing, Drawing)
    assert isinstance(table, Table)
    assert "1 epochs" in drawing.caption
    assert len(drawing.figure.axes) == len(table.rows) == 5
    for row in table.rows:
        assert 1 / 3 <= float(row["confidence"]) <= 1  # type: ignore[arg-type]
    two = replace(scale, settings=scale.settings.model_copy(update={"toy_epochs": 2}))
    make(two, folder)
    assert "2 epochs" in next(iter(render(found, folder))).caption
    (folder / "fig2.npz").write_bytes(b"damaged")
    assert list(render(found, folder)) == []
