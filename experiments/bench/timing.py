"""Pieces of work timed in turn, and the figures that come of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

Work = Callable[[], float]  # does it, and returns the seconds that count


@dataclass(frozen=True)
class Figure:
    """One result of a comparison.

    Attributes:
        what: it is of; the work that is above the line first.
        values: one a repeat.
        says: a sentence on it.
        target: what the median is held against; None where there is nothing to reach.
        unit: of the values; empty for ratios.
    """

    what: str
    values: tuple[float, ...]
    says: str
    target: tuple[Literal["at least", "at most"], float] | None = None
    unit: str = ""

    @property
    def median(self) -> float:
        """The middle one of the values."""
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the target; None where there is none."""
        if self.target is None:
            return None
        kind, bound = self.target
        return self.median >= bound if kind == "at least" else self.median <= bound


def timed(work: Callable[[], object]) -> Work:
    """Return the work, timed as a whole."""

    def run() -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return run


def in_turn(works: Mapping[str, Work], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each piece of work, by name, one a repeat.

    A first round is not counted. Each round starts with another piece, so that none always follows
    the same one.
    """
    names = list(works)
    times: dict[str, list[float]] = {name: [] for name in names}
    for k in range(repeats + 1):
        first = k % len(names)
        for name in names[first:] + names[:first]:
            seconds = works[name]()
            if k:
                times[name].append(seconds)
    return times


def ratios(above: list[float], below: list[float]) -> tuple[float, ...]:
    """Return above / below, repeat by repeat."""
    return tuple(a / b for a, b in zip(above, below, strict=True))
