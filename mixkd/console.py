"""What a task says while it works, on standard error."""

import os
import sys


def is_leader() -> bool:
    """Return whether this is the first, or the only, process of a run: the one that writes."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def say(text: str) -> None:
    """Print a line of progress, from the first process only."""
    if is_leader():
        print(text, file=sys.stderr, flush=True)
