"""Recurrent state that a program carries from one batch of a loader to the next."""

from __future__ import annotations

import torch
from torch import nn

from trainrecipe.capture.recorder import Recorder
from trainrecipe.capture.tape import Op, Tape
from trainrecipe.capture.where import Spot
from trainrecipe.subjects.names import PICKS_ROWS, RESHAPING

_PASSING = RESHAPING | {"detach", "data.get", "detach_"}
_DEPTH = 12


def carried_state(recorder: Recorder, batch_mark: int) -> Spot | None:
    """The line where a module is given state that it made itself before operation `batch_mark`; None when there is none.

    That is: a result of the same module, or the state of one of PyTorch's recurrent layers, handed on as it is but for
    detaching and reshaping.
    """
    ops = recorder.ops
    for op in ops[max(batch_mark, recorder.first_kept) :]:
        if op.kind != "module" or op.call is None:
            continue
        layer = isinstance(op.call, nn.RNNBase | nn.RNNCellBase)
        for position, number in enumerate(op.inputs):
            source = _handed_on(recorder, number, batch_mark)
            if source is not None and ((layer and position > 0) or _made_by(recorder, source, op, batch_mark)):
                return op.at
    return None


def picked_rows(recorder: Recorder, tape: Tape) -> list[int]:
    """The numbers of the rows that the script picked by index to feed a step's modules; empty where it did not."""
    for op in tape.ops:
        for number in op.inputs if op.kind == "module" else ():
            producer = recorder.values[number].producer
            picking = recorder.ops[producer] if producer is not None else None
            if picking is None or picking.name not in PICKS_ROWS or len(picking.inputs) != 2:
                continue
            rows = recorder.values[picking.inputs[1]].constant
            if rows is not None and rows.ndim == 1 and not rows.is_floating_point() and rows.dtype != torch.bool:
                return [int(r) for r in rows.tolist()]
    return []


def _handed_on(recorder: Recorder, number: int, before: int) -> int | None:
    """The value with a gradient, made before an operation, that a value is a mere copy or view of."""
    for _ in range(_DEPTH):
        value = recorder.values[number]
        if value.producer is None:
            return None
        producer = recorder.ops[value.producer]
        if value.producer < before and (value.requires_grad or _was_detached(recorder, number)):
            return number
        if producer.name not in _PASSING or not producer.inputs:
            return None
        number = producer.inputs[0]
    return None


def _made_by(recorder: Recorder, number: int, op: Op, before: int) -> bool:
    """Whether an earlier call of the same module returned a value."""
    earlier = recorder.ops[recorder.first_kept : before]
    return any(o.kind == "module" and o.call is op.call and number in o.outputs for o in earlier)


def _was_detached(recorder: Recorder, number: int) -> bool:
    """Whether a value had a gradient until it was detached in place."""
    return any(o.name == "detach_" and number in o.mutated for o in recorder.ops[recorder.first_kept :])
