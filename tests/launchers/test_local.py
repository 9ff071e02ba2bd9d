"""The local launcher: how it prints the lines of its jobs."""

from multiprocessing import Pipe

import pytest

from mixkd import console
from mixkd.launchers.job import Job
from mixkd.launchers.local import ActiveJob


def test_a_note_of_every_job_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    console.forget_notes()
    for number in (1, 2):
        ours, theirs = Pipe(duplex=False)
        active = ActiveJob(Job("finetune", (), label=f"[{number}/2] "), 0, connections=[ours])
        for line in (f"{console.NOTE}2 files are left out", "epoch 1"):
            theirs.send(("err", line))
            active.hear(0)
    assert capsys.readouterr().err.splitlines() == [
        "note: 2 files are left out", "[1/2] epoch 1", "[2/2] epoch 1",
    ]  # fmt: skip
