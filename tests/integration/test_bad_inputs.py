"""A user's mistake gives one message, a status that is not 0, and leaves every file as it was."""

import hashlib
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bad_inputs import BAD, LEARN, TRAIN, Bad

from mixkd import cli
from mixkd.networks.cifar.resnet import CifarResNet

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
COLOURS = {"blue": (40, 40, 200), "green": (40, 200, 40), "red": (200, 40, 40)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, write_images: Callable[..., None]) -> Path:
    """A folder of images, a teacher, a student, its tape and an evaluation, as bad_inputs says."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name, colour in COLOURS.items():
            write_images(Path("images/train") / name, 14, colour)
            write_images(Path("images/test") / name, 4, colour)
        torch.manual_seed(0)
        torch.save(CifarResNet(8, 3).state_dict(), "w.pt")
        for command_line in (
            f"{TRAIN} run.dir=teacher",
            f"{LEARN} teacher.tape=tapes run.dir=student",
            "evaluate network.run=student run.dir=evaluation",
        ):
            patch.setattr("sys.argv", ["mixkd", *command_line.split()])
            with pytest.raises(SystemExit) as stopped:
                cli.main()
            assert not stopped.value.code, command_line
    return folder


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Path:
    """A copy of the world, where the test runs."""
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    return tmp_path


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Return what each file or link holds, and when it was changed, by its path."""
    states = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            content = os.readlink(path) if path.is_symlink() else ""
            if path.is_file() and not path.is_symlink():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            states[str(path.relative_to(folder))] = (content, path.lstat().st_mtime_ns)
    return states


@pytest.mark.parametrize("row", BAD.values(), ids=BAD)
def test_a_mistake_gives_one_message_and_changes_nothing(
    mixkd: Mixkd, place: Path, capsys: pytest.CaptureFixture[str], row: Bad
) -> None:
    if row.make is not None:
        row.make()
    capsys.readouterr()
    before = state(place)
    command, *overrides = shlex.split(row.command)

    status = mixkd(command, *overrides)

    captured = capsys.readouterr()
    assert status == row.status, captured
    assert "Traceback" not in captured.err
    assert captured.out == ""
    lines = captured.err.splitlines()
    heads = [at for at, line in enumerate(lines) if line.startswith(f"mixkd {command}: 1 problem")]
    assert len(heads) == 1, captured.err
    message = lines[heads[0] + 1]
    assert "problems" not in captured.err
    assert message.startswith(f"  {row.key}: "), captured.err
    for part in row.says:
        assert part in message, (part, message)
    after = state(place)
    assert {path: after.get(path) for path in before} == before
    assert [path for path in after if path not in before and not path.startswith("cache/")] == []
