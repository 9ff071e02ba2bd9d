"""Completion of command lines in bash."""

import os
import shlex
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from mixkd.config.arguments import CHOICES, folders_of
from mixkd.config.commands import LISTS, OTHER_KEYS, PARSERS
from mixkd.config.compose import NETWORK_KEYS
from mixkd.config.fields import fields_of
from mixkd.config.shipped import artefacts, config_dir, group_names
from mixkd.config.tasks import SCHEMAS, TASKS
from mixkd.errors import UserError

# Bash parts words at `=`, and then takes what comes after it alone.
INSTALL = """\
_mixkd() {
    local word="${COMP_LINE:0:COMP_POINT}" IFS=$'\\n'
    word="${word##* }"
    COMPREPLY=($(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" mixkd -sc query=bash 2>/dev/null))
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
    fi
}
complete -o nospace -o bashdefault -o default -F _mixkd mixkd"""
UNINSTALL = "complete -r mixkd; unset -f _mixkd"


def complete(words: Sequence[str]) -> str:
    """Return what `mixkd -sc install=bash`, `uninstall=bash` or `query=bash` prints.

    A query answers for COMP_LINE up to COMP_POINT, which bash sets, a word a line.
    """
    match list(words):
        case ["install=bash"]:
            return INSTALL
        case ["uninstall=bash"]:
            return UNINSTALL
        case ["query=bash"]:
            line, point = (os.environ.get(name, "") for name in ("COMP_LINE", "COMP_POINT"))
            return "\n".join(completions(line[: int(point)] if point.isdecimal() else line))
    got = " ".join(words) or "nothing"
    raise UserError.of("options", f"got -sc with {got}; takes -sc install=bash or uninstall=bash")


def completions(line: str) -> list[str]:
    """Return what the last word of a command line may become: keys up to their next part."""
    head, _, last = line.rpartition(" ")
    try:
        before = shlex.split(head)[1:]
    except ValueError:  # a quote that is not closed yet
        before = head.split()[1:]
    command = next((word for word in before if not word.startswith("-")), None)
    words: Iterable[str] = ()
    options = _options_of(command)
    if command is None:
        words = [*SCHEMAS, *PARSERS, "--version", *options]
    elif (taken := options.get(before[-1])) is not None:
        words = taken  # none of a folder, which the shell completes
    elif last.startswith("-"):
        words = options
    elif command in OTHER_KEYS:
        names = {"list": LISTS, "reproduce": [*artefacts(), "all"]}.get(command, ())
        words = [*names, *(f"{key}=" for key in OTHER_KEYS[command])]
    elif command in NETWORK_KEYS:
        key, equals, _ = last.partition("=")
        values = _values(command, _folders_in(before))
        words = [f"{key}={v}" for v in values.get(key, ())] if equals else _keys(values, last)
    return sorted({word for word in words if word.startswith(last)})


def _options_of(command: str | None) -> dict[str, Sequence[str] | None]:
    """Return {option: what may follow it} of a command, for a shell; None: another argument.

    What is a folder is for the shell itself to complete.
    """
    options: dict[str, Sequence[str] | None] = {"--help": None}
    if command in ("list", "reproduce", "dashboard", *SCHEMAS):
        options |= {"--config-dir": (), "-cd": ()}
    if command in SCHEMAS:
        options |= {"--multirun": None, "-m": None, "--resolve": None, "--hydra-help": None}
        options |= {"--package": (), **CHOICES}
    return options


def _keys(values: Iterable[str], last: str) -> list[str]:
    """Return keys, each up to the next dot after what has been typed."""
    parts = ((key, key[len(last) :].find(".")) for key in values if key.startswith(last))
    return [f"{key}=" if dot < 0 else key[: len(last) + dot + 1] for key, dot in parts]


def _folders_in(words: Sequence[str]) -> list[Path]:
    """Return a user's folders of groups, as words before the last one name them."""
    places = [place for option, place in pairwise(words) if option in ("--config-dir", "-cd")]
    places += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    try:
        return [*(Path(place).expanduser() for place in places), *folders_of(words)]
    except UserError:  # which the command itself tells
        return []


def _values(command: str, folders: Sequence[Path]) -> dict[str, list[str]]:
    """Return what each key of a command takes: none where that cannot be enumerated."""
    schema = SCHEMAS[command]
    values = {key: _choices(field.annotation) for key, field in fields_of(schema)}
    shipped = {path.name for path in config_dir().iterdir()}
    groups = {key: key for key in schema.model_fields.keys() & shipped}
    groups |= dict.fromkeys(NETWORK_KEYS[command], "network")
    if "protocol" in schema.model_fields:
        groups["protocol"] = f"protocol/{command}"
    if command in TASKS:
        groups["experiment"] = "experiment"
    return values | {key: list(group_names(group, folders)) for key, group in groups.items()}


def _choices(annotation: Any) -> list[str]:
    if annotation is bool:
        return ["true", "false"]
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]
