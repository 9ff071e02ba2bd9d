"""How far a run has come, in status.json, and whether a process works on it, by its lock."""

import os
import socket
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mixkd.console import say
from mixkd.files.layout import LOCK, STATUS
from mixkd.files.writing import read_json, write_json
from mixkd.redact import redact

KEPT = ("started", "stage", "epoch", "max_epochs")  # from one state to the next


def read_status(directory: Path) -> dict[str, Any]:
    """Return status.json of a run directory, or an empty dict where there is none."""
    try:
        return read_json(directory / STATUS, "run.dir")
    except FileNotFoundError:
        return {}


def write_status(directory: Path, state: str, **more: Any) -> None:
    """Write status.json of a run directory: state, process, host, what is given; keep how far."""
    before = read_status(directory)
    status = {"state": state, "pid": os.getpid(), "host": socket.gethostname()}
    status |= {key: before[key] for key in KEPT if key in before}
    write_json(directory / STATUS, status | redact(more))


def worker(directory: Path) -> str:
    """Return what is said of the process that works in a run directory."""
    pid = read_status(directory).get("pid")
    return f"process {pid}" if pid else "another process"


def wait_until_free(directory: Path) -> None:
    """Wait as long as a living process works in a run directory; say so once."""
    if is_held(directory):
        say(f"waiting for {directory}, which {worker(directory)} makes")
    while is_held(directory):
        time.sleep(1)


def is_held(directory: Path) -> bool:
    """Return whether a living process works in a run directory; true where it cannot be known."""
    path = directory / LOCK
    if path.is_symlink() or not path.is_file():  # a stranger's: nobody has locked it
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, PermissionError):  # of a run that is not ours, what it says itself counts
        return True
    lock.release()
    return False
