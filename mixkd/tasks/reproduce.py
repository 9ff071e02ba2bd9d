"""`mixkd reproduce`: plan the runs of an artefact, do what is missing, render it."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import ListConfig

from mixkd.config.analyses import analysis_names
from mixkd.config.launcher import LocalConfig
from mixkd.config.shipped import artefacts
from mixkd.config.tasks import SweepSettings
from mixkd.config.validation import sweep_settings
from mixkd.console import cores, say
from mixkd.data.inventory import listed_once
from mixkd.errors import UserError, nearest
from mixkd.files.writing import write_json
from mixkd.launchers.sweep import held, worst
from mixkd.report.plan import Expected, Reproduction, made_folder, manifest
from mixkd.reproduction.artefact import Artefact, load_artefact
from mixkd.reproduction.carry_out import Done, distinct, make, overrides_of, statuses
from mixkd.reproduction.scale import Scale, load_scale
from mixkd.reproduction.study import Study, Wanted
from mixkd.request import compose
from mixkd.tasks.report import write_report

COMMANDS = ("finetune", "distill", "evaluate")
# What tells an artefact's runs apart, or where they are.
SET = ("seed", "method", "temperature", "network", "teacher", "student", "run.dir", "run.root",
       "network.run", "teacher.run", *analysis_names())  # fmt: skip
FREE = ("teacher.precision", "teacher.tape", "teacher.tape_precision", "teacher.tape_gb")
KEYS = {
    "scale": "smoke, laptop, paper, or a .yaml file",
    "protocol": "corrected or parity",
    "seeds": "whole numbers, 0,1,2: the students'",
    "runs": "a folder for the runs",
    "out": "a folder for tables and figures",
    "plan": "true, false, or runs: print what there is to do, and stop",
}


@listed_once()
def reproduce(words: Sequence[str]) -> tuple[str, int]:
    """Do what is missing of an artefact's runs and render it; return what to say and the status.

    Args:
        words: `ARTEFACT... [scale=NAME] [protocol=NAME] [seeds=0,1] [runs=DIR] [out=DIR]
            [plan=true]`, and overrides of the runs: KEY=VALUE of every command that has the key,
            or COMMAND.KEY=VALUE of one.

    Raises:
        UserError: for an artefact or key that does not exist.
    """
    chosen, given, rest = _parsed(words)
    trust = _trusted(rest)
    scale = load_scale(given["scale"], given["protocol"], _seeds(given["seeds"]), trust)
    launch = [word for word in rest if word.startswith(("launcher", "sweep."))]
    rest = [word for word in rest if word not in launch]
    study = Study(scale, _more(rest))
    root = Path(os.path.expanduser(given["runs"]))
    out = Path(os.path.expanduser(given["out"] or f"reports/{scale.name}"))
    for key, place in (("runs", root), ("out", out)):
        if place.exists() and not place.is_dir():
            raise UserError.of(key, f"got {str(place)!r}, which is a file; takes {KEYS[key]}")
    settings = _launch_settings([*scale.settings.launch, *launch], root)
    wanted = {each.name: each.runs(study) for each in chosen}
    if "all" in words:  # of those that the scale does not leave out altogether
        chosen = [each for each in chosen if wanted[each.name] or not each.needs_runs]
    if given["plan"] != "false":
        return plan(chosen, wanted, root, settings, each_run=given["plan"] == "runs"), 0
    with held(root, f"reproduce-{scale.name}", "reproduce"):
        every = distinct(run for runs in wanted.values() for run in runs)
        done = make(every, root, f"reproduce-{scale.name}", settings)
        # Also where runs had failed before, whose status counts for more.
        stopped = any(outcome.state == "interrupted" for outcome in done.values())
        known = _with_those_known(chosen, study, root, rest)
        if not stopped:
            for artefact in known:
                artefact.make(study, made_folder(root, scale.name))
        written = _write_down(known, study, root, done, rest)
    if stopped:
        raise KeyboardInterrupt
    said = write_report(root, written, out)
    failed = [outcome for outcome in done.values() if outcome.status]
    if failed:
        said += f"\n{len(failed)} runs failed or could not be run; the same command tries again"
    return said, worst(done.values())


def _launch_settings(words: Sequence[str], root: Path) -> SweepSettings:
    """Return how runs are launched.

    Raises:
        UserError: for what is wrong with it.
    """
    try:
        return sweep_settings(compose("finetune", [*words, f"run.root={root}"]))
    except UserError as error:
        own = [p for p in error.problems if p.key.startswith(("launcher", "sweep"))]
        raise UserError(*(own or error.problems)) from error


def _parsed(words: Sequence[str]) -> tuple[list[Artefact], dict[str, str], list[str]]:
    usual = {"scale": "smoke", "protocol": "corrected", "seeds": "", "runs": "runs", "out": "",
             "plan": "false"}  # fmt: skip
    names, rest = [], []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            names.append(word)
        elif key in KEYS:
            usual[key] = value
        else:
            rest.append(word)
    if usual["plan"] not in ("true", "false", "runs"):
        raise UserError.of("plan", f"got {usual['plan']!r}; takes {KEYS['plan']}")
    if not names:
        takes = f"takes {', '.join(artefacts())}, all"
        raise UserError.of("artefact", f"none given; {takes}")
    if "all" in names:
        names = list(artefacts())
    return [load_artefact(name) for name in dict.fromkeys(names)], usual, rest


def _trusted(words: Sequence[str]) -> list[str]:
    """Return the packages that the user trusts, of `trust=[...]` among the overrides."""
    given = [word for word in words if word.partition("=")[0] == "trust"]
    found = compose("finetune", given).trust if given else None
    return list(map(str, found)) if isinstance(found, ListConfig) else []


def _seeds(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.strip("[]").split(",") if part)
    except ValueError:
        found = (-1,)
    if any(seed < 0 for seed in found) or len(set(found)) < len(found):
        raise UserError.of("seeds", f"got {text!r}; takes whole numbers, each once, such as 0,1,2")
    return found


def _more(words: Iterable[str]) -> dict[str, list[str]]:
    """Return overrides by the commands that take them.

    Raises:
        UserError: for a word that no command takes.
    """
    found: dict[str, list[str]] = {command: [] for command in COMMANDS}
    for word in words:
        key = word.partition("=")[0]
        bare = key.partition(".")[2] if key.partition(".")[0] in COMMANDS else key
        told = bare.startswith(("network.", "student.", "teacher.")) and bare not in FREE
        if bare in SET or told:
            more = "; seeds=0,1,2 says which" if bare == "seed" else ""
            raise UserError.of(key, f"is for the artefact to say{more}")
        own, _, rest = word.partition(".")
        if own in COMMANDS:
            if refusal := _refused(own, rest):
                raise refusal
            found[own].append(rest)
            continue
        # An evaluation takes its data from the run that it measures.
        able = [c for c in COMMANDS if c != "evaluate" or not word.startswith("data")]
        refused = {command: _refused(command, word) for command in able}
        for command, refusal in refused.items():
            if refusal is None:
                found[command].append(word)
        if first := all(refused.values()) and refused["finetune"]:
            if close := nearest(key, KEYS):
                raise UserError.of(key, f"no such key{close}; takes {', '.join(KEYS)}")
            raise first
    return found


def _refused(command: str, word: str) -> UserError | None:
    """Return why a command does not take a word, or None if it does."""
    try:
        compose(command, [word])
    except UserError as error:
        # That no network is chosen is no matter of this word.
        key = word.partition("=")[0].partition(".")[0]
        own = [p for p in error.problems if p.key.partition(".")[0] == key]
        return UserError(*own or error.problems)
    return None


def _settings(scale: Scale, words: Sequence[str]) -> str:
    """Return what tells a reproduction from one of other settings at the same scale."""
    text = json.dumps([scale.settings.model_dump(), scale.protocol, scale.seeds, sorted(words)])
    return hashlib.sha256(text.encode()).hexdigest()


def _with_those_known(
    chosen: Sequence[Artefact], study: Study, root: Path, words: Sequence[str]
) -> list[Artefact]:
    """Return the artefacts that are reproduced now, and those that were with these settings."""
    names = {artefact.name for artefact in chosen}
    path = manifest(root, study.scale.name)
    if path.is_file():
        before = Reproduction.read(path)
        same = before.settings == _settings(study.scale, words)
        names |= set(before.artefacts) if same else set()
    return [load_artefact(name) for name in artefacts() if name in names]


def _write_down(
    known: Sequence[Artefact],
    study: Study,
    root: Path,
    done: Done,
    words: Sequence[str],
) -> Reproduction:
    """Write what is planned, and where it is, beside the runs; return it.

    Args:
        known: the artefacts that it is for.
        study: makes their runs.
        root: where runs are.
        done: how the runs ended that were looked at just now.
        words: the user's overrides.
    """
    runs: dict[Any, list[str]] = {}  # what each feeds
    for artefact in known:
        for each in artefact.runs(study):
            for run in each.with_those_before():
                runs.setdefault(run, []).append(artefact.name)
    every = distinct(runs)
    places = {job: outcome.path for job, outcome in done.items()}
    if others := [run for run in every if run.job not in places]:
        places |= {each.wanted.job: each.path for each in statuses(distinct(others), root)}
    expected = [
        Expected(
            subject=run.subject,
            seed=run.seed,
            kind=run.kind,
            command=_command(run, places, root),
            path=_relative(places[run.job], root),
            artefacts=tuple(dict.fromkeys(names)),
        )
        for run, names in runs.items()
    ]
    scale = study.scale
    written = Reproduction(
        scale=scale.name,
        protocol=scale.protocol,
        about=scale.settings.about,
        artefacts=tuple(artefact.name for artefact in known),
        settings=_settings(scale, words),
        overrides=tuple(words),
        data={name: _data_name(study, name) for name in scale.settings.datasets},
        datasets={name: _data_title(study, name) for name in scale.settings.datasets},
        teachers={name: network.name for name, network in scale.settings.teachers.items()},
        student=scale.settings.student.name,
        expected=tuple(expected),
        leaves_out=tuple(scale.settings.leaves_out),
    )
    write_json(manifest(root, scale.name), written.as_json())
    return written


def _data_name(study: Study, dataset: str) -> str:
    """Return the name of the data in the runs' configurations."""
    run = study.from_labels(dataset, "erm")[0]
    return str(compose(run.command, list(run.overrides)).data.name)


def _data_title(study: Study, dataset: str) -> str:
    """Return the name of the data for people: the scale's, unless the user took others."""
    name = _data_name(study, dataset)
    usual = _data_name(Study(study.scale), dataset)
    return study.scale.dataset(dataset).name if name == usual else name


def _relative(path: str, root: Path) -> str:
    return str(Path(path).relative_to(root)) if path else ""


def _command(run: Wanted, places: Mapping[Any, str], root: Path) -> str:
    """Return the command of a run; `KEY=...` stands for a run that is missing itself."""
    paths = {key: places[used.job] or "..." for key, used in run.uses}
    return shlex.join(["mixkd", run.command, *overrides_of(run, paths, root)])


def plan(
    chosen: Sequence[Artefact],
    wanted: Mapping[str, Sequence[Wanted]],
    root: Path,
    settings: SweepSettings,
    each_run: bool = False,
) -> str:
    """Return what there is to do and what it costs, priced by timing the networks.

    Args:
        chosen: artefacts.
        wanted: the runs of each.
        root: where runs are kept.
        settings: how runs are launched.
        each_run: whether to list every run with its command.
    """
    from mixkd.reproduction.price import Speed, price, work_of
    from mixkd.reproduction.speed import measure_speed

    everything = distinct(run for runs in wanted.values() for run in runs)
    looked = statuses(everything, root)
    busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5
    finished = {each.wanted.job for each in looked if each.is_finished}
    missing = [run for run in everything if run.job not in finished]
    work = {run.job: work_of(run) for run in missing}
    launcher = settings.launcher
    parallel = launcher.parallel if isinstance(launcher, LocalConfig) else 1
    speeds: dict[Any, Speed] = {}
    for model in dict.fromkeys(model for each in work.values() for model in each.models):
        say(f"timing network {len(speeds) + 1}")
        speeds[model] = measure_speed(model, max(cores() // parallel, 1))
    lines = [f"{'artefact':<10} {'runs':>5} {'to do':>6} {'hours':>9} {'disk GB':>8}"]
    for artefact in chosen:
        cost = price(distinct(wanted[artefact.name]), finished, work, speeds, parallel)
        lines.append(_line(artefact.name, cost))
    lines.append(_line("together", price(everything, finished, work, speeds, parallel)))
    lines.append("Runs that artefacts share are done once.")
    if speeds:
        lines += [
            f"Hours: {parallel} at once on this machine, by images per second measured just now",
            "(training, answering; millions of numbers):",
        ]
    if speeds and busy:
        lines.append("(other work was running on this machine: it may well be faster)")
    for model, speed in speeds.items():
        lines.append(
            f"  {_model_name(model.section):<40} {model.size} px  {speed.train:>9,.1f} "
            f"{speed.forward:>9,.1f}  {speed.parameters / 1e6:.2f}"
        )
    if each_run:
        places = {each.wanted.job: each.path for each in looked}
        for run in everything:
            state = "done " if run.job in finished else "to do"
            lines.append(f"{state}  {_command(run, places, root)}")
    return "\n".join(lines)


def _line(name: str, cost: Any) -> str:
    return f"{name:<10} {cost.runs:>5} {cost.missing:>6} {cost.hours:>9.2f} {cost.disk:>8.2f}"


def _model_name(section: str) -> str:
    import yaml

    found = yaml.safe_load(section)
    more = "".join(f" {key}={value}" for key, value in (found.get("args") or {}).items())
    return f"{found.get('name') or found.get('factory')}{more}"
