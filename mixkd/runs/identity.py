"""What names an experiment, and what its files contain, as sha256."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from mixkd.config.analyses import VicinalConfig
from mixkd.config.data import CorruptedDataConfig, DataConfig
from mixkd.config.fields import PLACE, pruned
from mixkd.config.tasks import (
    Config,
    DistillConfig,
    EvaluateConfig,
    EvaluateLogitsConfig,
    FinetuneConfig,
)
from mixkd.config.void import without_void
from mixkd.data.contents import contents, split_contents, summary, to_unpack
from mixkd.data.corruption_names import arrays_folder
from mixkd.data.listing import image_files
from mixkd.data.pairs import are_drawn_pairs
from mixkd.files.writing import file_fingerprint

# Of what `experiment_hash` counts, and how. A key that comes later is marked `AsBefore` instead, so
# that no run loses its name; where names have to change, this number says so.
VERSION = 2


def experiment_hash(cfg: Config, images: Mapping[str, str] | None = None) -> str:
    """Return 10 hexadecimal digits that name the experiment.

    Keys that cannot change a result are left out; weights and images count by their content.

    Args:
        cfg: the configuration.
        images: `images_of(cfg)`, where that is known.
    """
    raw = cfg.model_dump()
    named = without_void(raw, pruned(type(cfg), raw, PLACE, content=file_fingerprint))
    if images is None:
        images = images_of(cfg)
    if images:
        named["data"]["images"] = dict(images)
    if isinstance(cfg, EvaluateConfig):
        _name_analyses(cfg, named)
    if isinstance(cfg, DistillConfig):
        named["teacher"]["precision"] = cfg.teacher.precision or cfg.trainer.precision
    if isinstance(cfg, (FinetuneConfig, DistillConfig)) and cfg.method.mix is not None:
        within = 1 if cfg.data.resident else cfg.trainer.devices
        if within > 1:
            named["data"]["mixed_within"] = within  # each process mixes what it reads
    text = as_text({"version": VERSION, **named})
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _name_analyses(cfg: EvaluateConfig, named: dict[str, Any]) -> None:
    """Keep of the analyses what names the experiment."""
    if not cfg.features.enabled:
        del named["features"]
    if not cfg.vicinal.enabled:
        del named["vicinal"]
    elif cfg.vicinal.pairs is not None:
        named["vicinal"]["pairs"] = _pairs_fingerprint(cfg.vicinal)
    if not cfg.corruptions.enabled:
        del named["corruptions"]
    else:
        corruptions = named["corruptions"]  # in any order, by any word, they are the same
        corruptions["names"] = sorted(cfg.corruptions.chosen)
        corruptions["severities"] = sorted(cfg.corruptions.severities)
        if cfg.corruptions.source != "made":
            del corruptions["seed"]
    if not (cfg.vicinal.enabled or cfg.corruptions.enabled):
        del named["baselines"]


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
        found = {"test": _content(_corrupted_files(data), data, data.root)}
    else:
        found = split_contents(data.source, data.root, data.cache_dir)
    if (
        isinstance(cfg, EvaluateConfig)
        and cfg.corruptions.enabled
        and cfg.corruptions.source != "made"
    ):
        files = dict.fromkeys(
            file for published in _published(cfg) for file in _corrupted_files(published)
        )
        found["corrupted"] = _content(files, data, cfg.corruptions.root or data.root)
    return found


def _content(files: Iterable[tuple[str, Path]], data: DataConfig, root: str | None) -> str:
    listed = list(files)
    return summary(listed, contents(listed, data.cache_dir, root or "."))


def _corrupted_files(cfg: CorruptedDataConfig) -> Iterator[tuple[str, Path]]:
    """Yield the files of a corruption and severity, by name."""
    root = Path(cfg.root or "")
    if cfg.source == "imagenet_c":
        place = f"{cfg.corruption}/{cfg.severity}"
        folders = [*root.glob(place), *root.glob(f"*/{place}")]
        return chain.from_iterable(image_files(f, f"{place}/") for f in sorted(folders))
    names = [f"{name}.npy" for name in (cfg.corruption, "labels")]
    folder = arrays_folder(cfg.source, cfg.root) or root
    return ((name, folder / name) for name in names if (folder / name).is_file())


def _published(cfg: EvaluateConfig) -> Iterator[CorruptedDataConfig]:
    """Yield the data of the published corruptions that are asked for."""
    for name in cfg.corruptions.chosen:
        for severity in cfg.corruptions.severities:
            yield cfg.published(name, severity, cfg.corruptions.source)


def lacks_data(cfg: Config) -> bool:
    """Return whether there is data to download or to unpack, by whose content a run is named."""
    if isinstance(cfg, EvaluateLogitsConfig):
        return False
    if (
        isinstance(cfg, EvaluateConfig)
        and cfg.corruptions.enabled
        and cfg.corruptions.source != "made"
    ):
        return any(_is_lacking(data) for data in (cfg.data, *_published(cfg)))
    return _is_lacking(cfg.data)


def _is_lacking(data: DataConfig) -> bool:
    if isinstance(data, CorruptedDataConfig):
        return (
            data.source != "imagenet_c"
            and data.download
            and arrays_folder(data.source, data.root) is None
        )
    return data.source == "imagenet" and bool(to_unpack(Path(data.root or "")))


def _pairs_fingerprint(cfg: VicinalConfig) -> str:
    """Return what a file of pairs adds: nothing of its own where they are, or will be, drawn."""
    path = Path(cfg.pairs or "")
    drawn = not path.is_file() or are_drawn_pairs(path, cfg.seed, cfg.n_pairs)
    return "drawn" if drawn else file_fingerprint(path)
