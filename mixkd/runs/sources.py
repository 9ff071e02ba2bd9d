"""The source files of the user's own parts, by their content."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mixkd.config.fields import value_of
from mixkd.config.parts import NETWORKS, factories
from mixkd.config.tasks import Config
from mixkd.console import say
from mixkd.errors import UserError
from mixkd.files.layout import PROVENANCE
from mixkd.files.reading import read_mapping
from mixkd.files.writing import file_fingerprint
from mixkd.parts import source_of
from mixkd.runs.provenance import PACKAGES

# What the sha256 of the file that defines a callable is called among the fingerprints of a run.
SOURCES = "sources/"


def sources_of(cfg: Config) -> dict[str, str]:
    """Return the sha256 of the files that define the callables of a configuration, by callable.

    Those of mixkd and of the packages whose versions a run records are left out.

    Raises:
        UserError: if there is no such callable.
    """
    fingerprints: dict[str, str] = {}
    for key, path in factories(cfg.model_dump()):
        is_recorded = path in fingerprints or path.partition(".")[0] in PACKAGES
        if not is_recorded and (file := source_of(path, key)) is not None:
            fingerprints[path] = file_fingerprint(file)
    return fingerprints


def changed(sources: Mapping[str, str], recorded: Mapping[str, str]) -> str:
    """Return the callables whose source is not what a run has recorded, in words; "" if none."""
    names = [path for path, now in sources.items() if recorded.get(SOURCES + path, now) != now]
    return ", ".join(names)


def tell_changed(cfg: Config, sources: Mapping[str, str]) -> None:
    """Say which networks were trained by code that has changed since."""
    for key, run, recorded in _origins(cfg):
        if names := changed(sources, recorded):
            say(f"{key}: the source of {names} has changed since {run} was trained")


def _origins(cfg: Config) -> Iterator[tuple[str, str, Mapping[str, str]]]:
    """Yield (key, run, its fingerprints) of each network that comes from a run."""
    raw = cfg.model_dump()
    for key in NETWORKS:
        run = value_of(raw, f"{key}.run")
        if run is None or value_of(raw, f"{key}.factory") is None:
            continue
        try:
            recorded = read_mapping(Path(run) / PROVENANCE).get("fingerprints")
        except FileNotFoundError:
            continue  # a run that has lost its provenance says nothing of its source
        if not isinstance(recorded, Mapping):
            raise UserError.of(f"{key}.run", f"{run} has a damaged {PROVENANCE}")
        yield key, run, recorded
