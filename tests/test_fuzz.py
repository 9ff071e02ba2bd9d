"""Any value or command line gives a configuration or messages, never another exception."""

import copy
import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args
from unittest import mock

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

from mixkd import cli
from mixkd.config.tasks import SCHEMAS
from mixkd.errors import Problem, UserError
from mixkd.launchers.job import Outcome
from mixkd.request import accept, accept_export, compose
from mixkd.runs.run import Run

profile = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def sections(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in sections(part)]


def keys(section: type[BaseModel], under: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield under + name
        for inner in sections(field.annotation):
            yield from keys(inner, f"{under}{name}.")


KEYS = {command: sorted(set(keys(schema))) for command, schema in SCHEMAS.items()}
CHOSEN = {
    "finetune": ["network=resnet20"],
    "distill": ["teacher=resnet20", "teacher.weights=w.pt"],
    "evaluate": ["data=digits", "network=resnet20", "network.weights=w.pt"],
    "export": ["network.run=run"],
}


def make_files() -> None:
    """Make weights and a run that can be named; neither is read."""
    Path("w.pt").write_bytes(b"weights")
    Path("run").mkdir(exist_ok=True)
    Path("run/weights.safetensors").touch()
    Path("run/config.yaml").write_text(trained())


@cache
def trained() -> str:
    return OmegaConf.to_yaml(compose("finetune", CHOSEN["finetune"]), resolve=True)


# Values as YAML has them; some are right for some key.
texts = st.sampled_from([
    "", " ", "a", "é", "x" * 300, "x" * 5000, "a\nb", "\0", ".", "/", "/dev/null", "~", "-", "???",
    "sigma", "beta", "pretrained", "digits", "imagefolder", "imagenet_c", "none", "w.pt", "nowhere",
    "${seed}", "${nowhere}", "${data}", "${oc.env:NO_SUCH}", "1", "true", "null", "torch.nn.Linear",
])  # fmt: skip
numbers = st.sampled_from([
    0, 1, -1, 2, 3, 1.5, -0.5, 1e308, float("nan"), float("inf"), float("-inf"), 10**30, -(2**63),
])  # fmt: skip
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["a", "name", "source", "run", "mix", "0"]), inner),
    ),
    max_leaves=4,
)


@cache
def composed(command: str) -> Any:
    return OmegaConf.to_container(compose(command, CHOSEN[command]), resolve=False)


def set_key(raw: dict[str, Any], key: str, value: Any) -> None:
    *owners, last = key.split(".")
    for owner in owners:
        if not isinstance(raw.get(owner), dict):
            raw[owner] = {}
        raw = raw[owner]
    raw[last] = value


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A command, and values for one to three of its keys, or of keys nearly like them."""
    command = draw(st.sampled_from(list(SCHEMAS)))
    key = st.sampled_from(KEYS[command]) | st.sampled_from(KEYS[command]).map(lambda k: f"{k}x")
    return command, draw(st.dictionaries(key, values, min_size=1, max_size=3))


@settings(profile, max_examples=250)
@given(changed())
def test_no_value_of_any_key_brings_a_traceback(change: tuple[str, dict[str, Any]]) -> None:
    command, changes = change
    make_files()
    raw = copy.deepcopy(composed(command))
    for key, value in changes.items():
        set_key(raw, key, copy.deepcopy(value))
    try:
        cfg = OmegaConf.create(raw)
    except OmegaConfBaseException:  # no configuration: `${`, say
        assume(False)
    problems: tuple[Problem, ...] = ()
    try:
        if command == "export":
            accept_export(cfg)
        else:
            Run(accept(cfg)).finished_metrics()
    except UserError as error:
        problems = error.problems
    assert all(problem.key and problem.text for problem in problems)


# What Hydra's grammar makes something of, or nothing.
right_sides = st.sampled_from([
    "", "null", "0", "-1", "1.5", "nan", "1e400", "99999999999999999999", "a", "''", "[]", "{}",
    "[1]", "[a,b]", "[[]]", "{a: 1}", "{1: 2}", "{null: 1}", "é", "'a\nb'", "a b", "${seed}", "${",
    "${nowhere}", "${oc.env:NO_SUCH}", "${hydra:runtime.cwd}", "${now:%Y}", "[", "]", "{", "}",
    "(", "'", "\\", "a=b", "1,2", "range(3)", "range(0,1000000000)", "interval(0,1)",
    "choice(1,2)", "glob(*)", "int(3)", "str(1)", "extend_list(1)", "shuffle(1,2)", "x" * 300,
    "x" * 5000, "/dev/null", "~nobody", "???", "0x10", "1_000", "$", "@", "#", "a:b", "\0", "-m",
]) | st.text(max_size=5)  # fmt: skip
forms = st.sampled_from([
    *["{key}={value}"] * 6, "+{key}={value}", "++{key}={value}", "~{key}", "~{key}={value}",
    "{key}", "{key}.x={value}", "{key}.x.y={value}", "+{key}.x={value}", "++{key}.0={value}",
    "{key}[0]={value}", "{key}@a={value}", "{key}s={value}", "x{key}={value}", "={value}",
    "{key}=={value}", " {key} = {value}", "{key}/a={value}", "hydra.{key}={value}",
    "+hydra/launcher={value}", "data={value}", "method={value}", "launcher={value}", "-m",
])  # fmt: skip


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A task's command line with two random overrides."""
    command = draw(st.sampled_from(list(SCHEMAS)))
    overrides = [
        draw(forms).format(key=draw(st.sampled_from(KEYS[command])), value=draw(right_sides))
        for _ in range(2)
    ]
    return [command, *CHOSEN[command], *overrides]


def outcome(line: list[str]) -> tuple[int, str]:
    """Return the status of a command line, and what it says on standard error; it runs no task."""
    task = SimpleNamespace(**{line[0]: lambda cfg, run: {}})
    finished = Outcome("finished", "there")
    output = io.StringIO()
    with ExitStack() as stack:
        for name, value in (
            ("mixkd.launchers.job._imported", lambda name: task),
            (
                "mixkd.launchers.sweep.run_jobs",
                lambda jobs, *arguments, **options: [finished for _ in jobs],
            ),
            (
                "mixkd.launchers.slurm.submit_jobs",
                lambda jobs, *arguments: [finished for _ in jobs],
            ),
            ("mixkd.tasks.export.export", lambda cfg: ""),
        ):
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(mock.patch.object(sys, "argv", ["mixkd", *line]))
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(output))
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0), output.getvalue()
    raise AssertionError("it does not end")


@settings(profile, max_examples=25)
@given(command_lines())
def test_no_command_line_brings_a_traceback(line: list[str]) -> None:
    make_files()
    status, output = outcome(line)
    assert status in (0, 2), output
    assert "Traceback" not in output
    if status:
        assert f"mixkd {line[0]}: " in output
        assert " problem" in output


other_commands = st.tuples(
    st.sampled_from(["list", "compare", "report", "dashboard", "lst", ""]),
    st.lists(
        st.sampled_from([
            "runs", "networks", "run.root=nowhere", "network.run=", "network.run=a", "other.run=b",
            "draws=1", "draws=²", "split=\0", "runs=", "runs=nowhere", "scale=x", "out=w.pt",
            "project=", "=", "==", "a.b.c=", "é", "-m",
        ])
        | st.text(alphabet="abrun.=,[]{}$' \0é²", max_size=8),
        max_size=3,
    ),
)  # fmt: skip


@settings(profile, max_examples=100)
@given(other_commands)
def test_no_other_command_brings_a_traceback(line: tuple[str, list[str]]) -> None:
    make_files()
    status, output = outcome([line[0], *line[1]])
    assert status in (0, 2), output
    assert "Traceback" not in output
    assert bool(status) == (f"mixkd {line[0]}: " in output), output
