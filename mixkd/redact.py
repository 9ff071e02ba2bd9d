"""Secrets stay out of what is printed, kept and sent: keys, tokens, passwords.

What is kept is also read again: so a text is hidden only where it looks like a secret, and names of
files and settings, which are made of words, stay as they are.
"""

import os
import re
from typing import Any, TypeVar, cast

T = TypeVar("T")

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


def redact(value: T) -> T:
    """Return a text, or what is to be written as JSON or YAML, without the secrets in its texts."""
    redacted: Any = value
    match value:
        case str():
            redacted = _redact_text(value)
        case dict():
            redacted = {
                key: HIDDEN if SECRET.search(str(key)) and _is_secret(inner) else redact(inner)
                for key, inner in value.items()
            }
        case list():
            redacted = [redact(inner) for inner in value]
    return cast(T, redacted)


def _redact_text(text: str) -> str:
    values = {value for name, value in os.environ.items() if SECRET.search(name)}
    for value in sorted(filter(_may_be_secret, values), key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(value)}(?![\w-])", HIDDEN, text)
    text = ADDRESS.sub(HIDDEN, text)
    text = NAMED.sub(lambda match: match[1] + (HIDDEN if _is_secret(match[2]) else match[2]), text)
    return GIVEN_OUT.sub(HIDDEN, text)


def _may_be_secret(value: str) -> bool:
    """Return whether a text has eight letters or more, and is neither word nor path."""
    return len(value) >= 8 and value[0] not in "/~." and re.search(r"[0-9A-Z]", value) is not None


def _is_secret(value: Any) -> bool:
    """Return whether what bears the name of a secret is one: a text with a digit and a letter."""
    is_text = isinstance(value, str)
    return is_text and bool(re.search(r"\d", value) and re.search(r"[A-Za-z]", value))
