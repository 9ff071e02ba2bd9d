"""From a configuration to a typed one, with every problem said at once. No disk, no network."""

from collections.abc import Iterator, Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

from mixkd.config.fields import kinds, section_of
from mixkd.config.messages import schema_problems, takes_section
from mixkd.config.network import is_given
from mixkd.config.tasks import (
    SCHEMAS,
    Config,
    EvaluateLogitsConfig,
    ExportConfig,
    SweepSettings,
    asked_analyses,
)
from mixkd.config.void import void_problems
from mixkd.errors import Problem, UserError, shown

# What takes a network, beside logits that come from elsewhere and have none.
UNUSED_BESIDE_LOGITS: dict[str, Any] = {
    "splits": ["test"],
    "save_logits": False,
    "reestimate_batchnorm": False,
    "baselines": {},
    "logger": {"csv": None, "tensorboard": None, "wandb": None},
}


def validate(raw: Mapping[str, Any]) -> Config | ExportConfig:
    """Return the typed form of a configuration.

    Args:
        raw: a configuration that is resolved; its `task` names the schema.

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
    problems += [problem for problem in void_problems(raw) if problem.key not in keys]
    if problems:
        raise UserError(*problems)
    return cast(Config | ExportConfig, config)


def schema_of(raw: Mapping[str, Any]) -> type[BaseModel]:
    """Return the schema of a configuration, all of whose sections are there.

    Raises:
        UserError: naming those that are not.
    """
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
            yield Problem(name, "is missing; leave it out of the command")
        elif value is not None and section is not None and not isinstance(value, dict):
            yield Problem(name, f"got {shown(value)}; {takes_section(section)}")


def _beside_logits(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is asked for and cannot be without a network."""
    for key in ("network", "teacher"):
        if is_given(raw[key]):
            yield Problem(key, "beside logits=FILE, which brings its own answers; leave it out")
    for key in asked_analyses(raw):
        yield Problem(key, "beside logits=FILE; it asks a network, and there is none")
    for key, value in UNUSED_BESIDE_LOGITS.items():
        if raw[key] != value:
            yield Problem(key, "does nothing beside logits=FILE; leave it out")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a composed configuration, its references followed, without Hydra's own part.

    Raises:
        UserError: if it refers to what is not there.
    """
    try:
        raw = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        first = str(error.msg).splitlines()[0]
        text = f"{first}; takes a value, or ${{KEY}} for that of another key"
        raise UserError.of(error.full_key or "config", text) from error
    raw.pop("hydra", None)
    return raw


def sweep_settings(cfg: DictConfig) -> SweepSettings:
    """Return what of a composed configuration is for its launcher.

    Raises:
        UserError: as `validate` does.
    """
    raw = plain(cfg)
    settings = {key: raw[key] for key in SweepSettings.model_fields}
    try:
        return SweepSettings.model_validate(settings)
    except ValidationError as error:
        raise UserError(*schema_problems(SweepSettings, settings, error)) from error
