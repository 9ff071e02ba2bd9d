"""A user's mistakes: reported as a message, never as a traceback."""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing wrong: the configuration key it belongs to, and what was got and is taken."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"


class UserError(Exception):
    """One or more problems that the user can mend. The CLI prints them and exits with 2."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    @classmethod
    def of(cls, key: str, text: str) -> "UserError":
        """Return the error of a single problem."""
        return cls(Problem(key, text))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for the valid name nearest to `name`, else an empty string."""
    found = get_close_matches(name, list(valid), n=5, cutoff=0.5)
    if not found:
        return ""

    # Of names equally near, the one with more letters in their places.
    def likeness(other: str) -> tuple[float, int]:
        same = sum(a == b for a, b in zip(other, name, strict=False))
        return SequenceMatcher(None, other, name).ratio(), same

    return f" (did you mean {max(found, key=likeness)}?)"
