"""Comparisons of quantities: what holds, what fails, and what the numbers cannot decide.

Printed numbers are compared as they are printed. Measured ones are compared seed by seed: a
difference is decided if the Student-t interval of its mean, over at least three seeds that both
have, excludes 0. Where a quantity has standard errors of its own, as those over the pairs of images
that a gain in linearity is taken between, they widen the interval: all seeds share the images. A
teacher of one seed is one fixed network, on which all students' seeds depend: beside them, and
beside a fixed number, it counts by its value, give or take such an error; two such teachers are two
draws of one seed each, and their difference is not decided.

Intervals are of 95 %, unless the quantities say more: `claims` asks for more where a claim makes
several comparisons.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from statistics import NormalDist, fmean, stdev
from typing import Literal, NamedTuple

from scipy.stats import kendalltau
from scipy.stats import t as student_t

from .correlation import LEAST_NETWORKS

State = Literal["holds", "fails", "undecided", "missing", "left out", "void"]
Sign = Literal["<", ">", ">="]

LEAST_SEEDS = 3  # that an interval takes
LEVEL = 0.95  # of the interval of one comparison
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
        errors: the standard error of each seed's value, where it has one.
        level: of the intervals of comparisons with it.
    """

    by_seed: dict[int, float]
    kind: Literal["exact", "fixed", "seeds"]
    digits: int = 4
    label: str = ""
    left_out: bool = False
    errors: Mapping[int, float] = field(default_factory=dict)
    level: float = LEVEL

    @property
    def mean(self) -> float:
        """The mean over seeds; NaN where it is missing."""
        return fmean(self.by_seed.values()) if self.by_seed else math.nan

    @property
    def error(self) -> float:
        """The mean of the seeds' standard errors: that of the mean over seeds of shared images."""
        return fmean(self.errors.values()) if self.errors else 0.0

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
    left_out = any(part.left_out for part in parts)
    level = max(part.level for part in parts)
    return Quantity(by_seed, kind, digits, label, left_out, level=level)


def common(*parts: Quantity) -> list[int]:
    """Return the seeds that all quantities have; 0 where none of them has several."""
    if not all(part.by_seed for part in parts):
        return []
    several = [set(part.by_seed) for part in parts if part.kind == "seeds"]
    return sorted(set.intersection(*several)) if several else [0]


def interval(
    values: Sequence[float], level: float = LEVEL, error: float = 0.0
) -> tuple[float, float]:
    """Return the Student-t interval of a mean; without ends for fewer than three values.

    Args:
        values: one a seed.
        level: how much of the distribution it holds.
        error: a standard error that all values share, and that their spread does not show.
    """
    n = len(values)
    if n < LEAST_SEEDS or not all(map(math.isfinite, values)):
        return -math.inf, math.inf
    whole = math.hypot(stdev(values) / math.sqrt(n), error)
    half = float(student_t.ppf((1 + level) / 2, n - 1)) * whole
    return fmean(values) - half, fmean(values) + half


@dataclass(frozen=True)
class Decision:
    """A comparison: what it decides, the numbers, and how far apart they are.

    `void` is one that rests on numbers that cannot be right. `tests` is how many intervals or p
    values it takes: what chance alone may decide.
    """

    state: State
    text: str
    margin: float = math.inf
    tests: int = 0

    def called(self, name: str) -> "Decision":
        """Return it with a name in front."""
        return replace(self, text=f"{name} {self.text}")


MISSING = Decision("missing", "missing")
LEFT_OUT = Decision("left out", "left out")


def decide(left: Quantity, sign: Sign, right: Quantity) -> Decision:
    """Return whether `left sign right`; the text has the relation that was found."""
    if not (left.by_seed and right.by_seed):
        return LEFT_OUT if left.left_out or right.left_out else MISSING
    seeds = common(left, right)
    difference = [left.at(seed) - right.at(seed) for seed in seeds]
    level, error = max(left.level, right.level), math.hypot(left.error, right.error)
    if {left.kind, right.kind} == {"fixed"}:
        low, high, note = -math.inf, math.inf, " (one network each)"
    elif "seeds" not in (left.kind, right.kind):
        half = NormalDist().inv_cdf((1 + level) / 2) * error
        low, high = difference[0] - half, difference[0] + half
        note = ""
        if "fixed" in (left.kind, right.kind):
            note = f" (one fixed network{f', s.e. {error:.4f}' if error else ''})"
    else:
        low, high = interval(difference, level, error)
        note = _interval_text(difference, low, high, max(left.digits, right.digits), error=error)
    is_exact = "seeds" not in (left.kind, right.kind) and low == high
    relation = ">" if low > TINY else "<" if high < -TINY else "=" if is_exact else "beside"
    state: State = "undecided"
    if relation != "beside":
        state = "holds" if relation in sign else "fails"
    margin = abs(left.mean - right.mean)
    tests = int(math.isfinite(low) and ("seeds" in (left.kind, right.kind) or error > 0))
    return Decision(state, f"{left} {relation} {right}{note}", margin, tests)


def within(value: Quantity, least: float, most: float) -> Decision:
    """Return whether a quantity lies in [least, most]: by its value, or by its interval."""
    if not value.by_seed:
        return LEFT_OUT if value.left_out else MISSING
    values = list(value.by_seed.values())
    if value.kind == "seeds":
        low, high = interval(values, value.level, value.error)
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
    tests = int(value.kind == "seeds" and math.isfinite(low))
    return Decision(state, f"{value}, {word} {limits}{note}", margin, tests)


def _interval_text(
    values: Sequence[float],
    low: float,
    high: float,
    digits: int,
    signed: bool = True,
    error: float = 0.0,
) -> str:
    """Return what an interval is of, in brackets."""
    n, sign = len(values), "+" if signed else ""
    count = f"{n} seed{'s' * (n != 1)}{f', s.e. {error:.4f}' if error else ''}"
    if n == 0:
        return " (no seed in common)"
    if math.isinf(low):
        return f" ({count}; takes {LEAST_SEEDS})"
    mean = f"{fmean(values):{sign}.{digits}f} " if signed else ""
    return f" ({mean}[{low:{sign}.{digits}f}, {high:{sign}.{digits}f}], {count})"


@dataclass(frozen=True)
class Item:
    """One case of a claim: it holds if all of its comparisons do.

    `is_repeated` tells that several cases have one printed number, and are this one.
    """

    label: str
    decisions: tuple[Decision, ...]
    is_repeated: bool = False

    @property
    def state(self) -> State:
        """What the comparisons decide together; what fails decides alone."""
        states = {decision.state for decision in self.decisions}
        order: tuple[State, ...] = (
            "fails", "void", "left out", "missing", "undecided", "holds",
        )  # fmt: skip
        return next(state for state in order if state in states)

    @property
    def margin(self) -> float:
        """By how much the closest of the comparisons is decided."""
        return min(decision.margin for decision in self.decisions)

    @property
    def tests(self) -> int:
        """How many intervals and p values its comparisons take."""
        return sum(decision.tests for decision in self.decisions)

    @property
    def text(self) -> str:
        """The comparisons that decide, three of them; of an item that holds, the closest."""
        deciding = [decision for decision in self.decisions if decision.state == self.state]
        if self.state == "holds":
            deciding = [min(deciding, key=lambda decision: decision.margin)]
        more = f", and {len(deciding) - 3} more" if len(deciding) > 3 else ""
        return f"{self.label}: {', '.join(decision.text for decision in deciding[:3])}{more}"


def together(*decisions: Decision) -> Decision:
    """Return comparisons that are read as one: all have to hold."""
    whole = Item("", decisions)
    text = ", ".join(decision.text for decision in decisions)
    return Decision(whole.state, text, whole.margin, whole.tests)


def given(premise: Decision, then: Decision) -> Decision:
    """Return what follows from a premise; nothing is decided unless the premise holds."""
    whole = together(premise, then)
    return replace(whole, state=then.state if premise.state == "holds" else premise.state)


class Ranked(NamedTuple):
    """A network, and the two quantities by which it ranks."""

    name: str
    first: Quantity
    second: Quantity


def ranking(label: str, rows: Sequence[Ranked], first: str, second: str) -> Item:
    """Return whether two quantities rank networks alike: whether two orders are one.

    Printed numbers have to be in one and the same order: a pair that is not contradicts a sentence
    that says so, however few networks there are. Measured means are judged as in `correlation`.

    Args:
        label: of the item.
        rows: the networks; those that lack a quantity are left out.
        first: what the first quantity is called.
        second: what the second one is called.
    """
    complete = _complete(rows)
    if len(complete) < 2:
        return Item(label, (MISSING,))
    if not _is_printed(complete):
        return Item(label, (_correlated(complete, first, second),))
    state: State = "holds" if all(map(_is_alike, combinations(complete, 2))) else "fails"
    return Item(label, (Decision(state, _orders(complete, first, second)),))


def correlation(label: str, rows: Sequence[Ranked], first: str, second: str) -> list[Item]:
    """Return whether one quantity rises with another over networks, more often than not.

    Of five or more, printed or measured, Kendall's tau has to be positive with a two-sided p below
    0.05; it fails if tau is negative with such a p. No order of fewer has such a p. Of fewer that
    are printed there is an item a pair, all of them undecided unless pairs go both ways.

    Args:
        label: of the item.
        rows: the networks; those that lack a quantity are left out.
        first: what the first quantity is called.
        second: what the second one is called.
    """
    complete = _complete(rows)
    if len(complete) < 2:
        return [Item(label, (MISSING,))]
    if len(complete) >= LEAST_NETWORKS or not _is_printed(complete):
        return [Item(label, (_correlated(complete, first, second),))]
    pairs = []
    for pair in combinations(complete, 2):
        decision = Decision("holds" if _is_alike(pair) else "fails", _orders(pair, first, second))
        pairs.append(Item(label, (decision,)))
    return unless_few(pairs, len(complete))


def unless_few(items: Sequence[Item], networks: int) -> list[Item]:
    """Return items that tell how networks rank; of fewer than five, undecided if they all agree.

    That some pairs of networks go one way and some the other is seen in three; that all go one way
    is no rarer than one in twelve by chance, of four.

    Args:
        items: such as pairs of networks.
        networks: how many there are.
    """
    if networks >= LEAST_NETWORKS or {"holds", "fails"} <= {item.state for item in items}:
        return list(items)
    few = f" ({networks} networks; takes {LEAST_NETWORKS})"
    return [
        replace(item, decisions=(replace(whole, state="undecided", text=whole.text + few),))
        if (whole := together(*item.decisions)).state in ("holds", "fails")
        else item
        for item in items
    ]


def _complete(rows: Sequence[Ranked]) -> list[Ranked]:
    return [row for row in rows if row.first.by_seed and row.second.by_seed]


def _is_printed(rows: Sequence[Ranked]) -> bool:
    return all(row.first.kind == row.second.kind == "exact" for row in rows)


def _is_alike(pair: Sequence[Ranked]) -> bool:
    """Return whether both quantities put two networks in one order."""
    a, b = pair
    return (a.first.mean - b.first.mean) * (a.second.mean - b.second.mean) > 0


def _correlated(rows: Sequence[Ranked], first: str, second: str) -> Decision:
    """Return whether Kendall's tau of five or more networks tells of a correlation."""
    text = _orders(rows, first, second)
    if len(rows) < LEAST_NETWORKS:
        return Decision("undecided", f"{text} ({len(rows)} networks; takes {LEAST_NETWORKS})")
    x, y = [row.first.mean for row in rows], [row.second.mean for row in rows]
    tau, p = kendalltau(x, y)
    state: State = "undecided" if not p < 1 - LEVEL else "holds" if tau > 0 else "fails"
    return Decision(state, f"{text} (tau {tau:+.2f}, p {p:.3f})", tests=1)


def _orders(rows: Sequence[Ranked], first: str, second: str) -> str:
    """Return networks with their values, the greatest first, by both quantities."""
    names, xs, ys = zip(*rows, strict=True)
    return f"by {first} {_falling(names, xs)}; by {second} {_falling(names, ys)}"


def _falling(names: Sequence[str], values: Sequence[Quantity]) -> str:
    """Return networks with their values, the greatest first."""
    ordered = sorted(zip(names, values, strict=True), key=lambda pair: -pair[1].mean)
    return " > ".join(f"{name} {value}" for name, value in ordered)
