"""From a configuration to a typed one, with every problem said at once. No disk, no network."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from mixkd.config.fields import kinds, section_of, value_of
from mixkd.config.messages import schema_problems, takes_section
from mixkd.config.network import is_given
from mixkd.config.shipped import group_names, shipped_values
from mixkd.config.tasks import (
    SCHEMAS,
    Config,
    EvaluateConfig,
    EvaluateLogitsConfig,
    ExportConfig,
    SweepSettings,
    asked_analyses,
)
from mixkd.errors import Problem, UserError, shown


def validate(raw: Mapping[str, Any]) -> Config | ExportConfig:
    """Return the typed form of a configuration that is resolved; its `task` names the schema.

    Raises:
        UserError: with every problem found, each naming its key, what it got and what it takes.
    """
    schema, problems, config = schema_of(raw), [], None
    values = {key: value for key, value in raw.items() if key != "logits"}
    if schema is EvaluateLogitsConfig:
        problems = list(_beside_logits(raw))
        values = {key: raw[key] for key in schema.model_fields}
        name = raw["data"].get("name")
        values["data"] = {"name": "logits" if name == "run" else name}
    try:
        config = schema.model_validate(values)
    except ValidationError as error:
        problems += schema_problems(schema, values, error)
    if values["data"].get("source") == "run":  # there is none, or it does not say its data
        unknown = {f"data.{key}" for key, value in values["data"].items() if value == "run"}
        text = "no data set chosen; take data=NAME (`mixkd list datasets`)"
        if schema is ExportConfig:
            text = "the run says nothing of it; take data=NAME"
        problems = [p for p in problems if p.key not in unknown] + [Problem("data", text)]
    keys = {problem.key for problem in problems}
    problems += [problem for problem in _void_problems(raw) if problem.key not in keys]
    if problems:
        raise UserError(*problems)
    return cast(Config | ExportConfig, config)


def schema_of(raw: Mapping[str, Any]) -> type[BaseModel]:
    """Return the schema of a configuration; a UserError names the sections that it lacks."""
    task = raw.get("task")
    if str(task) not in SCHEMAS:
        raise UserError.of("task", f"got {shown(task)}; the command sets it")
    schema = SCHEMAS[str(task)]
    if wrong := list(_no_sections(schema, raw)):
        raise UserError(*wrong)
    if schema is ExportConfig and raw["network"].get("run") is None:
        raise UserError.of("network.run", "got null; takes the directory of a finished run")
    return EvaluateLogitsConfig if raw.get("logits") is not None else schema


def _no_sections(schema: type[BaseModel], raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is missing, or is no section where the schema has one."""
    for name, field in schema.model_fields.items():
        section, value = section_of(field.annotation), raw.get(name)
        if value is None and (name not in raw or type(None) not in kinds(field)):
            override = f"{name}=null" if name in raw else f"~{name}"
            yield Problem(name, f"is missing; leave {override} out of the command")
        elif value is not None and section is not None and not isinstance(value, dict):
            yield Problem(name, f"got {shown(value)}; {takes_section(section)}")


def _beside_logits(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is asked for and cannot be without a network."""
    for key in ("network", "teacher"):
        if is_given(raw[key]):
            yield Problem(key, "beside logits=FILE, which brings its own answers; leave it out")
    for key in asked_analyses(raw):
        yield Problem(key, "beside logits=FILE; it asks a network, and there is none")
    of_network = EvaluateConfig.model_fields.keys() - EvaluateLogitsConfig.model_fields.keys()
    for key, value in shipped_values("", "evaluate", resolve=False).items():
        if key in of_network - {"teacher"} and raw[key] != value:
            yield Problem(key, "does nothing beside logits=FILE; leave it out")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a composed configuration, its references followed, without Hydra's own part."""
    try:
        raw = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        first = str(error.msg).splitlines()[0]
        text = f"{first}; takes a value, or ${{KEY}} for that of another key"
        raise UserError.of(error.full_key or "config", text) from error
    raw.pop("hydra", None)
    return raw


def sweep_settings(cfg: DictConfig) -> SweepSettings:
    """Return what of a composed configuration is for its launcher; raise as `validate` does."""
    raw = plain(cfg)
    settings = {key: raw[key] for key in SweepSettings.model_fields}
    try:
        return SweepSettings.model_validate(settings)
    except ValidationError as error:
        raise UserError(*schema_problems(SweepSettings, settings, error)) from error


class Void(NamedTuple):
    """A key that has no effect in a configuration of which `holds` is true.

    There it does not count in the name of a run, and other values than the defaults of its group
    are refused, as `why` says. Without a `why` it may have any value, as in a sweep.
    """

    key: str
    holds: Callable[[Mapping[str, Any]], bool]
    why: str = ""


def _has_fixed_lam(raw: Mapping[str, Any]) -> bool:
    lam = value_of(raw, "method.mix.lam")
    return isinstance(lam, (int, float)) and not isinstance(lam, bool)


def _softens_nothing(raw: Mapping[str, Any]) -> bool:
    """Return whether no logits are compared, and no hint of the user's asks for a temperature."""
    hint = value_of(raw, "hint.factory")
    is_shipped = hint is None or str(hint).startswith("mixkd.")
    return value_of(raw, "divergence.name") == "none" and is_shipped


VOID = (
    Void(
        "optimizer.lr",
        lambda raw: value_of(raw, "schedule.name") == "piecewise",
        "schedule=piecewise has rates of its own, schedule.segments; leave it out",
    ),
    Void(
        "schedule.length",
        lambda raw: value_of(raw, "schedule.stretch") is False,
        "it is of schedule.stretch=true, which fits so many epochs to the run; leave it out",
    ),
    Void(
        "method.mix.a",
        lambda raw: value_of(raw, "method.mix.lam") == "uniform" or _has_fixed_lam(raw),
        "it is of Beta(a, a), which method.mix.lam=beta draws from; leave it out",
    ),
    Void(
        "method.mix.per",
        _has_fixed_lam,
        "a fixed method.mix.lam is that of all images; leave it out",
    ),
    Void(
        "method.beta",
        lambda raw: value_of(raw, "divergence.name") == "none",
        "it is the weight of a divergence, which is none; leave it out",
    ),
    Void("temperature", lambda raw: _softens_nothing(raw)),
    Void("deviation", lambda raw: _softens_nothing(raw)),
    Void(
        "method.mix.switch_prob",
        lambda raw: value_of(raw, "method.mix.kind") != "switch",
        "it is of method.mix.kind=switch; leave it out",
    ),
    Void(
        "method.mix.cutmix_a",
        lambda raw: (
            value_of(raw, "method.mix.kind") != "switch"
            or value_of(raw, "method.mix.lam") != "beta"
        ),
        "it is of method.mix.kind=switch with method.mix.lam=beta; leave it out",
    ),
    # Where nothing is multiplied by the square of the temperature.
    Void("method.t_squared", lambda raw: _softens_nothing(raw)),
    Void("method.t_squared", lambda raw: raw.get("temperature") in ("sigma", 1)),
    # Null stands for the seed.
    Void("stream.seed", lambda raw: value_of(raw, "stream.seed") in (None, raw.get("seed"))),
    Void("stage1", lambda raw: not _has_stage1(raw)),
    # Of answers that are as they are.
    Void(
        "teacher.tape_precision",
        lambda raw: (
            value_of(raw, "teacher.tape") is None
            or value_of(raw, "teacher.tape_precision") == "float32"
        ),
    ),
)


def _has_stage1(raw: Mapping[str, Any]) -> bool:
    """Return whether a head is trained alone: a new one, on a pretrained backbone."""
    learner = raw.get("student" if raw.get("task") == "distill" else "network")
    is_new = bool(value_of(learner, "pretrained")) and value_of(learner, "weights") is None
    return is_new and value_of(raw, "stage1.epochs") != 0


def without_void(raw: Mapping[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """Return `named`, a part of a configuration, having deleted its keys that have no effect."""
    for void in VOID:
        section, _, last = void.key.rpartition(".")
        owner = value_of(named, section) if section else named
        if isinstance(owner, dict) and last in owner and void.holds(raw):
            del owner[last]
    return named


@cache
def _defaults(group: str, kind: str, key: str) -> list[Any]:
    values = [shipped_values(group, name) for name in group_names(group)]
    of_kind = [value_of(v, key) for v in values if v["name"] == kind]
    # A method may be mixed whose file does not: then as those that do.
    return of_kind if any(of_kind) else [value_of(v, key) for v in values]


def _void_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    for key, holds, why in VOID:
        value, (group, _, rest) = value_of(raw, key), key.partition(".")
        if not why or value is None or not holds(raw):
            continue
        if value not in _defaults(group, str(value_of(raw, f"{group}.name")), rest):
            yield Problem(key, f"got {shown(value)}, which changes nothing: {why}")
