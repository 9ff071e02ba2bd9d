"""`mixkd reproduce`: plan the runs of an artefact, do what is missing, render it."""

from pathlib import Path
from typing import NamedTuple

from mixkd.config.arguments import folders_of, searchpath
from mixkd.config.commands import REPRODUCE_KEYS, ReproduceConfig
from mixkd.config.shipped import experiment, experiments
from mixkd.data.contents import listed_once
from mixkd.errors import UserError
from mixkd.launchers.sweep import held, worst
from mixkd.report.plan import made_folder
from mixkd.reproduction.carry_out import distinct, make
from mixkd.reproduction.overrides import LAUNCH, by_command, launch_settings, trusted
from mixkd.reproduction.price import estimate
from mixkd.reproduction.record import with_earlier, write_record
from mixkd.reproduction.scale import load_scale
from mixkd.reproduction.study import Study, load_artefact
from mixkd.tasks.report import write_report


class Reproduced(NamedTuple):
    """What to say of a reproduction, and the exit status."""

    text: str
    status: int


@listed_once()
def reproduce(config: ReproduceConfig) -> Reproduced:
    """Do what is missing of the runs of artefacts, and render those.

    Raises:
        UserError: for an artefact, a scale or an override that does not exist.
        KeyboardInterrupt: if a run was interrupted: nothing is rendered then.
    """
    chosen = [load_artefact(name) for name in config.names]
    trust = trusted(config.overrides)
    scale = load_scale(config.scale, config.protocol, config.seeds, trust)
    launch = [override for override in config.overrides if override.startswith(LAUNCH)]
    overrides = [override for override in config.overrides if override not in launch]
    study: Study = experiment(experiments().STUDY).PaperStudy(scale, by_command(overrides))
    root, out = config.runs, config.out or Path("reports") / scale.name
    for key, place in (("runs", root), ("out", out)):
        if place.exists() and not place.is_dir():
            text = f"got {str(place)!r}, which is a file; takes {REPRODUCE_KEYS[key]}"
            raise UserError.of(key, text)
    places = searchpath(folders_of(config.overrides))
    settings = launch_settings([*places, *scale.settings.launch, *launch], root)
    runs_of = {artefact.name: artefact.runs(study) for artefact in chosen}
    if "all" in config.artefacts:  # of those that the scale does not leave out altogether
        chosen = [a for a in chosen if runs_of[a.name] or not a.needs_runs]
    if config.plan != "false":
        from mixkd.reproduction.speed import measure_speed  # torch, which nothing else here takes

        each_run = config.plan == "runs"
        plan = estimate(chosen, runs_of, root, settings, measure_speed, each_run)
        return Reproduced(plan, 0)
    name = f"reproduce-{scale.name}"
    with held(root, name, "reproduce"):
        runs = distinct(run for of_artefact in runs_of.values() for run in of_artefact)
        done = make(runs, root, name, settings)
        # Also where runs had failed before, whose status counts for more.
        is_stopped = any(outcome.state == "interrupted" for outcome in done.values())
        artefacts = with_earlier(chosen, study, root, overrides)
        if not is_stopped:
            for artefact in artefacts:
                artefact.make(study, made_folder(root, scale.name))
        record = write_record(artefacts, study, root, done, overrides)
    if is_stopped:
        raise KeyboardInterrupt
    text = write_report(root, record, out)
    if failed := sum(bool(outcome.status) for outcome in done.values()):
        text += f"\n{failed} runs failed or could not be run; the same command tries again"
    return Reproduced(text, worst(done.values()))
