"""Tables of metrics, a row a run, as Markdown and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence

COLUMNS = ("accuracy", "confidence", "ece", "signed_gap", "nll", "brier")
HEADINGS = {
    "accuracy": "Accuracy",
    "confidence": "Confidence",
    "ece": "ECE",
    "signed_gap": "Signed gap",
    "nll": "NLL (nats)",
    "brier": "Brier",
}


Rows = Sequence[tuple[str, Mapping[str, float]]]


def with_scaled(rows: Rows, split: str) -> Rows:
    """Return the rows, and after each one of its scaled logits, where a temperature was fitted.

    Temperature scaling is one fitted number: the reference that any method has to beat.
    """
    found: list[tuple[str, Mapping[str, float]]] = []
    for label, metrics in rows:
        found.append((label, metrics))
        if f"{split}/scaled/ece" in metrics:
            scaled = {
                f"{split}/{c}": metrics.get(f"{split}/scaled/{c}", metrics[f"{split}/{c}"])
                for c in COLUMNS
            }
            found.append((f"{label}, T = {metrics[f'{split}/scaled/temperature']:.2f}", scaled))
    return found


def markdown(rows: Rows, split: str) -> str:
    """Return a Markdown table of `<split>/<metric>`, a row for each (label, metrics)."""
    lines = [
        ["Network", *(HEADINGS[c] for c in COLUMNS)],
        *([label, *(_cell(c, m[f"{split}/{c}"]) for c in COLUMNS)] for label, m in rows),
    ]
    widths = [max(len(line[k]) for line in lines) for k in range(len(COLUMNS) + 1)]
    text = [
        "| " + " | ".join(_pad(cell, k, widths) for k, cell in enumerate(line)) + " |"
        for line in lines
    ]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    text.insert(1, "| " + " | ".join(rule) + " |")
    return "\n".join(text) + "\n"


def as_csv(rows: Rows, split: str) -> str:
    """Return the same table as CSV, with every digit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["network", *COLUMNS])
    for label, metrics in rows:
        writer.writerow([label, *(metrics[f"{split}/{c}"] for c in COLUMNS)])
    return text.getvalue()


def _pad(cell: str, column: int, widths: Sequence[int]) -> str:
    return cell.ljust(widths[0]) if column == 0 else cell.rjust(widths[column])


def _cell(column: str, value: float) -> str:
    return f"{value:+.4f}" if column == "signed_gap" else f"{value:.4f}"
