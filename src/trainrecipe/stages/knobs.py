"""Everything that can be turned in a script without changing it: its own constants and flags, and the interventions."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from trainrecipe.intervene.intervention import interventions
from trainrecipe.intervene.knob import own_trees, source_of
from trainrecipe.intervene.settings import settings
from trainrecipe.wrong_use import WrongUse


@dataclasses.dataclass(frozen=True)
class Known:
    """A knob: its `kind` (constant, flag, intervention), its value in the script as text, and how it is said."""

    kind: str
    name: str
    now: str
    say: str
    line: int = 0


def knobs(script: str, module: bool = False) -> list[Known]:
    """All knobs of a script, its own first. Raises WrongUse where it cannot be read."""
    path = source_of(script) if module else Path(script)
    if path is None or not path.is_file():
        raise WrongUse(f"no such script: {script}")
    trees = list(own_trees(path, Path.cwd() if module else path.parent))
    if not trees:
        raise WrongUse(f"{script} cannot be read as Python")
    constants = [
        Known("constant", s.path, ast.unparse(s.value), f"{s.path}={ast.unparse(s.value)}", s.value.lineno)
        for s in settings(trees[0][1])
        if not isinstance(s.value, ast.Dict)
    ]
    flags = [flag for _, tree in trees for flag in _flags(tree)]
    others = [Known("intervention", name, "", kind.example) for name, kind in interventions().items()]
    return [*dict.fromkeys(constants), *dict.fromkeys(flags), *others]


def _flags(tree: ast.Module) -> Iterator[Known]:
    """Flags as argparse and click define them, with the default where it is written there."""
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        if not isinstance(node, ast.Call) or name not in ("add_argument", "option"):
            continue
        words = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        flag = next((w for w in words if w.startswith("--")), None)
        default = next((k.value for k in node.keywords if k.arg == "default"), None)
        if flag is not None:
            now = "" if default is None else ast.unparse(default)
            yield Known("flag", flag, now, f"{flag.lstrip('-')}={now or 'VALUE'}", node.lineno)
