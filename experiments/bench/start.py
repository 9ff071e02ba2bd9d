"""Start: commands that look, and the first training step, as whole processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from experiments.bench.timing import Figure, Work, in_turn, ratios, timed

LOOKS = {
    "--help": ["--help"],
    "distill --cfg job": ["distill", "teacher=resnet20", "--cfg", "job"],
    "list networks": ["list", "networks"],
}

# A network that ends its process when it is asked a second time in training: after a first step.
ONE_STEP = """
import os
from torch import nn

class OneStep(nn.Sequential):
    asked = 0

    def forward(self, x):
        self.asked += self.training
        if self.asked > 1:
            print("stepped", flush=True)
            os._exit(0)
        return super().forward(x)

def one_step(num_classes):
    return OneStep(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
"""
TRAINING = ["finetune", "data=digits", "network.factory=one_step.one_step"]
BARE = [sys.executable, "-c", "import torch, lightning, timm, os; os._exit(0)"]  # as ONE_STEP
MIXKD = [sys.executable, "-m", "mixkd"]


def figures(repeats: int) -> Iterator[Figure]:
    """Yield the seconds of a look, and those of a first step over those of bare imports."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "one_step.py").write_text(ONE_STEP)

        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *sys.path])}

        def process(*words: str, says: bytes = b"") -> Work:
            def run() -> None:
                done = subprocess.run(
                    words, cwd=folder, env=environment, check=True, capture_output=True
                )
                if says not in done.stdout:
                    raise RuntimeError(f"{words} did not say {says!r}")

            return timed(run)

        looks = {name: process(*MIXKD, *words) for name, words in LOOKS.items()}
        for name, seconds in in_turn(looks, repeats).items():
            yield Figure(
                f"mixkd {name}",
                tuple(seconds),
                "A look imports neither torch nor Lightning.",
                ("at most", 0.8),
                "s",
            )
        step = process(*MIXKD, *TRAINING, "run.force=true", says=b"stepped")
        times = in_turn({"step": step, "bare": process(*BARE)}, repeats)
    yield Figure(
        "a training's first step: time / bare import of torch, Lightning and timm",
        ratios(times["step"], times["bare"]),
        "Both start a process; a training has its images, networks and configuration to make, too.",
        ("at most", 1.5),
    )
