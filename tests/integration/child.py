"""Commands in a process of their own, several in one: what starts it takes longest."""

import json
import subprocess
import sys
import textwrap
from typing import Any

# Of a child: a command as in the fixture `mixkd`, which returns its status and its output.
START = """
import contextlib, io, json, os, resource, shutil, subprocess, sys
from pathlib import Path
from mixkd import cli

def mixkd(*arguments):
    sys.argv, output = ["mixkd", *arguments], io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code or 0
    return status, output.getvalue()
"""


def in_child(script: str, *before: str, **variables: object) -> Any:
    """Run a script, after START, in a process; return what it prints as JSON.

    Args:
        script: the text.
        before: a command that starts another, put before it.
        variables: names that it has, and their values.
    """
    text = START + "".join(f"{k} = {v!r}\n" for k, v in variables.items()) + textwrap.dedent(script)
    done = subprocess.run(
        [*before, sys.executable, "-c", text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
