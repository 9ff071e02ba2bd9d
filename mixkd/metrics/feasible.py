"""What an ECE can be at all beside an accuracy and a confidence. Needs no torch.

For any binning, |accuracy - confidence| <= ECE <= (1 - accuracy) + (1 - confidence): the triangle
inequality over the bins, and within each bin between its accuracy, 1 and its confidence.
"""

SLACK = 1e-9  # rounding in float64


def feasible_ece(accuracy: float, confidence: float, slack: float = 0.0) -> tuple[float, float]:
    """Return the least and the greatest ECE that any binning can give: fractions.

    Args:
        accuracy: a fraction.
        confidence: a fraction.
        slack: by how much the two may be off together.
    """
    return max(0.0, abs(accuracy - confidence) - slack), 2 - accuracy - confidence + slack


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
    """Return why an ECE that is not possible is not.

    Args:
        accuracy: a fraction.
        confidence: a fraction.
        ece: a fraction.
        slack: by how much accuracy and confidence may be off together.
        name: what to call it.
        digits: to show the three with.
    """
    least, most = feasible_ece(accuracy, confidence, slack)
    a, c, e = (f"{v:.{n}f}" for v, n in zip((accuracy, confidence, ece), digits, strict=True))
    return (
        f"{name} {e} is impossible beside accuracy {a} and confidence {c}: it lies outside "
        f"[{least:.4f}, {most:.4f}]"
    )
