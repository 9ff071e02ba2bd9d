"""From overrides to a configuration that Hydra composes, or to all that is wrong with them."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, Sweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mixkd.config.analyses import analysis_names, section_of_analysis
from mixkd.config.arguments import INSTEAD, folders_of, searchpath
from mixkd.config.fields import PATH, fields_of, kinds, marks, section_of
from mixkd.config.overrides import quoted, split_values
from mixkd.config.parts import NAMED_PARTS, NETWORKS, PARTS, TARGET, PartConfig
from mixkd.config.shipped import config_dir, group_names, shipped_values
from mixkd.config.tasks import SCHEMAS, TASKS, EvaluateLogitsConfig
from mixkd.errors import Problem, nearest, shortened

# What Hydra raises for overrides that it does not take.
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)

# The network groups of each command, as keys of its configuration.
NETWORK_KEYS: dict[str, list[str]] = {
    command: [key for key in ("network", "teacher", "student") if key in schema.model_fields]
    for command, schema in SCHEMAS.items()
}

# For `shipped_analyses` in conf/evaluate.yaml, so that no file lists them.
ANALYSES = {name: shipped_values("analysis", name, resolve=False) for name in analysis_names()}
ConfigStore.instance().store(name="shipped_analyses", node=OmegaConf.create(ANALYSES))
# For `no_callbacks` in conf/finetune.yaml and conf/distill.yaml.
NO_CALLBACKS = {"callbacks": shipped_values("callbacks", "none")}
ConfigStore.instance().store(name="no_callbacks", node=OmegaConf.create(NO_CALLBACKS))


@cache
def text_keys(command: str) -> dict[str, frozenset[Any]]:
    """Return the keys of a command that take text, with the types and marks of their annotations.

    A key that takes one of several names, a list or a number is not among them: Hydra reads it.
    """
    fields = dict(fields_of(SCHEMAS[command]))
    if command == "evaluate":
        fields |= dict(fields_of(EvaluateLogitsConfig))
    return {
        key: frozenset(kinds(field) | marks(field) & {PATH})
        for key, field in fields.items()
        if str in kinds(field) and not {list, dict, float} & kinds(field)
    }


def expand(command: str, overrides: Sequence[str], sweep: bool = False) -> list[str]:
    """Return the overrides in Hydra's own terms.

    `teacher=NAME` and `student=NAME` choose from the group `network`, `protocol=NAME` from the
    command's own presets, `experiment=NAME` from all others; `KEY.run=`, `KEY.export=` and
    `KEY.factory=` stand alone, so they clear the network that KEY has by default, and
    `KEY=hf_hub:USER/NAME` is an export. Paths and names are taken as they are written, without
    quotes beyond the shell's; in a `sweep` commas part them.
    """
    groups = {key: key if key == "network" else f"network@{key}" for key in NETWORK_KEYS[command]}
    if "protocol" in SCHEMAS[command].model_fields:
        groups["protocol"] = f"protocol/{command}@_global_"
    if command in TASKS:
        groups["experiment"] = "experiment@_global_"
    # What is given in Hydra's form, of which all keys are arguments.
    targets = tuple(o.partition(TARGET)[0] for o in overrides if f".{TARGET}=" in o)
    expanded = []
    for override in overrides:
        key, equals, value = override.partition("=")
        if key in analysis_names():
            key = f"{key}.enabled"
        if key in NETWORK_KEYS[command] and value.startswith("hf_hub:"):
            key = f"{key}.export"
        if equals and (types := text_keys(command).get(key.lstrip("+"))) is not None:
            value = _as_text(key, value, types, sweep)
        if _is_of_own_part(command, key, targets):
            key = f"++{key}"  # a callable's arguments are not known beforehand
        if key.startswith("baselines."):
            key, value = f"++{key}", _as_text(key, value, frozenset({str, PATH}), sweep)
        expanded.append(f"{groups.get(key, key)}{equals}{value}")
    expanded += [f"{name}.enabled=true" for name in _asked_by_their_keys(expanded)]
    for key in NETWORK_KEYS[command]:
        whole = tuple(f"{key}.{last}=" for last in ("run", "export", "factory"))
        if _stands_alone(key, groups[key], whole, expanded):
            expanded.append(f"{groups[key]}=_none")
    for key in SCHEMAS[command].model_fields.keys() & {*OWN_GROUPS}:
        if _stands_alone(key, key, (f"{key}.factory=",), expanded):
            expanded.append(f"{key}=_own")
    return expanded


# The groups that have a hidden file for a part of one's own.
OWN_GROUPS = ("data", "divergence", "hint", "optimizer", "schedule")
COMPLETE = (*OWN_GROUPS, *NETWORKS)  # of which that file has all keys


def _stands_alone(key: str, group: str, whole: tuple[str, ...], overrides: Sequence[str]) -> bool:
    """Return whether overrides give a part by one of `whole`, and choose none from its group."""
    whole = (*whole, f"++{key}.{TARGET}=")
    is_chosen = any(o.startswith(f"{group}=") for o in overrides)
    return any(o.startswith(whole) for o in overrides) and not is_chosen


def _is_of_own_part(command: str, key: str, targets: tuple[str, ...]) -> bool:
    """Return whether a key is of a part of one's own, and may not be there before."""
    part, _, rest = key.partition(".")
    if part in NAMED_PARTS and part in SCHEMAS[command].model_fields:
        section = section_of(SCHEMAS[command].model_fields[part].annotation)
        name, dot, _ = rest.partition(".")
        is_shipped = section not in (None, PartConfig) and name in section.model_fields
        return bool(dot) and not is_shipped
    may_be_new = ("args", TARGET, *(("factory",) if part not in COMPLETE else ()))
    return part in PARTS and (rest.partition(".")[0] in may_be_new or key.startswith(targets))


def _asked_by_their_keys(overrides: Sequence[str]) -> Iterator[str]:
    """Yield the analyses that are asked for by any key of theirs, or by baselines."""
    sections = {name: section_of_analysis(name) for name in analysis_names()}
    asked = {name for name in sections if any(o.startswith(f"{name}.") for o in overrides)}
    if any(o.startswith("++baselines.") for o in overrides) and not any(
        sections[name].shared_question for name in asked
    ):
        asked |= {name for name, section in sections.items() if section.is_for_baselines}
    for name in sections:
        if name in asked and not any(o.startswith(f"{name}.enabled=") for o in overrides):
            yield name


def _as_text(key: str, value: str, types: frozenset[Any], sweep: bool) -> str:
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
    if sweep and len(parts := split_values(value)) > 1:
        return ",".join(_as_text(key, part, types, sweep=False) for part in parts if part)
    no_text = {"null", *(("true", "false") if bool in types else ())}
    is_quoted = value[:1] in ("'", '"') and parsed is not None and not several
    if is_quoted or value.lower() in no_text:
        return value
    # What opens no interpolation that is closed is no interpolation.
    value = re.sub(r"(?s)(?<!\\)\$\{(?!.*\})", r"\\${", value)
    return quoted(os.path.expanduser(value) if PATH in types else value)


def composed(command: str, overrides: Sequence[str]) -> DictConfig:
    """Return what Hydra makes of overrides in its own terms; it raises REFUSALS."""
    return composed_with_choices(command, overrides)[0]


def composed_with_choices(
    command: str, overrides: Sequence[str]
) -> tuple[DictConfig, dict[str, Any]]:
    """Return a configuration, and by the keys of groups the names chosen; it raises REFUSALS.

    The key of `network@teacher` is `teacher`. Where nothing is chosen the name is None.
    """
    cfg, hydra = _composed(command, overrides)
    choices: dict[str, Any] = hydra.runtime.choices
    preset, protocol = choices.get("experiment@_global_"), f"protocol/{command}@_global_"
    if preset and protocol in choices and cfg.protocol != choices[protocol]:
        # Which would name a run for what it is not.
        override = f"- override /{protocol}: {cfg.protocol}"
        raise ValueError(f"{preset} sets protocol as a value; takes it in its defaults, {override}")
    if folders_of(overrides):
        usual = _usual_of_hydra(command)
        for section, value in _of_hydra(hydra).items():
            if value != usual[section]:
                key = f"hydra.{section}"
                text = INSTEAD.get(key, INSTEAD["hydra"])
                raise ValueError(f"a file of your folder sets {key}: {text}")
    groups = [group for group in reversed([*choices]) if not group.startswith("hydra/")]
    return cfg, {_key_of_group(group): choices[group] for group in groups}


def _key_of_group(group: str) -> str:
    """Return the key by which a user chooses from a group of Hydra's."""
    name, _, package = group.partition("@")
    return name.partition("/")[0] if package in ("", "_global_") else package


def _of_hydra(hydra: DictConfig) -> dict[str, Any]:
    """Return what of Hydra's own part a file may set, though mixkd does not look at it."""
    others = ("job", "overrides", "runtime", "searchpath")
    values = cast(dict[str, Any], OmegaConf.to_container(hydra))
    sections = {key: value for key, value in values.items() if key not in others}
    return {**sections, "job.chdir": hydra.job.chdir}


@cache
def _usual_of_hydra(command: str) -> dict[str, Any]:
    return _of_hydra(_composed(command, ())[1])


def _composed(command: str, overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
    """Return a configuration, and Hydra's own part of it."""
    # Within a job Hydra is at work already, and can be so only once.
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose(command, list(overrides), return_hydra_config=True)
            with flag_override(cfg, ["struct", "read_only"], False):
                return cfg, cfg.pop("hydra")
    except TypeError as error:  # OmegaConf's, for a name where a list has a position
        raise ValueError(str(error)) from error
    finally:
        GlobalHydra.instance().hydra = outer


MOST_VALUES = 1000  # of one override that are looked at


def diagnose(
    command: str, overrides: Sequence[str], error: Exception
) -> tuple[list[Problem], DictConfig | None]:
    """Return all that is wrong with a user's overrides, and what the others compose, if known.

    Hydra stops at the first fault, which is `error`; this looks at every override by itself.
    """
    problems: dict[str, Problem] = {}
    groups: list[Override] = []
    added: list[Override] = []  # by `expand`, not by the user
    keys: list[Override] = []
    folders = [config_dir(), *folders_of(overrides)]
    places = searchpath(folders[1:])
    for terms in (expand(command, [o]) for o in overrides if o not in places):
        try:
            parsed_terms = OverridesParser.create().parse_overrides(terms)
            wrong = "" if parsed_terms[0].key_or_group else "not KEY=VALUE: it has no key"
        except HydraException as refusal:
            wrong = f"not KEY=VALUE. {str(refusal).splitlines()[0]}"
        if wrong:
            problems[terms[0]] = Problem(shortened(terms[0]), wrong)
            continue
        added += parsed_terms[1:]
        for parsed in parsed_terms:
            name = parsed.key_or_group
            is_group = "." not in name and any((f / name).is_dir() for f in folders)
            (groups if is_group else keys).append(parsed)
    options = []
    for parsed in groups:
        if parsed not in added and (problem := _wrong_option(parsed, folders[1:])):
            problems[problem.key] = problem
        else:
            element = parsed.get_key_element()
            options.append((element, f"{element}={_values(parsed)[0]}"))
    cfg, taken, refused_options = _composed_of(command, places, options)
    valid = [str(name) for name in cfg]
    for element, text in refused_options.items():
        key = element.lstrip("+~").partition("@")[0]
        foreign = f"`mixkd {command}` has no such key; takes {', '.join(valid)}"
        if key == "experiment" and command in TASKS:
            hint = "; is it a preset of another command?" if "Could not override" in text else ""
            problems[key] = Problem(key, f"{text}{hint}")
        else:
            problems[key] = Problem(key, text if key in valid else foreign)
    single = []
    for parsed in keys:
        if problem := _wrong_key(cfg, parsed):
            problems[problem.key] = problem
        elif not parsed.is_sweep_override() and parsed.input_line:
            single.append((parsed.key_or_group, parsed.input_line))
    if single:
        cfg, _, refused_keys = _composed_of(command, taken, single)
        problems |= {key: Problem(key, text) for key, text in refused_keys.items()}
    if any(text in str(error) for text in ("Ambiguous value", "requires --multirun")):
        text = "takes one value; `-m` runs a job for each of several"
        for parsed in (*groups, *keys):
            if parsed.is_sweep_override():
                key, values = parsed.get_key_element(), ", ".join(_values(parsed))
                problems[key] = Problem(key, f"got {shortened(values)}; {text}")
    if not problems:
        return [Problem("overrides", _refusal(error))], None
    return list(problems.values()), cfg


def _composed_of(
    command: str, before: list[str], overrides: Sequence[tuple[str, str]]
) -> tuple[DictConfig, list[str], dict[str, str]]:
    """Compose what Hydra takes of some overrides; return it, those, and what is wrong with others.

    Hydra takes those of `before`; of `overrides`, given as (key, override), one that does not go
    with those before it is left out.
    """
    together = [*before, *(override for _, override in overrides)]
    try:
        return composed(command, together), together, {}
    except REFUSALS:
        cfg, taken = composed(command, before), list(before)
    refused = {}
    for key, override in overrides:
        try:
            cfg = composed(command, [*taken, override])
            taken.append(override)
        except REFUSALS as error:
            refused[key] = _refusal(error)
    return cfg, taken, refused


def _refusal(error: Exception) -> str:
    """Return what Hydra says, in one line, without the places where it looks for files."""
    text = f"{error} {error.__cause__}" if error.__cause__ else str(error)
    return shortened(" ".join(text.partition("Config search path:")[0].split()), 300)


def _values(parsed: Override) -> list[str]:
    if isinstance(parsed.value(), (Glob, IntervalSweep)):  # which nothing here can enumerate
        return [str(parsed.input_line).partition("=")[2]]
    if parsed.is_sweep_override():
        return [str(value) for value in islice(parsed.sweep_iterator(), MOST_VALUES)]
    value = parsed.value()
    return [str(part) for part in value] if isinstance(value, list) and value else [str(value)]


def _wrong_option(parsed: Override, folders: Sequence[Path]) -> Problem | None:
    group, key = parsed.key_or_group, _key_of_group(parsed.get_key_element().lstrip("+~"))
    names = list(group_names(group, folders))
    for value in _values(parsed):
        if names and value not in names:
            text = f"got {value!r}; takes {', '.join(names)}{nearest(value, names)}"
            if group == "network":
                text += f"; any timm model is {key}=timm {key}.name=NAME"
            if group in (*COMPLETE, "method"):
                text += f"; your own is {key}.factory=package.module.function"
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
        owner, section, last = cfg, "", key.partition(".")[0]
        while isinstance(inner := owner.get(last), DictConfig):  # down to where it leaves the keys
            owner, section = inner, f"{section}.{last}".lstrip(".")
            last = key.removeprefix(f"{section}.").partition(".")[0]
    valid = [str(name) for name in owner]
    if last not in valid:
        takes = [*valid, *([f"yours: {section}.{last}.factory="] if section in NAMED_PARTS else ())]
        return Problem(key, f"no such key{nearest(last, valid)}; takes {', '.join(takes)}")
    inner, value = OmegaConf.select(cfg, key), parsed.value()
    if isinstance(inner, DictConfig) and isinstance(value, list):
        text = f"got {shortened(str(value))}; takes a section with {', '.join(map(str, inner))}"
        return Problem(key, text)
    return None
