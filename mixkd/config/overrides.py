"""Overrides of a command line: KEY=VALUE, and values as the right-hand side of Hydra's."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mixkd.errors import UserError, nearest


def by_key(overrides: Sequence[str], keys: Iterable[str]) -> dict[str, str]:
    """Return the values of overrides by their keys; a UserError names one that is not of `keys`."""
    valid = list(keys)
    values = {key: value for key, _, value in (text.partition("=") for text in overrides)}
    for key in values:
        if key not in valid:
            raise UserError.of(key, f"no such key{nearest(key, valid)}; takes {', '.join(valid)}")
    return values


def quoted(text: str) -> str:
    """Return a text in Hydra's quotes: a backslash counts there only before a quote or the end."""
    text = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", text)
    text = re.sub(r"(\\+)$", lambda match: match[1] * 2, text)
    return f"'{text}'"


def split_values(text: str) -> list[str]:
    """Return the values of a sweep, which commas part outside of quotes and brackets."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if letter == "," and not depth and not quote:
            parts.append("")
            continue
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and not parts[-1]:  # elsewhere it is a letter like any other
            quote = letter
        else:
            depth = max(depth + (letter in "([{") - (letter in ")]}"), 0)
        parts[-1] += letter
    return text.split(",") if depth or quote else parts


# What Hydra reads as a text without quotes: it begins as a word, and means nothing else.
PLAIN = re.compile(r"(?!(?i:null|true|false|nan|inf)$)[A-Za-z_/][A-Za-z0-9/_.-]*", re.ASCII)


def written(value: Any) -> str:
    """Return any value as an override takes it, in quotes only where it has to be."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if PLAIN.fullmatch(value):
        return value
    # What OmegaConf would take for an interpolation, and the backslashes before it.
    return quoted(re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value))
