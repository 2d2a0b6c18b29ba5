from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Input, Step

FEATURES = 4096
"""Columns up to which a table of features is looked at one by one."""
WARM_UP = 3
"""Optimiser steps on the copy, where only the first step was seen: layers that start at zero hide their inputs until then."""
GRIDS = frozenset({"conv1d", "conv2d", "conv3d", "unfold", "as_strided"})
"""Operations that leave out the border of a grid when sizes do not divide, which is a habit and no fault."""
TAKING = frozenset({"__getitem__", "narrow", "select", "split", "chunk", "index_select", "unbind", "tensor_split"})
SETTLED = 8
"""Optimiser steps after which an output layer that started at zero has moved."""
NAMED = 6


class UnusedInputs(Check):
    """Everything that is fed to the model can change its output.

    What it checks
    --------------
    Each input tensor, and each column of a table of features, is exchanged between the examples of the batch on a copy of
    the step, in training and in evaluation mode. One that varies but changes neither predictions nor loss, in any bit, is
    not used. Only columns without gradient are exchanged.

    Why it matters
    --------------
    A feature that the model cannot see cannot help, and the code that prepared it says that it was meant to.

    What healthy looks like
    -----------------------
    Permuting any feature that varies changes the predictions at least a little.

    What to do
    ----------
    Follow the columns named through the model's slices and concatenations. Drop them from the data if they are not meant.

    When it is wrong
    ----------------
    Columns that are carried along on purpose (an identifier) are reported, too. Inputs that are constant in the batch
    are not judged. Integer and boolean inputs, such as masks and lengths, are at most a note, as is a border that a
    convolution leaves out.

    Source
    ------
    Karpathy's recipe (dependencies); fault catalogue 26, 118. An input without influence changes nothing bit for bit.
    """

    title = "Part of the input cannot influence the model"
    rows = ("S12",)
    faults = (118,)
    price = Price.BACKWARD

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        if step.distrust:
            return Evidence(missing=step.distrust)
        given = (i for i in step.latest.inputs if not i.tensor.is_sparse and _varies(i.tensor))
        inputs = [i for i in given if not _carried(step.latest, i)]
        if not inputs:
            return Evidence(missing="the step has no input that varies over the batch")
        from trainrecipe.capture.replay import CannotReplay

        try:
            probe = _Probe(step.latest, warm_up=step.latest is step)
        except CannotReplay as error:
            return Evidence(missing=f"the step cannot be executed in evaluation mode: {error}")
        try:
            return _together([(_way_in(one), self._look(probe, one)) for one in inputs])
        except (RuntimeError, CannotReplay) as error:  # such as offsets into a sequence of tokens
            return Evidence(missing=f"the model does not take other inputs of that kind: {error}")

    def _look(self, probe: _Probe, one: Input) -> Evidence:
        table = one.tensor.ndim == 2 and one.tensor.is_floating_point() and one.tensor.shape[1] <= FEATURES
        whole = probe.changes(one, None)
        unused = probe.unused_columns(one) if table and whole else []
        varying = int(_varying(one.tensor).sum()) if table else 0
        return Evidence(
            {
                "table": table,
                "unused": whole is False,
                "columns": unused,
                "varying": varying,
                "floating": one.tensor.is_floating_point(),
                "shape": list(one.tensor.shape),
                "grid": probe.has_grid,
                "everything": whole is False and not probe.anything_changes(),
                "steps": probe.step.tape.step,
                "influence": probe.influence(one) if unused and varying <= 40 else {},
            },
            place=_place(probe.step, one) or probe.step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        size = "×".join(str(n) for n in evidence["shape"])
        if evidence["everything"] and evidence["steps"] >= SETTLED:
            return Ruling.found(
                Severity.WARNING,
                f"After {evidence['steps']} steps the predictions still do not depend on the input at all.",
                expected="permuting the input over the batch changes the predictions",
                observed="predictions and loss stay the same in every bit, in training and in evaluation mode",
                fix="Print each layer's output for two different examples; where they become equal the input is lost.",
                causes=(
                    "All units of a layer are dead: see whether its output is zero.",
                    "Forward uses another variable than its argument.",
                ),
            )
        if evidence["everything"]:
            return Ruling.unsure("no input changes the predictions yet; the output layer may start at zero")
        if not evidence["unused"] and not evidence["columns"]:
            return Ruling.passed(f"permuting the input of size {size}, or any of its features, changes the predictions")
        if evidence["unused"]:
            return Ruling.found(
                Severity.WARNING if evidence["floating"] else Severity.NOTE,
                f"An input of size {size} has no influence on the predictions.",
                expected="permuting an input over the batch changes the predictions",
                observed="predictions and loss stay the same in every bit, in training and in evaluation mode",
                fix="Look for the argument that the model's forward takes but does not use, or overwrites.",
            )
        columns = evidence["columns"]
        named = ", ".join(map(str, columns[:NAMED])) + (", …" if len(columns) > NAMED else "")
        return Ruling.found(
            Severity.NOTE if evidence["grid"] else Severity.WARNING,
            f"{len(columns)} of {evidence['varying']} features cannot influence the predictions: columns {named}.",
            expected="permuting a feature over the batch changes the predictions",
            observed=f"columns {named} can be permuted without a change in any bit of predictions and loss",
            fix="Follow these columns through the slices and concatenations in the model's forward; "
            "if they are not meant to be used, leave them out of the data.",
            causes=(
                "A slice in forward takes the wrong columns; print its shape and compare it with the data's.",
                "The result of a branch is computed and dropped; look for a variable that is never read.",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        influence = evidence.get("influence") or {}
        if not influence:
            return None
        return bars(
            "Influence of each feature on the predictions",
            "Mean absolute gradient of the predictions in each column; columns without a bar have none.",
            influence,
            x_title="mean |gradient|",
        )


def _way_in(one: Input) -> tuple[Any, ...]:
    """The call and the argument by which an input enters the model."""
    return one.op.name, one.op.at, one.op.inputs.index(one.number)


def _together(found: list[tuple[tuple[Any, ...], Evidence]]) -> list[Evidence]:
    """Inputs that enter by the same way, such as graphs one by one, are used if one of them is."""
    used = {way for way, evidence in found if not evidence["unused"]}
    return [dataclasses.replace(e, data={**e.data, "unused": e["unused"] and way not in used}) for way, e in found]


class _Probe:
    """A step whose inputs are permuted, and its results before that, in training and in evaluation mode."""

    def __init__(self, step: Step, warm_up: bool) -> None:
        self.step = step
        self.twins = []
        for evaluating in (False, True):
            twin = step.twin()
            if warm_up:
                _train(step, twin)
            twin.evaluating = evaluating
            self.twins.append(twin)
        self.base = [self._results(t, {}) for t in self.twins]
        self.has_grid = self._grid()

    def _results(self, twin: Any, overrides: dict[int, torch.Tensor]) -> list[torch.Tensor]:

        env = twin.run(overrides)
        return [env[n].detach() for n in dict.fromkeys((*self.step.predictions, *twin.tape.roots)) if n in env]

    def changes(self, one: Input, columns: list[int] | None) -> bool:
        """Whether exchanging an input (or columns of it) between examples changes anything.

        Permuting whole examples leaves a mean over them as it is, where the model itself makes the loss; so the last of
        the three ways gives half of the batch twice.
        """
        size = one.tensor.shape[0]
        order = list(range(size))
        half = order[size - size // 2 :]
        for rows in (order[-1:] + order[:-1], half + order[: size - size // 2], half + order[size // 2 :]):
            made = one.tensor[rows] if columns is None else one.tensor.clone()
            if columns is not None:
                made[:, columns] = one.tensor[rows][:, columns]
            for twin, base in zip(self.twins, self.base, strict=True):
                if not _same(base, self._results(twin, {one.number: made})):
                    return True
        return False

    def anything_changes(self) -> bool:
        return any(self.changes(i, None) for i in self.step.inputs if not i.tensor.is_sparse and _varies(i.tensor))

    def gradient(self, one: Input) -> torch.Tensor:
        """Mean absolute gradient of the predictions, weighted at random, in each column; over both modes."""
        import torch

        total = torch.zeros(one.tensor.shape[1], device=one.tensor.device)
        for twin in self.twins:
            given = one.tensor.clone().requires_grad_()
            env = twin.run({one.number: given})
            torch.manual_seed(0)
            values = [env[n] for n in dict.fromkeys((*self.step.predictions, *twin.tape.roots)) if env[n].requires_grad]
            weighted = [(v * torch.rand_like(v).add(0.5)).sum() for v in values if v.is_floating_point()]
            if weighted:
                (found,) = torch.autograd.grad(sum(weighted[1:], weighted[0]), given, allow_unused=True)
                total += found.abs().mean(0).float() if found is not None else 0.0
        return total

    def unused_columns(self, one: Input) -> list[int]:
        still = (self.gradient(one) == 0) & _varying(one.tensor)
        columns = [int(c) for c in still.nonzero().flatten()]
        if not columns or not self.changes(one, columns):
            return columns
        return [c for c in columns if not self.changes(one, [c])] if len(columns) <= 64 else []

    def influence(self, one: Input) -> dict[str, float]:
        keep = _varying(one.tensor)
        return {f"column {c}": float(g) for c, g in enumerate(self.gradient(one)) if keep[c]}

    def _grid(self) -> bool:
        return any(op.name in GRIDS for op in self.step.tape.history)


def _train(step: Step, twin: Any) -> None:
    import torch

    held = step.trained(twin)
    if not held:
        return
    optimizer = step.optimizer_for(twin) or torch.optim.SGD(held, lr=1e-2)
    for _ in range(WARM_UP):
        optimizer.zero_grad()
        twin.loss().backward()
        optimizer.step()


def _same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    import torch

    return len(a) == len(b) and all(torch.equal(x.nan_to_num(0.0), y.nan_to_num(0.0)) for x, y in zip(a, b, strict=True))


def _carried(step: Step, one: Input) -> bool:
    """Whether an earlier step made this value, such as a state that is handed on: Transformer-XL keeps more than it reads."""
    made = step.tape.values[one.number].producer
    return made is not None and made < min(op.index for op in (*step.tape.history, *step.tape.ops))


def _varies(tensor: torch.Tensor) -> bool:
    return tensor.ndim > 0 and tensor.shape[0] > 3 and bool((tensor != tensor[:1]).any())


def _varying(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor != tensor[:1]).any(0)


def _place(step: Step, one: Input) -> Any:
    """The last line in the model that takes a part of the input, where there is one; else the line that calls the model."""
    from trainrecipe.capture.where import place

    taken = [op for op in step.tape.history if one.number in op.inputs and op.parent is not None and op.name in TAKING]
    return place((taken[-1] if taken else one.op).at)
