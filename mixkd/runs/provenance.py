"""Where a result comes from: command, revision, packages, machine, seeds."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mixkd.config.tasks import Config, EvaluateLogitsConfig, TrainingConfig
from mixkd.redact import redact

PACKAGES = ("mixkd", "torch", "torchvision", "lightning", "timm", "torchmetrics", "hydra-core",
            "numpy")  # fmt: skip


def provenance(cfg: Config) -> dict[str, Any]:
    """Return what is known of a run before it starts, ready for JSON."""
    record: dict[str, Any] = {
        "command": redact([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "git": git_revision(),
        "packages": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "seeds": {"seed": cfg.seed},
    }
    if not isinstance(cfg, EvaluateLogitsConfig):
        record["seeds"]["split_seed"] = cfg.data.split_seed
        record["selection"] = cfg.data.selection
    if isinstance(cfg, TrainingConfig):
        record["seeds"]["stream"] = cfg.stream_seed
    return record


def git_revision() -> str | None:
    """Return the revision of mixkd's checkout, `-dirty` where files differ; None if installed."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(describe, cwd=checkout, capture_output=True, text=True, timeout=10)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None
