"""What a process of a job does: it takes its share of the machine, and says all to the launcher."""

import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from mixkd.console import cores
from mixkd.data.contents import listed_once
from mixkd.launchers.job import Job, run_job


@dataclass(frozen=True)
class Place:
    """Where a process stands: in its job, and its job among those that run at once."""

    rank: int
    world: int
    port: int
    slot: int
    parallel: int


def work(job: Job, place: Place, environment: dict[str, str], parent: Connection) -> None:
    """Run a job in this process; send lines to print, and then how it ended.

    Args:
        job: what to run.
        place: where this process stands.
        environment: the launcher's variables.
        parent: where to send.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores both
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setsid()
    # The job's own processes, such as loaders' workers, start in the usual way, not as this one.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    os.environ.pop("WANDB_SERVICE", None)  # the launcher's own, if it logs too
    if place.world > 1:
        os.environ |= {
            "RANK": str(place.rank), "LOCAL_RANK": str(place.rank), "NODE_RANK": "0",
            "WORLD_SIZE": str(place.world), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(place.port),
        }  # fmt: skip
    lock = threading.RLock()
    streams = _Lines(parent, "out", lock), _Lines(parent, "err", lock)
    sys.stdout, sys.stderr = streams
    sys.argv = ["mixkd", job.command, *job.overrides]  # for provenance.json: what to type again
    _take_share(place)
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    overrides = [*job.overrides, *job.more]
    with listed_once(job.inventory):
        outcome = run_job(job.command, overrides, full, makes_teacher=False, waits=job.waits)
    for stream in streams:
        stream.end()
    if "wandb" in sys.modules:  # a process of this kind leaves without calling what is registered
        sys.modules["wandb"].teardown()
    with lock:
        parent.send(("outcome", outcome))
        parent.close()
    sys.exit(outcome.status)


def _end_with_parent() -> None:
    """End this process and those it has started when the launcher is no more."""
    launcher = multiprocessing.parent_process()
    assert launcher is not None
    launcher.join()
    os.killpg(0, signal.SIGKILL)


def _take_share(place: Place) -> None:
    """Compute with this process's share of the cores and its job's share of the GPUs."""
    import torch

    processes = place.world * place.parallel
    if processes > 1:
        torch.set_num_threads(max(cores() // processes, 1))
    if place.parallel > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",") if visible else [str(k) for k in range(torch.cuda.device_count())]
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(share(gpus, place.slot, place.world))


def share(gpus: Sequence[str], slot: int, devices: int) -> list[str]:
    """Return the GPUs of one of several jobs that run at once; jobs share them if they are few."""
    return [gpus[(slot * devices + k) % len(gpus)] for k in range(min(devices, len(gpus)))]


class _Lines(io.TextIOBase):
    """A stream that sends whole lines to the launcher, which prints them."""

    def __init__(self, parent: Connection, kind: str, lock: Any) -> None:
        self._parent, self._kind, self._lock, self._rest = parent, kind, lock, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._send(line)
        return len(text)

    def end(self) -> None:
        """Send what is left without an end of line."""
        if self._rest:
            self.write("\n")

    def _send(self, line: str) -> None:
        if not self._parent.closed:
            self._parent.send((self._kind, line))
