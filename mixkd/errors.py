"""A user's mistakes: reported as a message, never as a traceback."""

import math
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher, get_close_matches
from numbers import Integral, Real
from typing import Any, NamedTuple, Self


class Problem(NamedTuple):
    """One thing wrong: the configuration key it belongs to, and what was got and is taken."""

    key: str
    text: str
    remedy: tuple[str, ...] = ()  # overrides of the `mixkd finetune` that would mend it

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


class UserError(ValueError):
    """One or more problems that the user can mend. The CLI prints them and exits with 2."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    @classmethod
    def of(cls, key: str, text: str) -> Self:
        """Return the error of a single problem."""
        return cls(Problem(key, text))


class Unfit(UserError, ValueError):
    """A part that a user brings gives what cannot be used; in Python it is a ValueError as well."""


class InUse(UserError):
    """Another process works in the directory of a run."""


class NotFinite(ValueError):
    """A network gave logits that are not finite: it has diverged, or its weights are damaged."""


class NotWritten(OSError):
    """A file could not be written: the disk is full, or the folder is not ours to write to."""


def first_line(error: Exception) -> str:
    """Return the kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for the valid name nearest to `name`, else an empty string."""
    close = get_close_matches(name, list(valid), n=5, cutoff=0.5)
    if not close:
        return ""

    # Of names equally near, the one with more letters in their places.
    def likeness(other: str) -> tuple[float, int]:
        same = sum(a == b for a, b in zip(other, name, strict=False))
        return SequenceMatcher(None, other, name).ratio(), same

    return f" (did you mean {max(close, key=likeness)}?)"


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise a ValueError unless an argument is a whole number, `least` or more."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}: got {shown(value)}; takes a whole number, {least} or more")


def check_positive(name: str, value: Any) -> None:
    """Raise a ValueError unless an argument is a finite number above 0."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 < float(value) < math.inf:
        raise ValueError(f"{name}: got {shown(value)}; takes a number above 0")


def check_known(name: str, value: Any, valid: Iterable[str]) -> None:
    """Raise a ValueError that names the nearest one unless an argument is among valid names."""
    valid = list(valid)
    if value not in valid:
        close = nearest(str(value), valid)
        raise ValueError(f"{name}: got {shown(value)}; takes {', '.join(valid)}{close}")


def check_that(name: str, value: Any, holds: Callable[[Any], bool], takes: str) -> None:
    """Raise a ValueError that says what an argument takes unless something holds of its value.

    Of a value that cannot even be asked, as a text whether it is above 0, it does not hold.
    """
    try:
        is_valid = holds(value)
    except TypeError:
        is_valid = False
    if not is_valid:
        raise ValueError(f"got {name}={shortened(repr(value))}; takes {takes}")


def shown(value: Any) -> str:
    """Return a value as it is written in a configuration, a very long one from its beginning."""
    constants = {None: "null", True: "true", False: "false"}
    return constants[value] if value is None or isinstance(value, bool) else shortened(repr(value))


def shortened(text: str, most: int = 120) -> str:
    """Return a text, or the beginning of one that has more letters than `most`."""
    return text if len(text) <= most else f"{text[:most]} ..."
