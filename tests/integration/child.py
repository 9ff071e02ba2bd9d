"""Commands in a process of their own, several in one: what starts it takes longest."""

import json
import subprocess
import sys
import textwrap
from typing import Any

# Of a child: a command as in the fixture `mixkd`, which tells its status and what it said.
START = """
import contextlib, io, json, os, resource, shutil, subprocess, sys
from pathlib import Path
from mixkd import cli

def mixkd(*words):
    sys.argv, said = ["mixkd", *words], io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code or 0
    return status, said.getvalue()
"""


def in_child(script: str, *before: str, **given: object) -> dict[str, Any]:
    """Run a script, after START, in a process; return what it prints as JSON.

    Args:
        script: the text.
        before: a command that starts another, put before it.
        given: names that it knows.
    """
    text = START + "".join(f"{k} = {v!r}\n" for k, v in given.items()) + textwrap.dedent(script)
    done = subprocess.run(
        [*before, sys.executable, "-c", text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
