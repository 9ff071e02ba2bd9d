"""Secrets stay out of what is printed, kept and sent: keys, tokens, passwords.

What is kept is also read again: so a text is hidden only where it looks like a secret, and names of
files and settings, which are made of words, stay as they are.
"""

import os
import re
from typing import Any

HIDDEN = "***"

# What names of secrets end in, in the environment and as keys.
NAMES = r"(?:api_?key|access_?key|account_?key|token|secret|passw(?:or)?d|passphrase)"
SECRET = re.compile(rf"(?i){NAMES}$")

# The user and password of an address.
ADDRESS = re.compile(r"(?<=://)[^/\s'\"]+(?=@)")

# NAME=value, NAME: value, "name": "value", --name value, and what follows in a header.
NAMED = re.compile(
    rf"(?i)({NAMES}['\"]?\s*[=:]\s*['\"]?|--{NAMES}\s+|\bbearer\s+)([^\s'\",&}}\])]+)"
)

# What services give out, by how it begins.
GIVEN_OUT = re.compile(
    r"\b(?:hf_|gh[a-z]_)[A-Za-z0-9]{30,}|\b(?:github_pat|wandb_v\d)_\w{30,}"
    r"|\bsk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{32,}"
)


def _may_be_secret(value: str) -> bool:
    """Return whether a text has eight letters or more, and is neither word nor path."""
    return len(value) >= 8 and value[0] not in "/~." and re.search(r"[0-9A-Z]", value) is not None


def hide(text: str) -> str:
    """Return a text without the secrets in it."""
    values = {value for name, value in os.environ.items() if SECRET.search(name)}
    for value in sorted(filter(_may_be_secret, values), key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(value)}(?![\w-])", HIDDEN, text)
    text = ADDRESS.sub(HIDDEN, text)
    text = NAMED.sub(lambda m: m[1] + (HIDDEN if _is_secret(m[2]) else m[2]), text)
    return GIVEN_OUT.sub(HIDDEN, text)


def hidden(value: Any) -> Any:
    """Return what is to be written as JSON or YAML without the secrets in its texts."""
    match value:
        case str():
            return hide(value)
        case dict():
            return {
                key: HIDDEN if SECRET.search(str(key)) and _is_secret(inner) else hidden(inner)
                for key, inner in value.items()
            }
        case list():
            return [hidden(inner) for inner in value]
    return value


def _is_secret(value: Any) -> bool:
    """Return whether what bears the name of a secret is one: a text with a digit and a letter."""
    return isinstance(value, str) and bool(re.search(r"\d.*[A-Za-z]|[A-Za-z].*\d", value, re.S))
