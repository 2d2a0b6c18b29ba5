"""Arithmetic on small whole numbers that wraps around, as 200 + 100 = 44 in uint8: heard while a rehearsal runs.

NumPy does it without a word, and nothing of it is left in the result. So additions, subtractions and products in those of the
user's files that speak of such numbers are compiled as calls of a function, which computes the same in the same order and, for
the first results of each line, compares them with what more bits give.
"""

from __future__ import annotations

import ast
import dataclasses
import operator
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from trainrecipe.capture.where import place
from trainrecipe.subjects.wraps import Wrap

SPEAKS = re.compile(rb"\bu?int(8|16)\b|\bbyte\b|\bPIL\b|\bcv2\b|\bimageio\b|\bskimage\b")
"""What a file says that may hold such numbers. Others are compiled as they are: a call for each sum takes time."""
RESULT = "trainrecipe: the result of an operation"
"""Constant in the place of the function, until the code is compiled."""
LOOKS = 12
"""Results of a line that are compared."""
MOST = 2**22
"""Elements of a result that is compared, at most."""
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}


@dataclasses.dataclass(slots=True)
class Heard:
    """What was heard of one operation at one line: of `elements` results of type `dtype`, `wrong` ones wrapped around."""

    file: str
    line: int
    sign: str
    dtype: str
    looks: int = 0
    elements: int = 0
    wrong: int = 0


_heard: dict[tuple[str, int, str], Heard] = {}


def found() -> Iterator[Wrap]:
    """All operations of which a result was compared."""
    for one in _heard.values():
        if one.elements:
            yield Wrap(place((one.file, one.line, "")), one.sign, one.dtype, one.wrong / one.elements, one.elements)


class Heeding(ast.NodeTransformer):
    """`a + b` becomes `result("+", file, line, a, b)`, outside of modules of PyTorch's, whose code may be compiled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Models are left as they are."""
        return node if any("Module" in ast.unparse(base) for base in node.bases) else self.generic_visit(node)

    def visit_MatchValue(self, node: ast.MatchValue) -> ast.AST:
        """Patterns are no calculations."""
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """Calculations, but those of constants and texts."""
        self.generic_visit(node)
        sign, sides = _SIGNS.get(type(node.op)), (node.left, node.right)
        constants = [s.value for s in sides if isinstance(s, ast.Constant)]
        if sign is None or len(constants) == 2 or any(isinstance(v, str | bytes) for v in constants):
            return node
        given = [ast.Constant(v) for v in (sign, self.path, node.lineno)]
        call = ast.Call(ast.Constant(RESULT), [*given, *sides], [])
        for part in (call, call.func, *given):
            ast.copy_location(part, node)
        return call


def result(sign: str, file: str, line: int, left: Any, right: Any) -> Any:
    """The result of `left sign right`."""
    made = _OPERATIONS[sign](left, right)
    if type(made).__module__ == "numpy" and made.itemsize <= 2 and not _is_compiling():
        _look((file, line, sign), left, right, made)
    return made


def _is_compiling() -> bool:
    compiler = getattr(sys.modules.get("torch"), "compiler", None)
    return compiler is not None and bool(compiler.is_compiling())


def _look(key: tuple[str, int, str], left: Any, right: Any, made: Any) -> None:
    try:
        if made.dtype.kind not in "iu":
            return
        found = _heard.setdefault(key, Heard(*key, made.dtype.name))
        if found.looks >= LOOKS or not 0 < made.size <= MOST:
            return
        found.looks += 1
        found.elements += int(made.size)
        found.wrong += int((_OPERATIONS[key[2]](_wide(left), _wide(right)) != made).sum())
    except Exception:  # of ours, which the script must not meet
        _heard.pop(key, None)


def _wide(value: Any) -> Any:
    """The same numbers with as many bits as they need."""
    return value.astype("int64") if type(value).__module__ == "numpy" else value
