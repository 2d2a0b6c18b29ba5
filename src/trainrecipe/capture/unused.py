"""Why a parameter got no gradient: its layer is never called, is called and its result dropped, or no code mentions it.

What tells a forgotten layer from one that waits for its turn (a head for another task, an expert, a layer that is skipped
at random) is the program's own code: an attribute that nobody reads cannot be called; and what was seen: of layers in one
list several run at every step and this one never.
"""

from __future__ import annotations

import ast
import functools
import linecache
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.where import HARNESS, is_user_file

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener
    from trainrecipe.capture.tape import Op, Tape

_DYNAMIC = frozenset({"children", "named_children", "modules", "named_modules", "_modules", "__dict__", "parameters_of"})
_WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.Sequential, nn.ParameterList, nn.ParameterDict)


class Fates:
    """What became of the layers of the called models in the steps that were recorded."""

    def __init__(self, listener: Listener) -> None:
        tapes = {id(t): t for ts in (*listener.backwards.tapes.values(), listener.backwards.latest.values()) for t in ts}
        self.tapes = [t for t in tapes.values() if t.history]
        self.called = [{id(op.call) for op in t.history if op.kind == "module"} for t in self.tapes]
        self.parents: dict[int, tuple[nn.Module, str]] = {}
        self.roots = {id(r) for r in listener.models.roots.values()}
        for root in listener.models.roots.values():
            for path, module in members.named_modules(root):
                for name, child in module._modules.items():
                    if child is not None:
                        self.parents.setdefault(id(child), (module, f"{path}.{name}" if path else name))

    def of(self, owner: nn.Module, attribute: str) -> tuple[str, str]:
        """(fate, part) of a parameter called `attribute` of `owner`. `part` is the largest module that shares its fate.

        Fates: `unread` no code of the program mentions it; `passed over` others in its list run at every step, it never;
        `dropped` it is called, and nothing uses the result; `skipped` it was not called; `apart` it was called and its
        result does not reach the loss; `bypassed` its layer, which always uses it, is called, and the result does not depend
        on it; `library` its model is not the program's own code. Empty when it is not known.
        """
        if not self.tapes:
            return "", ""
        if any(id(owner) in called for called in self.called):
            return self._of_called(owner, attribute)
        module, path = owner, self.parents.get(id(owner), (None, ""))[1]
        while id(module) in self.parents and id(module) not in self.roots:
            parent, path = self.parents[id(module)]
            called = any(id(parent) in c for c in self.called) or any(
                id(child) in c for child in parent._modules.values() if child is not None for c in self.called
            )
            if called:
                return self._of_uncalled(module, parent, path), path
            module = parent
        return "", ""  # nothing of its model ran in a recorded step: those are another model's

    def _of_uncalled(self, module: nn.Module, parent: nn.Module, path: str) -> str:
        if isinstance(parent, _CONTAINERS):
            return "passed over" if self._steady(parent) else "skipped"
        return self._by_code(parent, path.rpartition(".")[2])

    def _by_code(self, parent: nn.Module, attribute: str) -> str:
        file = getattr(sys.modules.get(type(parent).__module__), "__file__", None)
        if file is None or not is_user_file(file):
            return "library"
        return "skipped" if is_read(attribute) else "unread"

    def _steady(self, parent: nn.Module) -> bool:
        """Whether the same two or more children of a container were called in every recorded step that calls any."""
        children = {id(c) for c in parent._modules.values() if c is not None}
        seen = [frozenset(children & called) for called in self.called if children & called]
        return len(seen) >= 2 and len(set(seen)) == 1 and len(seen[0]) >= 2

    def _of_called(self, owner: nn.Module, attribute: str) -> tuple[str, str]:
        path = self.parents.get(id(owner), (None, ""))[1]
        own = f"{path}.{attribute}" if path else attribute
        if not type(owner).__module__.startswith("torch."):
            return "bypassed" if attribute == "weight" and self._is_bypassed(owner) else self._by_code(owner, attribute), own
        uses = [self._use(tape, owner) for tape, called in zip(self.tapes, self.called, strict=True) if id(owner) in called]
        return ("dropped" if uses and all(u == "dropped" for u in uses) else "apart"), path

    def _is_bypassed(self, owner: nn.Module) -> bool:
        """Whether a layer whose type is derived from one of PyTorch's gives a result that depends on its bias alone."""
        bias = owner._parameters.get("bias") if isinstance(owner, _WEIGHTED) else None
        return bias is not None and any(p is bias for tape in self.tapes for p in tape.parameters)

    def _use(self, tape: Tape, owner: nn.Module) -> str:
        """Whether what a module returned was used by anything, or returned from the model."""
        for op in tape.history:
            if op.kind == "module" and op.call is owner and not self._is_dropped(tape, op):
                return "used"
        return "dropped"

    def _is_dropped(self, tape: Tape, op: Op) -> bool:
        if op.parent is None or not op.outputs:
            return False
        within = {o.index for o in tape.history if o.kind == "module" and o.index != op.index and o.index >= op.index}
        derived = set(op.outputs)
        for other in tape.history:
            own = other.index == op.index or other.parent == op.index or (other.kind == "module" and other.index in within)
            if other.kind == "module" and other.index < op.index and derived & set(other.outputs):
                return False  # a module around it returns it
            if own and other.kind != "module":
                continue
            if other.index > op.index and derived & set(other.inputs):
                derived.update(other.outputs)
                if not other.outputs:
                    return False
        around = [o for o in tape.history if o.kind == "module" and o.index < op.index]
        return not any(derived & set(o.outputs) for o in around) and not any(derived & set(tape.roots))


def is_read(attribute: str) -> bool:
    """Whether any code of the program reads an attribute of this name, or goes through attributes without naming them."""
    return any(attribute in names or "*" in names for names in map(_names, user_files()))


def user_files() -> list[str]:
    """The source files of the program's own modules."""
    own = [m for name, m in list(sys.modules.items()) if name == "__main__" or name not in HARNESS]
    files = [getattr(m, "__file__", None) for m in own]
    return sorted({f for f in files if f and f.endswith(".py") and is_user_file(f)})


@functools.cache
def _names(file: str) -> frozenset[str]:
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return frozenset("*")
    return frozenset(_read_names(tree))


def _read_names(tree: ast.AST) -> Iterator[str]:
    setup = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or "init" in node.name or "reset" in node.name):
            setup |= set(ast.walk(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node not in setup:
            yield "*" if node.attr in _DYNAMIC and not _only_parameters(node) else node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            fixed = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
            yield str(node.args[1].value) if fixed else "*"  # type: ignore[attr-defined]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier() and node not in setup:
            yield node.value


def _only_parameters(node: Any) -> bool:
    """`model.modules()` outside of a class walks over layers to initialise or count them; it calls none."""
    return node.attr in ("modules", "named_modules")
