"""Panels of distillation as a W&B workspace, and a sweep of the temperature as a W&B sweep file."""

import json
from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as workspaces
import yaml

STEP = "trainer/global_step"
FINAL = {"test/accuracy": "Accuracy", "test/ece": "ECE", "test/confidence": "Confidence"}
CURVES = {
    "val/accuracy": "Accuracy, held out",
    "val/ece": "ECE, held out",
    "val/confidence": "Confidence, held out",
    "val/nll": "NLL, held out (nats)",
    "train/kd": "KL from the teacher (nats)",
}
LINEARITY = {
    "vicinal/val/student/nl_global": "Non-linearity of the student (nats)",
    "vicinal/val/delta_lin_global": "Gain in linearity over the teacher (nats)",
    "vicinal/val/kl_mixed": "KL from the teacher on mixed images (nats)",
}
PICTURES = ("figures/reliability-test", "val/reliability", "val/vicinal")


def workspace(entity: str, project: str) -> workspaces.Workspace:
    """Return the workspace: students by temperature, curves by teacher, reliability, linearity."""
    sections = {
        "Against temperature": [
            panels.ScatterPlot(
                title=f"{title} against temperature",
                x=panels.Config("temperature"),
                y=panels.SummaryMetric(name),
                legend_template="${config:teacher.name}",
            )
            for name, title in FINAL.items()
        ],
        "While they train": _lines(CURVES),
        "Between images": _lines(LINEARITY),
        "Pictures": [panels.MediaBrowser(title=name, media_keys=[name]) for name in PICTURES],
    }
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name="mixkd",
        sections=[
            workspaces.Section(name=name, panels=list(of_section), is_open=True)
            for name, of_section in sections.items()
        ],
    )


def _lines(names: dict[str, str]) -> Sequence[Any]:
    return [
        panels.LinePlot(title=title, x=STEP, y=[name], groupby=panels.Config("teacher.name"))
        for name, title in names.items()
    ]


def as_json(made: workspaces.Workspace) -> str:
    """Return a workspace as JSON, the same for the same panels."""
    content = made._to_model().model_dump(mode="json")
    sections = content["spec"]["section"]["panel_bank_config"]["sections"]
    shown = [panel for section in sections for panel in section["panels"]]
    for number, panel in enumerate(shown, start=1):
        panel["id"] = str(number)  # in place of a random one
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def sweep_file(overrides: Sequence[str]) -> str:
    """Return a W&B sweep file: `mixkd distill OVERRIDES` over temperatures and seeds.

    `wandb sweep FILE` takes it; each `wandb agent` then runs its jobs.
    """
    content = {
        "name": "temperature",
        "method": "grid",
        "metric": {"name": "val/ece", "goal": "minimize"},
        "parameters": {
            "temperature": {"values": [2, 4, 6, 8, 10, "sigma"]},
            "seed": {"values": [0, 1, 2]},
        },
        "command": ["mixkd", "distill", *overrides, "logger=wandb", "${args_no_hyphens}"],
    }
    return yaml.safe_dump(content, sort_keys=False)
