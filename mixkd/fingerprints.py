"""What names an experiment, and what its files contain, as sha256."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from mixkd.config import PLACE, Config, Section, Training
from mixkd.inherit import NETWORKS

IMAGE_EXTENSIONS = {
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif",
}  # fmt: skip


def experiment_hash(cfg: Config) -> str:
    """Return 10 hexadecimal digits that name the experiment.

    Fields that cannot change a result are left out; weights count by their content, a folder of
    images by its listing.
    """
    named = _without_places(cfg)
    for section in NETWORKS:
        network = getattr(cfg, section, None)
        for key in ("weights", "pretrained"):
            path = getattr(network, key, None)
            if isinstance(path, str) and path != "pretrained":
                named[section][key] = file_fingerprint(path)
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
    named: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        if PLACE in field.metadata:
            continue
        value = getattr(section, name)
        if isinstance(value, Section):
            value = _without_places(value)
        elif isinstance(value, list):
            value = [_without_places(v) if isinstance(v, Section) else v for v in value]
        elif isinstance(value, dict):  # arguments without a schema: 1 and 1.0 are one number
            value = {
                k: int(v) if isinstance(v, float) and v.is_integer() else v
                for k, v in value.items()
            }
        named[name] = value
    return named
