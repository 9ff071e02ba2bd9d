"""What names an experiment, and what its files contain, as sha256."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from mixkd.config.analyses import analysis_names
from mixkd.config.data import CorruptedDataConfig, DataConfig
from mixkd.config.fields import PLACE, pruned
from mixkd.config.sources import FILES, GIVEN_BY
from mixkd.config.tasks import (
    Config,
    DistillConfig,
    EvaluateConfig,
    EvaluateLogitsConfig,
    FinetuneConfig,
    TrainingConfig,
)
from mixkd.config.validation import without_void
from mixkd.data.contents import arrays_folder, contents, split_contents, summary, to_unpack
from mixkd.data.listing import image_files
from mixkd.files.writing import file_fingerprint

# Part of every run's name: raised when names change on purpose, as `experiment_hash` counts other
# things. A new key needs no new version: marked `AsBefore`, it leaves names as they are.
VERSION = 2


def experiment_hash(cfg: Config, images: Mapping[str, str] | None = None) -> str:
    """Return 10 hexadecimal digits that name the experiment.

    Keys that cannot change a result are left out; weights and images count by their content:
    `images` are `images_of(cfg)`, where that is known.
    """
    raw = cfg.model_dump()
    named = without_void(raw, pruned(type(cfg), raw, PLACE, content=file_fingerprint))
    if images is None:
        images = images_of(cfg)
    if images:
        named["data"]["images"] = dict(images)
    if not isinstance(cfg, EvaluateLogitsConfig) and cfg.data.source in GIVEN_BY:
        # Of the same factory another root may hold other images, which nothing has read yet.
        named["data"]["root"] = cfg.data.root and os.path.abspath(cfg.data.root)
    if isinstance(cfg, EvaluateConfig):
        for name in analysis_names():
            keys = named.pop(name)
            if name in cfg.shipped_analyses:
                named[name] = cfg.shipped_analyses[name].identity(keys)
        if not any(section.shared_question for section in cfg.shipped_analyses.values()):
            del named["baselines"]
    if isinstance(cfg, TrainingConfig) and cfg.callbacks.parts:  # what a user's does is not known
        named["callbacks"] = {name: part.model_dump() for name, part in cfg.callbacks.parts.items()}
    if isinstance(cfg, DistillConfig):
        named["teacher"]["precision"] = cfg.teacher_precision
    if isinstance(cfg, (FinetuneConfig, DistillConfig)) and cfg.method.mix is not None:
        within = 1 if cfg.data.resident else cfg.trainer.devices
        if within > 1:
            named["data"]["mixed_within"] = within  # each process mixes what it reads
    text = as_text({"version": VERSION, **named})
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def as_text(value: Any) -> str:
    """Return a part of a configuration as text that does not depend on the order of its keys."""

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            return {str(key): plain(inner) for key, inner in part.items()}
        if isinstance(part, float) and part.is_integer():  # 1 and 1.0 are one number
            return int(part)
        return [plain(inner) for inner in part] if isinstance(part, list) else part

    return json.dumps(plain(value), sort_keys=True, default=str)


def images_of(cfg: Config) -> dict[str, str]:
    """Return the sha256 of the images that go in, by split; none of data that their name tells.

    The published forms of corrupted images go by the names of their corruptions.
    """
    if isinstance(cfg, EvaluateLogitsConfig):
        return {}
    data = cfg.data
    if isinstance(data, CorruptedDataConfig):
        fingerprints = {"test": _content(_corrupted_files(data), data, data.root)}
    else:
        fingerprints = split_contents(data.source, data.root, data.cache_dir)
    for name, further in _further_data(cfg).items():
        files = dict.fromkeys(file for corrupted in further for file in _corrupted_files(corrupted))
        fingerprints[name] = _content(files, data, further[0].root)
    return fingerprints


def _further_data(cfg: Config) -> dict[str, list[CorruptedDataConfig]]:
    """Return the data that analyses measure beside the evaluation's own, by analysis."""
    if not isinstance(cfg, EvaluateConfig):
        return {}
    data = {
        name: [*section.further_data(cfg.data)] for name, section in cfg.shipped_analyses.items()
    }
    return {name: further for name, further in data.items() if further}


def _content(files: Iterable[tuple[str, Path]], data: DataConfig, root: str | None) -> str:
    listed = list(files)
    return summary(listed, contents(listed, data.cache_dir, root or "."))


def _corrupted_files(cfg: CorruptedDataConfig) -> Iterator[tuple[str, Path]]:
    """Yield the files of a corruption and severity, by name."""
    root = Path(cfg.root or "")
    if cfg.source in FILES:
        place = f"{cfg.corruption}/{cfg.severity}"
        folders = [*root.glob(place), *root.glob(f"*/{place}")]
        return chain.from_iterable(image_files(f, f"{place}/") for f in sorted(folders))
    names = [f"{name}.npy" for name in (cfg.corruption, "labels")]
    folder = arrays_folder(cfg.source, cfg.root) or root
    return ((name, folder / name) for name in names if (folder / name).is_file())


def lacks_data(cfg: Config) -> bool:
    """Return whether there is data to download or to unpack, by whose content a run is named."""
    if isinstance(cfg, EvaluateLogitsConfig):
        return False
    return any(_is_lacking(data) for data in (cfg.data, *chain(*_further_data(cfg).values())))


def _is_lacking(data: DataConfig) -> bool:
    if isinstance(data, CorruptedDataConfig):
        downloads = data.source not in FILES and data.download
        return downloads and arrays_folder(data.source, data.root) is None
    return bool(to_unpack(data.source, data.root))
