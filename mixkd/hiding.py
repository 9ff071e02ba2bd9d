"""Secrets stay out of what is printed, kept and sent: keys, tokens, passwords."""

import os
import re
from typing import Any

HIDDEN = "***"

# Variables of the environment whose values are secret, and how long a value has to be: a shorter
# one would be found in words that have nothing to do with it.
SECRET = re.compile(r"(?i)(?:^|_)(?:key|token|secret|passw(?:or)?d|passphrase|pass)$")
SHORTEST = 8

PATTERNS = (
    # The user and password of an address.
    (re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"), HIDDEN),
    # NAME=value and "name": value; true, numbers and the like are no secrets.
    (
        re.compile(
            r"(?i)((?:api_?key|token|secret|passw(?:or)?d|passphrase)(?:=|['\"]\s*:\s*)['\"]?)"
            r"(?!(?:true|false|null|none|[\d.]+)\b)[^\s'\",&}\])]+"
        ),
        rf"\g<1>{HIDDEN}",
    ),
    # What services give out, by how it begins.
    (re.compile(r"\b(?:hf_|gh[a-z]_|github_pat_|sk-|wandb_v\d_)[\w-]{16,}"), HIDDEN),
)


def hide(text: str) -> str:
    """Return a text without the secrets in it."""
    values = {value for name, value in os.environ.items() if SECRET.search(name)}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    for pattern, instead in PATTERNS:
        text = pattern.sub(instead, text)
    return text


def hidden(value: Any) -> Any:
    """Return what is to be written as JSON or YAML without the secrets in its texts."""
    match value:
        case str():
            return hide(value)
        case dict():
            return {
                key: HIDDEN if SECRET.search(str(key)) and isinstance(inner, str) else hidden(inner)
                for key, inner in value.items()
            }
        case list():
            return [hidden(inner) for inner in value]
    return value
