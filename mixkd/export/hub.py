"""Exports go to the Hugging Face Hub. Needs no torch."""

from pathlib import Path

from mixkd import __version__
from mixkd.errors import UserError
from mixkd.networks.hub import FILES, PREFIX, reason

# What an export may hold.
WRITTEN = {
    *FILES, "model.onnx", "model.onnx.data", "model.pt2", "README.md", "claims.md",
    "reliability.png",
}  # fmt: skip


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
            "push", f"the Hub refused {to} ({reason(error)}); the export is in {folder}"
        ) from error
    return str(made)
