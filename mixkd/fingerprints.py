"""What names an experiment, and what its files contain, as sha256."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mixkd.config import PLACE, Config, Evaluate, Network, Section, Training

IMAGE_EXTENSIONS = {
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif",
}  # fmt: skip


def experiment_hash(cfg: Config) -> str:
    """Return 10 hexadecimal digits that name the experiment.

    Fields that cannot change a result are left out; weights count by their content, a folder of
    images by its listing.
    """
    named = _without_places(cfg)
    if isinstance(cfg, Evaluate):
        if not cfg.vicinal.enabled:
            del named["vicinal"], named["baselines"]
        elif (pairs := Path(cfg.vicinal.pairs or "")).is_file():
            named["vicinal"]["pairs"] = file_fingerprint(pairs)
        else:
            del named["vicinal"]["pairs"]
    if isinstance(cfg, Training) and not cfg.stage1_epochs:
        del named["stage1"]
    if cfg.data.source == "imagefolder":
        named["data"]["listing"] = folder_fingerprint(Path(cfg.data.root or ""))
    if not cfg.data.resident and cfg.trainer.devices > 1:
        named["data"]["mixed_within"] = cfg.trainer.devices  # each process mixes what it reads
    text = json.dumps(named, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def file_fingerprint(path: str | Path) -> str:
    """Return the sha256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_fingerprint(root: Path) -> str:
    """Return the sha256 of a folder's image files: relative paths and sizes, not contents."""
    digest = hashlib.sha256()
    files = (p for p in root.rglob("*") if p.suffix.lower() in IMAGE_EXTENSIONS and p.is_file())
    for path in sorted(files):
        name = os.fsencode(path.relative_to(root).as_posix())
        digest.update(name + f"\0{path.stat().st_size}\n".encode())
    return digest.hexdigest()


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
