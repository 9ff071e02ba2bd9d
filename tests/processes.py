"""`mixkd` in a process of its own, as a shell starts it but for how its imports come about.

A fresh interpreter takes longer to import torch and Lightning than most tests take. So a process is
forked from the server that `mixkd` itself forks jobs from, one for all tests of a worker; where the
command starts such a server, that is a fork as well, of the command, which has imported as much.
Processes, their groups, their signals and exit statuses are those of a command in a shell; but it
ends without Python's own end, such as what `atexit` does: what is tested there is not for these.
"""

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from multiprocessing import util
from multiprocessing.connection import Connection
from typing import Any, TextIO

from mixkd import cli
from mixkd.launchers.local import _fork_server


class Process:
    """A process that was started: what tests use of `subprocess.Popen`.

    Attributes:
        pid: its number; it leads a group of this number.
        stderr: its standard error.
    """

    def __init__(self, process: Any, stderr: TextIO) -> None:
        self._process, self.pid, self.stderr = process, process.pid, stderr

    def poll(self) -> int | None:
        """Return its exit status, less than 0 for a signal's; None while it runs."""
        status: int | None = self._process.exitcode
        return status

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, `timeout` seconds at most."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise TimeoutError(f"it runs after {timeout} s")
        return status

    def signal(self, number: int) -> None:
        """Send a signal to the process alone, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


@contextmanager
def forked(function: Callable[..., object], *arguments: object) -> Iterator[Process]:
    """Start a process that calls a function of a module; end it in the end, if it has not ended."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    context = _fork_server({"finetune", "distill", "evaluate"})
    child = context.Process(target=_call, args=(dict(os.environ), sender, function, arguments))
    child.start()
    sender.close()
    with open(os.dup(receiver.fileno())) as stderr:
        receiver.close()
        process = Process(child, stderr)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.signal(signal.SIGKILL)
            process.wait()


def started(*words: str) -> AbstractContextManager[Process]:
    """Start `mixkd WORDS`, as `forked` does."""
    return forked(run_command, *words)


def _call(
    environment: dict[str, str],
    stderr: Connection,
    function: Callable[..., object],
    arguments: Sequence[object],
) -> None:
    """Make this process, forked from the server, what one is that a shell has started."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores both
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    multiprocessing.set_start_method(None, force=True)
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    util.spawnv_passfds = _fork  # type: ignore[attr-defined]
    function(*arguments)


def run_command(*words: str) -> None:
    """Run `mixkd WORDS` in this process, and leave it."""
    sys.argv = ["mixkd", *words]
    cli.main()


def _fork(path: str, arguments: Sequence[str], kept: Sequence[int]) -> int:
    """Do what multiprocessing starts as `python ... -c CODE`, in a fork; return its number."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and int(name) not in kept:
                with suppress(OSError):  # the folder itself, which is closed by now
                    os.close(int(name))
        exec(arguments[-1], {})
        status = 0
    except SystemExit:
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)
