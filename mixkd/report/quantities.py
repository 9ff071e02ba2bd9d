"""What a run says of its own network: metric -> number, from metrics.json and its tables."""

from math import isfinite
from statistics import mean
from typing import Annotated

from pydantic import AfterValidator

from mixkd.config.analyses import analysis_names, section_of_analysis
from mixkd.evaluation.analysis import analysis_of
from mixkd.runs.read import FoundRun

KINDS = ("training", *analysis_names())


def _is_kind(name: str) -> str:
    if name not in KINDS:
        raise ValueError(f"Input should be {', '.join(KINDS)}")
    return name


Kind = Annotated[str, AfterValidator(_is_kind)]  # one of KINDS


def quantities(run: FoundRun, kind: str) -> dict[str, float]:
    """Return what a run of a kind says of its own network, names of networks left out."""
    if kind == "training":
        return {k: v for k, v in run.metrics.items() if k.startswith("test/")} | _curve(run)
    prefix = section_of_analysis(kind).prefix
    values = {name: value for name, value in run.metrics.items() if name.startswith(prefix)}
    values = analysis_of(kind).derived(run) | values
    return {without_network(name): value for name, value in values.items()}


def without_network(name: str) -> str:
    """Return the name of a metric without that of the network that is evaluated."""
    return "/".join(part for part in name.split("/") if part not in ("student", "network"))


def _curve(run: FoundRun) -> dict[str, float]:
    """Return the mean held-out accuracy over parts of a training, from history.csv.

    Of its first tenth of epochs, of the rest of its first half, and of its second half.
    """
    values = [row.get("val/accuracy") for row in run.rows("history.csv")]
    accuracy = [value for value in values if isinstance(value, float) and isfinite(value)]
    if not accuracy:
        return {}
    n = len(accuracy)
    tenth, half = max(1, n // 10), max(1, n // 2)
    parts = {"early": accuracy[:tenth], "middle": accuracy[tenth:half], "late": accuracy[half:]}
    return {f"curve/{name}_accuracy": mean(part) for name, part in parts.items() if part}
