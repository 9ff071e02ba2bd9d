"""The mark of a user's own runs, which nobody else can make.

A run directory is data, and may be a stranger's: what it names is not called. But a run that names
the user's own code, and that this user has made in this very folder, needs no leave. It bears an
HMAC of its configuration and of the folder, by a secret that stands in the user's home alone; a
copy of it in another folder, where other code may go by the same names, is worth nothing.
"""

import hmac
import os
import secrets
from pathlib import Path

from mixkd.files.layout import CONFIG, PROVENANCE
from mixkd.files.reading import Damaged, read_mapping

BYTES = 32


def secret_file() -> Path:
    """Return where the user's secret is: $XDG_STATE_HOME/mixkd/key, or in ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "mixkd" / "key"


def signature(config: bytes) -> str | None:
    """Return the mark of a run by the content of its config.yaml, in the working folder.

    The secret is made when it is first needed. None where the home cannot be written to.
    """
    path = secret_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(BYTES))
    except FileExistsError:
        pass
    except OSError:
        return None
    return _mark(config)


def is_signed(run: Path) -> bool:
    """Return whether a run was made by this user in the working folder, and is as it was made."""
    try:
        recorded = read_mapping(run / PROVENANCE).get("signature")
        expected = _mark((run / CONFIG).read_bytes())
    except (OSError, Damaged):
        return False
    return isinstance(recorded, str) and expected is not None and _equal(recorded, expected)


def _equal(recorded: str, expected: str) -> bool:
    return hmac.compare_digest(recorded.encode(), expected.encode())


def _mark(config: bytes) -> str | None:
    try:
        secret = secret_file().read_bytes()
    except OSError:
        return None
    if len(secret) < BYTES:  # one that another process is writing, or a damaged one
        return None
    folder = os.fsencode(os.path.realpath("."))
    return hmac.new(secret, folder + b"\0" + config, "sha256").hexdigest()
