from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.tape import Op
    from trainrecipe.subjects.step import Step

FEWEST = 4
"""Examples of a batch below which equal views may be chance."""


class IdenticalViews(Check):
    """Two views of an example differ.

    What it checks
    --------------
    Where one network is called on two tensors of a loader's batch, or on two halves that were put together, as in contrastive
    learning: whether both times it is given the very same numbers and gives the very same ones, in every step that was
    recorded.

    Why it matters
    --------------
    Contrastive and siamese losses learn what two views have in common. If the views are equal, the positive pair agrees from
    the start whatever the network does, and nothing is left to learn but to tell examples apart. The loss still falls.

    What healthy looks like
    -----------------------
    Two augmentations drawn one after the other; or one input and dropout between, so that the results differ.

    What to do
    ----------
    Augment twice: `return self.augment(x), self.augment(x)`.

    When it is wrong
    ----------------
    Loaders that give an image as input and as target feed the network once, and are not meant; nor is a network that is
    called again on one tensor to use its result in another term.

    Source
    ------
    T. Chen et al. 2020 (SimCLR): without augmentation the task is trivial; the recipe's "look at what enters the net".
    """

    title = "The two views of each example are the same"
    rows = ("S4",)
    faults = (151,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence:
        if step.distrust:
            return Evidence(missing=step.distrust)
        seen = [_views(one) for one in step.each()]
        if not any(views for views, _ in seen):
            return Evidence(missing="no network is called on two batches, or on two halves of one")
        call = next((call for _, call in seen if call is not None), None)
        same = [views == "same" for views, _ in seen if views]
        examples = step.batch_size or 0
        return Evidence(
            {"same": sum(same), "steps": len(same), "examples": examples},
            place=step.reads or (None if call is None else step.place_of(call)) or step.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence["same"] < max(2, evidence["steps"]):
            return Ruling.passed(f"the views differ in {evidence['steps'] - evidence['same']} of {evidence['steps']} steps")
        return Ruling.found(
            Severity.WARNING,
            "The network is given each example twice, bit by bit the same, as two views of it.",
            expected="two views that were augmented apart",
            observed=f"equal inputs and equal results in {evidence['steps']} of {evidence['steps']} recorded steps",
            fix="Draw the augmentation once for each view.",
        )


def _views(step: Step) -> tuple[str, Op | None]:
    """Whether a step calls a network on two tensors, or on two halves of one: `same`, `other`, or empty for neither."""
    import torch

    twin = step.twin()
    env = twin.run()
    calls: dict[int, list[tuple[torch.Tensor, torch.Tensor, int, Op]]] = {}
    given = {i.number: i for i in step.inputs if i.tensor.is_floating_point() and i.tensor.ndim >= 2}
    loaded = {n for n, i in given.items() if i.source.startswith("batch")}
    for op in step.tape.modules():
        numbers = [n for n in op.inputs if n in given]
        if len(numbers) != 1 or not op.outputs or op.outputs[0] not in env or len(given[numbers[0]].tensor) < FEWEST:
            continue
        calls.setdefault(id(op.call), []).append((given[numbers[0]].tensor, env[op.outputs[0]], numbers[0], op))
    found = ""
    for seen in calls.values():
        for (a, b, n, op), (c, d, m, _) in itertools.pairwise(seen):
            if n == m or a.shape != c.shape or not {n, m} <= loaded:
                continue  # a tensor that is made twice in the step is used twice, perhaps
            if torch.equal(a, c) and torch.equal(b, d):
                return "same", op
            found = "other"
    for number, one in given.items():
        halves = _halves(step, number, one.tensor)
        if halves is None:
            continue
        found = found or "other"
        call = next((o for o in step.tape.modules() if number in o.inputs and o.outputs and o.outputs[0] in env), None)
        if call is None or not torch.equal(*halves):
            continue
        out = env[call.outputs[0]]
        if len(out) == len(one.tensor) and torch.equal(*out.chunk(2)):
            return "same", call
    return found, None


def _halves(step: Step, number: int, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The two halves of a batch that was put together of two."""
    value = step.tape.values[number]
    made = next((op for op in step.tape.history if op.index == value.producer), None)
    joined = made is not None and made.name in ("cat", "concat", "vstack") and len(set(made.inputs)) == 2
    if not joined or len(tensor) % 2 or len(tensor) < 2 * FEWEST:
        return None
    first, second = tensor.chunk(2)
    return first, second
