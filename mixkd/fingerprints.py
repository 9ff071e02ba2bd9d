"""What names an experiment, and what its files contain, as sha256."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from mixkd.arrays import NotArrays, read_npz
from mixkd.config import (
    PLACE,
    Config,
    CorruptedData,
    Data,
    Distill,
    Evaluate,
    EvaluateLogits,
    Finetune,
    Network,
    Section,
    Training,
    Vicinal,
)
from mixkd.data.corruption_names import FOLDERS
from mixkd.data.listing import image_files
from mixkd.files import file_fingerprint


def experiment_hash(cfg: Config) -> str:
    """Return 10 hexadecimal digits that name the experiment.

    Fields that cannot change a result are left out; weights count by their content, a folder of
    images by its listing.
    """
    named = _without_places(cfg)
    if isinstance(cfg, Evaluate):
        if not cfg.features.enabled:
            del named["features"]
        if not cfg.vicinal.enabled:
            del named["vicinal"]
        elif cfg.vicinal.pairs is not None:
            named["vicinal"]["pairs"] = _pairs_fingerprint(cfg.vicinal)
        if not cfg.corruptions.enabled:
            del named["corruptions"]
        else:
            own = named["corruptions"]  # in any order, by any word, they are the same
            own["names"] = sorted(cfg.corruptions.chosen)
            own["severities"] = sorted(cfg.corruptions.severities)
            if cfg.corruptions.source != "made":
                del own["seed"]
                own["listing"] = listing_fingerprint(_published_files(cfg))
        if not (cfg.vicinal.enabled or cfg.corruptions.enabled):
            del named["baselines"]
    if isinstance(cfg, Training) and not cfg.stage1_epochs:
        del named["stage1"]
    if isinstance(cfg, EvaluateLogits):
        named = {"logits": file_fingerprint(cfg.logits)}
    elif (files := data_files(cfg.data)) is not None:
        named["data"]["listing"] = listing_fingerprint(files)
    if isinstance(teacher := named.get("teacher"), dict):
        tape = cfg.teacher.tape if isinstance(cfg, Distill) else None
        if tape is None or teacher["tape_precision"] == "float32":
            del teacher["tape_precision"]  # its answers are as they are
    if isinstance(cfg, Distill):
        named["teacher"]["precision"] = cfg.teacher.precision or cfg.trainer.precision
    if isinstance(cfg, (Finetune, Distill)) and cfg.method.mix is not None:
        within = 1 if cfg.data.resident else cfg.trainer.devices
        if within > 1:
            named["data"]["mixed_within"] = within  # each process mixes what it reads
    text = json.dumps(named, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def data_files(cfg: Data) -> Iterator[tuple[str, Path]] | None:
    """Return the files that a data set is made of, by name; None where its name says it all."""
    root = Path(cfg.root or "")
    if not isinstance(cfg, CorruptedData):
        on_disk = cfg.source in ("imagefolder", "imagenet")
        return image_files(root) if on_disk else None
    if cfg.source == "imagenet_c":
        place = f"{cfg.corruption}/{cfg.severity}"
        folders = [*root.glob(place), *root.glob(f"*/{place}")]
        return chain.from_iterable(image_files(folder) for folder in sorted(folders))
    places = [root / FOLDERS[cfg.source], root]
    folder = next((p for p in places if any(p.glob("*.npy"))), root)
    files = [folder / f"{name}.npy" for name in (cfg.corruption, "labels")]
    return ((path.name, path) for path in files if path.is_file())


def _published_files(cfg: Evaluate) -> Iterator[tuple[str, Path]]:
    """Yield the files of the published corruptions that are asked for."""
    wanted, found = cfg.corruptions, set()
    for name in wanted.chosen:
        for severity in wanted.severities:
            for file in data_files(cfg.published(name, severity, wanted.source)) or ():
                if file not in found:
                    found.add(file)
                    yield file


def listing_fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    """Return the sha256 of files' names and sizes, not of their contents."""
    digest = hashlib.sha256()
    for name, path in sorted(files):
        try:
            size = path.stat().st_size
        except OSError:  # whoever reads it says so
            size = -1
        digest.update(os.fsencode(name) + f"\0{size}\n".encode())
    return digest.hexdigest()


def _pairs_fingerprint(cfg: Vicinal) -> str:
    """Return what a file of pairs adds: nothing of its own where they are, or will be, drawn."""
    path = Path(cfg.pairs or "")
    drawn = not path.is_file() or are_drawn_pairs(path, cfg.seed, cfg.n_pairs)
    return "drawn" if drawn else file_fingerprint(path)


def are_drawn_pairs(path: Path, seed: int, count: int) -> bool:
    """Return whether a file of pairs says that it was drawn by mixkd with a seed and a count."""
    try:
        return bool(read_npz(path, ("drawn",))["drawn"].tolist() == [seed, count])
    except (NotArrays, KeyError):
        return False  # whoever reads it says what is wrong


def _without_places(section: Section) -> dict[str, Any]:
    named = {
        name: _named(getattr(section, name))
        for name, field in type(section).model_fields.items()
        if PLACE not in field.metadata
    }
    if isinstance(section, Network):
        for key in ("weights", "pretrained"):
            if isinstance(path := named[key], str) and path != "pretrained":
                named[key] = file_fingerprint(path)
    return named


def _named(value: Any) -> Any:
    match value:
        case Section():
            return _without_places(value)
        case list():
            return [_named(inner) for inner in value]
        case dict():
            return {key: _named(inner) for key, inner in value.items()}
        case float() if value.is_integer():  # 1 and 1.0 are one number
            return int(value)
    return value
