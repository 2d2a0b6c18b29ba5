"""Watching a twin at work: every operation that a replayed step executes, inside modules too, with what went in and out.

    seen = []
    with watching(step, twin, seen.append):
        twin.run()

The recorder keeps values at the step's top level only; this shows those in between, on the twin, whose modules may be
hooked freely. A function that PyTorch wrote in Python (`F.multi_head_attention_forward`) is one operation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trainrecipe.capture import members, replay
from trainrecipe.capture.tape import Op, name_of
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import Spot, is_user_file, place
from trainrecipe.finding import Place

if TYPE_CHECKING:
    from trainrecipe.capture.replay import Twin
    from trainrecipe.subjects.step import Step

_SILENT = frozenset({"__get__", "size", "dim", "is_floating_point", "is_complex", "numel", "stride", "__len__"})
LAYER_KINDS = ("torch.nn.", "torch.ao.nn.")


@dataclasses.dataclass(slots=True)
class Seen:
    """One executed operation: `inputs` and `outputs` are its live tensors, `weights` those of the inputs that are leaves
    with a gradient, `layer` the innermost module it ran in (the script's own object), `path` that module's name below the
    module that the step calls, `caller` the module object that called it directly from PyTorch's code (on the twin), `top`
    the number of the recorded operation that it belongs to."""

    index: int
    name: str
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    args: Any
    kwargs: Any
    grad: bool
    at: Spot | None
    layer: nn.Module | None
    path: str
    registered: bool
    caller: Any
    inside: bool
    birth: Spot | None
    top: int = -1

    @property
    def weights(self) -> list[torch.Tensor]:
        """The inputs that are trainable leaves."""
        return [t for t in self.inputs if t.is_leaf and t.requires_grad]

    @property
    def place(self) -> Place | None:
        """Where to point: the line that built the layer, if it is PyTorch's own, else the line that ran."""
        own = self.layer is not None and type(self.layer).__module__.startswith(LAYER_KINDS)
        return place(self.birth) if own and self.birth is not None else place(self.at)


class _Mode(TorchFunctionMode):
    def __init__(self, watcher: _Watcher) -> None:
        super().__init__()
        self.watcher = watcher

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = name_of(func)
        if name in _APART and self._sums_up(args):  # `loss += term`: the sum so far stays a tensor of its own
            func = _APART[name]
        out = func(*args, **kwargs)
        if name in _SILENT or (name.endswith(".get") and name not in ("data.get", "T.get", "mT.get", "grad.get")):
            return out
        return self.watcher.note(name, args, kwargs, out)

    def _sums_up(self, args: Any) -> bool:
        """Whether one number is being altered in place at the step's top level, where replays find it by its number."""
        op = self.watcher.op
        if op is None or op.kind != "function" or self.watcher.stack or not args or not isinstance(args[0], torch.Tensor):
            return False
        one, others = args[0], [a for a in args[1:] if isinstance(a, torch.Tensor)]
        return one.numel() == 1 and one.is_floating_point() and all(a.dtype == one.dtype and a.numel() == 1 for a in others)


_APART: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("add_", "__iadd__"), torch.add),
    **dict.fromkeys(("sub_", "__isub__"), torch.sub),
    **dict.fromkeys(("mul_", "__imul__"), torch.mul),
    **dict.fromkeys(("div_", "__itruediv__"), torch.div),
}
"""What gives the result of an operation in place without altering its first argument."""


class _Watcher:
    def __init__(self, step: Step, see: Callable[[Seen], Any]) -> None:
        self.step = step
        self.see = see
        self.count = 0
        self.stack: list[tuple[nn.Module, str]] = []
        self.op: Op | None = None
        self.known: set[int] = set()

    def note(self, name: str, args: Any, kwargs: Any, out: Any) -> Any:
        at, caller = self._frames()
        layer, path = self.stack[-1] if self.stack else (None, "")
        birth = self.step.births.get(layer) if layer is not None else None
        seen = Seen(
            self.count,
            name,
            list(tensors_in((args, kwargs))),
            list(tensors_in(out)),
            args,
            kwargs,
            torch.is_grad_enabled(),
            at,
            layer,
            path,
            caller is None or id(caller) in self.known,
            caller,
            bool(self.stack),
            birth,
            self.op.index if self.op is not None else -1,
        )
        self.count += 1
        replaced = self.see(seen)
        return out if replaced is None else replaced

    def _frames(self) -> tuple[Spot | None, Any]:
        """The user's line, and the module in whose own PyTorch code the call was made."""
        frame: FrameType | None = sys._getframe(3)
        caller = None
        while frame is not None:
            file = frame.f_code.co_filename
            if file == replay.__file__:
                break
            if is_user_file(file):
                return (file, frame.f_lineno, frame.f_code.co_name), caller
            if caller is None and frame.f_code.co_name == "forward":
                own = frame.f_locals.get("self")
                caller = own if isinstance(own, nn.Module) else None
            frame = frame.f_back
        return (self.op.at if self.op is not None else None), caller

    def hook(self, twin: Twin, op: Op) -> Iterator[Any]:
        """Hooks on the twin's modules that keep track of which one is running."""
        working = twin.module(op)
        originals = dict(members.named_modules(op.call, remove_duplicate=False))
        for path, module in members.named_modules(working):
            if id(module) in self.known:
                continue
            self.known.add(id(module))
            original = originals.get(path, module)

            def enter(_m: Any, _a: Any, original: nn.Module = original, path: str = path) -> None:
                self.stack.append((original, path))

            def leave(_m: Any, _a: Any, _o: Any) -> None:
                self.stack.pop()

            yield module.register_forward_pre_hook(enter)
            yield module.register_forward_hook(leave)


@contextlib.contextmanager
def watching(step: Step, twin: Twin, see: Callable[[Seen], Any]) -> Iterator[None]:
    """While this is open, `see` is called with every operation that the twin executes, in order.

    What `see` returns, unless None, takes the place of the operation's result. Raises CannotReplay.
    """
    watcher = _Watcher(step, see)
    handles = [h for op in twin.tape.modules() for h in watcher.hook(twin, op)]
    original = twin._execute

    def execute(op: Op, env: Any, fixed: Any) -> None:
        watcher.op = op
        watcher.stack.clear()
        with _Mode(watcher):
            original(op, env, fixed)

    twin._execute = execute  # type: ignore[method-assign]
    try:
        yield
    finally:
        del twin._execute
        for handle in handles:
            handle.remove()


def run_watched(step: Step, twin: Twin, see: Callable[[Seen], Any], **options: Any) -> dict[int, torch.Tensor]:
    """`twin.run(**options)` while `see` is called with every operation."""
    with watching(step, twin, see):
        return twin.run(**options)
