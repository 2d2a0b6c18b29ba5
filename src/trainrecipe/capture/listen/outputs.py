"""What happens to a model's outputs after an evaluation forward has returned, up to the numbers that leave PyTorch.

A `Trace` belongs to one evaluation. It is open between a model call and the next thing that a mode must not see: a module
call, the loader, a backward, a step. While it is open it calls exactly the functions that the script calls, and then looks.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode

from trainrecipe.capture.recorder import Recorder
from trainrecipe.capture.tape import LOSSES, name_of
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.subjects.evaluation import Comparison, Decision, Evaluation, Predictions, Score
from trainrecipe.subjects.names import RESHAPING, SQUASHING

_OPERATIONS = 300
"""Operations looked at after one model call."""
_LARGEST = 2**20
"""Elements of outputs and labels that are copied, of one batch and (four times as many) of a whole evaluation."""
_ERRORS = 4096
_THRESHOLDS = {"gt": False, "ge": False, "lt": True, "le": True}
_MEETINGS = frozenset({"eq", "ne", "sub", "rsub"})
_LEAVING = frozenset({"numpy", "tolist", "item", "__array__"})
_MOVES = RESHAPING | {"detach", "data.get", "tensor", "long", "int", "bool", "numpy"}


@dataclasses.dataclass(frozen=True, slots=True)
class Traced:
    """A tensor that was computed from outputs (`labels` False), or out of the loader's batch: by which operations."""

    ref: weakref.ref[torch.Tensor]
    labels: bool
    chain: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()


class Trace:
    """What is known of the tensors of one evaluation. `report` is filled as they are used."""

    def __init__(self, report: Evaluation, recorder: Recorder, trouble: Callable[[str, BaseException], None]) -> None:
        self.report = report
        self.recorder = recorder
        self.trouble = trouble
        self.size: int | None = None
        self.stale: Sequence[Sequence[float]] = ()
        self._known: dict[int, Traced] = {}
        self._mode: _Mode | None = None
        self._thread = threading.get_ident()
        self._left = 0
        self._outputs: list[torch.Tensor] = []
        self._whole: list[torch.Tensor] = []
        self._labels: torch.Tensor | None = None
        self._room = 4 * _LARGEST
        self._items: dict[Any, Any] = {}
        self._values: dict[int, int] = {}
        self._at_end = False

    # ---- open and closed

    @property
    def is_open(self) -> bool:
        """Whether operations are seen at this moment."""
        return self._mode is not None

    def batch(self, tensors: Sequence[torch.Tensor]) -> None:
        """These tensors came out of the loader with the batch that the model is called on."""
        for tensor in tensors:
            self._known[id(tensor)] = Traced(weakref.ref(tensor), labels=True)

    def called(self, outputs: Sequence[torch.Tensor], size: int | None, new: bool) -> None:
        """The model returned `outputs` for a batch of `size` examples, a `new` one unless it was called on it before."""
        self.size = size
        if new:
            self._values.clear()
            self.report.sizes.append(size or 0)
        self._outputs = []
        for tensor in outputs[:8]:
            self._known[id(tensor)] = Traced(weakref.ref(tensor), labels=False)
            if tensor.is_floating_point() and 0 < tensor.numel() <= _LARGEST and len(self._outputs) < 4:
                self._outputs.append(tensor.detach().clone())
        self._labels = None
        self._left = _OPERATIONS
        self._open()

    def at_end(self) -> None:
        """The loader has no more batches: what is done with the collected outputs is looked at as a whole."""
        self.close()
        shapes = {tuple(t.shape[1:]) for t in self._whole if t.ndim}
        whole = len(shapes) == 1 and len(self._whole) == len(self.report.sizes)
        self._outputs = [torch.cat(self._whole)] if whole else []
        self._whole.clear()
        self.size = self.report.examples
        self._at_end = True
        self._known = {k: t for k, t in self._known.items() if t.ref() is not None}
        if self._known:
            self._left = _OPERATIONS
            self._open()

    def _open(self) -> None:
        if self._mode is None and threading.get_ident() == self._thread:
            self._mode = _Mode(self)
            _push_mode(self._mode)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Leave the mode stack, and keep what the outputs predict."""
        if self._mode is None:
            return
        self.aside()
        try:
            self._keep_predictions()
        except Exception as error:
            self.trouble("predictions of an evaluation", error)
        self._known = {k: t for k, t in self._known.items() if t.ref() is not None}

    def aside(self) -> None:
        """Leave the mode stack, wherever in it the mode lies by now."""
        mode, self._mode = self._mode, None
        if mode is None:
            return
        above = []
        for _ in range(len(_get_current_function_mode_stack())):  # type: ignore[no-untyped-call]
            top = _pop_mode()  # type: ignore[no-untyped-call]
            if top is mode:
                break
            above.append(top)
        for other in reversed(above):
            _push_mode(other)  # type: ignore[no-untyped-call]

    def resume(self) -> None:
        """Go on after `aside`."""
        if self._left > 0:
            self._open()

    # ---- what is seen

    def function(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """An operation of the script's was executed; never raises."""
        self._left -= 1
        if self._left <= 0 or self.recorder._busy:
            return
        name = name_of(func)
        if name.endswith(".get") and name not in ("data.get", "T.get", "mT.get"):
            return
        if name.startswith("__"):
            name = name.strip("_") if name not in ("__array__", "__getitem__") else name
        self._look(name.rstrip("_"), args, kwargs, out, spot(3))

    def module(self, module: Any, args: Any, kwargs: Any, out: Any) -> None:
        """A module without parameters, such as a loss, was called."""
        name, reduction = type(module).__name__, getattr(module, "reduction", None)
        self._look(name, args, {**kwargs, "reduction": reduction} if reduction else kwargs, out, spot(4))

    def _look(self, name: str, args: Any, kwargs: Any, out: Any, at: Spot | None) -> None:
        self.recorder._busy = True  # what we compute here is not the script's
        try:
            given = list(tensors_in((args, kwargs), 3))
            known = [self._of(t) for t in given]
            mine = next((t for t in known if t is not None and not t.labels), None)
            if mine is None:
                if any(t is not None for t in known) and name in _MOVES:
                    self._follow(out, next(t for t in known if t is not None), name, ())
                return
            with torch.no_grad():
                decision = self._decide(name, args, kwargs, out, given, known, mine, at)
                self._meet(name, out, given, known, at)
                self._score(name, args, kwargs, out, given, known, mine, at)
            self._follow(out, mine, name, mine.decisions if decision is None else (*mine.decisions, decision))
            if name in _LEAVING and given[0].numel() > 1:
                for made in mine.decisions:
                    made.left = True
        except Exception as error:
            self.trouble(f"outputs of an evaluation, {name}", error)
        finally:
            self.recorder._busy = False

    def _of(self, tensor: torch.Tensor) -> Traced | None:
        traced = self._known.get(id(tensor))
        return traced if traced is not None and traced.ref() is tensor else None

    def _follow(self, out: Any, source: Traced, name: str, decisions: tuple[Decision, ...]) -> None:
        for tensor in tensors_in(out, 2):
            chain = source.chain if len(source.chain) > 40 else (*source.chain, name)
            self._known[id(tensor)] = Traced(weakref.ref(tensor), source.labels, chain, decisions[-4:])

    def _item(self, kind: Any, at: Spot | None, name: str, make: Callable[[], Any], where: list[Any]) -> Any:
        key = (kind, at, name)
        if key not in self._items:
            self._items[key] = made = make()
            if len(where) < 40:
                where.append(made)
        return self._items[key]

    def _output_shape(self) -> list[int]:
        return list(self._outputs[0].shape) if self._outputs else []

    # ---- decisions

    def _decide(
        self, name: str, args: Any, kwargs: Any, out: Any, given: list[Any], known: list[Any], mine: Traced, at: Spot | None
    ) -> Decision | None:
        tensor = given[0]
        if known[0] is not mine or not tensor.is_floating_point():
            return None
        kind, axis, threshold = _what(name, args, kwargs, tensor)
        if not kind:
            return None
        raw = all(step in RESHAPING or step in ("detach", "data.get") for step in mine.chain)
        squashed = any(step in SQUASHING or step in ("Sigmoid", "Softmax") for step in mine.chain)
        found: Decision = self._item(
            "decision",
            at,
            f"{kind} {axis} {threshold}",
            lambda: Decision(place(at), kind, list(mine.chain), self._output_shape(), [], axis, threshold, squashed, raw=raw),
            self.report.decisions,
        )
        found.times += 1
        if tensor.numel() >= math.prod(found.shape or [0]):  # the last batch may hold one example only
            found.shape, found.batch = list(tensor.shape), self.size or 0
        if axis is not None and len(found.axis_sizes) < 64:
            found.axis_sizes.append(tensor.shape[axis])
        if threshold is not None and 0 < tensor.numel() <= _LARGEST:
            self._weigh(found, tensor.detach(), threshold)
        return found

    def _weigh(self, found: Decision, values: torch.Tensor, threshold: float) -> None:
        low, high = values.aminmax()
        found.low, found.high = min(found.low, float(low)), max(found.high, float(high))
        above = values > threshold
        found.above += int(above.sum())
        found.total += values.numel()
        found.changed += int((above != (values > (0.5 if threshold == 0 else 0.0))).sum())

    # ---- comparisons

    def _meet(self, name: str, out: Any, given: list[Any], known: list[Any], at: Spot | None) -> None:
        if len(given) < 2 or not isinstance(out, torch.Tensor) or name not in _MEETINGS | {"and", "logical_and", "mul"}:
            return
        sides = [(t, k) for t, k in zip(given[:2], known[:2], strict=True)]
        if sides[0][1] is None or sides[0][1].labels:
            sides.reverse()
        (own, mine), (other, theirs) = sides
        if mine is None or mine.labels or (theirs is not None and not theirs.labels):
            return
        if (name not in _MEETINGS and theirs is None) or other.numel() < 2 or out.numel() > 16 * _LARGEST:
            return
        found: Comparison = self._item(
            "comparison",
            at,
            name,
            lambda: Comparison(place(at), name, list(mine.chain), self._output_shape(), [], [], [], own.is_floating_point()),
            self.report.comparisons,
        )
        found.times += 1
        if out.numel() >= math.prod(found.result_shape or [0]):  # the last batch may hold one example only
            found.shape, found.other_shape, found.result_shape = list(own.shape), list(other.shape), list(out.shape)
        found.squared += _squared(own, other, out)
        for made in mine.decisions:
            made.compared = True
        if name in ("eq", "ne") and out.numel() <= _LARGEST:
            self._agree(found, name, own, other, out)
        if name in _MEETINGS:
            self._note_labels(other)

    def _agree(self, found: Comparison, name: str, own: torch.Tensor, other: torch.Tensor, out: torch.Tensor) -> None:
        yes = int(out.sum())
        found.agree += yes if name == "eq" else out.numel() - yes
        found.total += out.numel()
        found.whole = found.whole and _whole(own)
        found.other_whole = found.other_whole and _whole(other)
        distinct = other.unique()  # type: ignore[no-untyped-call]
        found.repeated = found.repeated or distinct.numel() < other.numel()
        if found.other_whole and len(found.labels) < 64:
            found.labels.update(distinct[:64].double().tolist())
        proper = [p for o in self._outputs if (p := properly(o, other)) is not None]
        if proper:
            found.better += max(int(p.sum()) for p in proper)
            found.better_total += proper[0].numel()
        if self.stale and other.ndim <= 2 and 8 <= other.numel() <= 512:
            column = other.reshape(-1).double().tolist()
            here = [t for k in self._known.values() if k.labels and not k.chain and (t := k.ref()) is not None]
            ours = any(t.numel() == other.numel() and t.reshape(-1).double().tolist() == column for t in here)
            found.told += 1
            found.stale += len(set(column)) > 1 and not ours and column in self.stale

    # ---- numbers

    def _score(
        self, name: str, args: Any, kwargs: Any, out: Any, given: list[Any], known: list[Any], mine: Traced, at: Spot | None
    ) -> None:
        if not isinstance(out, torch.Tensor) or out.numel() != 1 or out.is_complex() or self._at_end:
            return
        judged = (name in LOSSES or name[:1].isupper()) and len(given) > 1 and known[1] is not mine
        if judged:
            self._note_labels(given[1])
        if name in ("item", "clone", "cpu", "detach", "to", "float", "double") and given[0].numel() == 1:
            return
        if name in ("add", "sub", "iadd", "radd") and any(
            t.numel() == 1 and k is None for t, k in zip(given, known, strict=True)
        ):
            return  # an accumulator
        found: Score = self._item(
            "score",
            at,
            name,
            lambda: Score(place(at), name, self._kind_of(name, args, kwargs, given, mine)),
            self.report.scores,
        )
        if self._values.get(id(found)):  # several on one batch: not one number per batch
            found.kind = ""
        self._values[id(found)] = 1
        found.idle = judged and known[0] is mine and not out.requires_grad
        if len(found.values) < 4096:
            found.values.append(float(out))
            found.sizes.append(self.size or 0)

    def _kind_of(self, name: str, args: Any, kwargs: Any, given: list[Any], mine: Traced) -> str:
        """What a number per batch is; a mean in other units, multiplied by a constant that is no count, still is a mean."""
        numbers = [a for a in args[:2] if isinstance(a, float)] if isinstance(args, tuple) else []
        if name in ("mul", "rmul") and len(given) == 1 and numbers and mine.chain:
            return "mean" if mine.chain[-1] == "mean" or mine.chain[-1] in LOSSES or mine.chain[-1].endswith("Loss") else ""
        return _kind(name, kwargs, given[0])

    # ---- predictions

    def _note_labels(self, tensor: torch.Tensor) -> None:
        if self._labels is None and not tensor.is_complex() and 0 < tensor.numel() <= _LARGEST:
            self._labels = tensor.detach().clone()

    def give_labels(self, tensor: torch.Tensor | None) -> None:
        """The labels of the batch as the loader gave them, for evaluations that compare outside PyTorch."""
        if tensor is not None:
            self._note_labels(tensor)

    def _keep_predictions(self) -> None:
        if self._at_end or not self._outputs:
            return
        first = self._outputs[0]
        if self._room >= first.numel() and first.ndim:
            self._room -= first.numel()
            self._whole.append(first)
        if self._labels is not None:
            with torch.no_grad():
                note(self.report.predictions, first, self._labels, self.size)


def _what(name: str, args: Any, kwargs: Any, tensor: torch.Tensor) -> tuple[str, int | None, float | None]:
    """What an operation decides: its kind, the axis it works along, the threshold."""
    given = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", kwargs.get("other")))
    if name in ("argmax", "max", "topk"):
        if name == "topk":
            given = args[2] if len(args) > 2 else kwargs.get("dim", -1)
        if given is None and name == "max":
            return "", None, None
        number = isinstance(given, int) and tensor.ndim
        return ("argmax", given % tensor.ndim if number else None, None) if given is None or number else ("", None, None)
    if name in ("softmax", "log_softmax", "Softmax"):
        if given is None:
            given = 0 if tensor.ndim in (0, 1, 3) else 1
        return ("softmax", given % tensor.ndim, None) if isinstance(given, int) and tensor.ndim else ("", None, None)
    if name in _THRESHOLDS:
        if isinstance(given, torch.Tensor) and given.numel() == 1:
            given = float(given)
        number = isinstance(given, int | float) and not isinstance(given, bool)
        return ("threshold", None, float(given)) if number else ("", None, None)
    return ("round", None, 0.5) if name == "round" else ("", None, None)


def _squared(own: torch.Tensor, other: torch.Tensor, out: torch.Tensor) -> bool:
    """Whether one side is a column and the other a row by nothing but its missing axis: each example met every other."""
    shapes = sorted((tuple(own.shape), tuple(other.shape)), key=len)
    n = shapes[0][0] if len(shapes[0]) == 1 else 0
    return n > 1 and shapes[1] == (n, 1) and tuple(out.shape) == (n, n)


def _whole(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() or bool((tensor == tensor.round()).all())


def _kind(name: str, kwargs: Any, first: torch.Tensor) -> str:
    if name in ("mean",) or (name in LOSSES | {"CrossEntropyLoss"} and kwargs.get("reduction", "mean") == "mean"):
        return "mean"
    if name.endswith("Loss") and kwargs.get("reduction") == "mean":
        return "mean"
    if name in ("sum", "count_nonzero") and (not first.is_floating_point() or _whole(first)) and bool((first >= 0).all()):
        return "count" if first.numel() == 0 or float(first.max()) <= 1 else ""
    return "mean" if name in ("div", "truediv", "true_divide") else ""


def properly(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
    """Where the outputs, decided as their shape says, agree with class labels; None where labels are no classes of theirs."""
    if labels.is_complex() or not labels.numel() or not _whole(labels) or float(labels.min()) < 0:
        return None
    if output.ndim >= 2:
        for axis in (1, output.ndim - 1):
            rest = [s for i, s in enumerate(output.shape) if i != axis]
            if output.shape[axis] >= 2 and list(labels.shape) == rest and float(labels.max()) < output.shape[axis]:
                return output.argmax(axis) == labels
    if output.numel() == labels.numel() and float(labels.max()) <= 1:
        decided = output > (0.5 if float(output.min()) >= 0 and float(output.max()) <= 1 else 0.0)
        return decided.reshape(-1) == labels.reshape(-1).bool()
    return None


def note(into: Predictions, output: torch.Tensor, labels: torch.Tensor, size: int | None) -> None:
    """Count predictions against labels: classes by argmax, one output per example against 0 and 1, or numbers."""
    right = properly(output, labels)
    if output.numel() == labels.numel() != size:
        return  # pixels, waves: not one answer per example
    if right is not None and output.numel() == labels.numel():
        into.task = into.task or "binary"
        decided = (right == labels.reshape(-1).bool()).reshape(-1).long()
    elif right is not None:
        into.task = into.task or "classes"
        axis = 1 if list(labels.shape) == [s for i, s in enumerate(output.shape) if i != 1] else output.ndim - 1
        decided = output.argmax(axis).reshape(-1)
    elif output.numel() == labels.numel() and labels.is_floating_point() and into.task in ("", "numbers"):
        into.task = "numbers"
        errors = (output.reshape(-1) - labels.reshape(-1)).abs().double()
        room = max(0, _ERRORS - len(into.errors))
        into.errors += [e for e in errors[:room].tolist() if math.isfinite(e)]
        into.targets += labels.reshape(-1)[:room].double().tolist()
        return
    else:
        return
    if into.task == "numbers" or len(into.confusion) > 4096:
        return
    pairs = torch.stack([labels.reshape(-1).long().cpu(), decided.cpu()])
    unique, counts = pairs.unique(dim=1, return_counts=True)  # type: ignore[no-untyped-call]
    for (label, predicted), count in zip(unique.T.tolist(), counts.tolist(), strict=True):
        into.confusion[label, predicted] = into.confusion.get((label, predicted), 0) + count


class _Mode(TorchFunctionMode):
    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        trace = self.trace
        if trace._mode is self and torch._C._functorch.maybe_current_level() is None:
            trace.function(func, args, kwargs or {}, out)
        return out
