"""Words of a command line: KEY=VALUE, and values as the right-hand side of a Hydra override."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mixkd.errors import UserError, nearest


def by_key(words: Sequence[str], keys: Iterable[str]) -> dict[str, str]:
    """Return the values of `KEY=VALUE` words by their keys.

    Raises:
        UserError: for a key that is none of `keys`.
    """
    keys = list(keys)
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    for key in given:
        if key not in keys:
            raise UserError.of(key, f"no such key{nearest(key, keys)}; takes {', '.join(keys)}")
    return given


def quoted(text: str) -> str:
    """Return a text in Hydra's quotes: a backslash counts there only before a quote or the end."""
    text = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    text = re.sub(r"(\\+)$", lambda found: found[1] * 2, text)
    return f"'{text}'"


def word(value: Any) -> str:
    """Return any value as an override takes it, in quotes only where it has to be."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{word(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(word, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    plain = re.sub(r"[/_.-]", "", value)
    return value if plain.isalnum() and plain.isascii() and not plain.isdigit() else quoted(value)
