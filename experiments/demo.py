"""The demo: a teacher and four students on handwritten digits, one table, one figure.

`make demo`, or `python -m experiments.demo [key=value ...]` with overrides for every training.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixkd.config.tasks import DistillConfig, EvaluateConfig, FinetuneConfig
from mixkd.console import say
from mixkd.files.reading import read_mapping, read_rows
from mixkd.plots.reliability import Curve, reliability_figure
from mixkd.plots.style import save_figure
from mixkd.report.table import metrics_table
from mixkd.request import request
from mixkd.runs.run import Run
from mixkd.tasks.distill import distill
from mixkd.tasks.evaluate import evaluate
from mixkd.tasks.finetune import finetune

TEACHER = ["network=resnet20", "trainer.max_epochs=15"]
WIDTH = "args.width=0.35"
STUDENT = ["optimizer=adam", "optimizer.lr=0.01", "trainer.max_epochs=25"]
METHODS = ("erm", "mixup", "kd", "kd_mixup")
OUT = Path("reports/demo")


def main(more: Sequence[str] = ()) -> None:
    """Train what is missing, evaluate all five networks, and write the table and the figure."""
    started = time.perf_counter()
    runs: dict[str, Path] = {}
    say("1/6  the teacher, ResNet-20")
    runs["teacher"] = train_run("finetune", [*TEACHER, *more])
    for number, method in enumerate(METHODS, start=2):
        say(f"{number}/6  a MobileNetV2 student: {method}")
        common = [f"method={method}", *STUDENT, *more]
        if method in ("erm", "mixup"):
            overrides = ["network=mobilenetv2", f"network.{WIDTH}", *common]
            runs[method] = train_run("finetune", overrides)
        else:
            overrides = [f"teacher.run='{runs['teacher']}'", f"student.{WIDTH}", *common]
            runs[method] = train_run("distill", overrides)
    say("6/6  evaluation on the held-out test images")
    evaluations = {label: evaluate_run(run, more) for label, run in runs.items()}
    table = write_results(evaluations, OUT)
    print(f"\n{table}\n{OUT}/table.md, table.csv, table.tex, reliability.png")
    say(f"{time.perf_counter() - started:.0f} s")


def train_run(command: str, overrides: Sequence[str]) -> Path:
    """Run one training, unless it has been run before; return its directory."""
    cfg = request(command, overrides)
    if isinstance(cfg, FinetuneConfig):
        finetune(cfg)
    elif isinstance(cfg, DistillConfig):
        distill(cfg)
    return Run(cfg).path


def evaluate_run(run: Path, more: Sequence[str]) -> Path:
    """Evaluate a run's network on its test images; return the evaluation's directory."""
    places = [word for word in more if word.startswith(("run.", "trainer.accelerator"))]
    cfg = request("evaluate", [f"network.run='{run}'", *places])
    assert isinstance(cfg, EvaluateConfig)
    evaluate(cfg)
    return Run(cfg).path


def write_results(evaluations: Mapping[str, Path], out: Path) -> str:
    """Write the table and the reliability figure of evaluation runs; return the table."""
    metrics = {k: read_mapping(run / "metrics.json") for k, run in evaluations.items()}
    caption = "Handwritten digits, 450 test images, one seed. T: after temperature scaling."
    table = metrics_table("table", "The demo's networks", caption, list(metrics.items()), "test")
    table.write(out)
    curves = [
        read_curve(run, "test", label, metrics[label]["test/ece"])
        for label, run in evaluations.items()
    ]
    save_figure(reliability_figure(curves), out / "reliability")
    return table.markdown()


def read_curve(run: Path, split: str, label: str, ece: float) -> Curve:
    """Return a run's reliability on a split, from its reliability.csv."""
    rows = [row for row in read_rows(run / "reliability.csv") if row["split"] == split]
    return Curve(label, rows, ece)


if __name__ == "__main__":
    main(sys.argv[1:])
