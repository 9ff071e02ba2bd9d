"""From command-line words to a composed Hydra configuration, with mixkd's error messages."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, islice
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    Sweep,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mixkd.config.analyses import analysis_names, section_of_analysis, shipped_analyses
from mixkd.config.fields import PATH, fields_of, kinds, marks
from mixkd.config.overrides import parted, quoted
from mixkd.config.shipped import config_dir
from mixkd.config.tasks import SCHEMAS, EvaluateLogitsConfig
from mixkd.errors import Problem, UserError, nearest, shortened

# What Hydra raises for words that it does not take.
REFUSALS = (HydraException, OmegaConfBaseException, ValueError)

MOST_VALUES = 1000  # of one word that are looked at

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

    A key whose text is one of several words, or may be a list, is not among them: Hydra reads it.
    """
    schemas = [SCHEMAS[command]]
    if command == "evaluate":
        schemas.append(EvaluateLogitsConfig)
    found = {}
    for key, field in (item for schema in schemas for item in fields_of(schema)):
        types = kinds(field)
        if str in types and not {list, dict} & types:
            found[key] = frozenset(types | marks(field) & {PATH})
    return found


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
    for word in overrides:
        key, equals, value = word.partition("=")
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
        alone = any(o.startswith(whole) for o in expanded)
        if alone and not any(o.startswith(f"{groups[key]}=") for o in expanded):
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
    taken = {"null", *(("true", "false") if bool in types else ())}
    is_quoted = value[:1] in ("'", '"') and parsed is not None and not several
    if is_quoted or value.lower() in taken:
        return value
    # What opens no interpolation that is closed is no interpolation.
    value = re.sub(r"(?s)(?<!\\)\$\{(?!.*\})", r"\\${", value)
    return quoted(os.path.expanduser(value) if PATH in types else value)


def compose(command: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the configuration of `mixkd COMMAND OVERRIDES`, as the command line does.

    Raises:
        UserError: for a key, group or option that does not exist, or a word that is no override.
    """
    try:
        return _hydra(command, expand(command, overrides))
    except REFUSALS as error:
        raise diagnose(command, overrides, error) from error


class NotComposed(UserError):
    """Overrides that Hydra refuses; `rest` is composed of the others, where there are such."""

    rest: DictConfig | None = None


def diagnose(command: str, overrides: Sequence[str], error: Exception) -> NotComposed:
    """Return what is wrong with overrides that Hydra refused with `error`, all of it.

    Hydra stops at the first fault; this looks at every override by itself.
    """
    problems: dict[str, Problem] = {}
    groups: list[Override] = []
    added: list[Override] = []  # by `expand`, not by the user
    keys: list[Override] = []
    for words in (expand(command, [override]) for override in overrides):
        try:
            parsed_words = OverridesParser.create().parse_overrides(words)
        except HydraException as refused:
            said = str(refused).splitlines()[0]
            problems[words[0]] = Problem(shortened(words[0]), f"not KEY=VALUE. {said}")
            continue
        if not parsed_words[0].key_or_group:
            problems[words[0]] = Problem(shortened(words[0]), "not KEY=VALUE: it has no key")
            continue
        added += parsed_words[1:]
        for parsed in parsed_words:
            (groups if _is_group(parsed.key_or_group) else keys).append(parsed)
    options: list[tuple[str, str]] = []
    for parsed in groups:
        if parsed not in added and (problem := _wrong_option(parsed)):
            problems[problem.key] = problem
        else:
            word = f"{parsed.get_key_element()}={_values(parsed)[0]}"
            options.append((parsed.get_key_element(), word))
    cfg, refused_options = _composed(command, [], options)
    valid = [str(name) for name in cfg]
    for element, said in refused_options.items():
        key = element.lstrip("+~").partition("@")[0]
        foreign = f"`mixkd {command}` has no such key; takes {', '.join(valid)}"
        problems[key] = Problem(key, said if key in valid else foreign)
    kept = [word for key, word in options if key not in refused_options]
    single: list[tuple[str, str]] = []
    for parsed in keys:
        problem = _wrong_key(cfg, parsed)
        if problem:
            problems[problem.key] = problem
        elif not parsed.is_sweep_override() and parsed.input_line:
            single.append((parsed.key_or_group, parsed.input_line))
    if single:
        cfg, refused_keys = _composed(command, kept, single)
        problems |= {key: Problem(key, said) for key, said in refused_keys.items()}
    several = [parsed for parsed in (*groups, *keys) if parsed.is_sweep_override()]
    if any(text in str(error) for text in ("Ambiguous value", "requires --multirun")):
        text = "takes one value; `-m` runs a job for each of several"
        for parsed in several:
            key, got = parsed.get_key_element(), ", ".join(_values(parsed))
            problems[key] = Problem(key, f"got {shortened(got)}; {text}")
    if not problems:
        return NotComposed(Problem("overrides", _said(error)))
    not_composed = NotComposed(*problems.values())
    not_composed.rest = cfg
    return not_composed


def _composed(
    command: str, before: list[str], words: Sequence[tuple[str, str]]
) -> tuple[DictConfig, dict[str, str]]:
    """Compose what Hydra takes of some words; say by key what is wrong with the others.

    Args:
        command: whose configuration it is.
        before: overrides that Hydra takes.
        words: keys and overrides; one that does not go with those before it is left out.
    """
    try:
        return _hydra(command, [*before, *(word for _, word in words)]), {}
    except REFUSALS:
        cfg, kept = _hydra(command, before), list(before)
    refused = {}
    for key, word in words:
        try:
            cfg = _hydra(command, [*kept, word])
            kept.append(word)
        except REFUSALS as error:
            refused[key] = _said(error)
    return cfg, refused


def _said(error: Exception) -> str:
    """Return what Hydra says, in one line, without the places where it looks for files."""
    cause = error.__cause__ or error
    said = str(error) if cause is error else f"{error} {cause}"
    return shortened(" ".join(said.partition("Config search path:")[0].split()), 300)


def _hydra(command: str, overrides: list[str]) -> DictConfig:
    # Within a job Hydra is at work already, and can be so only once.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            return hydra_compose(command, overrides)
    except TypeError as error:  # OmegaConf's, for a name where a list has a position
        raise ValueError(str(error)) from error
    finally:
        GlobalHydra.instance().hydra = outer


def _is_group(name: str) -> bool:
    return "." not in name and (config_dir() / name).is_dir()


def _values(parsed: Override) -> list[str]:
    if isinstance(parsed.value(), (Glob, IntervalSweep)):  # which nothing here can enumerate
        return [str(parsed.input_line).partition("=")[2]]
    if parsed.is_sweep_override():
        return [str(value) for value in islice(parsed.sweep_iterator(), MOST_VALUES)]
    value = parsed.value()
    return [str(each) for each in value] if isinstance(value, list) and value else [str(value)]


def _wrong_option(parsed: Override) -> Problem | None:
    group = parsed.key_or_group
    key = group.partition("/")[0] if "/" in group else parsed.package or group
    files = sorted((config_dir() / group).glob("*.yaml"))
    names = [file.stem for file in files if file.stem[0] != "_"]
    for value in _values(parsed):
        if names and value not in names:
            text = f"got {value!r}; takes {', '.join(names)}{nearest(value, names)}"
            if group == "network":
                text += f"; any timm model is {key}=timm {key}.name=NAME"
            return Problem(key, text)
    return None


def _wrong_key(cfg: DictConfig, parsed: Override) -> Problem | None:
    key = parsed.key_or_group
    if key.startswith("hydra") or parsed.is_add() or parsed.is_force_add():
        return None
    section, _, last = key.rpartition(".")
    owner = OmegaConf.select(cfg, section) if section else cfg
    if not isinstance(owner, DictConfig):
        for parent in accumulate(section.split("."), "{}.{}".format):
            if parent and OmegaConf.select(cfg, parent, default="") is None:
                return Problem(key, f"{parent} is null here; give it as a whole, or take another")
        if owner is not None:
            return Problem(key, f"{section} holds no keys; give it as a whole, {section}=VALUE")
        owner, last = cfg, key.partition(".")[0]
    valid = [str(name) for name in owner]
    if last in valid:
        inner, given = OmegaConf.select(cfg, key), parsed.value()
        if isinstance(inner, DictConfig) and isinstance(given, list):
            text = f"got {shortened(str(given))}; takes a section with {', '.join(map(str, inner))}"
            return Problem(key, text)
        return None
    return Problem(key, f"no such key{nearest(last, valid)}; takes {', '.join(valid)}")
