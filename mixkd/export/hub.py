"""Exports go to the Hugging Face Hub. Needs no torch."""

from importlib.metadata import version
from pathlib import Path

from mixkd.errors import UserError
from mixkd.networks.origin import FILES, PREFIX, reason

# What an export may hold.
WRITTEN = {
    *FILES, "model.onnx", "model.onnx.data", "model.pt2", "README.md", "claims.md",
    "reliability.png",
}  # fmt: skip


def check_token() -> None:
    """Refuse to push without a token."""
    from huggingface_hub import get_token

    if get_token() is None:
        text = "needs a token of the Hub that may write: `hf auth login`, or HF_TOKEN=TOKEN in the"
        raise UserError.of("push", f"{text} environment")


def push(folder: Path, to: str, private: bool) -> str:
    """Upload an export's folder to hf_hub:USER/NAME; return the address of the repository.

    Where there is none it is made; `private` says whether a new one is.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="mixkd", library_version=version("mixkd"))
    try:
        repository = api.create_repo(to.removeprefix(PREFIX), private=private, exist_ok=True)
        # Of an export that was there before, nothing may be taken for a part of this one.
        api.upload_folder(
            repo_id=repository.repo_id, folder_path=folder, delete_patterns=sorted(WRITTEN),
            commit_message=f"mixkd {version('mixkd')}: export",
        )  # fmt: skip
    except Exception as error:  # the Hub's own, and those of whatever it asks the network with
        text = f"the Hub refused {to} ({reason(error)}); the export is in {folder}"
        raise UserError.of("push", text) from error
    return str(repository)
