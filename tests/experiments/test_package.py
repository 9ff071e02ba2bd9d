"""experiments/ is one package, which the library loads by name and never imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixkd.config.shipped import experiment, experiments_dir

ROOT = Path(__file__).parents[2]


def test_artefacts_and_the_paper_are_of_one_package() -> None:
    names = ("table1", "fig9", "paper.report", "paper.figures.scatter")
    modules = {name: experiment(name) for name in names}
    assert [module.__name__ for module in modules.values()] == [
        f"mixkd._experiments.{name}" for name in names
    ]
    comparison = experiment("paper.comparison").Comparison
    assert modules["table1"].Comparison is modules["paper.report"].Comparison is comparison
    assert all(
        Path(module.__file__ or "").is_relative_to(experiments_dir()) for module in modules.values()
    )
    assert experiment("table1") is sys.modules["mixkd._experiments.table1"]


def test_a_module_that_is_not_there_is_an_import_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"mixkd\._experiments\.table99"):
        experiment("table99")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_the_library_imports_no_experiment_and_names_no_teacher_of_the_paper() -> None:
    teachers = experiment("paper.report").teachers()
    assert "vit_b16" in teachers
    for path in (ROOT / "mixkd").rglob("*.py"):
        assert not [name for name in imports(path) if name.startswith("experiments")], path
        texts = [n.value for n in ast.walk(ast.parse(path.read_text()))
                 if isinstance(n, ast.Constant) and isinstance(n.value, str)]  # fmt: skip
        assert not {*teachers} & {*texts}, path


def test_the_report_and_the_figures_import_nothing_above_them() -> None:
    rooms_above = {
        "plots": ("runs", "evaluation", "report", "reproduction", "export", "launchers", "tasks"),
        "report": ("reproduction", "export", "launchers", "tasks"),
    }
    for room, rooms in rooms_above.items():
        for path in (ROOT / "mixkd" / room).glob("*.py"):
            for name in imports(path):
                assert not name.startswith(tuple(f"mixkd.{upper}" for upper in rooms)), path
                assert name.partition(".")[0] not in ("torch", "lightning"), path


def test_the_report_its_artefacts_and_the_paper_need_no_torch() -> None:
    code = """import sys
from mixkd.config.shipped import artefacts, experiment
import mixkd.tasks.report
for name in (*artefacts(), "paper.report"):
    experiment(name)
sys.exit("torch" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
