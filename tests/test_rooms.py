"""The rooms of mixkd, as the README lists them: each imports from those above it alone."""

import ast
import re
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).parents[1]
LISTED = re.findall(r"^    mixkd/(\w+)(?:/|\.py) ", (ROOT / "README.md").read_text(), re.MULTILINE)
MODULES = sorted((ROOT / "mixkd").rglob("*.py"))


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> Iterator[str]:
    """Yield what a file imports of mixkd, within functions and for type checking too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("mixkd"))
        elif isinstance(node, ast.ImportFrom):
            name = resolve_name("." * node.level + (node.module or ""), "mixkd")
            if name == "mixkd":
                yield from (f"mixkd.{alias.name}" for alias in node.names)
            elif name.startswith("mixkd."):
                yield name


def test_every_room_is_listed() -> None:
    rooms = {path.relative_to(ROOT / "mixkd").with_suffix("").parts[0] for path in MODULES}
    assert len(LISTED) == len(set(LISTED))
    assert set(LISTED) == rooms - {"__init__", "__main__"}


def test_imports_go_one_way() -> None:
    upward = []
    for path in MODULES:
        name = path.relative_to(ROOT / "mixkd").with_suffix("").parts[0]
        # What users import, and start, and the room that bears the name of a function.
        if name in ("__init__", "__main__") or path.match("mixkd/report/__init__.py"):
            continue
        above = (*LISTED[: LISTED.index(name) + 1], "__version__")
        upward += [(path.name, module) for module in imported(path) if room(module) not in above]
    assert not upward
