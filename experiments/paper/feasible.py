"""Which printed and measured rows have an ECE that no binning can give."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import product

from mixkd.metrics.feasible import impossible, is_possible
from mixkd.report.cells import Cell, Cells, Subject

ECE_METRICS = ("test/accuracy", "test/confidence", "test/ece")


@dataclass(frozen=True)
class Infeasible:
    """A row that breaks the bound.

    Attributes:
        subject: whose.
        source: the artefact that prints it; "" of a measured one.
        seed: 0 of a printed one.
        text: the three numbers and the interval.
    """

    subject: Subject
    source: str
    seed: int
    text: str


def infeasible(cells: Cells) -> list[Infeasible]:
    """Return the rows that break the bound, among those that have all three metrics.

    A printed row is one artefact's, each number give or take half a unit of its last digit; a
    measured one is one seed's.
    """
    rows: dict[tuple[Subject, str], dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for key, of_key in cells.items():
        for cell in of_key if key.metric in ECE_METRICS else ():
            rows[Subject(*key[:5]), cell.source][key.metric].append(cell)
    broken = []
    for (subject, source), metrics in rows.items():
        for three in product(*(metrics.get(metric, []) for metric in ECE_METRICS)):
            for seed in sorted(set.intersection(*(set(cell.by_seed) for cell in three))):
                accuracy, confidence, ece = (cell.by_seed[seed] for cell in three)
                slack, half = three[0].half + three[1].half, three[2].half
                if not is_possible(accuracy, confidence, ece, slack, half):
                    digits = (three[0].digits, three[1].digits, three[2].digits)
                    text = impossible(accuracy, confidence, ece, slack, digits=digits)
                    broken.append(Infeasible(subject, source, seed, text))
    return broken
