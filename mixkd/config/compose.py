"""From overrides as users write them to a configuration that Hydra composes."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Sweep,
)
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mixkd.config.analyses import analysis_names, section_of_analysis, shipped_analyses
from mixkd.config.fields import PATH, fields_of, kinds, marks
from mixkd.config.overrides import parted, quoted
from mixkd.config.shipped import config_dir
from mixkd.config.tasks import SCHEMAS, EvaluateLogitsConfig

# What Hydra raises for overrides that it does not take.
REFUSALS = (HydraException, OmegaConfBaseException, ValueError)

# The network groups of each command, as keys of its configuration.
NETWORK_KEYS = {
    "finetune": ["network"],
    "distill": ["teacher", "student"],
    "evaluate": ["network", "teacher"],
    "export": ["network"],
}

# The commands that have presets, in conf/protocol/.
PRESETS = ("finetune", "distill")


# For `analyses` in conf/evaluate.yaml, so that no file lists them.
ConfigStore.instance().store(name="analyses", node=shipped_analyses())


@cache
def text_keys(command: str) -> dict[str, frozenset[Any]]:
    """Return the keys of a command that take text, with the types and marks of their annotations.

    A key that takes one of several names, or a list, is not among them: Hydra reads it.
    """
    schemas = [SCHEMAS[command]]
    if command == "evaluate":
        schemas.append(EvaluateLogitsConfig)
    text = {}
    for key, field in (item for schema in schemas for item in fields_of(schema)):
        types = kinds(field)
        if str in types and not {list, dict} & types:
            text[key] = frozenset(types | marks(field) & {PATH})
    return text


def expand(command: str, overrides: Sequence[str], sweep: bool = False) -> list[str]:
    """Return the overrides in Hydra's own terms.

    `teacher=NAME` and `student=NAME` choose from the group `network`, `protocol=NAME` from the
    command's own presets; `KEY.run=`, `KEY.export=` and `KEY.factory=` stand alone, so they clear
    the network that KEY has by default, and `KEY=hf_hub:USER/NAME` is an export. Paths and names
    are taken as they are written, without quotes beyond the shell's; in a `sweep` commas part them.
    """
    groups = {key: key if key == "network" else f"network@{key}" for key in NETWORK_KEYS[command]}
    if command in PRESETS:
        groups["protocol"] = f"protocol/{command}@_global_"
    expanded = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if key in analysis_names():
            key = f"{key}.enabled"
        if key in NETWORK_KEYS[command] and value.startswith("hf_hub:"):
            key = f"{key}.export"
        if equals and (types := text_keys(command).get(key.lstrip("+"))) is not None:
            value = _text(key, value, types, sweep)
        if any(key == f"{n}.args" or key.startswith(f"{n}.args.") for n in NETWORK_KEYS[command]):
            key = f"++{key}"  # a callable's arguments are not known beforehand
        if key.startswith("baselines."):
            key, value = f"++{key}", _text(key, value, frozenset({str, PATH}), sweep)
        expanded.append(f"{groups.get(key, key)}{equals}{value}")
    expanded += [f"{name}.enabled=true" for name in _asked_by_their_keys(expanded)]
    for key in NETWORK_KEYS[command]:
        whole = tuple(f"{key}.{last}=" for last in ("run", "export", "factory"))
        is_chosen = any(o.startswith(f"{groups[key]}=") for o in expanded)
        if any(o.startswith(whole) for o in expanded) and not is_chosen:
            expanded.append(f"{groups[key]}=_none")
    return expanded


def _asked_by_their_keys(overrides: Sequence[str]) -> Iterator[str]:
    """Yield the analyses that are asked for by any key of theirs, or by baselines."""
    given = {name for name in analysis_names() if any(o.startswith(f"{name}.") for o in overrides)}
    if any(o.startswith("++baselines.") for o in overrides):
        sections = {name: section_of_analysis(name) for name in analysis_names()}
        if not any(sections[name].asks_others for name in given):
            given |= {name for name, section in sections.items() if section.is_for_baselines}
    for name in analysis_names():
        if name in given and not any(o.startswith(f"{name}.enabled=") for o in overrides):
            yield name


def _text(key: str, value: str, types: frozenset[Any], sweep: bool) -> str:
    """Return a text as Hydra reads it: in quotes, so that it is no number, list or function.

    What is in Hydra's quotes already stays so; null and, where a key takes one, true and false stay
    what they are; in a sweep commas part values, and functions such as `choice(a,b)` give them.
    """
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={value}").value()
    except HydraException:
        parsed = None
    several = isinstance(parsed, Sweep)
    if sweep and several and not (isinstance(parsed, ChoiceSweep) and parsed.simple_form):
        return value
    if sweep and len(parts := parted(value)) > 1:
        return ",".join(_text(key, part, types, sweep=False) for part in parts if part)
    no_text = {"null", *(("true", "false") if bool in types else ())}
    is_quoted = value[:1] in ("'", '"') and parsed is not None and not several
    if is_quoted or value.lower() in no_text:
        return value
    # What opens no interpolation that is closed is no interpolation.
    value = re.sub(r"(?s)(?<!\\)\$\{(?!.*\})", r"\\${", value)
    return quoted(os.path.expanduser(value) if PATH in types else value)


def composed(command: str, overrides: Sequence[str]) -> DictConfig:
    """Return what Hydra makes of overrides in its own terms.

    Raises:
        REFUSALS: for what it does not take.
    """
    # Within a job Hydra is at work already, and can be so only once.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return compose(command, list(overrides))
    except TypeError as error:  # OmegaConf's, for a name where a list has a position
        raise ValueError(str(error)) from error
    finally:
        GlobalHydra.instance().hydra = outer
