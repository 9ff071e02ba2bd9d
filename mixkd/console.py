"""What a task says while it works, on standard error, and the machine that it works on."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mixkd.hiding import hide


def is_leader() -> bool:
    """Return whether this is the first, or the only, process of a run: the one that writes."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def say(text: str) -> None:
    """Print a line of progress, from the first process only."""
    if is_leader():
        print(hide(text), file=sys.stderr, flush=True)


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def on_signal(action: Any, *numbers: signal.Signals) -> Iterator[None]:
    """Do something else at signals for a while; nothing but the main thread can say what."""
    own = threading.current_thread() is threading.main_thread()
    before = [(number, signal.signal(number, action)) for number in numbers if own]
    try:
        yield
    finally:
        for number, former in before:
            signal.signal(number, signal.SIG_DFL if former is None else former)
