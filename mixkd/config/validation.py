"""From a composed configuration to a typed one, with every problem said at once."""

import os
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, cast, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from mixkd.config.data import CORRUPTED, ON_DISK, SOURCES
from mixkd.config.fields import Section, section_of
from mixkd.config.messages import schema_problem, takes_section
from mixkd.config.tasks import (
    METHODS,
    TASKS,
    Config,
    EvaluateLogitsConfig,
    ExportConfig,
    SweepSettings,
)
from mixkd.config.void import void_problems
from mixkd.data.corruption_names import STANDARD
from mixkd.data.listing import renamings, to_rename
from mixkd.errors import Problem, UserError, nearest, shortened, shown
from mixkd.networks.origin import NETWORKS, fill_from_runs


def validate(cfg: DictConfig) -> Config:
    """Return the typed configuration of a task.

    Args:
        cfg: a composed configuration; `cfg.task` names the schema.

    Raises:
        UserError: with every problem found, each naming its key, what it got and what it takes.
    """
    raw = _resolved(cfg)
    if str(raw.get("task")) not in TASKS:
        raise UserError.of("task", f"got {shown(raw.get('task'))}; the command sets it")
    schema = TASKS[raw["task"]]
    if wrong := list(_no_sections(schema, raw)):
        raise UserError(*wrong)
    if raw.get("logits") is not None:
        return _validate_logits(raw)
    raw.pop("logits", None)
    if raw["task"] == "evaluate" and isinstance(raw["teacher"], dict):
        given = ("name", "factory", "run", "export", "weights")
        raw["teacher"] = raw["teacher"] if any(raw["teacher"].get(k) for k in given) else None
    problems = list(fill_from_runs(raw))
    known = {p.key for p in problems}
    config = None
    try:
        config = schema.model_validate(raw)
    except ValidationError as error:
        for details in error.errors():
            problem = schema_problem(schema, raw, details)
            if problem.key == "data.source" and raw["data"].get("source") == "run":
                continue  # what is wrong is the run that was to say it, or that there is none
            # Of a union pydantic names the whole, and then a part of it.
            if not {problem.key, problem.key.partition("[")[0]} & {p.key for p in problems}:
                problems.append(problem)
    # A key is named once: by the section as a whole where that is what is wrong.
    for found in _contradictions(raw):
        if found.key not in known:
            within = re.compile(rf"{re.escape(found.key)}([.\[]|$)")
            outside = (p for p in problems if not within.match(p.key))
            problems = [*outside, found]
            known.add(found.key)
    told = {p.key for p in problems}
    problems += [found for found in void_problems(raw) if found.key not in told]
    if problems:
        raise UserError(*problems)
    assert config is not None
    return config


def validate_export(cfg: DictConfig) -> ExportConfig:
    """Return the typed configuration of `mixkd export`.

    Raises:
        UserError: as `validate` does.
    """
    raw = _resolved(cfg)
    optional = {
        n for n, f in ExportConfig.model_fields.items() if type(None) in get_args(f.annotation)
    }
    if wrong := [p for p in _no_sections(ExportConfig, raw) if p.key not in optional]:
        raise UserError(*wrong)
    if raw["network"].get("run") is None:
        raise UserError.of("network.run", "got null; takes the directory of a finished run")
    problems = list(fill_from_runs(raw))
    try:
        config = ExportConfig.model_validate(raw)
    except ValidationError as error:
        known = {problem.key for problem in problems}
        found = (schema_problem(ExportConfig, raw, e) for e in error.errors())
        problems += [p for p in found if p.key not in known]
        # What the run was to say of the data is not known where the run is at fault.
        unsaid = {f"data.{key}" for key, value in raw["data"].items() if value == "run"}
        told = [p for p in problems if p.key not in unsaid]
        problems = told or [Problem("data", "the run says nothing of it; take data=NAME")]
    if problems:
        raise UserError(*problems)
    return config


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Return a composed configuration without Hydra's own part.

    Raises:
        UserError: if it refers to what is not there.
    """
    try:
        raw = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        said = str(error.msg).splitlines()[0]
        text = f"{said}; takes a value, or ${{KEY}} for that of another key"
        raise UserError.of(error.full_key or "config", text) from error
    raw.pop("hydra", None)
    return raw


def _no_sections(schema: type[Section], raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is missing, or is no section where the schema has one."""
    for name, field in schema.model_fields.items():
        section = section_of(field.annotation)
        if raw.get(name) is None:
            yield Problem(name, "is missing; leave it out of the command")
        elif section is not None and not isinstance(raw[name], dict):
            yield Problem(name, f"got {shown(raw[name])}; {takes_section(section)}")


def sweep_settings(cfg: DictConfig) -> SweepSettings:
    """Return what of a composed configuration is for its launcher.

    Raises:
        UserError: as `validate` does.
    """
    raw = _resolved(cfg)
    named = {key: raw[key] for key in SweepSettings.model_fields}
    try:
        return SweepSettings.model_validate(named)
    except ValidationError as error:
        problems = [schema_problem(SweepSettings, named, e) for e in error.errors()]
        raise UserError(*problems) from error


def _validate_logits(raw: Mapping[str, Any]) -> EvaluateLogitsConfig:
    named = {key: raw[key] for key in EvaluateLogitsConfig.model_fields}
    name = raw["data"]["name"]
    named["data"] = {"name": "logits" if name == "run" else name}
    problems = [
        Problem(key, "beside logits=FILE, which brings its own answers; leave it out")
        for key in ("network", "teacher")
        if any(raw[key].get(k) is not None for k in ("name", "factory", "run", "export", "weights"))
    ]
    problems += [
        Problem(key, "beside logits=FILE; it asks a network, and there is none")
        for key in ("vicinal", "corruptions", "features")
        if raw[key]["enabled"]
    ]
    usual: dict[str, Any] = {
        "splits": ["test"],
        "save_logits": False,
        "reestimate_batchnorm": False,
        "baselines": {},
        "logger": {"csv": None, "tensorboard": None, "wandb": None},
    }
    problems += [
        Problem(key, "does nothing beside logits=FILE; leave it out")
        for key, value in usual.items()
        if raw[key] != value
    ]
    try:
        config = EvaluateLogitsConfig.model_validate(named)
    except ValidationError as error:
        problems += [schema_problem(EvaluateLogitsConfig, named, e) for e in error.errors()]
    if problems:
        raise UserError(*problems)
    return config


def _contradictions(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what no single field can know. Values may be of any type: the schema checks those."""
    network = raw.get("network")
    run = None
    if isinstance(network, dict) and not network.get("weights"):
        # One that has been found, and brought its weights, may not say of which data it is.
        run = network.get("run") or network.get("export")
    yield from _data_contradictions(raw["data"], raw["task"], run)
    if raw["data"].get("source") in CORRUPTED and raw.get("reestimate_batchnorm") is True:
        yield Problem("reestimate_batchnorm", "got true; corrupted data have no training images")
    if raw["data"].get("source") in CORRUPTED and raw.get("splits", ["test"]) != ["test"]:
        yield Problem("splits", f"got {raw['splits']}; corrupted images are [test] alone")
    if isinstance(corruptions := raw.get("corruptions"), dict) and corruptions.get("enabled"):
        yield from _corruption_contradictions(corruptions, raw["data"])
    for section in NETWORKS:
        network = raw.get(section)
        if isinstance(network, dict):
            yield from _network_contradictions(section, network, raw["task"])
    if raw["task"] == "evaluate" and isinstance(teacher := raw.get("teacher"), dict):
        if not (raw["vicinal"].get("enabled") or raw["corruptions"].get("enabled")):
            yield Problem(
                "teacher",
                "is asked between images or corrupted ones; add vicinal=true or corruptions=true",
            )
        if teacher.get("precision") is not None:
            yield Problem("teacher.precision", "evaluation takes trainer.precision, of them all")
        if teacher.get("tape") is not None:
            yield Problem("teacher.tape", "is of `mixkd distill`; an evaluation has no stream")
    expected = METHODS.get(raw["task"])
    method = raw.get("method", {}).get("name")
    if expected and method not in expected:
        yield Problem(
            "method", f"got {method}; `mixkd {raw['task']}` takes {' or '.join(expected)}"
        )
    elif expected and (method in ("erm", "kd")) != (raw["method"].get("mix") is None):
        mix = shortened(str(raw["method"].get("mix")))
        yield Problem("method", f"{method} with mix={mix}; take another method")
    weights = raw.get("method", {})
    if raw["task"] == "distill" and weights.get("alpha") == 0 == weights.get("beta"):
        yield Problem("method.beta", "got 0 with alpha=0, which leaves nothing to learn")
    optimizer, schedule = raw.get("optimizer", {}), raw.get("schedule", {})
    lowest, rate = schedule.get("min_lr"), optimizer.get("lr")
    if isinstance(lowest, (int, float)) and isinstance(rate, (int, float)) and 0 < rate < lowest:
        yield Problem("schedule.min_lr", f"got {lowest}; takes at most optimizer.lr, {rate}")
    if optimizer.get("nesterov") is True and optimizer.get("momentum") == 0:
        yield Problem("optimizer.momentum", "got 0 with nesterov=true; takes a number above 0")
    batch, trainer = raw["data"].get("batch_size"), raw["trainer"]
    devices, parts = trainer.get("devices"), trainer.get("accumulate", 1)
    whole = isinstance(batch, int) and isinstance(devices, int) and isinstance(parts, int)
    if whole and isinstance(callbacks := raw.get("callbacks"), dict):
        own = callbacks.get("linearity")
        watched = isinstance(own, dict) and own.get("every_n_epochs") is not None
        pairs = own["n_pairs"] if isinstance(own, dict) and watched else None
        if isinstance(pairs, int) and 0 < pairs < devices:
            yield Problem(
                "callbacks.linearity.n_pairs", f"got {pairs}; takes a pair a device or more"
            )
    if whole and raw["task"] != "evaluate":
        shares = max(devices, 1) * max(parts, 1)
        if batch % shares:
            if parts == 1:
                key, by = "data.batch_size", f"got {batch}, which {devices} devices cannot share"
            else:
                key = "trainer.accumulate"
                by = f"got {parts}; {devices} x {parts} parts cannot share a batch of {batch}"
            yield Problem(key, f"{by} equally; takes a data.batch_size divisible by {shares}")
        elif 2 <= batch < 2 * shares:
            key = "data.batch_size" if parts == 1 else "trainer.accumulate"
            yield Problem(
                key, f"leaves {batch // shares} image a device and part; takes two or more"
            )
    segments = schedule.get("segments")
    if not isinstance(segments, list) or not all(isinstance(s, dict) for s in segments):
        return
    for index, segment in enumerate(segments):
        if segment.get("start") == segment.get("end"):
            yield Problem(f"schedule.segments[{index}].end", "takes an epoch after its start")
    for index, (a, b) in enumerate(pairwise(segments)):
        if a.get("end") != b.get("start"):
            yield Problem(
                f"schedule.segments[{index + 1}].start",
                f"got {b.get('start')}; takes {a.get('end')}, where the segment before it ends",
            )


def _data_contradictions(data: Mapping[str, Any], task: str, run: Any) -> Iterator[Problem]:
    source, root = data.get("source"), data.get("root") or None
    if source == "run":
        if not run:  # else what is wrong with the run is said of it
            yield Problem("data", "no data set chosen; take data=NAME (`mixkd list datasets`)")
        return
    if source not in SOURCES:
        yield Problem(
            "data.source",
            f"got {source!r}; takes {', '.join(SOURCES)}{nearest(str(source), SOURCES)}",
        )
        return
    if source in CORRUPTED and task != "evaluate":
        yield Problem("data", f"{source} holds test images alone; `mixkd evaluate` takes it")
    if source in CORRUPTED and data.get("corruption") is None:
        yield Problem("data.corruption", "got null; takes the name of a corruption, such as fog")
    if source == "digits" and root is not None:
        yield Problem(
            "data.root", f"got {root!r} with data=digits; take data=imagefolder for a folder"
        )
    elif source != "digits" and root is None:
        yield Problem("data.root", "got null; takes the folder that holds train/ and test/")
    elif source in ON_DISK and not os.path.isdir(str(root)):
        what = "is no folder" if os.path.exists(str(root)) else "no such folder"
        yield Problem("data.root", f"got {shown(root)}; {what}; takes the one that holds train/")
    # Before its files are listed, which of a root that is none, such as /, would take long.
    elif source == "imagefolder" and not os.path.isdir(os.path.join(str(root), "train")):
        text = (
            f"got {shown(root)}, which holds no train/; takes a folder of train/ with val/, test/"
        )
        rename = renamings(Path(str(root)), ("train", "val", "test"))
        yield Problem("data.root", f"{text} or both{to_rename(rename)}")
    size, resize, resident = data.get("size"), data.get("resize"), data.get("resident")
    if resident is False and source not in (*ON_DISK, *CORRUPTED):
        yield Problem("data.resident", f"got false; {source} lives in memory, and takes true")
    if resident is True and source in CORRUPTED and source not in ON_DISK:
        yield Problem("data.resident", f"got true; {source} is read in place, and takes false")
    if resident is False and source in ON_DISK and size is None:
        yield Problem(
            "data.size",
            "got null; images that stay on disk are all resized: takes a number of pixels",
        )
    if isinstance(resize, int) and size is None:
        text = f"got {resize} without data.size, the views' side after it; takes both"
        yield Problem("data.resize", text)
    elif isinstance(resize, int) and isinstance(size, int) and resize < size:
        yield Problem("data.resize", f"got {resize}; takes at least data.size, {size}")


def _corruption_contradictions(
    corruptions: Mapping[str, Any], data: Mapping[str, Any]
) -> Iterator[Problem]:
    names, source = corruptions.get("names"), corruptions.get("source")
    if data.get("source") in CORRUPTED:
        yield Problem("corruptions", "got true on data that are corrupted already")
    if isinstance(names, list) and source == "made":
        for name in names:
            if isinstance(name, str) and name not in STANDARD:
                yield Problem(
                    "corruptions.names",
                    f"got {name!r}; takes paper, all, or some of {', '.join(STANDARD)}"
                    f"{nearest(str(name), STANDARD)}",
                )
    if corruptions.get("root") is not None and source == "made":
        yield Problem("corruptions.root", "got a folder; corruptions.source=made reads none")
    if source == "imagenet_c" and corruptions.get("root") is None:
        yield Problem("corruptions.root", "got null; takes the folder of ImageNet-C")
    elif source == "imagenet_c" and data.get("size") is None:
        yield Problem("data.size", "got null; imagenet_c takes a number of pixels")


def _network_contradictions(
    section: str, network: Mapping[str, Any], task: str
) -> Iterator[Problem]:
    whole = network.get("run") or network.get("export")
    name, trained = network.get("name"), whole or network.get("weights")
    if not (name or network.get("factory") or whole):
        yield Problem(
            section,
            f"none chosen; take {section}=NAME (`mixkd list networks`), {section}.run=DIR "
            f"or {section}.factory=package.module.function"
            + (f", beside {section}.weights" if trained else ""),
        )
    elif section == "teacher" and not trained:
        yield Problem(
            "teacher",
            f"{name or network.get('factory')} has no weights trained on these classes; take "
            "teacher.run=DIR (a finished `mixkd finetune`) or teacher.weights=FILE",
        )
    # A bare factory may bring its own weights; pretrained ones get a new, random head.
    elif task == "evaluate" and name and not trained:
        yield Problem(
            section,
            f"{name} has no trained weights; take network.run=DIR or network.weights=FILE "
            "(network.weights=pretrained on ImageNet)",
        )
