"""The Hugging Face Hub: exports go there, and come from there or from a folder. Needs no torch."""

import os
from pathlib import Path

from mixkd import __version__
from mixkd.errors import UserError

# What is read of an export: neither is executed.
FILES = ("config.json", "model.safetensors")
PREFIX = "hf_hub:"

# What an export may hold.
WRITTEN = {
    *FILES, "model.onnx", "model.onnx.data", "model.pt2", "README.md", "claims.md",
    "reliability.png",
}  # fmt: skip


def fetched(given: str, key: str) -> Path:
    """Return the folder of an export: given, or downloaded once into the Hub's own cache.

    Args:
        given: a folder, or hf_hub:USER/NAME[@REVISION].
        key: of the configuration, for messages.

    Raises:
        UserError: if there is none.
    """
    if not given.startswith(PREFIX):
        folder = Path(os.path.expanduser(given))
        if not os.path.isfile(folder / FILES[0]):
            raise UserError.of(
                key, f"got {given!r}; no export there: the folder holds a {FILES[0]}"
            )
        return folder
    from huggingface_hub import snapshot_download

    name, _, revision = given.removeprefix(PREFIX).partition("@")
    try:
        return Path(
            snapshot_download(
                name, revision=revision or None, allow_patterns=list(FILES),
                library_name="mixkd", library_version=__version__,
            )
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError.of(
            key, f"got {given!r}, which the Hub did not give: {_line(error)}"
        ) from error


def check_token() -> None:
    """Refuse to push without a token.

    Raises:
        UserError: if there is none.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise UserError.of(
            "push",
            "needs a token of the Hub that may write: `hf auth login`, or HF_TOKEN=TOKEN in the "
            "environment",
        )


def push(folder: Path, to: str, private: bool) -> str:
    """Upload a folder to a repository, which is made where there is none; return its address.

    Args:
        folder: of an export.
        to: hf_hub:USER/NAME.
        private: whether a repository that is new is private.

    Raises:
        UserError: if the Hub refuses it.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="mixkd", library_version=__version__)
    try:
        made = api.create_repo(to.removeprefix(PREFIX), private=private, exist_ok=True)
        # Of an export that was there before, nothing may be taken for a part of this one.
        api.upload_folder(
            repo_id=made.repo_id, folder_path=folder, delete_patterns=sorted(WRITTEN),
            commit_message=f"mixkd {__version__}: export",
        )  # fmt: skip
    except Exception as error:  # the Hub's own, and those of whatever it asks the network with
        raise UserError.of(
            "push", f"the Hub refused {to} ({_line(error)}); the export is in {folder}"
        ) from error
    return str(made)


def _line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
