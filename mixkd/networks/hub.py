"""Exports, from a folder or from the Hugging Face Hub. Needs no torch."""

import os
from pathlib import Path

from mixkd import __version__
from mixkd.errors import UserError

# What is read of an export: neither is executed.
FILES = ("config.json", "model.safetensors")
PREFIX = "hf_hub:"


def fetched(export: str, key: str) -> Path:
    """Return a folder, or what hf_hub:USER/NAME[@REVISION] is downloaded to, once for all."""
    if not export.startswith(PREFIX):
        folder = Path(os.path.expanduser(export))
        if not os.path.isfile(folder / FILES[0]):
            text = f"got {export!r}; no export there: the folder holds a {FILES[0]}"
            raise UserError.of(key, text)
        return folder
    from huggingface_hub import snapshot_download

    name, _, revision = export.removeprefix(PREFIX).partition("@")
    try:
        return Path(
            snapshot_download(
                name, revision=revision or None, allow_patterns=list(FILES),
                library_name="mixkd", library_version=__version__,
            )
        )  # fmt: skip
    except (OSError, ValueError) as error:
        text = f"got {export!r}, which the Hub did not give: {reason(error)}"
        raise UserError.of(key, text) from error


def reason(error: Exception) -> str:
    """Return what the Hub said in refusing, in one line."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
