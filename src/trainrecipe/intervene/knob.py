"""A knob of capacity, as in `--knob hidden=32,128`: which constant or which flag of the script the name means."""

from __future__ import annotations

import ast
import difflib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainrecipe.finding import Place
from trainrecipe.intervene.settings import Setting, literal, settings
from trainrecipe.subjects.knob import Knob
from trainrecipe.wrong_use import WrongUse

EXAMPLE = "say it as in --knob hidden=32,128, with the values in growing order of capacity"
DERIVING = {"typer", "fire", "tyro", "transformers", "simple_parsing", "jsonargparse", "lightning", "pytorch_lightning"}
"""Libraries that make flags of the names of parameters and fields."""
COMPOSING = {"hydra", "omegaconf"}
"""Libraries that read `name=value` from the command line."""
_FILES = 40
"""Modules of the script's own folder that are read, to find its flags."""


def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """The name and the values of `name=value,value`; commas within brackets belong to a value. Raises WrongUse."""
    name, equals, rest = text.partition("=")
    if text.startswith("=") or not name.strip():
        raise WrongUse(f"--knob {text!r} names no knob; {EXAMPLE}")
    if not equals:
        raise WrongUse(f"--knob {text!r} has no '=' and no values; {EXAMPLE}")
    values = tuple(value.strip() for value in _split(rest))
    if len(values) < 2 or not all(values):
        raise WrongUse(f"--knob {text!r} gives {name} fewer than two values to compare; {EXAMPLE}")
    if len(set(values)) < len(values):
        raise WrongUse(f"--knob {text!r} gives {name} the same value twice; {EXAMPLE}")
    return name.strip(), values


def find(text: str, script: str, module: bool = False) -> Knob:
    """The knob that `--knob TEXT` means in a script. Raises WrongUse where the script has neither constant nor flag."""
    return meant(*parse(text), script, module)


def meant(name: str, values: tuple[str, ...], script: str, module: bool = False) -> Knob:
    """The same, with the values given one by one."""
    path = source_of(script) if module else Path(script)
    if name.startswith("-"):
        return Knob(name, values, words=(name, "{}"), place=_flag_place(path, name))
    if path is None:
        return Knob(name, values, words=(f"--{name}", "{}"))
    trees = dict(own_trees(path, Path.cwd() if module else path.parent))
    found = list(settings(trees[path]))
    setting = _meant(name, found, path)
    flags = [flag for tree in trees.values() for flag in _flags(tree)]
    flag = next((f for f in flags if _same(f, name)), None)
    if setting is not None and (flag is None or not setting.owner or "." in name):
        return _constant(name, values, setting, path)
    if flag is not None:
        return Knob(name, values, words=(flag, "{}"), place=_flag_place(path, flag))
    words = _derived(name, trees.values())
    if words:
        return Knob(name, values, words=words)
    raise WrongUse(_unknown(name, path, [s.path for s in found if _is_number(s)], flags))


def source_of(module: str) -> Path | None:
    """The file of a module that `python -m` would run from here, found without importing anything."""
    inside = Path(*module.split("."))
    return next((p for p in (inside.with_suffix(".py"), inside / "__main__.py") if p.is_file()), None)


def _split(text: str) -> Iterator[str]:
    depth, part = 0, ""
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            yield part
            part = ""
        else:
            part += letter
    yield part


def _constant(name: str, values: tuple[str, ...], setting: Setting, path: Path) -> Knob:
    for value in values:
        try:
            literal(value, setting.value)
        except ValueError as error:
            now = ast.unparse(setting.value)
            raise WrongUse(f"--knob {name}: {setting.path} is {now} in {path}:{setting.value.lineno}, and {error}") from None
    return Knob(name, values, path=setting.path, place=_place(path, setting.value.lineno))


def _meant(name: str, found: list[Setting], path: Path) -> Setting | None:
    """The setting of this name; without its owner's name, if there is but one owner that has it."""
    exact = [s for s in found if s.path == name]
    inner = [s for s in found if s.name == name]
    paths = sorted({s.path for s in inner})
    if not exact and len(paths) > 1:
        raise WrongUse(f"--knob {name}: {path} has {' and '.join(paths)}; say which, as in --knob {paths[0]}=32,128")
    return next(iter(exact or inner), None)


def _place(path: Path, line: int) -> Place:
    lines = path.read_text(errors="replace").splitlines()
    return Place(os.path.abspath(path), line, lines[line - 1].strip() if line <= len(lines) else "")


# ---- flags


def _flags(tree: ast.Module) -> Iterator[str]:
    """The flags that a file spells out, as for argparse and click, or defines as for absl."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"--?[A-Za-z][\w.-]*", node.value):
            yield node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2].startswith("DEFINE_") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield f"--{first.value}"


def _same(flag: str, name: str) -> bool:
    return flag.lstrip("-").replace("-", "_") == name.replace("-", "_")


def _flag_place(path: Path | None, flag: str) -> Place | None:
    if path is None:
        return None
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Constant) and node.value in (flag, flag.lstrip("-")):
            return _place(path, node.lineno)
    return None


def _derived(name: str, trees: Iterable[ast.Module]) -> tuple[str, ...]:
    """The words for a flag that a library makes of a name in the script, or composes a configuration from."""
    imported = {module.partition(".")[0] for tree in trees for module in _imports(tree)}
    if imported & COMPOSING:
        return (f"{name}={{}}",)
    known = {word for tree in trees for word in _words(tree)}
    if "." in name or name.replace("-", "_") in known:
        if "typer" in imported:
            return (f"--{name.replace('_', '-')}", "{}")
        if imported & DERIVING:
            return (f"--{name}", "{}")
    return ()


def _words(tree: ast.Module) -> Iterator[str]:
    """Names of parameters, and of what is assigned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_trees(script: Path, root: Path) -> Iterator[tuple[Path, ast.Module]]:
    """The script, and the modules of its own that it imports, taken apart."""
    waiting, seen = [script], {script}
    while waiting and len(seen) <= _FILES:
        path = waiting.pop(0)
        try:
            tree = ast.parse(path.read_bytes(), str(path))
        except (OSError, SyntaxError, ValueError):
            continue
        yield path, tree
        for module in _imports(tree):
            inside = root / Path(*filter(None, module.split(".")))
            for other in (inside.with_suffix(".py"), inside / "__init__.py"):
                if other not in seen and other.is_file():
                    seen.add(other)
                    waiting.append(other)


# ---- what to say where there is none


def _is_number(setting: Setting) -> bool:
    value = setting.value
    return isinstance(value, ast.Constant) and isinstance(value.value, int | float) and not isinstance(value.value, bool)


def _unknown(name: str, path: Path, constants: list[str], flags: list[str]) -> str:
    near = {word.rpartition(".")[2].strip("-").lower(): word for word in (*flags, *constants)}
    close = difflib.get_close_matches(name.lower(), sorted(near), n=1, cutoff=0.7)
    meant = f"; did you mean {near[close[0]]!r}?" if close else ""
    has = ", ".join(dict.fromkeys((*constants[:8], *flags[:8])))
    offered = f"; it has {has}" if has else "; give the script a constant or a flag for it"
    return f"--knob {name}: {path} has neither a constant {name} at its top level nor a flag --{name}{offered}{meant}"
