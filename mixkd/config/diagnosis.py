"""What is wrong with overrides that Hydra refuses."""

from collections.abc import Sequence
from itertools import accumulate, islice

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from mixkd.config.compose import REFUSALS, composed, expand
from mixkd.config.shipped import config_dir, group_names
from mixkd.errors import Problem, nearest, shortened

MOST_VALUES = 1000  # of one override that are looked at


def diagnose(
    command: str, overrides: Sequence[str], error: Exception
) -> tuple[list[Problem], DictConfig | None]:
    """Return all that is wrong with overrides, and what the others compose, if it is known.

    Hydra stops at the first fault; this looks at every override by itself.

    Args:
        command: whose overrides they are.
        overrides: as a user writes them.
        error: with which Hydra refused them.
    """
    problems: dict[str, Problem] = {}
    groups: list[Override] = []
    added: list[Override] = []  # by `expand`, not by the user
    keys: list[Override] = []
    for terms in (expand(command, [override]) for override in overrides):
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
            (groups if _is_group(parsed.key_or_group) else keys).append(parsed)
    options = []
    for parsed in groups:
        if parsed not in added and (problem := _wrong_option(parsed)):
            problems[problem.key] = problem
        else:
            element = parsed.get_key_element()
            options.append((element, f"{element}={_values(parsed)[0]}"))
    cfg, taken, refused_options = _composed_of(command, [], options)
    valid = [str(name) for name in cfg]
    for element, text in refused_options.items():
        key = element.lstrip("+~").partition("@")[0]
        foreign = f"`mixkd {command}` has no such key; takes {', '.join(valid)}"
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
        return [Problem("overrides", _text(error))], None
    return list(problems.values()), cfg


def _composed_of(
    command: str, before: list[str], overrides: Sequence[tuple[str, str]]
) -> tuple[DictConfig, list[str], dict[str, str]]:
    """Compose what Hydra takes of some overrides; return it, those, and what is wrong with others.

    Args:
        command: whose configuration it is.
        before: overrides that Hydra takes.
        overrides: and their keys; one that does not go with those before it is left out.
    """
    every = [*before, *(override for _, override in overrides)]
    try:
        return composed(command, every), every, {}
    except REFUSALS:
        cfg, taken = composed(command, before), list(before)
    refused = {}
    for key, override in overrides:
        try:
            cfg = composed(command, [*taken, override])
            taken.append(override)
        except REFUSALS as error:
            refused[key] = _text(error)
    return cfg, taken, refused


def _text(error: Exception) -> str:
    """Return what Hydra says, in one line, without the places where it looks for files."""
    text = f"{error} {error.__cause__}" if error.__cause__ else str(error)
    return shortened(" ".join(text.partition("Config search path:")[0].split()), 300)


def _is_group(name: str) -> bool:
    return "." not in name and (config_dir() / name).is_dir()


def _values(parsed: Override) -> list[str]:
    if isinstance(parsed.value(), (Glob, IntervalSweep)):  # which nothing here can enumerate
        return [str(parsed.input_line).partition("=")[2]]
    if parsed.is_sweep_override():
        return [str(value) for value in islice(parsed.sweep_iterator(), MOST_VALUES)]
    value = parsed.value()
    return [str(part) for part in value] if isinstance(value, list) and value else [str(value)]


def _wrong_option(parsed: Override) -> Problem | None:
    group = parsed.key_or_group
    key = group.partition("/")[0] if "/" in group else parsed.package or group
    names = list(group_names(group))
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
    if last not in valid:
        return Problem(key, f"no such key{nearest(last, valid)}; takes {', '.join(valid)}")
    inner, value = OmegaConf.select(cfg, key), parsed.value()
    if isinstance(inner, DictConfig) and isinstance(value, list):
        text = f"got {shortened(str(value))}; takes a section with {', '.join(map(str, inner))}"
        return Problem(key, text)
    return None
