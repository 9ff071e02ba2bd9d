"""What a task says while it works, on standard error."""

import os
import sys


def say(text: str) -> None:
    """Print a line of progress, from the first process of a run only."""
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":
        print(text, file=sys.stderr, flush=True)
