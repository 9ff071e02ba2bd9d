"""What a run says of its own network: metric -> number, from metrics.json and its tables."""

from collections.abc import Mapping
from math import isfinite, nan
from statistics import mean
from typing import Any, Literal, get_args

from mixkd.runs.read import FoundRun

Kind = Literal["training", "vicinal", "corruptions", "features"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# What the names of an analysis' metrics begin with.
PREFIXES: Mapping[str, str] = {
    "vicinal": "vicinal/", "corruptions": "corruption/", "features": "features/",
}  # fmt: skip


def quantities(run: FoundRun, kind: str) -> dict[str, float]:
    """Return what a run of a kind says of its own network, names of networks left out."""
    if kind == "training":
        return {k: v for k, v in run.metrics.items() if k.startswith("test/")} | _curve(run)
    values = {}
    for name, value in run.metrics.items():
        if name.startswith(PREFIXES[kind]):
            parts = [part for part in name.split("/") if part not in ("student", "network")]
            values["/".join(parts)] = value
            if parts[-1] == "gain_erm":
                values["/".join([*parts[:-1], "gain"])] = value
    if kind == "vicinal":
        values = _gains(run) | values
        for name, line in _dominance(run).items():
            half = _half_way(line)
            if half is not None and isfinite(half):
                values[f"vicinal/{name}"] = half
    return values


def _gains(run: FoundRun) -> dict[str, float]:
    """Return a student's gains in linearity at each lambda: old metrics.json have none."""
    nl: dict[tuple[Any, Any], dict[Any, float]] = {}
    for row in run.rows("vicinal.csv"):
        if isinstance(value := row.get("nl"), float) and isfinite(value):
            nl.setdefault((row["split"], row["lam"]), {})[row["network"]] = value
    return {
        f"vicinal/{split}/delta_lin_at_{lam:g}": of["teacher"] - of["student"]
        for (split, lam), of in nl.items()
        if {"teacher", "student"} <= of.keys()
    }


def _dominance(run: FoundRun) -> dict[str, dict[float, float]]:
    """Return the dominance of a run's own network by lambda, by split/dominance_half.

    Beside it by split/dominance_half_se its standard error at most: NL and entropy are of the same
    pairs, and how their errors go together is not kept.
    """
    lines: dict[str, dict[float, float]] = {}
    for row in run.rows("vicinal.csv"):
        lam, value = row.get("lam"), row.get("dominance")
        is_own = row.get("network") in ("student", "network")
        if not (is_own and isinstance(lam, float) and isinstance(value, float)):
            continue
        name = f"{row.get('split')}/dominance_half"
        lines.setdefault(name, {})[lam] = value
        parts = [row.get(column) for column in ("nl_se", "entropy_se", "entropy")]
        nl_se, entropy_se, entropy = (p if isinstance(p, float) else nan for p in parts)
        if entropy > 0:
            lines.setdefault(f"{name}_se", {})[lam] = (nl_se + value * entropy_se) / entropy
    return lines


def _half_way(line: Mapping[float, float]) -> float | None:
    """Return a value at lambda = 0.5; of an even number of lambdas, between the two beside it."""
    if 0.5 in line:
        return line[0.5]
    below = max((lam for lam in line if 0 < lam < 0.5), default=None)
    above = min((lam for lam in line if 0.5 < lam < 1), default=None)
    if below is None or above is None:
        return None
    part = (0.5 - below) / (above - below)
    return line[below] * (1 - part) + line[above] * part


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
