"""A user's overrides for the runs of a reproduction: which command takes them, how it launches."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from omegaconf import ListConfig

from mixkd.config.analyses import analysis_names
from mixkd.config.arguments import folders_of, searchpath
from mixkd.config.commands import REPRODUCE_KEYS
from mixkd.config.tasks import TASKS, SweepSettings
from mixkd.config.validation import sweep_settings
from mixkd.errors import UserError, nearest
from mixkd.request import compose

# What tells an artefact's runs apart, or where they are, beside the analyses.
SET = ("experiment", "seed", "method", "temperature", "network", "teacher", "student", "run.dir",
       "run.root", "network.run", "teacher.run")  # fmt: skip
FREE = ("teacher.precision", "teacher.tape", "teacher.tape_precision", "teacher.tape_gb")
LAUNCH = ("launcher", "sweep.")


def launch_settings(overrides: Sequence[str], root: Path) -> SweepSettings:
    """Return how runs are launched.

    Raises:
        UserError: for what is wrong with it.
    """
    try:
        return sweep_settings(compose("finetune", [*overrides, f"run.root={root}"]))
    except UserError as error:
        problems = [p for p in error.problems if p.key.startswith(("launcher", "sweep"))]
        raise UserError(*(problems or error.problems)) from error


def trusted(overrides: Sequence[str]) -> list[str]:
    """Return the packages that the user trusts, of `trust=[...]` among the overrides."""
    about_trust = [override for override in overrides if override.partition("=")[0] == "trust"]
    trust = compose("finetune", about_trust).trust if about_trust else None
    return list(map(str, trust)) if isinstance(trust, ListConfig) else []


def by_command(overrides: Iterable[str]) -> dict[str, list[str]]:
    """Return overrides by the commands that take them.

    Raises:
        UserError: for one that no command takes.
    """
    overrides = list(overrides)
    places = searchpath(folders_of(overrides))
    taken: dict[str, list[str]] = {command: [*places] for command in TASKS}
    for override in overrides:
        if override in places:
            continue
        key = override.partition("=")[0]
        bare = key.partition(".")[2] if key.partition(".")[0] in TASKS else key
        is_of_network = bare.startswith(("network.", "student.", "teacher.")) and bare not in FREE
        if bare in (*SET, *analysis_names()) or is_of_network:
            more = "; seeds=0,1,2 says which" if bare == "seed" else ""
            raise UserError.of(key, f"is for the artefact to say{more}")
        command, _, rest = override.partition(".")
        if command in TASKS:
            if refusal := _refusal(command, rest, places):
                raise refusal
            taken[command].append(rest)
            continue
        # An evaluation takes its data from the run that it measures.
        able = [c for c in TASKS if c != "evaluate" or not override.startswith("data")]
        refusals = {command: _refusal(command, override, places) for command in able}
        for command, refusal in refusals.items():
            if refusal is None:
                taken[command].append(override)
        if first := all(refusals.values()) and refusals["finetune"]:
            if close := nearest(key, REPRODUCE_KEYS):
                raise UserError.of(key, f"no such key{close}; takes {', '.join(REPRODUCE_KEYS)}")
            raise first
    return taken


def _refusal(command: str, override: str, places: Sequence[str]) -> UserError | None:
    """Return why a command does not take an override, or None if it does."""
    try:
        compose(command, [*places, override])
    except UserError as error:
        # That no network is chosen is no matter of this override.
        key = override.partition("=")[0].partition(".")[0]
        problems = [p for p in error.problems if p.key.partition(".")[0] == key]
        return UserError(*problems or error.problems)
    return None
