"""The documentation: its commands and keys are valid, its Python runs, its messages exist."""

import ast
import hashlib
import importlib.util
import json
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from mixkd.cli import HELP
from mixkd.command_help import help_of
from mixkd.config.arguments import read_arguments
from mixkd.config.commands import (
    COMPARE_KEYS,
    DASHBOARD_KEYS,
    LISTS,
    PARSERS,
    REPORT_KEYS,
    ListConfig,
    ReproduceConfig,
)
from mixkd.config.overrides import by_key
from mixkd.config.parts import NAMED_PARTS
from mixkd.config.tasks import SCHEMAS, TASKS, ExportConfig
from mixkd.errors import Problem, UserError
from mixkd.launchers.search import space_of, values_of
from mixkd.launchers.sweep import jobs_of
from mixkd.reproduction.overrides import by_command
from mixkd.reproduction.scale import load_scale
from mixkd.request import accept_export, compose, request

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
FILES = (".csv", ".yaml", ".npz", ".json", ".py")
# What the pages themselves add to mixkd; tests/integration/test_worked_examples.py runs these.
ADDED = ("reverse_kd", "data=npz", "table9")


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield (what follows the fence, text) of each code block; indented ones have no fence."""
    fence, lines = None, []
    for line in [*page.read_text().splitlines(), "end"]:
        if line.startswith("```"):
            if fence is not None:
                yield fence, "\n".join(lines)
            fence, lines = (line[3:].strip() if fence is None else None), []
        elif fence is not None:
            lines.append(line)
        elif line.startswith("    "):
            lines.append(line[4:])
        elif line and lines:
            yield "", "\n".join(lines)
            lines = []


def lines_of(page: Path) -> list[str]:
    """Return the lines of a page's blocks of commands, continued ones as one."""
    text = "\n".join(text for fence, text in blocks(page) if not fence)
    return text.replace("\\\n", " ").splitlines()


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make files and runs of the names that stand for a reader's: DIR, FILE, RUN, USER/NAME ..."""
    for part in ("train", "test"):
        folder = Path("DIR") / part / "cat"
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "1.png")
    Path("experiments").symlink_to(ROOT / "experiments")  # whose files commands may name
    for name in ("FILE", "FILE.npz"):
        Path(name).touch()
    saved = OmegaConf.to_container(
        compose("finetune", ["network=resnet20", "data=cifar100"]), resolve=True
    )
    assert isinstance(saved, dict)
    for run in ("RUN", "STUDENT", "TEACHER"):
        Path(run).mkdir()
        Path(run, "config.yaml").write_text(yaml.safe_dump(saved))
        Path(run, "weights.safetensors").touch()
    Path("hub").mkdir()
    Path("hub/model.safetensors").touch()
    sections = {name: saved[name] for name in ("network", "data")}
    weights = hashlib.sha256(b"").hexdigest()
    Path("hub/config.json").write_text(json.dumps({"mixkd": sections | {"weights": weights}}))
    text = "".join((ROOT / "docs" / page).read_text() for page in ("hydra.md", "method.md"))
    for name, block in re.findall(r'```yaml title="([^"]*)"\n(.*?)```', text, re.DOTALL):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(block)
    monkeypatch.setattr("mixkd.runs.inherit.fetched", lambda address, key: Path("hub"))


def check_job(command: str, arguments: Sequence[str]) -> None:
    """Validate the jobs that a command line asks for, the first and the last of a sweep."""
    if "--help" in arguments:
        assert help_of(command, [a for a in arguments if a != "--help"], HELP)
        return
    asked = read_arguments(arguments)
    overrides, jobs = asked.overrides, [tuple(asked.overrides)]
    if asked.sweep:
        if any(override.startswith("sweep.trials=") for override in overrides):
            fixed, searched = space_of(command, overrides)
            ends = (
                [f"{key}={values_of(distribution)[end]}" for key, distribution in searched.items()]
                for end in (0, -1)
            )
            jobs = [(*fixed, *assignments) for assignments in ends]
        else:
            jobs = jobs_of(command, overrides)
    for job in {jobs[0], jobs[-1]}:
        assert wrong_with(command, job) == []


def wrong_with(command: str, overrides: Sequence[str]) -> list[Problem]:
    """Return the problems of a job, but for a teacher that is not yet trained."""
    try:
        request(command, overrides)
    except UserError as error:
        return [problem for problem in error.problems if not problem.remedy]
    return []


def check_other(command: str, arguments: Sequence[str]) -> None:
    """Validate the arguments of a command that is no task."""
    match command:
        case "list":
            assert ListConfig.parse(arguments).name in LISTS
        case "compare":
            by_key(arguments, COMPARE_KEYS)
        case "report":
            by_key(arguments, REPORT_KEYS)
        case "dashboard":
            compose(
                "distill",
                [
                    argument
                    for argument in arguments
                    if argument.partition("=")[0] not in DASHBOARD_KEYS
                ],
            )
        case "export":
            accept_export(compose("export", arguments))
        case "reproduce":
            config = ReproduceConfig.parse(arguments)
            load_scale(config.scale, config.protocol, config.seeds)
            by_command(config.overrides)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
@pytest.mark.usefixtures("places")
def test_commands_of_the_pages_are_valid(page: Path) -> None:
    for line in lines_of(page):
        if not line.startswith("mixkd ") or any(addition in line for addition in ADDED):
            continue
        command, *arguments = shlex.split(line, comments=True)[1:]
        assert command in {*SCHEMAS, *PARSERS}, line
        check = check_job if command in TASKS else check_other
        try:
            check(command, arguments)
        except UserError as error:
            pytest.fail(f"{line}\n{error}")


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    phony = re.search(r"^\.PHONY: (.*)\$\(ARTEFACTS\)", makefile, re.MULTILINE)
    listed = re.search(r"^ARTEFACTS := (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert listed is not None
    targets = {*phony[1].split(), *listed[1].split()}
    documented = {
        line.split()[1] for page in PAGES for line in lines_of(page) if line[:5] == "make "
    }
    assert {"demo", "test"} <= documented
    assert documented <= targets


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table(hooks: ModuleType) -> str:
    """The page of commands and keys."""
    return str(hooks.on_page_markdown((ROOT / "docs" / "cli.md").read_text()))


def test_the_table_has_every_key(table: str) -> None:
    row = r"^\| `{}`°? \| .* \| .* \| .* \|$"
    for key in ("seed", "data.batch_size", "teacher.tape", "method.mix.lam", "vicinal.n_pairs"):
        assert re.search(row.format(re.escape(key)), table, re.MULTILINE), key
    rates = "`0.001`, `0.05` (sgd), see the file in conf/ (sgd_crd), `0.0001` (sgd_slow)"
    assert f"| `optimizer.lr` | a number above 0 | {rates} |" in table
    assert "| `run.force`° | true or false | `false` |" in table


def test_keys_in_the_text_exist(table: str) -> None:
    documented = set(re.findall(r"^\| `([a-z][\w.]*)`°? \|", table, re.MULTILINE))
    schemas = (*TASKS.values(), ExportConfig)
    sections = {name for schema in schemas for name in schema.model_fields}
    count = 0
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for word in " ".join(re.findall(r"`([^`\n]+)`", text)).split():
            key = re.match(r"([a-z]\w*(?:\.\w+)+)(?:=|$)", word)
            if key is None or key[1].partition(".")[0] not in sections or word.endswith(FILES):
                continue
            name = re.sub(r"^(teacher|student)\.", "network.", key[1])
            section, _, rest = name.partition(".")
            is_named = section in NAMED_PARTS and rest.partition(".")[0] not in ("csv", "wandb")
            free = is_named or rest.startswith(("args.", "_target_")) or section == "baselines"
            assert free or {name, key[1]} & documented, f"{page.name}: {word}"
            count += 1
    assert count > 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_pages_runs(page: Path) -> None:
    names: dict[str, object] = {}
    for fence, text in blocks(page):
        if fence == "python":
            exec(compile(text, page.name, "exec"), names)


def texts_in_code() -> str:
    """Return every string of the code, a line each, with … for the fields of f-strings."""
    texts = []
    for path in ROOT.glob("mixkd/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            nodes = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts.append("".join(
                part.value if isinstance(part, ast.Constant) and isinstance(part.value, str)
                else "…" for part in nodes
            ))  # fmt: skip
    return "\n".join(texts)


def test_messages_are_the_code_s_own() -> None:
    texts = texts_in_code()
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "troubleshooting.md").read_text(),
                      re.MULTILINE)  # fmt: skip
    assert len(rows) > 30
    for message in rows:
        pieces = message.split("…")
        assert all(piece in texts for piece in pieces), message


def test_equations_become_mathml(hooks: ModuleType) -> None:
    convert: Callable[[str], str] = hooks.on_page_content
    mathml = convert(r'<span class="arithmatex">\(\lambda x_i\)</span>')
    assert mathml.startswith("<math ")
    with pytest.raises(ValueError, match="does not know all of"):
        convert(r'<span class="arithmatex">\(\nonsense{x}\)</span>')


def test_the_readme_shows_the_demos_table() -> None:
    table = (ROOT / "experiments" / "results" / "demo" / "table.md").read_text()
    assert table.count("\n| ") >= 6
    assert table[table.index("| Network") :].strip() in (ROOT / "README.md").read_text()


def test_files_that_the_readme_and_conf_name_are_there() -> None:
    pattern = re.compile(
        r"(?<![\w/.])(?:mixkd|conf|experiments|tests|docs)/[\w/.-]*\w\.(?:py|ya?ml|md)\b"
    )
    texts = [ROOT / "README.md", *sorted((ROOT / "conf").rglob("*.yaml"))]
    files = {name for text in texts for name in pattern.findall(text.read_text())}
    assert len(files) > 10
    made_by_the_reader = {name for name in files if "NAME" in name}
    assert [name for name in files - made_by_the_reader if not (ROOT / name).is_file()] == []
