"""The claims ledger: each claim judged by the paper's printed numbers, and by ours."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from mixkd.report.cells import Cell, Cells, Key, Subject
from mixkd.report.table import Column, Table

from .evidence import LEVEL, Item, State
from .feasible import infeasible
from .reference import Claim, Kind, Reference
from .rules import RULES, View

Verdict = Literal["supported", "refuted", "mixed", "inconsistent", "underpowered", "not measured"]

ITEMS_SHOWN = 4  # items of one kind in the text of a judgement

CAPTION = (
    "Each claim by the paper's printed numbers, as they are printed, and by the measured ones. "
    "Supported: every case holds. Refuted: a case fails; of a tendency, every case. Mixed: some "
    "cases of a tendency hold, some fail. Inconsistent: the numbers contradict one another. "
    "Underpowered: the numbers cannot tell; a measured difference takes three seeds and an "
    "interval without 0, a ranking five networks and p < 0.05; a teacher is one network, whose own "
    "numbers count as they are, give or take a standard error where they have one. Not measured: a "
    "number is missing. What a scale leaves out does not count, and data sets that stand on the "
    "same runs count once. A claim is supported if all of its cases hold by 95 % intervals: "
    "that all do by chance is no likelier than that one does. Whatever else its n comparisons say, "
    "they say by intervals of 100 - 5/n % (Bonferroni's correction within the claim), those shown."
)


@dataclass(frozen=True)
class Judgement:
    """What some numbers say of a claim.

    Attributes:
        verdict: one of six words.
        items: the cases that were looked at, with their numbers.
        text: those that decide, for people.
        runs: the run directories that the numbers come from.
    """

    verdict: Verdict
    items: tuple[Item, ...]
    text: str
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A claim, by the paper's printed numbers and by the measured ones."""

    claim: Claim
    printed: Judgement
    measured: Judgement


def judge(
    reference: Reference,
    measured: Cells,
    names: Mapping[str, str] | None = None,
    goes_without: Callable[[Subject], bool] = lambda subject: False,
) -> list[Judged]:
    """Judge every claim twice.

    Args:
        reference: the claims, and the printed numbers.
        measured: ours.
        names: what our networks and data sets are called, by the paper's names for them.
        goes_without: whether we have left a network out on purpose: its cases do not count.
    """
    return [
        Judged(
            claim,
            by_print(reference, claim),
            by_measurement(reference, claim, measured, names, goes_without),
        )
        for claim in reference.claims
    ]


def by_print(reference: Reference, claim: Claim) -> Judgement:
    """Judge a claim by what its artefacts print.

    Where they print different numbers for one quantity, every combination of them is judged; the
    claim is inconsistent if its verdict depends on which of them is right.
    """
    printed = reference.cells_of(*claim.sources)
    options = {key: different(cells) for key, cells in printed.items()}
    cells = {key: values[0] for key, values in options.items()}
    void = {fault.subject: fault.text for fault in infeasible(printed)}
    view = View(reference, cells, True, void, {})
    RULES[claim.id](view, claim)
    several = [key for key in view.read if len(options.get(key, ())) > 1]
    verdicts: dict[Verdict, None] = {}
    items: dict[Item, None] = {}
    for choice in product(*(options[key] for key in several)):
        chosen = cells | dict(zip(several, choice, strict=True))
        items_of_choice = RULES[claim.id](View(reference, chosen, True, void, {}), claim)
        verdicts[verdict_of(claim.kind, items_of_choice)] = None
        items |= dict.fromkeys(items_of_choice)
    verdict = next(iter(verdicts)) if len(verdicts) == 1 else "inconsistent"
    text = decisive_figures(list(items), verdict, "printed", "readings hold" if several else "hold")
    if len(verdicts) > 1:
        twice = "; ".join(_printed_twice(reference, key, printed[key]) for key in several)
        text = f"printed differently: {twice}. {text}"
    return Judgement(verdict, tuple(items), text)


def by_measurement(
    reference: Reference,
    claim: Claim,
    measured: Cells,
    names: Mapping[str, str] | None = None,
    goes_without: Callable[[Subject], bool] = lambda subject: False,
) -> Judgement:
    """Judge a claim by measured numbers, corrected for the number of its comparisons.

    A claim whose cases all hold by their own 95 % intervals is supported: were any of them untrue,
    its own interval would say otherwise 19 times of 20. Where not all hold, each of n comparisons
    may mislead: they are made again with intervals of 1 - 0.05 / n (Bonferroni), so that 19 times
    of 20 none of a claim's does. The n are all that have an interval; other claims' do not count.

    Args:
        reference: what the paper calls things.
        claim: which.
        measured: the numbers.
        names: what our networks and data sets are called, by the paper's names for them.
        goes_without: whether a network was left out on purpose.
    """
    cells = {key: values[0] for key, values in measured.items()}
    void = {fault.subject: fault.text for fault in infeasible(measured)}

    def view_of(level: float) -> View:
        return View(reference, cells, False, void, names or {}, goes_without, level)

    level = LEVEL
    view = view_of(level)
    items = RULES[claim.id](view, claim)
    verdict = verdict_of(claim.kind, items)
    tests = sum(item.tests for item in items)
    if tests > 1 and verdict != "supported":
        level = 1 - (1 - LEVEL) / tests
        items = RULES[claim.id](view_of(level), claim)
        verdict = verdict_of(claim.kind, items)
    runs = dict.fromkeys(run for key in view.read if key in cells for run in cells[key].runs)
    text = decisive_figures(items, verdict, "measured")
    if tests > 1:
        text += f". {tests} comparisons, {100 * level:.4g} % intervals"
    return Judgement(verdict, tuple(items), text, tuple(runs))


def verdict_of(kind: Kind, items: Sequence[Item]) -> Verdict:
    """Return the verdict of items, of those that were not left out on purpose.

    Of `every` (and `rank`, which has one item): one that fails refutes; else one that is void,
    missing or undecided leaves it inconsistent, not measured or underpowered, in this order; else
    it is supported. Of `tendency`, over the items that are neither void nor missing: mixed where
    some hold and some fail, underpowered where any is undecided, else supported or refuted.
    """
    states = {item.state for item in items} - {"left out"}
    if kind != "tendency":
        order: Mapping[State, Verdict] = {
            "fails": "refuted", "void": "inconsistent", "missing": "not measured",
            "undecided": "underpowered", "holds": "supported",
        }  # fmt: skip
        return next(
            (verdict for state, verdict in order.items() if state in states), "not measured"
        )
    if {"holds", "fails"} <= states:
        return "mixed"
    if "undecided" in states:
        return "underpowered"
    if states & {"holds", "fails"}:
        return "supported" if "holds" in states else "refuted"
    return "inconsistent" if "void" in states else "not measured"


def decisive_figures(items: Sequence[Item], verdict: Verdict, how: str, hold: str = "hold") -> str:
    """Return how many items hold, and the numbers of those that decide.

    Args:
        items: of a claim.
        verdict: on them.
        how: printed or measured: what missing numbers are not.
        hold: what is said of those that hold.
    """
    of: dict[State, list[Item]] = {}
    for item in items:
        of.setdefault(item.state, []).append(item)
    if of.keys() <= {"missing", "left out"}:
        return f"not {how}"
    if len(items) == 1:
        return items[0].text
    decided = of.keys() & {"holds", "fails"}
    count = len(items) - len(of.get("left out", ()))
    parts = [f"{len(of.get('holds', ()))} of {count} {hold}"] if decided else []
    if "holds" in of and verdict != "refuted":
        closest = sorted(of["holds"], key=lambda item: item.margin)
        parts.append(_listed("closest" if len(closest) > ITEMS_SHOWN else "for", closest))
    headings: Mapping[State, str] = {"fails": "against", "void": "void", "undecided": "undecided"}
    parts += [_listed(heading, of[state]) for state, heading in headings.items() if state in of]
    named = {
        f"not {how}": of.get("missing", ()),
        "left out" if how == "measured" else "not printed either": of.get("left out", ()),
        "printed alike, counted once": [item for item in items if item.is_repeated],
    }
    for heading, of_heading in named.items():
        if names := [item.label for item in of_heading]:
            more = f"; and {len(names) - ITEMS_SHOWN} more" if len(names) > ITEMS_SHOWN else ""
            parts.append(f"{heading}: {'; '.join(names[:ITEMS_SHOWN])}{more}")
    return ". ".join(parts)


def different(cells: Sequence[Cell]) -> list[Cell]:
    """Return the printed values of one quantity that differ by more than rounding, finest first."""
    kept: list[Cell] = []
    for cell in sorted(cells, key=lambda cell: cell.half):
        if all(abs(cell.mean - k.mean) > cell.half + k.half for k in kept):
            kept.append(cell)
    return kept


def ledger_table(judged: Sequence[Judged], about: str = "") -> Table:
    """Return the ledger as a table.

    Args:
        judged: the claims.
        about: scale, data and protocol of what was measured, for the caption.
    """
    columns = (
        Column("id", "Id"),
        Column("claim", "Claim"),
        Column("where", "Where"),
        Column("printed_verdict", "By the printed numbers"),
        Column("printed_figures", "Printed numbers"),
        Column("measured_verdict", "By the measured numbers"),
        Column("measured_figures", "Measured numbers"),
    )
    rows = [
        {
            "id": one.claim.id,
            "claim": one.claim.text,
            "where": one.claim.where,
            "printed_verdict": one.printed.verdict,
            "printed_figures": one.printed.text,
            "measured_verdict": one.measured.verdict,
            "measured_figures": one.measured.text,
        }
        for one in judged
    ]
    return Table("claims", "The paper's claims", f"{CAPTION} {about}".rstrip(), columns, rows)


def _listed(heading: str, items: Sequence[Item]) -> str:
    """Return the numbers of the first items, and how many more there are."""
    text = "; ".join(item.text for item in items[:ITEMS_SHOWN])
    more = f"; and {len(items) - ITEMS_SHOWN} more" if len(items) > ITEMS_SHOWN else ""
    return f"{heading}: {text}{more}"


def _printed_twice(reference: Reference, key: Key, cells: Sequence[Cell]) -> str:
    """Return what a quantity is printed as, and where."""
    values: dict[str, list[str]] = {}
    for cell in cells:
        values.setdefault(f"{cell.mean:.{cell.digits}f}", []).append(cell.source)
    where = ", ".join(f"{value} ({', '.join(sources)})" for value, sources in values.items())
    whose = Subject(*key[:5])
    teacher = [reference.name(whose.teacher)] if whose.teacher else []
    named = [*teacher, whose.method, key.metric.rpartition("/")[2]]
    return f"{' '.join(named)} {where}"
