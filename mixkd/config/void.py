"""Keys that another key makes void: what they say cannot change a result.

They are refused where they say what they do not by default, so that nothing is ignored in silence,
and do not name an experiment.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from mixkd.config.shipped import group_names, shipped_values
from mixkd.errors import Problem, shown


class Void(NamedTuple):
    """A key, where it is void, and what to say to who sets it. The key begins with its group."""

    key: str
    holds: Callable[[Mapping[str, Any]], bool]
    why: str


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


VOID = (
    Void(
        "optimizer.lr",
        lambda raw: value_of(raw, "schedule.name") == "piecewise",
        "schedule=piecewise has rates of its own, schedule.segments; leave it out",
    ),
    Void(
        "schedule.length",
        lambda raw: value_of(raw, "schedule.stretch") is False,
        "it is of schedule.stretch=true, which fits so many epochs to the run; leave it out",
    ),
    Void(
        "method.mix.a",
        lambda raw: (
            value_of(raw, "method.mix.lam") == "uniform"
            or _is_number(value_of(raw, "method.mix.lam"))
        ),
        "it is of Beta(a, a), which method.mix.lam=beta draws from; leave it out",
    ),
    Void(
        "method.mix.per",
        lambda raw: _is_number(value_of(raw, "method.mix.lam")),
        "a fixed method.mix.lam is that of all images; leave it out",
    ),
)


def value_of(raw: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key; None where there is none."""
    value: Any = raw
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def void_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield each void key of a configuration that says anything but a default of its group."""
    for key, holds, why in VOID:
        value = value_of(raw, key)
        if value is None or not holds(raw):
            continue
        group, _, rest = key.partition(".")
        shipped = [shipped_values(group, name) for name in group_names(group)]
        kind = value_of(raw, f"{group}.name")
        if value not in [value_of(own, rest) for own in shipped if own["name"] == kind]:
            yield Problem(key, f"got {shown(value)}, which changes nothing: {why}")


def without_void(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return what names a training, without what is void in it.

    The other keys of VOID have one default each, which a valid configuration holds: they may stay.
    """
    kept = {key: dict(own) if isinstance(own, dict) else own for key, own in named.items()}
    if value_of(named, "schedule.name") == "piecewise":
        del kept["optimizer"]["lr"]
    if named.get("temperature") in ("sigma", 1):  # which nothing is multiplied by the square of
        kept["method"]["t_squared"] = True
    if value_of(named, "stream.seed") == named["seed"]:  # which null stands for
        kept["stream"]["seed"] = None
    return kept
