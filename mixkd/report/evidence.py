"""Comparisons of quantities: what holds, what fails, and what the numbers cannot decide.

Printed numbers are compared as they are printed. Measured ones are compared seed by seed: a
difference is decided if the 95 % Student-t interval of its mean, over at least three seeds that
both have, excludes 0. A teacher of one seed is one fixed network, on which all students' seeds
depend: beside them, and beside a fixed number, it counts by its value; two such teachers are two
draws of one seed each, and their difference is not decided.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from scipy.stats import kendalltau
from scipy.stats import t as student_t

from mixkd.metrics.correlation import LEAST

State = Literal["holds", "fails", "undecided", "missing", "left out", "void"]
Sign = Literal["<", ">", ">="]

SEEDS = 3  # that an interval takes
TINY = 1e-9  # equal up to rounding in float64


@dataclass(frozen=True)
class Quantity:
    """A number, or one a seed.

    Attributes:
        by_seed: the values; none where it is missing.
        kind: `exact`, printed or a constant; `fixed`, of one network; or of `seeds`.
        digits: after the point.
        label: what is said after the number, such as "at 4".
        left_out: of a missing one, whether nobody meant to measure it.
    """

    by_seed: dict[int, float]
    kind: Literal["exact", "fixed", "seeds"]
    digits: int = 4
    label: str = ""
    left_out: bool = False

    @property
    def mean(self) -> float:
        """The mean over seeds; NaN where it is missing."""
        return fmean(self.by_seed.values()) if self.by_seed else math.nan

    def at(self, seed: int) -> float:
        """Return its value beside those of a seed."""
        return self.by_seed[seed] if self.kind == "seeds" else next(iter(self.by_seed.values()))

    def __str__(self) -> str:
        return f"{self.mean:.{self.digits}f} {self.label}".rstrip()


def constant(value: float, digits: int = 0, label: str = "") -> Quantity:
    """Return a number that is given."""
    return Quantity({0: value}, "exact", digits, label)


def combined(
    function: Callable[..., float], *parts: Quantity, digits: int = 4, label: str = ""
) -> Quantity:
    """Return a function of quantities, seed by seed; missing where no seed has them all."""
    by_seed = {seed: function(*(part.at(seed) for part in parts)) for seed in common(*parts)}
    kinds = {part.kind for part in parts}
    kind = next(kind for kind in ("seeds", "fixed", "exact") if kind in kinds)
    return Quantity(by_seed, kind, digits, label, any(part.left_out for part in parts))


def common(*parts: Quantity) -> list[int]:
    """Return the seeds that all quantities have; 0 where none of them has several."""
    if not all(part.by_seed for part in parts):
        return []
    several = [set(part.by_seed) for part in parts if part.kind == "seeds"]
    return sorted(set.intersection(*several)) if several else [0]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % Student-t interval of a mean; without ends for fewer than three values."""
    n = len(values)
    if n < SEEDS or not all(map(math.isfinite, values)):
        return -math.inf, math.inf
    half = float(student_t.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n)
    return fmean(values) - half, fmean(values) + half


@dataclass(frozen=True)
class Figure:
    """A comparison: what it decides, the numbers, and how far apart they are.

    `void` is one that rests on numbers that cannot be right.
    """

    state: State
    text: str
    margin: float = math.inf

    def called(self, name: str) -> "Figure":
        """Return it with a name in front."""
        return Figure(self.state, f"{name} {self.text}", self.margin)


MISSING = Figure("missing", "missing")
LEFT_OUT = Figure("left out", "left out")


def compare(left: Quantity, sign: Sign, right: Quantity) -> Figure:
    """Return whether `left sign right`; the text has the relation that was found."""
    if not (left.by_seed and right.by_seed):
        return LEFT_OUT if left.left_out or right.left_out else MISSING
    seeds = common(left, right)
    difference = [left.at(seed) - right.at(seed) for seed in seeds]
    if {left.kind, right.kind} == {"fixed"}:
        low, high, note = -math.inf, math.inf, " (one network each)"
    elif "seeds" not in (left.kind, right.kind):
        low = high = difference[0]
        note = " (one fixed network)" if "fixed" in (left.kind, right.kind) else ""
    else:
        low, high = interval(difference)
        note = _interval_text(difference, low, high, max(left.digits, right.digits))
    is_exact = "seeds" not in (left.kind, right.kind) and low == high
    found = ">" if low > TINY else "<" if high < -TINY else "=" if is_exact else "beside"
    state: State = "undecided"
    if found != "beside":
        state = "holds" if found in sign else "fails"
    margin = abs(left.mean - right.mean)
    return Figure(state, f"{left} {found} {right}{note}", margin)


def within(value: Quantity, least: float, most: float) -> Figure:
    """Return whether a quantity lies in [least, most]: by its value, or by its interval."""
    if not value.by_seed:
        return LEFT_OUT if value.left_out else MISSING
    values = list(value.by_seed.values())
    if value.kind == "seeds":
        low, high = interval(values)
        note = _interval_text(values, low, high, value.digits, signed=False)
    else:
        low = high = values[0]
        note = ""
    inside = least - TINY <= low and high <= most + TINY
    outside = high < least - TINY or low > most + TINY
    state: State = "holds" if inside else "fails" if outside else "undecided"
    word = {"holds": "in", "fails": "not in", "undecided": "beside"}[state]
    limits = f"[{least:.{value.digits}f}, {most:.{value.digits}f}]"
    margin = min(abs(value.mean - least), abs(value.mean - most))
    return Figure(state, f"{value}, {word} {limits}{note}", margin)


def _interval_text(
    values: Sequence[float], low: float, high: float, digits: int, signed: bool = True
) -> str:
    """Return what an interval is of, in brackets."""
    n, sign = len(values), "+" if signed else ""
    count = f"{n} seed{'s' * (n != 1)}"
    if n == 0:
        return " (no seed in common)"
    if math.isinf(low):
        return f" ({count}; takes {SEEDS})"
    mean = f"{fmean(values):{sign}.{digits}f} " if signed else ""
    return f" ({mean}[{low:{sign}.{digits}f}, {high:{sign}.{digits}f}], {count})"


@dataclass(frozen=True)
class Item:
    """One case of a claim: it holds if all of its comparisons do."""

    label: str
    figures: tuple[Figure, ...]

    @property
    def state(self) -> State:
        """What the comparisons decide together; what fails decides alone."""
        states = {figure.state for figure in self.figures}
        order: tuple[State, ...] = (
            "fails", "void", "left out", "missing", "undecided", "holds",
        )  # fmt: skip
        return next(state for state in order if state in states)

    @property
    def margin(self) -> float:
        """By how much the closest of the comparisons is decided."""
        return min(figure.margin for figure in self.figures)

    @property
    def text(self) -> str:
        """The comparisons that decide, three of them; of an item that holds, the closest."""
        own = [figure for figure in self.figures if figure.state == self.state]
        if self.state == "holds":
            own = [min(own, key=lambda figure: figure.margin)]
        more = f", and {len(own) - 3} more" if len(own) > 3 else ""
        return f"{self.label}: {', '.join(figure.text for figure in own[:3])}{more}"


def together(*figures: Figure) -> Figure:
    """Return comparisons that are read as one: all have to hold."""
    whole = Item("", figures)
    return Figure(whole.state, ", ".join(figure.text for figure in figures), whole.margin)


def given(premise: Figure, then: Figure) -> Figure:
    """Return what follows from a premise; nothing is decided unless the premise holds."""
    whole = together(premise, then)
    state = then.state if premise.state == "holds" else premise.state
    return Figure(state, whole.text, whole.margin)


class Ranked(NamedTuple):
    """A network, and the two quantities by which it ranks."""

    name: str
    first: Quantity
    second: Quantity


def ranking(label: str, rows: Sequence[Ranked], first: str, second: str) -> Item:
    """Return whether two quantities rank networks alike.

    Printed numbers have to be in one and the same order. Of measured means, five or more, Kendall's
    tau has to be positive with a two-sided p below 0.05; it fails if tau is negative with such a p.

    Args:
        label: of the item.
        rows: the networks; those that lack a quantity are left out.
        first: what the first quantity is called.
        second: what the second one is called.
    """
    known = [row for row in rows if row.first.by_seed and row.second.by_seed]
    if len(known) < 2:
        return Item(label, (MISSING,))
    names, xs, ys = zip(*known, strict=True)
    text = f"by {first} {_falling(names, xs)}; by {second} {_falling(names, ys)}"
    x, y = [quantity.mean for quantity in xs], [quantity.mean for quantity in ys]
    state: State = "undecided"
    if all(row.first.kind == row.second.kind == "exact" for row in known):
        pairs = combinations(zip(x, y, strict=True), 2)
        alike = all((a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in pairs)
        state = "holds" if alike else "fails"
    elif len(known) < LEAST:
        text += f" ({len(known)} networks; takes {LEAST})"
    else:
        tau, p = kendalltau(x, y)
        if p < 0.05:
            state = "holds" if tau > 0 else "fails"
        text += f" (tau {tau:+.2f}, p {p:.3f})"
    return Item(label, (Figure(state, text),))


def _falling(names: Sequence[str], values: Sequence[Quantity]) -> str:
    """Return networks with their values, the greatest first."""
    ordered = sorted(zip(names, values, strict=True), key=lambda pair: -pair[1].mean)
    return " > ".join(f"{name} {value}" for name, value in ordered)
