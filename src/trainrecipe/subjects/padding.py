"""Sequences of different lengths in one batch: where the padding is, and whether more or less of it changes anything."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch

from trainrecipe.capture.replay import CannotReplay
from trainrecipe.capture.tensors import tensors_in
from trainrecipe.capture.watch import Seen, run_watched
from trainrecipe.finding import Evidence, Place
from trainrecipe.subjects.flow import Flow
from trainrecipe.subjects.step import Input, Step

FAINT = 1e-4
"""Share of a value's largest magnitude from which on a change counts; sums in another order give 1e-6."""
_MOVES = frozenset({"to", "long", "t", "transpose", "contiguous", "T.get"})
RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})


@dataclasses.dataclass(frozen=True, slots=True)
class Padded:
    """An input with one sequence per example, padded at the end. `known` tells what says so: mask, lengths, pad_sequence,
    padding_idx or ignore_index; `varies` that the padded length differs from batch to batch."""

    one: Input
    batch: int
    time: int
    lengths: torch.Tensor
    known: str
    varies: bool

    @property
    def width(self) -> int:
        """The padded length."""
        return self.one.tensor.shape[self.time]


@dataclasses.dataclass(frozen=True, slots=True)
class Leak:
    """An operation through which padding first reaches values of real positions (`pooled` False) or of whole sequences.

    `change` is relative to the largest such value.
    """

    operation: str
    place: Place | None
    pooled: bool
    change: float


def padded_inputs(step: Step) -> list[Padded]:
    """The padded sequences of a step for which something in the program says what is padding."""
    found = []
    for one in step.inputs:
        if one.tensor.is_sparse or one.tensor.ndim not in (2, 3) or one.tensor.is_complex():
            continue
        for batch, time in ((0, 1), (1, 0)):
            made = _padded(step, one, batch, time)
            if made is not None:
                found.append(made)
                break
    return found


def _padded(step: Step, one: Input, batch: int, time: int) -> Padded | None:
    rows = one.tensor.detach().movedim((batch, time), (0, 1))
    count, width = rows.shape[:2]
    if count < 4 or width < 4 or count == width or (rows.ndim == 2 and rows.is_floating_point()) or rows.dtype == torch.bool:
        return None
    for lengths, known in _told(step, one, rows, batch, time):
        if 1 <= int(lengths.min()) < int(lengths.max()) and _constant_tails(rows, lengths):
            return Padded(one, batch, time, lengths, known, any(n != width for n in _other_widths(step, one, time)))
    return None


def _other_widths(step: Step, one: Input, time: int) -> Iterator[int]:
    """The padded lengths of other batches."""
    position = one.op.inputs.index(one.number)
    for given in step.batches(one.op) if one.op.kind == "module" else ():
        tensors = list(tensors_in(given))
        if len(tensors) == len(one.op.inputs) and tensors[position].ndim == one.tensor.ndim:
            yield tensors[position].shape[time]
    for other in step.each()[1:]:
        yield from (i.tensor.shape[time] for i in other.inputs if one.source == i.source and i.tensor.ndim == one.tensor.ndim)


def _told(step: Step, one: Input, rows: torch.Tensor, batch: int, time: int) -> Iterator[tuple[torch.Tensor, str]]:
    """What the program says about the lengths of the sequences."""
    count, width = rows.shape[:2]
    for other in step.consumed:
        t = other.tensor.detach()
        if other is one or t.is_sparse or t.is_complex():
            continue
        if (
            t.shape == (count,)
            and not t.is_floating_point()
            and t.dtype != torch.bool
            and 0 < int(t.min()) <= int(t.max()) <= width
        ):
            yield t.to(rows.device), "lengths"
        flat = t.squeeze() if t.numel() == count * width else None
        if flat is not None and flat.ndim == 2:
            flat = flat if flat.shape == (count, width) else flat.T
            yield from ((n.to(rows.device), "mask") for n in _lengths_of(flat))
    for padding in step.paddings:
        yield _length((rows != padding).flatten(2).any(2) if rows.ndim > 2 else rows != padding), "pad_sequence"
    if rows.ndim > 2:
        return
    for value, known in _pad_values(step, one):
        yield _length(rows != value), known
    for call in step.losses:
        ignore = call.settings.get("ignore_index", -100)
        if call.target is not None and call.target.numel() == count * width and not call.target.is_floating_point():
            yield _length(call.target.reshape(one.tensor.shape[:2]).movedim((batch, time), (0, 1)) != ignore), "ignore_index"


def _length(real: torch.Tensor) -> torch.Tensor:
    """One more than the last real position of each row."""
    return (real * torch.arange(1, real.shape[1] + 1, device=real.device)).amax(1)


def _lengths_of(mask: torch.Tensor) -> Iterator[torch.Tensor]:
    """The lengths that a mask of two values tells: real positions first, whichever value stands for them."""
    values = mask.unique()  # type: ignore[no-untyped-call]
    if len(values) != 2:
        return
    for value in values:
        real = mask == value
        lengths = real.sum(1)
        if bool((real[:, 1:] <= real[:, :-1]).all()) and int(lengths.min()) > 0:
            yield lengths


def _pad_values(step: Step, one: Input) -> Iterator[tuple[int, str]]:
    """The index that an embedding that takes this input names as padding."""
    for op in step.tape.history:
        if op.name == "embedding" and op.inputs and op.inputs[0] in _aliases(step, one):
            value = op.argument(2, "padding_idx")
            if isinstance(value, int) and value >= 0:
                yield value, "padding_idx"


def _aliases(step: Step, one: Input) -> set[int]:
    """The input under every number that moved or converted copies of it have."""
    found = {one.number}
    for op in step.tape.history:
        if op.kind == "function" and op.name in _MOVES and op.inputs and op.inputs[0] in found:
            found.update(op.outputs)
    return found


def _constant_tails(rows: torch.Tensor, lengths: torch.Tensor) -> bool:
    """Whether all that lies behind the lengths is the same value."""
    behind = torch.arange(rows.shape[1], device=rows.device) >= lengths.to(rows.device)[:, None]
    tails = rows[behind]
    return len(tails) > 0 and bool((tails == tails[0]).all())


class Padding:
    """A step with less, or more, padding behind the sequences of one input."""

    def __init__(self, step: Step, padded: Padded) -> None:
        self.step, self.padded = step, padded
        self.until = [n for op in step.tape.modules() for n in op.outputs]
        self.base = Flow.of(step, evaluating=True)
        self.values = [[t.detach().clone() for t in op.outputs] for op in self.base.ops]

    def leaks(self) -> tuple[list[Leak], float] | None:
        """Where padding gets in, and how far outputs of modules change; None where the step does not run on other lengths."""
        if self._has_rival():
            return None
        for width in self._widths():
            try:
                return self._with(width)
            except Exception:  # the program does not run at this length
                continue
        return None

    def _has_rival(self) -> bool:
        """Whether another input of the same size holds sequences of other lengths, as a translation beside its source: its
        axis of positions cannot be told from this one's, and would be cut where it is not padded."""
        p = self.padded
        for one in self.step.inputs:
            t = one.tensor.detach()
            sizes = (t.shape[p.batch], t.shape[p.time]) if t.ndim >= 2 else ()
            if one is p.one or one.number == p.one.number or sizes != (len(p.lengths), p.width):
                continue
            rows = t.movedim((p.batch, p.time), (0, 1))
            counts = bool((rows == rows[:1]).all())  # positions
            if not t.is_sparse and not t.is_floating_point() and not counts and not _constant_tails(rows, p.lengths):
                return True
        return False

    def _widths(self) -> list[int]:
        p = self.padded
        lengths = sorted(p.lengths.tolist())
        shorter = [n for n in (lengths[-1], *(lengths[len(lengths) * k // 8] for k in (6, 4, 2))) if n < p.width]
        return [*dict.fromkeys(n + 1 if n + 1 < p.width else n for n in shorter), p.width + max(2, p.width // 2)]

    def _overrides(self, width: int) -> dict[int, torch.Tensor]:
        p = self.padded
        changed = {}
        for one in self.step.consumed:
            t = one.tensor.detach()
            axes = [k for k, n in enumerate(t.shape) if n == p.width and not (one is p.one and k != p.time)]
            if t.shape == p.lengths.shape and not t.is_floating_point() and torch.equal(t.to(p.lengths.device), p.lengths):
                changed[one.number] = t.clamp(max=width)
            for k in axes:
                t = t.narrow(k, 0, width) if width < p.width else _extended(t, k, width)
            if axes:
                changed[one.number] = t.clone()
        return changed

    def _with(self, width: int) -> tuple[list[Leak], float]:
        """Runs the step at another length twice: as it is, and with what leaks put right, so that each leak shows alone."""
        overrides = self._overrides(width)
        twin = self.step.twin()
        twin.evaluating = True
        after = run_watched(self.step, twin, lambda _: None, overrides=overrides, until=self.until)
        pairs = [(self.base.env[n], after[n]) for n in self.until if n in after and self._counts(n)]
        outer = max((c for a, b in pairs if (c := self._change(a, b, width)) is not None), default=0.0)
        if outer <= FAINT:
            return [], outer
        found: list[Leak] = []
        twin = self.step.twin()
        twin.evaluating = True
        with contextlib.suppress(Exception):
            run_watched(self.step, twin, lambda seen: self._mend(seen, width, found), overrides=overrides, until=self.until)
        return found, outer

    def _mend(self, seen: Seen, width: int, found: list[Leak]) -> Any:
        """Note a leak, and put its result right, so that what follows is judged on its own."""
        before = self.values[seen.index] if seen.index < len(self.values) else []
        if len(before) != len(seen.outputs) or self.base.ops[seen.index].name != seen.name:
            return None
        if seen.name in RECURRENT and seen.inputs[0].ndim == 2:
            return None  # packed: no padding enters, and rows are in the order of their lengths
        leaking = False
        for k, (old, new) in enumerate(zip(before, seen.outputs, strict=True)):
            change = self._change(old, new, width)
            if change is not None and change > FAINT and self._used(seen.index, k):
                leaking = True
                found.append(Leak(seen.name, seen.place, old.shape == new.shape, change))
        if not leaking:
            return None
        mended = [self._mended(old, new, width) for old, new in zip(before, seen.outputs, strict=True)]
        if any(m is None for m in mended):
            return None
        return mended[0] if len(mended) == 1 else tuple(mended) if seen.name in RECURRENT else None

    def _used(self, index: int, k: int) -> bool:
        """Whether the loss depends on a result of an operation."""
        op = self.base.ops[index]
        return bool(self.base.users(op.outputs[k], op))

    def _counts(self, number: int) -> bool:
        """Whether the loss depends on a result of a module."""
        value = self.base.env.get(number)
        takers = [] if value is None else self.base.takers.get(id(value), [])
        return number in self.step.tape.roots or any(op.index in self.base.reaching for op in takers)

    def _aligned(self, old: torch.Tensor, new: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor, list[int]] | None:
        """Both values, cut to the positions that they have in common, with the axes of positions; None where they differ."""
        p, count = self.padded, len(self.padded.lengths)
        if old.ndim != new.ndim or not old.is_floating_point() or not old.numel():
            return None
        for k in reversed(range(old.ndim)):
            if (old.shape[k], new.shape[k]) == (count * p.width, count * width):
                split = (count, -1) if p.batch == 0 else (-1, count)
                old, new = (t.unflatten(k, split) for t in (old, new))  # type: ignore[no-untyped-call]
        timed = [k for k in range(old.ndim) if old.shape[k] != new.shape[k]]
        if any((old.shape[k], new.shape[k]) != (p.width, width) for k in timed):
            return None
        for k in timed:
            old, new = (t.narrow(k, 0, min(p.width, width)) for t in (old, new))
        return old, new, timed

    def _change(self, old: torch.Tensor, new: torch.Tensor, width: int) -> float | None:
        """How far values of real positions, or of whole sequences, differ; None where that cannot be told."""
        count, common = len(self.padded.lengths), min(self.padded.width, width)
        pair = self._aligned(old.detach(), new.detach(), width)
        if pair is None:
            return None
        a, b, timed = pair[0].double(), pair[1].double(), pair[2]
        others = [k for k in range(a.ndim) if k not in timed and a.shape[k] and a.shape[k] % count == 0]
        rows = next((k for k in others if a.shape[k] == count), next(iter(others), None))
        if rows is None:
            return None
        lengths = self.padded.lengths.to(a.device).repeat_interleave(a.shape[rows] // count)
        judged = lengths <= common
        if width > self.padded.width:  # longer by repeated last slices, which are padding only behind shorter sequences
            judged &= lengths < self.padded.width
        real = judged.reshape([-1 if k == rows else 1 for k in range(a.ndim)])
        for k in timed:
            inside = torch.arange(common, device=a.device)[None, :] < lengths[:, None]
            inside = inside if rows < k else inside.T
            real = real & inside.reshape([a.shape[j] if j in (rows, k) else 1 for j in range(a.ndim)])
        a, b = (t.masked_fill(~real, 0.0).nan_to_num(0.0, 0.0, 0.0) for t in (a, b))
        scale = float(a.abs().max())
        return float((a - b).abs().max()) / scale if scale > 0 else 0.0

    def _mended(self, old: torch.Tensor, new: torch.Tensor, width: int) -> torch.Tensor | None:
        """The new value with the old one at the positions that they have in common."""
        if old.shape == new.shape:
            return old
        p, axes = self.padded, [k for k, (n, m) in enumerate(zip(old.shape, new.shape, strict=True)) if n != m]
        if any(old.shape[k] != p.width or new.shape[k] != width for k in axes):
            return None
        made, common = new.detach().clone(), min(p.width, width)
        source, target = old, made
        for k in axes:
            source, target = source.narrow(k, 0, common), target.narrow(k, 0, common)
        target.copy_(source)
        return made


def _extended(tensor: torch.Tensor, axis: int, width: int) -> torch.Tensor:
    """A tensor with its last slice repeated; where it counts up, it goes on counting."""
    size = tensor.shape[axis]
    last = tensor.narrow(axis, size - 1, 1)
    more = last.repeat_interleave(width - size, axis)
    if size > 2 and not tensor.is_floating_point() and tensor.dtype != torch.bool:
        steps = tensor.diff(dim=axis)
        if bool((steps == 1).all()):
            counted = torch.arange(1, width - size + 1, device=tensor.device).to(tensor.dtype)
            more = more + counted.reshape([-1 if k == axis else 1 for k in range(tensor.ndim)])
    return torch.cat([tensor, more], axis)


def leaks_of(step: Step, concerns: Callable[[Leak], bool]) -> Evidence | list[Evidence]:
    """What two checks have in common: evidence about the leaks that concern one of them."""
    if step.distrust:
        return Evidence(missing=step.distrust)
    every = padded_inputs(step)
    if not every:
        return Evidence(missing="no input is known to hold sequences that are padded at the end")
    made = []
    for padded in every:
        found = _measured(step, padded)
        if found is None:
            made.append(
                Evidence(missing="the step does not run with padding of another length, or has other sequences as long")
            )
            continue
        leaks, outer = found
        own = [leak for leak in leaks if concerns(leak)]
        own.sort(key=lambda leak: not leak.pooled)
        data = {"leaks": len(own), "known": padded.known, "varies": padded.varies, "width": padded.width, "outer": outer}
        if own:
            data |= {"operation": own[0].operation, "pooled": own[0].pooled, "change": own[0].change}
        made.append(Evidence(data, place=own[0].place if own else None))
    return made


def _measured(step: Step, padded: Padded) -> tuple[list[Leak], float] | None:
    """The leaks of an input, measured once for all checks that ask."""
    known = step.__dict__.setdefault("_padding", {})
    if padded.one.number not in known:
        try:
            known[padded.one.number] = Padding(step, padded).leaks()
        except CannotReplay:  # evaluation mode takes another way
            known[padded.one.number] = None
    return known[padded.one.number]  # type: ignore[no-any-return]
