"""What a task says while it works, on standard error, and the machine that it works on."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mixkd.redact import redact


def is_leader() -> bool:
    """Return whether this is the first, or the only, process of a run: the one that writes."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def say(text: str) -> None:
    """Print a line of progress, from the first process only."""
    if is_leader():
        tell(redact(text), sys.stderr)


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print a text to standard output, or another stream, as a terminal may have it."""
    print(printable(text), file=stream or sys.stdout, flush=True)


def printable(text: str) -> str:
    """Return a text with what a terminal would obey, or cannot show, written as Python writes it.

    Names and errors may be a stranger's. Line breaks and tabs stay.
    """
    return re.sub(
        r"[^\n\t\x20-\x7e]",
        lambda match: match[0] if match[0].isprintable() else repr(match[0])[1:-1],
        text,
    )


def in_one_line(text: object) -> str:
    """Return a text for a cell of a table: printable, its line breaks too."""
    return printable(str(text)).replace("\n", "\\n").replace("\t", "\\t")


# What begins a line that is told once, however many jobs and processes have the same to say.
NOTE = "note: "
_noted: set[str] = set()


def note(text: str, about: str = "") -> None:
    """Print a line once a command; of several lines `about` one thing, only the first."""
    if (about or text) not in _noted:
        _noted.add(about or text)
        say(NOTE + text)


def forget_notes() -> None:
    """Let notes be told again, by the next command."""
    _noted.clear()


def available_memory() -> int:
    """Return how many bytes of memory this process may yet take."""
    return min(_memory_of_machine(), _memory_of_group())


def _memory_of_machine() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = dict(line.split(":", 1) for line in lines)
        return int(kilobytes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):  # not Linux: the whole memory, in use or not
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _memory_of_group() -> int:
    """Return how many bytes a container may yet take; what its cached files take counts as free."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / f"memory.{name}").read_text() for name in ("max", "current"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return int(limit) - int(used) + int(stat.get("file", 0))
    except (OSError, ValueError):  # no such group, or its limit is the word max: there is none
        return sys.maxsize


def cores() -> int:
    """Return how many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def on_signal(action: Any, *numbers: signal.Signals) -> Iterator[None]:
    """Do something else at signals for a while, in the main thread, which alone can ask for it."""
    if threading.current_thread() is not threading.main_thread():
        numbers = ()
    before = [(number, signal.signal(number, action)) for number in numbers]
    try:
        yield
    finally:
        for number, former in before:
            signal.signal(number, signal.SIG_DFL if former is None else former)
