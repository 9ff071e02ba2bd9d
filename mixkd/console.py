"""What a task says while it works, on standard error, and the machine that it works on."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from mixkd.hiding import hide


def is_leader() -> bool:
    """Return whether this is the first, or the only, process of a run: the one that writes."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def say(text: str) -> None:
    """Print a line of progress, from the first process only."""
    if is_leader():
        tell(hide(text), sys.stderr)


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print a text to standard output, or another stream, as a terminal may have it."""
    print(printable(text), file=stream or sys.stdout, flush=True)


def printable(text: str) -> str:
    """Return a text with what a terminal would obey, or cannot show, written as Python writes it.

    Names and errors may be a stranger's. Line breaks and tabs stay.
    """
    return re.sub(
        r"[^\n\t\x20-\x7e]",
        lambda found: found[0] if found[0].isprintable() else repr(found[0])[1:-1],
        text,
    )


def in_one_line(text: object) -> str:
    """Return a text for a cell of a table: printable, its line breaks too."""
    return printable(str(text)).replace("\n", "\\n").replace("\t", "\\t")


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
