"""Corruption evaluation: everything that is measured, and the forward pass alone."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from experiments.bench.parts import configured, random_images, random_splits, timm_network
from experiments.bench.timing import Figure, in_turn, ratios, timed
from mixkd.data.corrupted import read_arrays
from mixkd.data.module import ImageDataModule
from mixkd.data.splits import Splits
from mixkd.evaluation.corruptions import NetworkCounts
from mixkd.evaluation.one_pass import run_pass
from mixkd.training.fit import make_trainer

IMAGES, BATCH = 10_000, 500  # of a severity, as in CIFAR-10-C, and at once


def figures(repeats: int) -> Iterator[Figure]:
    """Yield the speed of the evaluation, of that of the network."""
    cfg = configured(f"data.eval_batch_size={BATCH}", "data.workers=0")
    network = timm_network("mobilenetv2_100").eval()
    few, classes = random_splits(10, 32).val, tuple("0123456789")
    with TemporaryDirectory() as folder:
        place = Path(folder)
        images = random_images(5 * IMAGES, 32)
        np.save(place / "fog.npy", images.pixels.permute(0, 2, 3, 1).contiguous().numpy())
        np.save(place / "labels.npy", images.labels.numpy())
        views = (images.pixels[:IMAGES] / 255).tensor_split(IMAGES // BATCH)

        def evaluation() -> None:
            counts = NetworkCounts({"network": network}, {"network": 2.0})
            test = read_arrays(place, "fog", 1, len(classes))
            data = ImageDataModule(Splits(few, few, test, classes), cfg.data)
            run_pass(make_trainer(cfg.trainer), data, counts.parts, counts.update, counts.compute)

        def passes() -> None:
            with torch.inference_mode():
                for batch in views:
                    network(batch)

        works = {"evaluation": timed(evaluation), "passes": timed(passes)}
        times = in_turn(works, 2 * repeats)
    yield Figure(
        "corruption evaluation, MobileNetV2, 32 px, images per second: mixkd / forward pass",
        ratios(times["passes"], times["evaluation"]),
        "Reading CIFAR-C's arrays in place, views, calibration with and without temperature "
        "scaling, and each image's hit or miss, of one severity.",
        ("at least", 0.97),
    )
