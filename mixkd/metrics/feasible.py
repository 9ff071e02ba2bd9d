"""What an ECE can be at all beside an accuracy and a confidence. Needs no torch.

For any binning, |accuracy - confidence| <= ECE <= (1 - accuracy) + (1 - confidence): the triangle
inequality over the bins, and within each bin between its accuracy, 1 and its confidence.
"""

SLACK = 1e-9  # rounding in float64


def feasible_ece(accuracy: float, confidence: float, slack: float = 0.0) -> tuple[float, float]:
    """Return the least and the greatest ECE that any binning can give; all are fractions.

    `slack` is by how much accuracy and confidence may be off together.
    """
    return max(0.0, abs(accuracy - confidence) - slack), 2 - accuracy - confidence + slack


def is_possible(
    accuracy: float, confidence: float, ece: float, slack: float = 0.0, half: float = 0.0
) -> bool:
    """Return whether the ECE, which may be off by `half`, lies within the bounds.

    A number that touches its bound passes, whatever its rounding in float64.
    """
    least, most = feasible_ece(accuracy, confidence, slack)
    return least - half - SLACK <= ece <= most + half + SLACK


def impossible(
    accuracy: float,
    confidence: float,
    ece: float,
    slack: float = 0.0,
    name: str = "ECE",
    digits: tuple[int, int, int] = (4, 4, 4),
) -> str:
    """Return why an ECE that is not possible is not, with `digits` of the three numbers."""
    least, most = feasible_ece(accuracy, confidence, slack)
    a, c, e = (f"{v:.{n}f}" for v, n in zip((accuracy, confidence, ece), digits, strict=True))
    return (
        f"{name} {e} is impossible beside accuracy {a} and confidence {c}: it lies outside "
        f"[{least:.4f}, {most:.4f}]"
    )
