"""Which rows of accuracy, confidence and ECE can be right at all.

For any binning, |accuracy - confidence| <= ECE <= (1 - accuracy) + (1 - confidence): the triangle
inequality over the bins, and within each bin between its accuracy, 1 and its confidence.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import product

from mixkd.report.cells import Cell, Cells, Subject

METRICS = ("test/accuracy", "test/confidence", "test/ece")
SLACK = 1e-9  # of measured values: rounding in float64


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


def bounds(accuracy: float, confidence: float, slack: float = 0.0) -> tuple[float, float]:
    """Return the least and the greatest ECE that any binning can have.

    Args:
        accuracy: a fraction.
        confidence: a fraction.
        slack: by how much the two may be off together.
    """
    least = abs(accuracy - confidence) - slack
    return max(0.0, least), (1 - accuracy) + (1 - confidence) + slack


def is_possible(
    accuracy: float, confidence: float, ece: float, slack: float = 0.0, half: float = 0.0
) -> bool:
    """Return whether the ECE, give or take `half`, lies within the bounds.

    A number that touches its bound passes, whatever its rounding in float64.

    Args:
        accuracy: a fraction.
        confidence: a fraction.
        ece: a fraction.
        slack: by how much accuracy and confidence may be off together.
        half: by how much the ECE may be off.
    """
    least, most = bounds(accuracy, confidence, slack)
    return least - half - SLACK <= ece <= most + half + SLACK


def infeasible(cells: Cells) -> list[Infeasible]:
    """Return the rows that break the bound, among those that have all three metrics.

    A printed row is one artefact's, each number give or take half a unit of its last digit; a
    measured one is one seed's.
    """
    rows: dict[tuple[Subject, str], dict[str, list[Cell]]] = defaultdict(lambda: defaultdict(list))
    for key, found in cells.items():
        for cell in found:
            rows[Subject(*key[:5]), cell.source][key.metric].append(cell)
    broken = []
    for (subject, source), own in rows.items():
        for three in product(*(own.get(metric, []) for metric in METRICS)):
            for seed in sorted(set.intersection(*(set(cell.by_seed) for cell in three))):
                accuracy, confidence, ece = (cell.by_seed[seed] for cell in three)
                slack, half = three[0].half + three[1].half, three[2].half
                if not is_possible(accuracy, confidence, ece, slack, half):
                    least, most = bounds(accuracy, confidence, slack)
                    shown = [f"{cell.by_seed[seed]:.{cell.digits}f}" for cell in three]
                    text = (
                        f"ECE {shown[2]} is impossible beside accuracy {shown[0]} and confidence "
                        f"{shown[1]}: it lies outside [{least:.4f}, {most:.4f}]"
                    )
                    broken.append(Infeasible(subject, source, seed, text))
    return broken
