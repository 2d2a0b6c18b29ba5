"""The user's files as a rehearsal compiles them: training loops ask whether they are to end, and arithmetic on small whole
numbers is heard. No line moves, and no name is added that the script could meet: what is called are constants of its code."""

from __future__ import annotations

import ast
import types
import warnings
from typing import Any

from trainrecipe.capture import loop_ends, wrapping

_FUNCTIONS = {**loop_ends.FUNCTIONS, wrapping.RESULT: wrapping.result}


def compiled(source: bytes, path: str) -> types.CodeType:
    """The code of one of the user's files. Raises what `compile` raises."""
    try:
        tree = ast.parse(source, path)
        asking = loop_ends.Asking(path, tree)
        tree = asking.visit(tree)
        if wrapping.SPEAKS.search(source):
            tree = wrapping.Heeding(path).visit(tree)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is not callable", SyntaxWarning)  # a text in the place of a function
            code: types.CodeType = compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)
    except Exception:  # of the script's, which it raises without us as well, or of ours, which it must not meet
        return compile(source, path, "exec", dont_inherit=True)
    loop_ends.know(asking.keys)
    return _with_functions(code)


def _with_functions(code: types.CodeType) -> types.CodeType:
    """The code, and that of the functions within, with functions in place of the texts that stand for them."""
    constants: list[Any] = []
    for value in code.co_consts:
        if isinstance(value, types.CodeType):
            constants.append(_with_functions(value))
        else:
            constants.append(_FUNCTIONS.get(value, value) if isinstance(value, str) else value)
    return code.replace(co_consts=tuple(constants))
