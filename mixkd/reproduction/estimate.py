"""`plan=true`: what there is to do of a reproduction, and what it costs on this machine."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mixkd.config.launcher import LocalConfig
from mixkd.config.tasks import SweepSettings
from mixkd.console import cores, say
from mixkd.reproduction.artefact import Artefact
from mixkd.reproduction.carry_out import distinct, statuses
from mixkd.reproduction.record import command_of
from mixkd.reproduction.study import StudyRun


def estimate(
    chosen: Sequence[Artefact],
    runs_of: Mapping[str, Sequence[StudyRun]],
    root: Path,
    settings: SweepSettings,
    each_run: bool = False,
) -> str:
    """Return what there is to do and what it costs, priced by timing the networks.

    `each_run` lists every run with its command too.
    """
    from mixkd.reproduction.price import Speed, price, work_of
    from mixkd.reproduction.speed import measure_speed

    runs = distinct(run for of_artefact in runs_of.values() for run in of_artefact)
    states = statuses(runs, root)
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5
    finished = {state.run.job for state in states if state.is_finished}
    work = {run.job: work_of(run) for run in runs if run.job not in finished}
    launcher = settings.launcher
    parallel = launcher.parallel if isinstance(launcher, LocalConfig) else 1
    speeds: dict[Any, Speed] = {}
    for model in dict.fromkeys(model for of_run in work.values() for model in of_run.models):
        say(f"timing network {len(speeds) + 1}")
        speeds[model] = measure_speed(model, max(cores() // parallel, 1))
    lines = [f"{'artefact':<10} {'runs':>5} {'to do':>6} {'hours':>9} {'disk GB':>8}"]
    for artefact in chosen:
        cost = price(distinct(runs_of[artefact.name]), finished, work, speeds, parallel)
        lines.append(_line(artefact.name, cost))
    lines.append(_line("together", price(runs, finished, work, speeds, parallel)))
    lines.append("Runs that artefacts share are done once.")
    if speeds:
        lines += [
            f"Hours: {parallel} at once on this machine, by images per second measured just now",
            "(training, answering; millions of numbers):",
        ]
        if busy:
            lines.append("(other work was running on this machine: it may well be faster)")
    for model, speed in speeds.items():
        lines.append(
            f"  {_model_name(model.section):<40} {model.size} px  {speed.train:>9,.1f} "
            f"{speed.forward:>9,.1f}  {speed.parameters / 1e6:.2f}"
        )
    if each_run:
        places = {state.run.job: state.path for state in states}
        for run in runs:
            done = "done " if run.job in finished else "to do"
            lines.append(f"{done}  {command_of(run, places, root)}")
    return "\n".join(lines)


def _line(name: str, cost: Any) -> str:
    return f"{name:<10} {cost.runs:>5} {cost.missing:>6} {cost.hours:>9.2f} {cost.disk:>8.2f}"


def _model_name(section: str) -> str:
    network = yaml.safe_load(section)
    args = "".join(f" {key}={value}" for key, value in (network.get("args") or {}).items())
    return f"{network.get('name') or network.get('factory')}{args}"
