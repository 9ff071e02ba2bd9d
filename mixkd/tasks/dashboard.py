"""`mixkd dashboard`: the paper's panels in W&B, and a sweep file for W&B's agents."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from mixkd.config.logging import WANDB_NAME, WANDB_NAMED
from mixkd.errors import UserError, nearest, shown
from mixkd.files.writing import write_text
from mixkd.request import compose

KEYS = {
    "entity": "your W&B user or team; with it the workspace is saved there",
    "project": "of the runs; mixkd unless given",
    "out": "a folder for workspace.json and sweep.yaml",
}


def dashboard(words: Sequence[str]) -> str:
    """Save the workspace to W&B, or write it and the sweep file into a folder; say where.

    Args:
        words: `[entity=NAME] [project=NAME] [out=DIR]`, and overrides of `mixkd distill` for the
            sweep file.

    Raises:
        UserError: if neither is asked for, a package is missing, or W&B refuses.
    """
    given = {k: v for k, _, v in (word.partition("=") for word in words) if k in KEYS}
    more = [word for word in words if word.partition("=")[0] not in KEYS]
    if not {"entity", "out"} & given.keys():
        wrong = next((word.partition("=")[0] for word in more), "nothing")
        raise UserError.of(
            "dashboard",
            f"got {wrong}; takes {', '.join(f'{k}=' for k in KEYS)}{nearest(wrong, KEYS)}",
        )
    for key in given.keys() & {"entity", "project"}:
        if not re.search(WANDB_NAME, given[key]) or len(given[key]) > 128:
            raise UserError.of(key, f"got {shown(given[key])}; takes {WANDB_NAMED}")
    try:
        from mixkd.report.dashboard import as_json, sweep_file, workspace
    except ModuleNotFoundError as error:
        raise UserError.of(
            "dashboard", f"{error.name} is not installed; pip install 'mixkd[dashboard]'"
        ) from error
    if more:
        if "out" not in given:
            raise UserError.of(
                "out", "is missing; overrides are for the sweep file that goes there"
            )
        compose("distill", more)  # says what is wrong with them
    made = workspace(given.get("entity", "me"), given.get("project", "mixkd"))
    said = []
    if "out" in given:
        out = Path(os.path.expanduser(given["out"]))
        write_text(out / "workspace.json", as_json(made))
        write_text(out / "sweep.yaml", sweep_file(more))
        said += [f"{out}/workspace.json", f"{out}/sweep.yaml: wandb sweep --project PROJECT FILE"]
    if "entity" in given:
        try:
            said.append(made.save().url)
        except Exception as error:  # whatever W&B's client makes of a missing key or network
            text = f"W&B does not take it: {str(error).splitlines()[0]}; `wandb login` gives a key"
            raise UserError.of("entity", text) from error
    return "\n".join(said)
