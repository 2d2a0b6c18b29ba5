"""Which prediction of a sequence depends on which position: positions are replaced on a twin."""

from __future__ import annotations

from typing import Any

import torch

from trainrecipe.capture.watch import Seen, run_watched
from trainrecipe.finding import Evidence
from trainrecipe.subjects.step import Input, LossCall, Step

CUTS = 3
"""Positions after which everything is replaced, spread evenly over the sequence."""
DRAWN = 16
"""Positions in the picture."""
AGREE = 0.98
"""Share of targets that must equal the next input; the rest may be masked, corrupted or special tokens."""
RECURRENT = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"})
NOVEL = 0.2
"""Share of neighbours in the input that must differ, so that a constant sequence is not taken for a shifted one."""


def looking_ahead(step: Step, faint: float) -> list[Evidence]:
    """For each loss whose targets are an input shifted by one: how far predictions depend on what comes after them.

    `faint` is the share of the change at later positions below which a change counts as rounding.
    """
    pairs = [Positions(step, call, one, axis, length, faint) for call, one, axis, length in shifts(step)]
    return [pair.evidence() for pair in pairs]


def shifts(step: Step) -> list[tuple[LossCall, Input, int, int]]:
    """Each loss whose target is an input shifted by one: with the input, its axis of positions, how many are predicted."""
    return [
        (call, one, axis, length)
        for call in step.losses
        if call.counts and call.target is not None
        for one in step.inputs
        for axis, length in [_shift(one.tensor, call.target, call.settings.get("ignore_index", -100))]
        if axis is not None
    ]


def _shift(given: torch.Tensor, target: torch.Tensor, ignore: Any) -> tuple[int | None, int]:
    """Along which axis the target is the input shifted by one, and the number of positions that are predicted."""
    if given.is_sparse or given.ndim == 0 or given.is_floating_point() != target.is_floating_point():
        return None, 0
    for axis in range(min(given.ndim, 2)):
        length = given.shape[axis]
        if length < 4:
            continue
        new, old = given.narrow(axis, 1, length - 1), given.narrow(axis, 0, length - 1)
        if given.numel() == target.numel():
            wanted, predicted = target.reshape(given.shape).narrow(axis, 0, length - 1), length
        elif new.numel() == target.numel():
            wanted, predicted = target.reshape(new.shape), length - 1
        else:
            continue
        counted = torch.ones_like(wanted, dtype=torch.bool) if wanted.is_floating_point() else wanted != int(ignore or 0)
        if int(counted.sum()) < 4:
            continue
        share = float((wanted == new)[counted].double().mean())
        novel = float((new != old)[counted].double().mean())
        if share >= AGREE and novel >= NOVEL:
            return axis, predicted
    return None, 0


class Positions:
    """One loss call whose target is one input shifted along `axis`; `length` positions of it are predicted."""

    def __init__(self, step: Step, call: LossCall, one: Input, axis: int, length: int, faint: float) -> None:
        self.step, self.call, self.one, self.axis, self.length, self.faint = step, call, one, axis, length, faint
        self.twin = step.twin()
        self.twin.evaluating = True

    def evidence(self) -> Evidence:
        """How far predictions depend on later positions, and where that begins."""
        base = self._positions(self._run(None))
        if base is None:
            return Evidence({"no_positions": True}, place=self.call.place)
        counted = self._counted(base)
        leak, worst = 0.0, 0
        for t in self._cuts():
            change = self._change(base, self._run(self._future(t)))
            ratio = _ratio(change, t, counted)
            leak, worst = (ratio, t) if ratio > leak else (leak, worst)
        found = {"leak": leak, "through_summary": False, "operation": "", "chart": []}
        if leak <= self.faint:
            return Evidence({**found, "length": self.length}, place=self.call.place)
        op, still = self._trace(worst, base, counted)
        found |= {"through_summary": not still, "operation": op.name if op else "an operation", "chart": self._chart(base)}
        return Evidence(found, place=(op.place if op else None) or self.step.place)

    def dependence(self, offset: int) -> tuple[bool, bool, bool, bool] | None:
        """Single positions are replaced: whether predictions depend on the input `offset` places further on, on nothing
        behind their own position, and on what came before; and whether a recurrent layer took part. None where predictions
        cannot be told apart by position."""
        names: set[str] = set()
        base = self._positions(self._run(None, lambda seen: names.add(seen.name)))
        if base is None:
            return None
        sees, causal, context, moved = True, True, False, False
        for t in self._cuts():
            change = self._change(base, self._run(self._future(t, only=True))).amax(1)
            most = float(change.max())
            if most == 0 or not 0 <= t - offset < self.length:
                continue
            moved = True
            sees &= float(change[t - offset]) > self.faint * most
            causal &= t == 0 or float(change[:t].max()) <= self.faint * most
            context |= bool((change[t + 1 :] > self.faint * most).any())
        return sees and moved, causal, context, bool(names & RECURRENT)

    def _cuts(self) -> list[int]:
        last = self.length - 2
        return sorted({round(last * k / (CUTS + 1)) for k in range(1, CUTS + 1)} | {last})

    def _future(self, t: int, only: bool = False) -> torch.Tensor:
        """The input with everything after position t (or only position t) taken from another example, or reversed."""
        made = self.one.tensor.clone()
        size = made.shape[self.axis]
        part = made.narrow(self.axis, t if only else t + 1, 1 if only else size - t - 1)
        other = 1 - self.axis
        if made.ndim > 1 and made.shape[other] > 1 and other < made.ndim:
            part.copy_(part.roll(1, other).clone())
        else:
            source = self.one.tensor.roll(1, self.axis).narrow(self.axis, t if only else t + 1, part.shape[self.axis])
            part.copy_(source)
        return made

    def _run(self, tensor: torch.Tensor | None, see: Any = None) -> torch.Tensor | None:
        """The tensor that the loss function gets, inner losses included."""
        found: list[torch.Tensor] = []

        def look(seen: Seen) -> Any:
            if seen.name == self.call.name and seen.inputs:
                found.append(seen.inputs[0].detach().clone())
            return see(seen) if see is not None else None

        run_watched(self.step, self.twin, look, overrides={} if tensor is None else {self.one.number: tensor})
        same = [c for c in self.step.losses if c.name == self.call.name]
        which = next((k for k, c in enumerate(same) if c.op is self.call.op), 0)
        return found[which] if which < len(found) else None

    def _positions(self, prediction: torch.Tensor | None) -> torch.Tensor | None:
        """Predictions as (positions, rest), or None where they cannot be aligned."""
        given, target = self.one.tensor, self.call.target
        assert target is not None
        if prediction is None:
            return None
        rows = list(given.shape)
        rows[self.axis] = self.length
        count = target.numel()
        if prediction.numel() % max(1, count):
            return None
        wide = prediction
        if prediction.numel() != count and prediction.ndim > 2 and target.ndim == prediction.ndim - 1:
            wide = prediction.movedim(1, -1)
        return wide.reshape(*rows, -1).movedim(self.axis, 0).reshape(self.length, -1).double()

    def _change(self, base: torch.Tensor, after: torch.Tensor | None) -> torch.Tensor:
        moved = self._positions(after)
        return torch.zeros_like(base) if moved is None or moved.shape != base.shape else (moved - base).abs().nan_to_num(0.0)

    def _counted(self, base: torch.Tensor) -> torch.Tensor:
        """Which elements of the predictions the loss depends on."""
        target = self.call.target
        assert target is not None
        everything = torch.ones_like(base, dtype=torch.bool)
        number = self.call.input
        if self.call.op.parent is None:
            pair = self.step.value_and_gradient(number)
            gradient = self._positions(pair[1]) if pair is not None else None
            if gradient is not None and gradient.shape == base.shape:
                return gradient != 0
        if target.is_floating_point():
            return everything
        kept = (target != int(self.call.settings.get("ignore_index", -100) or 0)).reshape(-1)
        rows = list(self.one.tensor.shape)
        rows[self.axis] = self.length
        kept = kept.reshape(*rows, 1).expand(*rows, base[0].numel() * self.length // kept.numel())
        return kept.movedim(self.axis, 0).reshape(self.length, -1)

    def _trace(self, t: int, base: torch.Tensor, counted: torch.Tensor) -> tuple[Seen | None, bool]:
        """Where the future first reaches earlier positions, and whether it still does when summaries are held fixed.

        A summary is a result without an axis of positions: it is given its old value in a second run.
        """
        old: list[list[torch.Tensor]] = []
        size = self.one.tensor.shape[self.axis]

        def keep(seen: Seen) -> None:
            old.append([o.detach().clone() for o in seen.outputs])

        self._run(None, keep)
        first: list[Seen] = []

        def compare(seen: Seen) -> Any:
            before = old[seen.index] if seen.index < len(old) else []
            if [b.shape for b in before] != [o.shape for o in seen.outputs]:
                return None
            if not first and any(
                _reaches(b, o, (size, self.length), t, self.faint) for b, o in zip(before, seen.outputs, strict=True)
            ):
                first.append(seen)
            if len(before) == 1 and before[0].is_floating_point() and not self._has_positions(before[0]):
                return before[0]
            return None

        after = self._run(self._future(t), compare)
        return (first[0] if first else None), _ratio(self._change(base, after), t, counted) > self.faint

    def _has_positions(self, value: torch.Tensor) -> bool:
        shape = self.one.tensor.shape
        lengths = {shape[self.axis], self.length}
        others = shape[1 - self.axis] if len(shape) > 1 else 1
        return any(n in lengths or (n % others == 0 and n // others in lengths) for n in value.shape)

    def _chart(self, base: torch.Tensor) -> list[list[float]]:
        drawn = min(DRAWN, self.length)
        columns = []
        for t in range(drawn):
            change = self._change(base, self._run(self._future(t, only=True))).amax(1)
            columns.append([round(float(v), 4) for v in (change / change.max().clamp(min=1e-30))[:drawn]])
        return [list(row) for row in zip(*columns, strict=True)]


def _ratio(change: torch.Tensor, t: int, counted: torch.Tensor) -> float:
    past, future = change[: t + 1][counted[: t + 1]], change[t + 1 :]
    most = float(future.max()) if future.numel() else 0.0
    return float(past.max()) / max(most, 1e-30) if past.numel() and float(past.max()) > 0 else 0.0


def _reaches(before: torch.Tensor, after: torch.Tensor, lengths: tuple[int, int], t: int, faint: float) -> bool:
    """Whether positions up to t of a value with an axis of positions changed."""
    if not before.is_floating_point() or before.numel() == 0:
        return False
    change = (after.double() - before.double()).abs().nan_to_num(0.0)
    most = float(change.max())
    axes = [k for k, n in enumerate(before.shape) if n in lengths]
    if not axes or most == 0:
        return False
    # the axis of positions is the one along which the last position changed; attention weights have two: all must leak
    return all(float(change.narrow(k, 0, t + 1).max()) > faint * most for k in axes)
