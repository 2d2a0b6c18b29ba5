from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, heatmap

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.step import Input, LossCall, Step

CUTS = 3
"""Positions after which everything is replaced, spread evenly over the sequence."""
DRAWN = 16
"""Positions in the picture."""
FAINT = 1e-3
"""A leak is counted from this share of the change at later positions on. Masked attention leaks exactly 0, convolution by
FFT and other sums 1e-6 (rounding); a missing mask changes earlier positions as much as later ones."""
AGREE = 0.98
"""Share of targets that must equal the next input; the rest may be masked, corrupted or special tokens."""
NOVEL = 0.2
"""Share of neighbours in the input that must differ, so that a constant sequence is not taken for a shifted one."""


class PeekingAhead(Check):
    """A model that predicts the next element of a sequence does not see it.

    What it checks
    --------------
    Where the targets are the inputs shifted by one, everything after position t is replaced on a copy of the model in
    evaluation mode. Predictions at positions up to t that count in the loss must stay as they were.

    Why it matters
    --------------
    The answer is in the input: loss and validation loss fall far below what is possible, and generation, where the
    future is not there, gives junk.

    What healthy looks like
    -----------------------
    The chart of which prediction depends on which position is triangular.

    What to do
    ----------
    Give attention a causal mask (`is_causal=True`, or a mask that is True, or -inf, above the diagonal as its
    function wants it), pad convolutions on the left only, use no bidirectional recurrent layer.

    When it is wrong
    ----------------
    Models whose targets are not the shifted inputs (masked language models, taggers, encoders) are not concerned.
    Positions that do not count in the loss, such as a prefix, may see each other. Where the future arrives only through
    a summary without positions, as in a sequence autoencoder or a text VAE, the check is unsure.

    Source
    ------
    Karpathy's recipe ("position t depends on 1…t-1"); fault catalogue 119.
    """

    title = "The model sees the element it has to predict"
    rows = ("S12",)
    faults = (119,)
    price = Price.FORWARD
    explains = ("overfit-one-batch",)

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        if step.distrust:
            return Evidence(missing=step.distrust)
        pairs = [
            _Look(step, call, one, axis, length)
            for call in step.losses
            if call.counts and call.target is not None
            for one in step.inputs
            for axis, length in [_shift(one.tensor, call.target, call.settings.get("ignore_index", -100))]
            if axis is not None
        ]
        if not pairs:
            return Evidence(missing="the targets are not the inputs shifted by one position, so nothing is predicted ahead")
        return [pair.evidence() for pair in pairs]

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence.get("no_positions"):
            return Ruling.unsure("the predictions cannot be aligned with the positions of the input")
        if evidence["leak"] <= FAINT:
            return Ruling.passed("predictions do not change when what comes after them is replaced")
        if evidence["through_summary"]:
            return Ruling.unsure("the future reaches the predictions through a summary of the whole sequence, as in an autoencoder")
        return Ruling.found(
            Severity.ERROR,
            f"Predictions depend on later positions, which hold their own targets; this begins at `{evidence['operation']}`.",
            expected="predictions up to a position stay as they are when everything after it is replaced",
            observed=f"they change by {evidence['leak']:.2g} of what the later predictions change by",
            fix="Mask the future at this line: a causal mask for attention, left padding for convolutions, one direction "
            "for recurrent layers.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("chart"):
            return None
        return heatmap(
            "Which prediction depends on which position",
            "Healthy: nothing above the diagonal. Column: the position that was replaced; row: the prediction that changed.",
            evidence["chart"],
            x_title="position replaced",
            y_title="prediction",
            value_title="relative change",
        )


def _shift(given: torch.Tensor, target: torch.Tensor, ignore: Any) -> tuple[int | None, int]:
    """Along which axis the target is the input shifted by one, and the number of positions that are predicted."""
    import torch

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


class _Look:
    """One loss call whose target is one input shifted along `axis`; `length` positions of it are predicted."""

    def __init__(self, step: Step, call: LossCall, one: Input, axis: int, length: int) -> None:
        self.step, self.call, self.one, self.axis, self.length = step, call, one, axis, length
        self.twin = step.twin()
        self.twin.evaluating = True

    def evidence(self) -> Evidence:
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
        if leak <= FAINT:
            return Evidence({**found, "length": self.length}, place=self.call.place)
        op, still = self._trace(worst, base, counted)
        found |= {"through_summary": not still, "operation": op.name if op else "an operation", "chart": self._chart(base)}
        return Evidence(found, place=(op.place if op else None) or self.step.place)

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
        import torch

        from trainrecipe.capture.watch import run_watched

        found: list[torch.Tensor] = []

        def look(seen: Seen) -> Any:
            if seen.name == self.call.name and seen.inputs:
                found.append(seen.inputs[0].detach().clone())
            return see(seen) if see is not None else None

        with torch.no_grad():
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
        import torch

        moved = self._positions(after)
        return torch.zeros_like(base) if moved is None or moved.shape != base.shape else (moved - base).abs().nan_to_num(0.0)

    def _counted(self, base: torch.Tensor) -> torch.Tensor:
        """Which elements of the predictions the loss depends on."""
        import torch

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
            if not first and any(_reaches(b, o, size, self.length, t) for b, o in zip(before, seen.outputs, strict=True)):
                first.append(seen)
            if len(before) == 1 and before[0].is_floating_point() and not self._has_positions(before[0]):
                return before[0]
            return None

        after = self._run(self._future(t), compare)
        return (first[0] if first else None), _ratio(self._change(base, after), t, counted) > FAINT

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


def _reaches(before: torch.Tensor, after: torch.Tensor, size: int, length: int, t: int) -> bool:
    """Whether positions up to t of a value with an axis of positions changed."""
    if not before.is_floating_point() or before.numel() == 0:
        return False
    change = (after.double() - before.double()).abs().nan_to_num(0.0)
    most = float(change.max())
    axes = [k for k, n in enumerate(before.shape) if n in (size, length)]
    if not axes or most == 0:
        return False
    # the axis of positions is the one along which the last position changed; attention weights have two: all must leak
    return all(float(change.narrow(k, 0, t + 1).max()) > FAINT * most for k in axes)
