"""What a reproduction is of, and where its runs are, written beside them for the report."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixkd.config.shipped import artefacts
from mixkd.files.writing import write_json
from mixkd.report.plan import Expected, Reproduction, manifest
from mixkd.reproduction.carry_out import Done, distinct, overrides_of, statuses
from mixkd.reproduction.scale import Scale
from mixkd.reproduction.study import Artefact, Study, StudyRun, load_artefact, merged
from mixkd.request import compose


def _settings(scale: Scale, overrides: Sequence[str]) -> str:
    """Return what tells a reproduction from one of other settings at the same scale."""
    text = json.dumps([scale.settings.model_dump(), scale.protocol, scale.seeds, sorted(overrides)])
    return hashlib.sha256(text.encode()).hexdigest()


def with_earlier(
    chosen: Sequence[Artefact], study: Study, root: Path, overrides: Sequence[str]
) -> list[Artefact]:
    """Return the artefacts that are reproduced now, and those that were with these settings."""
    names = {artefact.name for artefact in chosen}
    path = manifest(root, study.scale.name)
    if path.is_file():
        before = Reproduction.read(path)
        if before.settings == _settings(study.scale, overrides):
            names |= {*before.artefacts}
    return [load_artefact(name) for name in artefacts() if name in names]


def write_record(
    chosen: Sequence[Artefact], study: Study, root: Path, done: Done, overrides: Sequence[str]
) -> Reproduction:
    """Write which runs artefacts need, and where they are, beside the runs; return it.

    `done` says how the runs ended that were looked at just now; the overrides are the user's.
    """
    runs: dict[Any, list[str]] = {}  # what each feeds
    for artefact in chosen:
        for last in artefact.runs(study):
            for run in last.with_those_before():
                runs.setdefault(run, []).append(artefact.name)
    places = {job: outcome.path for job, outcome in done.items()}
    others = distinct(run for run in runs if run.job not in places)
    places |= {status.run.job: status.path for status in statuses(others, root)}
    expected = [
        Expected(
            subject=run.subject,
            seed=run.seed,
            kind=run.kind,
            command=command_of(run, places, root),
            path=str(Path(path).relative_to(root)) if (path := places[run.job]) else "",
            artefacts=tuple(dict.fromkeys(names)),
        )
        for run, names in runs.items()
    ]
    scale = study.scale
    more = study.more.get("finetune", ())
    data = {name: _data_name(scale, name, more) for name in scale.settings.datasets}
    record = Reproduction(
        scale=scale.name,
        protocol=scale.protocol,
        about=scale.settings.about,
        artefacts=tuple(artefact.name for artefact in chosen),
        settings=_settings(scale, overrides),
        overrides=tuple(overrides),
        data=data,
        datasets={
            name: dataset.name if data[name] == _data_name(scale, name) else data[name]
            for name, dataset in scale.settings.datasets.items()  # unless the user took others
        },
        teachers={name: network.name for name, network in scale.settings.teachers.items()},
        student=scale.settings.student.name,
        expected=tuple(expected),
        leaves_out=tuple(scale.settings.leaves_out),
    )
    write_json(manifest(root, scale.name), record.as_json())
    return record


def _data_name(scale: Scale, dataset: str, more: Sequence[str] = ()) -> str:
    """Return the name that the data have in the configurations of runs."""
    overrides = merged([*scale.training_overrides(dataset), *more])
    return str(compose("finetune", overrides).data.name)


def command_of(run: StudyRun, places: Mapping[Any, str], root: Path) -> str:
    """Return the command of a run; `KEY=...` stands for a run that is missing itself."""
    paths = {key: places[used.job] or "..." for key, used in run.uses}
    return shlex.join(["mixkd", run.command, *overrides_of(run, paths, root)])
