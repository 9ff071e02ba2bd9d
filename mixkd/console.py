"""What a task says while it works, on standard error, and the machine that it works on."""

import os
import sys


def is_leader() -> bool:
    """Return whether this is the first, or the only, process of a run: the one that writes."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def say(text: str) -> None:
    """Print a line of progress, from the first process only."""
    if is_leader():
        print(text, file=sys.stderr, flush=True)


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
