"""What makes a function a task: its run, which is made once the data that name it are there."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Protocol, TypeVar

from mixkd.config.data import CorruptedDataConfig
from mixkd.config.tasks import Config, EvaluateConfig, EvaluateLogitsConfig
from mixkd.runs.identity import lacks_data
from mixkd.runs.run import Metrics, Run
from mixkd.runs.sources import tell_changed

C = TypeVar("C", bound=Config, contravariant=True)


class Task(Protocol[C]):
    """The work of a command."""

    def __call__(self, cfg: C, run: Run | None = None) -> Metrics:
        """Do it in the run of a configuration; return the metrics."""


def task(work: Callable[[C, Run], Metrics]) -> Task[C]:
    """Return work that opens its run where none is given, and does not repeat a finished one."""

    @wraps(work)
    def in_its_run(cfg: C, run: Run | None = None) -> Metrics:
        run = run or open_run(cfg)
        finished = run.finished_metrics()
        if finished is not None:
            return finished
        with _process_group_closed():
            return work(cfg, run)

    return in_its_run


# By which processes meet; Lightning sets them for a single one too.
MEETING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK")


@contextmanager
def _process_group_closed() -> Iterator[None]:
    """Close the process group of a single process, as of strategy=ddp, which Lightning leaves open.

    What is started later would take itself for one of several processes. Those end with their job.
    """
    before = {*os.environ}
    try:
        yield
    finally:
        from torch import distributed  # the work has imported it

        is_open = distributed.is_available() and distributed.is_initialized()
        if is_open and distributed.get_world_size() == 1:
            distributed.destroy_process_group()
            for name in {*MEETING} - before:
                os.environ.pop(name, None)


def open_run(cfg: Config) -> Run:
    """Return the run of a configuration; first fetch or unpack the data that name it."""
    if lacks_data(cfg):
        _make_data(cfg)
    run = Run(cfg)
    tell_changed(cfg, run.sources)
    return run


def _make_data(cfg: Config) -> None:
    from mixkd.data.corrupted import make_arrays  # these take seconds to import
    from mixkd.data.sources import unpack
    from mixkd.data.splits import load_splits
    from mixkd.evaluation.analysis import shipped_of

    assert not isinstance(cfg, EvaluateLogitsConfig)
    if isinstance(cfg.data, CorruptedDataConfig):
        make_arrays(cfg.data)
    else:
        unpack(cfg.data)
    if isinstance(cfg, EvaluateConfig) and lacks_data(cfg):
        splits = load_splits(cfg.data)
        for analysis in shipped_of(cfg):  # which refuse those of other classes first
            if any(analysis.section.further_data(cfg.data)):
                analysis.prepare(cfg, splits)
