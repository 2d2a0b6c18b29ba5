from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.names import plain_name

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.watch import Seen
    from trainrecipe.finding import Place
    from trainrecipe.subjects.step import Step
    from trainrecipe.subjects.summands import Graph

ROUNDING = 1e-4
GAUSSIAN = 0.5 + 0.5 * math.log(2 * math.pi)
"""What the entropy of a normal distribution is above the logarithm of its standard deviation."""
STEPS = 3


class EntropyMinimised(Check):
    """The entropy of a policy is raised, not lowered.

    What it checks
    --------------
    Where a loss has a log-probability times an advantage, and the entropy of the same policy as another term: the sign with
    which the entropy enters the loss, from the gradient of the loss in p log p (or in the logarithm of a standard deviation),
    in every step that was recorded.

    Why it matters
    --------------
    The term is there to keep the policy trying other actions. With the wrong sign it rewards being sure: the policy settles on
    what it did first, and never sees what would have been better. The loss falls as it should.

    What healthy looks like
    -----------------------
    `loss = policy_loss + 0.5 * value_loss - 0.01 * entropy`, for an optimiser that goes down.

    What to do
    ----------
    Subtract the entropy from the loss.

    When it is wrong
    ----------------
    Entropy is lowered on purpose in semi-supervised learning, in adaptation and clustering: there no advantage of either sign
    multiplies a log-probability. Distributions other than categorical and normal ones are not known, nor are optimisers that
    are not PyTorch's own.

    Source
    ------
    Williams and Peng 1991; Mnih et al. 2016 (A3C), section 4: the entropy is added to the objective, which is maximised.
    """

    title = "The loss lowers the entropy of the policy"
    rows = ("S18", "S12")
    faults = (16,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.summands import Graph
        from trainrecipe.subjects.uphill import goes_up

        if step.distrust:
            return Evidence(missing=step.distrust)
        if goes_up(step) is not False:
            return Evidence(missing="whether the optimiser goes down the gradient cannot be told")
        signs: list[float] = []
        place = None
        for one in step.each()[:STEPS]:
            if one.distrust:
                continue
            graph = Graph(one)
            found = _entropy(graph) if graph.root.requires_grad else None
            if found is not None:
                signs.append(found[0])
                place = place or found[1]
        if not signs:
            return Evidence(missing="no log-probability times an advantage, with an entropy beside it, is in the loss")
        return Evidence({"weights": signs}, place=place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        weights = evidence["weights"]
        if any(w <= 0 for w in weights):
            return Ruling.passed("the loss falls as the entropy of the policy rises")
        return Ruling.found(
            Severity.WARNING,
            "The entropy of the policy is added to a loss that is minimised: it is driven down.",
            expected="an entropy that is subtracted from the loss, so that the policy keeps exploring",
            observed=f"the loss rises by {weights[0]:.3g} per unit of entropy, and in all {len(weights)} recorded steps",
            fix="Turn the sign: `loss = policy_loss + value_loss - beta * entropy`.",
        )


def _entropy(graph: Graph) -> tuple[float, Place | None] | None:
    """What the loss gains per unit of entropy of the policy that an advantage trains, and the line that adds it."""
    import torch

    from trainrecipe.subjects.advantages import heads_of

    reached = {op.index for op in graph.cone(graph.root)}
    policies = [(op, heads_of(graph, chance, op.index).keys()) for op, chance in _policy_terms(graph, reached)]
    if not policies:
        return None
    weights: list[float] = []
    first: tuple[Seen, Seen] | None = None
    for op, sign in _entropies(graph, reached):
        heads = heads_of(graph, op.outputs[0], op.index + 1).keys()
        policy = next((p for p, h in policies if heads and h == heads), None)
        if policy is None:
            continue
        (gradient,) = torch.autograd.grad(graph.root.sum(), [op.outputs[0]], retain_graph=True, allow_unused=True)
        if gradient is None or not bool((gradient != 0).any()) or not bool(gradient.isfinite().all()):
            continue
        if bool((gradient > 0).any()) and bool((gradient < 0).any()):
            return None
        rows = gradient.numel() if sign > 0 and gradient.ndim < 2 else gradient.numel() // gradient.shape[-1]
        weights.append(sign * float(gradient.double().mean()) * rows)
        first = first or (policy, op)
    if first is None or (min(weights) < 0 < max(weights)):
        return None
    return sum(weights), _joined(graph, reached, *first)


def _policy_terms(graph: Graph, reached: set[int]) -> Iterator[tuple[Seen, torch.Tensor]]:
    """Products of a log-probability, or of a ratio, and an advantage: numbers of either sign without a gradient."""
    from trainrecipe.subjects.advantages import LOGARITHMS, cone_before

    for op in graph.ops:
        if plain_name(op) not in ("mul", "rmul", "multiply") or op.index not in reached or len(op.inputs) != 2:
            continue
        for chance, advantage in (op.inputs, op.inputs[::-1]):
            if not chance.requires_grad or advantage.requires_grad or advantage.numel() < 2:
                continue
            if not advantage.is_floating_point() or not bool((advantage > 0).any()) or not bool((advantage < 0).any()):
                continue
            names = {n for o in cone_before(graph, chance, op.index) for n in (o.name, plain_name(o))}
            if names & LOGARITHMS:
                yield op, chance


def _entropies(graph: Graph, reached: set[int]) -> Iterator[tuple[Seen, int]]:
    """Operations that make p log p of a distribution (-1: its sum is minus the entropy), or the entropy of a normal one (1)."""
    for op in graph.ops:
        if op.index not in reached or not op.outputs:
            continue
        name = plain_name(op)
        moving = [t for t in op.inputs if t.requires_grad]
        if name in ("mul", "rmul", "multiply") and len(moving) == 2 and len(op.inputs) == 2:
            if _is_distribution(*moving) or _is_distribution(*moving[::-1]):
                yield op, -1
        elif name in ("add", "radd") and len(moving) == 1:
            numbers = [a for a in op.args if isinstance(a, int | float)]
            made = graph.maker(moving[0], op.index)
            if numbers and abs(numbers[0] - GAUSSIAN) < ROUNDING and made is not None and plain_name(made) == "log":
                yield op, 1


def _is_distribution(chances: torch.Tensor, logarithms: torch.Tensor) -> bool:
    """Whether rows are probabilities, and the others their logarithms."""
    if chances.shape != logarithms.shape or not chances.ndim or chances.shape[-1] < 2 or not chances.numel():
        return False
    p, logs = chances.detach().double(), logarithms.detach().double()
    if not bool((p >= 0).all()) or not bool(((p.sum(-1) - 1).abs() < ROUNDING).all()):
        return False
    return bool(((logs.exp() - p).abs() < ROUNDING).all())


def _joined(graph: Graph, reached: set[int], policy: Seen, entropy: Seen) -> Place | None:
    """The line that brings the two terms together."""
    for op in graph.ops:
        if op.index not in reached or op.index < max(policy.index, entropy.index) or len(op.inputs) < 2:
            continue
        sides = [{o.index for o in graph.cone(t)} for t in op.inputs if t.requires_grad]
        with_policy = [s for s in sides if policy.index in s]
        if len(sides) > 1 and with_policy and any(entropy.index in s and policy.index not in s for s in sides):
            return op.place
    return entropy.place
