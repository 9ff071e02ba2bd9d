"""A command line in Hydra's terms: its options and its own keys, each honoured or refused.

What mixkd does in its own way is refused by the key that does it. A user's folders of groups are
kept as one override, `hydra.searchpath=[DIR, ...]`, so that jobs in other processes have them too.
Imports nothing heavy.
"""

import os
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from mixkd.config.overrides import written
from mixkd.config.shipped import config_dir
from mixkd.errors import UserError, nearest, shown

SEARCHPATH, MODE = "hydra.searchpath", "hydra.mode"
OPTIONS = "KEY=VALUE, -m, --config-dir DIR, --cfg job, --info, --hydra-help"

# Hydra's own keys and groups, and what does here what they are for; the longest name counts.
INSTEAD = {
    "hydra": f"is Hydra's own, which mixkd does in its own way; takes {SEARCHPATH}, {MODE}",
    "hydra.callbacks": "mixkd calls its own; callbacks.KEY=VALUE says when",
    "hydra.hydra_logging": "mixkd prints, and logs nothing beside; logger=NAME records metrics",
    "hydra.job": "mixkd names and starts its jobs itself; run.root=DIR and launcher=NAME say how",
    "hydra.job.chdir": "mixkd works where it was typed; run.dir=DIR says where its files go",
    "hydra.job.env_set": "set it before the command; launcher.setup=[LINE] does on SLURM",
    "hydra.job_logging": "mixkd prints, and logs nothing beside; logger=NAME records metrics",
    "hydra.launcher": "take launcher.parallel=N for jobs at once, launcher=slurm for a cluster",
    MODE: "is of the command line, where MULTIRUN is -m",
    "hydra.output_subdir": "config.yaml and provenance.json are in the run itself; run.dir=DIR",
    "hydra.run": "take run.dir=DIR for one run, run.root=DIR for the folder of all",
    "hydra.sweep": "take run.root=DIR: each job's run is named by its experiment, and lies there",
    "hydra.sweeper": "take KEY=a,b for all combinations, sweep.trials=N for Optuna",
    "hydra.verbose": "HYDRA_FULL_ERROR=1 before the command shows full tracebacks",
}
# What mixkd does anyway.
AS_HERE = ("hydra.job.chdir=false", "hydra.output_subdir=null")

OPTIONS_INSTEAD = {
    "config_name": ("-cn", "a command has its own; experiment=NAME takes a preset of your folder"),
    "config_path": ("-cp", "take --config-dir DIR for a folder beside mixkd's own"),
    "experimental_rerun": (
        "--experimental-rerun",
        "the same command finds its run, and resumes it",
    ),
    "shell_completion": ("-sc", "comes before all else: mixkd -sc install=bash"),
}


@dataclass(frozen=True)
class Arguments:
    """What a command line asks for: overrides, a job for each combination, something printed."""

    overrides: list[str]
    sweep: bool = False
    printing: list[str] = field(default_factory=list)  # the options that Hydra prints by


def read_arguments(arguments: Sequence[str]) -> Arguments:
    """Read what follows a command: options of Hydra's, and overrides.

    Raises:
        UserError: for an option or a key of Hydra's that mixkd does not take.
    """
    parser = _parser()
    options = vars(parser.parse_intermixed_args(arguments))
    for name, (option, text) in OPTIONS_INSTEAD.items():
        if options[name]:
            raise UserError.of(option, text)
    printing = [option for key, option in _PRINTED.items() if options[key]]
    for key in ("cfg", "info"):
        if options[key]:
            printing += [f"--{key}", options[key]]
    if not options["cfg"] and (of_cfg := [o for o in printing if o == "--resolve"]):
        raise UserError.of(of_cfg[0], "is of --cfg, which prints a configuration")
    if options["package"]:
        if not options["cfg"]:
            raise UserError.of("--package", "is of --cfg, which prints a configuration")
        printing += ["--package", options["package"]]
    folders = _folders(options["config_dir"], "--config-dir")
    modes = {o.partition("=")[2].upper() for o in options["overrides"] if _key(o) == MODE}
    modes |= {mode for mode, key in _MODES.items() if options[key]}
    if len(modes) > 1 or modes - _MODES.keys():
        text = f"got {', '.join(sorted(modes))}; takes RUN, a single run, or MULTIRUN, as -m does"
        raise UserError.of(MODE, text)
    overrides = [o for o in options["overrides"] if _key(o) != MODE]
    return Arguments(with_folders(overrides, folders), modes == {"MULTIRUN"}, printing)


_MODES = {"RUN": "run", "MULTIRUN": "multirun"}
_PRINTED = {"resolve": "--resolve", "hydra_help": "--hydra-help"}


# What may follow an option.
CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="mixkd", add_help=False)
    parser.error = _refuse  # type: ignore[method-assign]
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--cfg", "-c", choices=CHOICES["--cfg"])
    parser.add_argument("--package", "-p")
    parser.add_argument("--info", "-i", nargs="?", const="all", choices=CHOICES["--info"])
    parser.add_argument("--config-dir", "-cd", action="append", default=[])
    for flag, short in (("--run", "-r"), ("--multirun", "-m"), ("--shell-completion", "-sc")):
        parser.add_argument(flag, short, action="store_true")
    for flag in ("--resolve", "--hydra-help"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--config-name", "-cn")
    parser.add_argument("--config-path", "-cp")
    parser.add_argument("--experimental-rerun")
    return parser


def _refuse(message: str) -> NoReturn:
    raise UserError.of("options", f"{message}; takes {OPTIONS}")


def with_folders(overrides: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """Return overrides with one of Hydra's own keys at most: hydra.searchpath, of whole paths.

    Raises:
        UserError: for another of them, and for a folder that is not there or would be passed over.
    """
    kept, folders = [], list(folders)
    for override in overrides:
        key = _key(override)
        if key == SEARCHPATH:
            folders += _folders(_listed(override), SEARCHPATH)
        elif key != "hydra" and not key.startswith("hydra."):
            kept.append(override)
        elif override.lower() not in AS_HERE:
            names = [name for name in INSTEAD if f"{key}.".startswith(f"{name}.")]
            name = max(names, key=len)
            is_unknown = name == "hydra" != key
            close = nearest(key, [SEARCHPATH, *INSTEAD]) if is_unknown else ""
            raise UserError.of(override.partition("=")[0], f"{INSTEAD[name]}{close}")
    return [*searchpath(folders), *kept]


def searchpath(folders: Iterable[Path]) -> list[str]:
    """Return the override by which Hydra finds folders; none where there are none."""
    listed = list(dict.fromkeys(map(str, folders)))
    return [f"{SEARCHPATH}={written(listed)}"] if listed else []


def folders_of(overrides: Iterable[str]) -> list[Path]:
    """Return the folders of groups that overrides name."""
    return [Path(f) for o in overrides if _key(o) == SEARCHPATH for f in _listed(o)]


def _key(override: str) -> str:
    """Return the key of an override, a group of Hydra's own as a section of it."""
    key = override.partition("=")[0].lstrip("+~").partition("@")[0]
    return key.replace("/", ".") if key.startswith("hydra/") else key


def read_folders(arguments: Sequence[str], command: str) -> list[str]:
    """Read what follows a command whose only option is --config-dir; return the overrides.

    Raises:
        UserError: as `read_arguments` does, and for another option.
    """
    asked = read_arguments(arguments)
    if asked.sweep or asked.printing:
        option = asked.printing[0] if asked.printing else "-m"
        raise UserError.of("options", f"got {option}; `mixkd {command}` takes --config-dir alone")
    return asked.overrides


def _listed(override: str) -> list[str]:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        value: Any = OverridesParser.create().parse_override(override).value()
        listed = OmegaConf.to_container(OmegaConf.create(value), resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError):
        listed = None
    if not isinstance(listed, list) or not all(isinstance(part, str) for part in listed):
        text = f"got {override.partition('=')[2]}; takes a list of folders, [DIR]"
        raise UserError.of(SEARCHPATH, text)
    return listed


def _folders(places: Iterable[str], key: str) -> list[Path]:
    """Return folders as whole paths, from where the command was typed."""
    folders = []
    for place in places:
        folder = _in_package(place, key) if place.startswith("pkg://") else place
        folder = os.path.abspath(os.path.expanduser(folder.removeprefix("file://")))
        if not os.path.isdir(folder):
            raise UserError.of(key, f"got {shown(place)}; no such folder")
        if os.path.samefile(folder, config_dir()):
            continue  # which is looked through anyway
        for shipped in sorted(config_dir().rglob("*.yaml")):
            file = Path(folder, name := shipped.relative_to(config_dir()))
            if file.is_file():
                text = f"{file} would be passed over, as mixkd has a file of that name, {name}"
                raise UserError.of(key, f"{text}; give yours another")
        folders.append(Path(folder))
    return folders


def _in_package(place: str, key: str) -> str:
    """Return the folder of `pkg://PACKAGE`."""
    try:
        spec = find_spec(place.removeprefix("pkg://").replace("/", "."))
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise UserError.of(key, f"got {shown(place)}; there is no such package")
    return next(iter(spec.submodule_search_locations))
