"""Measuring many images of many classes takes little memory beside the network's own."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

MEASURE = """
import json, resource, sys
import numpy as np, torch
from torch import nn
from types import SimpleNamespace
from pathlib import Path
from mixkd.request import request
from mixkd.data.module import ImageDataModule
from mixkd.data.images import Images
from mixkd.data.splits import Splits
from mixkd.networks.network import Network
from mixkd.training.fit import make_trainer
from mixkd.evaluation.calibration import val_temperature, measure_splits

n, classes = int(sys.argv[1]), 1000
rng = np.random.default_rng(0)
def images(n):
    pixels = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return Images.of(pixels, rng.integers(0, classes, n))
splits = Splits(images(2), images(2000), images(n), tuple(map(str, range(classes))))
overrides = ["network=resnet20", "data.pad=0", "data.eval_batch_size=500"]
cfg = request("finetune", overrides)
torch.manual_seed(0)
network = Network(nn.Sequential(nn.Flatten(), nn.Linear(192, classes)))
trainer, data = make_trainer(cfg.trainer), ImageDataModule(splits, cfg.data)
run = SimpleNamespace(path=Path(f"run-{n}"))
with torch.inference_mode():  # what the network itself takes
    for start in range(0, n, 500):
        network(data.views.evaluation(splits.test.pixels[start : start + 500]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
temperature = val_temperature(trainer, network, data)
metrics = measure_splits(trainer, network, data, ["test"], run, temperature=temperature)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([metrics["test/n"], (after - before) / 1024]))
"""


def test_50000_images_of_1000_classes_take_less_than_200_mb() -> None:
    command = [sys.executable, "-c", MEASURE, "50000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    n, megabytes = json.loads(done.stdout.splitlines()[-1])
    assert n == 50_000
    assert megabytes < 200
