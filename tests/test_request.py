"""From overrides to a typed configuration: resolving looks at disks, validating does not."""

import builtins
import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import mixkd
from mixkd.config.shipped import config_dir
from mixkd.config.tasks import FinetuneConfig
from mixkd.config.training import SGDConfig
from mixkd.config.validation import plain, validate
from mixkd.errors import UserError
from mixkd.request import compose, request, resolve

PACKAGE = Path(mixkd.__file__).parent
NETWORK = ["network=resnet20"]
COMMANDS = {
    "finetune": [*NETWORK, "data=imagefolder", "data.root=/no/such/images"],
    "distill": ["teacher=resnet20", "teacher.weights=/no/such/w.pth", "student=resnet20"],
    "evaluate": ["network.export=/no/such/export", "data=imagenet", "data.root=/no/such/imagenet"],
    "export": ["network.run=/no/such/run", "data=digits"],
}


@contextmanager
def no_disk() -> Iterator[None]:
    """Refuse files, except mixkd's own, and sockets."""
    allowed = (config_dir(), PACKAGE)

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def checked(path: Any = "", *args: Any, **options: Any) -> Any:
            absolute = Path(os.path.abspath(path))
            is_allowed = any(
                absolute.is_relative_to(folder) or folder.is_relative_to(absolute)
                for folder in allowed
            )
            assert is_allowed, f"{function.__name__} of {path}"
            return function(path, *args, **options)

        return checked

    def no_socket(*args: Any, **options: Any) -> None:
        raise AssertionError("a socket")

    with pytest.MonkeyPatch.context() as patch:
        guarded_open = guarded(io.open)  # the same function under two names
        patch.setattr(builtins, "open", guarded_open)
        patch.setattr(io, "open", guarded_open)
        for name in ("open", "stat", "lstat", "listdir", "scandir", "access", "mkdir"):
            patch.setattr(os, name, guarded(getattr(os, name)))
        patch.setattr(socket, "socket", no_socket)
        patch.setattr(socket, "getaddrinfo", no_socket)
        yield


@pytest.mark.parametrize("command", COMMANDS)
def test_validating_reads_no_disk_and_asks_nobody(command: str) -> None:
    raw = plain(compose(command, COMMANDS[command]))
    with no_disk():
        assert validate(raw).task == command
        raw["data"]["holdout"] = 2
        with pytest.raises(UserError, match=r"data.holdout: got 2"):
            validate(raw)


def test_resolving_looks_at_disks() -> None:
    """The test above would show nothing if it did not."""
    raw = plain(compose("finetune", COMMANDS["finetune"]))
    with no_disk(), pytest.raises(AssertionError, match="/no/such"):
        resolve(raw)


@pytest.mark.parametrize(
    ("command", "problems"),
    {
        "finetune": ["data.root: got '/no/such/images'; no such folder"],
        "distill": ["teacher.weights: got '/no/such/w.pth'; no such file"],
        "evaluate": ["network.export", "data.root: got '/no/such/imagenet'; no such folder"],
        "export": ["network.run: got '/no/such/run'; no run there"],
    }.items(),
)
def test_resolving_names_the_files_that_are_missing(command: str, problems: list[str]) -> None:
    resolved = resolve(plain(compose(command, COMMANDS[command])))
    for problem, start in zip(resolved, problems, strict=True):
        assert str(problem).startswith(start)


def test_missing_files_and_invalid_values_are_reported_together() -> None:
    overrides = ["network.weights=nowhere.pt", "data.root=x", "optimizer.momentum=0", "seed=-1",
             "data.pad=-1", "optimizer.lr=0", "schedule.min_lr=x", "trainer.accumulate=3",
             "network.pretrained=gone.pt"]  # fmt: skip
    with pytest.raises(UserError) as caught:
        request("finetune", [*NETWORK, *overrides])
    keys = [problem.key for problem in caught.value.problems]
    assert sorted(keys) == sorted({override.partition("=")[0] for override in overrides})


def test_a_section_refuses_what_does_not_go_together_by_itself() -> None:
    """As in a notebook; with what is wrong with its fields, at once."""
    raw = {"name": "sgd", "lr": 0.1, "momentum": 0, "nesterov": True, "weight_decay": 0}
    with pytest.raises(ValidationError) as caught:
        SGDConfig.model_validate(raw | {"fused": 3})
    errors = [(error["loc"], error["msg"]) for error in caught.value.errors()]
    assert errors == [
        (("fused",), "Input should be a valid boolean"),
        (("momentum",), "got 0 with nesterov=true; takes a number above 0"),
    ]
    assert SGDConfig.model_validate(raw | {"fused": False, "nesterov": False}).momentum == 0


def test_sections_that_are_made_already_are_looked_at_together() -> None:
    config = request("finetune", NETWORK)
    sections = {name: getattr(config, name) for name in FinetuneConfig.model_fields}
    assert FinetuneConfig.model_validate(sections) == config
    data = sections["data"].model_copy(update={"batch_size": 63})
    trainer = sections["trainer"].model_copy(update={"devices": 2})
    with pytest.raises(ValidationError, match="2 devices cannot share equally"):
        FinetuneConfig.model_validate(sections | {"data": data, "trainer": trainer})


def test_problems_of_a_section_that_cannot_be_resolved_are_reported_too() -> None:
    """Of a teacher that is not found, a key that does not belong to it is told all the same."""
    Path("w.pt").write_bytes(b"weights")
    overrides = ["network=resnet20", "network.weights=w.pt", "data=digits", "teacher=resnet20",
             "vicinal=true", "teacher.tape=tapes"]  # fmt: skip
    with pytest.raises(UserError) as caught:
        request("evaluate", overrides)
    assert [problem.key for problem in caught.value.problems] == ["teacher", "teacher.tape"]
