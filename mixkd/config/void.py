"""Keys that another key makes void: what they say cannot change a result.

They do not name an experiment. Those that a user sets for nothing are refused where they say what
they do not by default, so that nothing is ignored in silence; a sweep may set the others.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from mixkd.config.fields import value_of
from mixkd.config.shipped import group_names, shipped_values
from mixkd.errors import Problem, shown


class Void(NamedTuple):
    """A key, where it is void, and what to say to who sets it; "" for one that may be set.

    A key that is refused begins with its group.
    """

    key: str
    holds: Callable[[Mapping[str, Any]], bool]
    why: str = ""


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
    # Where nothing is multiplied by the square of the temperature.
    Void("method.t_squared", lambda raw: raw.get("temperature") in ("sigma", 1)),
    # Null stands for the seed.
    Void("stream.seed", lambda raw: value_of(raw, "stream.seed") in (None, raw.get("seed"))),
    Void("stage1", lambda raw: not _has_stage1(raw)),
    # Of answers that are as they are.
    Void(
        "teacher.tape_precision",
        lambda raw: (
            value_of(raw, "teacher.tape") is None
            or value_of(raw, "teacher.tape_precision") == "float32"
        ),
    ),
)


def _has_stage1(raw: Mapping[str, Any]) -> bool:
    """Return whether a head is trained alone: a new one, on a pretrained backbone."""
    learner = raw.get("student" if raw.get("task") == "distill" else "network")
    begins = value_of({"learner": learner}, "learner.pretrained")
    trained = value_of({"learner": learner}, "learner.weights")
    return bool(begins) and trained is None and value_of(raw, "stage1.epochs") != 0


def without_void(raw: Mapping[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a configuration without what is void.

    Args:
        raw: the configuration.
        named: the part of it.
    """
    for void in VOID:
        section, _, last = void.key.rpartition(".")
        owner = value_of(named, section) if section else named
        if isinstance(owner, dict) and last in owner and void.holds(raw):
            del owner[last]
    return named


@cache
def _defaults(key: str, kind: str) -> list[Any]:
    """Return the values of a key in the shipped files of a kind of its group."""
    group, _, rest = key.partition(".")
    shipped = (shipped_values(group, name) for name in group_names(group))
    return [value_of(values, rest) for values in shipped if values["name"] == kind]


def void_problems(raw: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield each void key of a configuration that says anything but a default of its group."""
    for key, holds, why in VOID:
        value = value_of(raw, key)
        if not why or value is None or not holds(raw):
            continue
        if value not in _defaults(key, str(value_of(raw, f"{key.partition('.')[0]}.name"))):
            yield Problem(key, f"got {shown(value)}, which changes nothing: {why}")
