"""The import graph: floors only go down, nothing on the torch-free floors imports torch, no cycles."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "src" / "trainrecipe"
FLOORS = {
    "wrong_use": 0,
    "progress": 0,
    "finding": 0,
    "picture": 0,
    "waivers": 1,
    "config": 1,
    "check": 1,
    "table": 1,
    "subjects": 2,
    "dataset": 2,
    "probes": 2,
    "capture": 2,
    "intervene": 2,
    "integrations": 2,
    "checks": 3,
    "exam": 4,
    "scan": 4,
    "lab": 4,
    "stages": 4,
    "journal": 4,
    "view": 4,
    "cli": 5,
    "watching": 5,
    "studying": 5,
    "equivalence": 5,
    "testing": 5,
    "pytest_plugin": 5,
    "docs": 5,
    "__main__": 5,
    "__init__": 5,
}
ALLOWED_UP = {
    # The session is the whole job in one process: it is in capture since it runs beside the script.
    "capture/session.py",
    # The data stage likewise, in the process that holds the data sets.
    "scan/job.py",
}
TORCH_FREE = (
    "table",
    "finding",
    "progress",
    "picture",
    "check",
    "config",
    "waivers",
    "journal",
    "view",
    "cli",
    "exam",
    "checks",
)


def _modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def _floor(dotted: str) -> int:
    parts = dotted.split(".")
    return FLOORS.get(parts[1], 5) if len(parts) > 1 else 5


def _imports(path: Path, *, top_only: bool = False) -> list[str]:
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    if top_only:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                skipped |= {id(inner) for inner in ast.walk(node)}
    found: list[str] = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "trainrecipe":
            found += [f"trainrecipe.{a.name}" for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
    return found


@pytest.mark.parametrize("path", _modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_the_floors(path: Path) -> None:
    here = str(path.relative_to(ROOT))
    own = FLOORS[path.relative_to(ROOT).parts[0].removesuffix(".py")]
    ups = [i for i in _imports(path, top_only=True) if i.startswith("trainrecipe") and _floor(i) > own]
    assert here in ALLOWED_UP or not ups, f"{here} imports {ups} from a higher floor"


def test_no_import_cycles_at_module_level() -> None:
    graph = {}
    for path in _modules():
        name = "trainrecipe." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        graph[name] = {i for i in _imports(path, top_only=True) if i.startswith("trainrecipe")}
    state: dict[str, int] = {}

    def visit(node: str, trail: tuple[str, ...]) -> None:
        if state.get(node) == 2 or node not in graph:
            return
        assert state.get(node) != 1, f"import cycle: {' -> '.join([*trail, node])}"
        state[node] = 1
        for child in graph[node]:
            visit(child, (*trail, node))
        state[node] = 2

    for node in graph:
        visit(node, ())


@pytest.mark.parametrize("name", TORCH_FREE)
def test_importing_it_loads_no_torch(name: str) -> None:
    code = (
        "import sys, pkgutil, importlib\n"
        f"m = importlib.import_module('trainrecipe.{name}')\n"
        "for info in pkgutil.walk_packages(getattr(m, '__path__', []), m.__name__ + '.'):\n"
        "    importlib.import_module(info.name)\n"
        "assert 'torch' not in sys.modules, 'torch was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
