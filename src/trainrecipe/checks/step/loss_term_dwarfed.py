"""Whether the terms of a loss pull at the weights with comparable force, or one of them drowns the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Step
    from trainrecipe.subjects.summands import Graph, Piece
    from trainrecipe.subjects.terms import Parts, Term

DROWNED = 0.9
"""Share of the gradient from which a term without data is tried for whether the data can still be learnt."""
PULLS = 0.5
"""The same for a penalty that pulls all of its weights to zero: half at the start is nearly all of it once the data's gradient
has fallen."""
NOTHING = 1e-3
"""Part of its value that a penalty has left where all weights are zero."""
DWARFED, SMALL = 1e-3, 0.02
"""Shares of the gradient below which a term is tried for whether it is learnt at all: the second one for terms whose targets
are classes, and then for a note; targets that another net gives begin close to the predictions."""
STEPS = 100
"""Steps of each experiment, at Adam's rate below."""
RATE = 3e-3
LEARNT = 0.3
"""Share of a loss that must go when it is trained alone, for the experiment to say anything."""
HALF = 0.5
"""Share of the gradient from which the divergence of a latent code is tried for whether it leaves the code anything."""
PRESSED = 0.1
"""Part of its value at the start to which a divergence that leaves the code anything does not fall: it grows from there."""
CONSTANT = 0.1
"""Part of the spread over the batch below which predictions count as constant, next to those learnt without the penalty."""
USED = 10.0
"""How many times its value at the start it must become without it, for the code to be of use to the data."""
BETTER = 1.1
"""How many times larger the reconstruction's loss must stay with it."""
KEPT, SLOWED = 0.3, 0.6
"""Shares of that fall below which it is not learnt in company, or slower: a note."""


class LossTermDwarfed(Check):
    """The terms of a summed loss pull at the weights that they share with comparable force.

    What it checks
    --------------
    The gradient of each summand, at the weights that several reach, in every recorded step. Three cases are tried further. A
    term of the weights alone that makes up over 90 % of the gradient, or half of it where it pulls all weights to zero: a
    twin is trained on one batch with it and without it, and the loss on the data compared. A term with targets that has less
    than a fiftieth of the gradient and no small factor of its own: a twin is trained with the whole loss and with this term
    alone. The divergence of a latent code whose noise reaches the reconstruction, as in a variational autoencoder, with most
    of the gradient: whether it is pressed to nothing, while without it the code would be used and the reconstruction better.

    Why it matters
    --------------
    A penalty that drowns the data pulls all weights to zero: predictions become constant. A term in other units (a
    squared error on prices next to a cross-entropy) takes all of the shared layers for itself; one metric never moves. A
    reconstruction that is averaged over its pixels, next to a divergence that is summed over its dimensions, weighs as many
    times too little as there are pixels: the code collapses, and the decoder draws the mean.

    What healthy looks like
    -----------------------
    Shares within one or two powers of ten. Small ones are fine where a small factor says so.

    What to do
    ----------
    Scale targets to unit variance, give each term a factor so that the gradients are comparable, lower the penalty.

    When it is wrong
    ----------------
    Terms with small factors (entropy bonus, commitment loss, weak penalties), terms without targets (KL divergences
    whose weight is raised slowly) and learnt weights are only drawn. A term that is small but learnt all the same passes.

    Source
    ------
    The recipe's "components of a sum of losses on a comparable scale; regularisation not drowning the data loss"; fault
    catalogue 23 and 77 (forum thread 126995).
    """

    title = "One term of the loss drowns the others"
    rows = ("S18",)
    faults = (23, 77)
    price = Price.TRAIN
    explains = ("overfit-one-batch", "learning-rate-range", "update-ratio", "exploding-gradients")

    def measure(self, step: Step) -> Evidence:
        """Measure shares, and try what they do."""
        from trainrecipe.subjects.terms import parts

        whole = parts(step)
        if whole.why:
            return Evidence(missing=whole.why)
        if len(whole.terms) < 2 or not whole.shared:
            return Evidence(missing="the loss is not a sum of terms that share trained weights")
        shares = _shares(step, whole)
        data: dict[str, Any] = {"shares": {k: round(v, 6) for k, v in shares.items()}, "tried": ""}
        suspect, kind = _suspect(step, whole, shares)
        if suspect is None:
            return Evidence(data, place=step.place)
        names = _names(whole)
        together, by_itself = _run(step, suspect, kind, whole=True), _run(step, suspect, kind, whole=False)
        if together is None or by_itself is None:
            return Evidence(missing="the time for experiments ran out before the terms could be tried one by one")
        (company, varied), (alone, free) = together, by_itself
        data |= {"tried": kind, "term": names[id(suspect)], "share": shares[names[id(suspect)]]}
        data |= {"company": _at_stake(company), "alone": _at_stake(alone), "spread": varied / free if free else None}
        if kind == "code":
            data |= {"code": [company[0][1], company[-1][1]], "free": alone[-1][1]}
        return Evidence(data, place=suspect.place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["tried"] == "code":
            return _collapses(e)
        text = "gradient shares: " + ", ".join(f"{k} {v:.2g}" for k, v in e["shares"].items())
        if not e["tried"]:
            return Ruling.passed(text)
        (first, last), (start, end) = e["company"], e["alone"]
        fall, possible = first - last, start - end
        if not all(map(math.isfinite, (last, end))) or possible < LEARNT * abs(start):
            return Ruling.unsure(f"{text}; {STEPS} steps do not show what it does")
        penalty = e["tried"] == "penalty"
        constant = penalty and e["spread"] is not None and e["spread"] <= CONSTANT and end <= CONSTANT * last
        if fall > SLOWED * possible and not constant:
            return Ruling.passed(f"{text}; all the same the rest is learnt ({first:.3g} to {last:.3g})")
        grave = constant or (fall <= KEPT * possible and (penalty or e["share"] < DWARFED))
        return Ruling.found(
            Severity.WARNING if grave else Severity.NOTE,
            f"The penalty on the weights ({e['term']}) drowns the loss on the data."
            if penalty
            else f"The term {e['term']} is {'drowned' if grave else 'held up'} by the rest of the loss.",
            expected="terms whose gradients are comparable at the weights that they share",
            observed=f"it makes up {e['share']:.2%} of the gradient; in {STEPS} steps on one batch the "
            f"{'loss on the data' if penalty else 'term'} goes from {first:.4g} to {last:.4g}, and "
            f"{'without the penalty' if penalty else 'trained alone'} to {end:.4g}"
            + ("; the predictions are all but constant" if constant else ""),
            fix="Lower the factor of the penalty by powers of ten (1e-4 is usual)."
            if penalty
            else "Bring the terms to one scale: normalise the targets, or give each term a factor.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if len(evidence["shares"]) < 2:
            return None
        caption = "Share of each term in the gradient at the weights that several terms reach; mean over the recorded steps."
        return bars("What the terms of the loss pull with", caption, evidence["shares"], x_title="share of the gradient")


def _collapses(e: Evidence) -> Ruling:
    """A divergence is pressed to nothing that would grow without it, to the good of the data."""
    text = "gradient shares: " + ", ".join(f"{k} {v:.2g}" for k, v in e["shares"].items())
    (start, end), free = e["code"], e["free"]
    (_, company), (_, alone) = e["company"], e["alone"]
    pressed = end <= PRESSED * start and free >= USED * start
    if not all(map(math.isfinite, (start, end, free, company, alone))) or not pressed or company < BETTER * alone:
        return Ruling.passed(f"{text}; in {STEPS} steps on one batch the latent code is put to use")
    return Ruling.found(
        Severity.WARNING,
        f"The divergence of the latent code ({e['term']}) drowns the reconstruction: the code collapses.",
        expected="a divergence that grows from its start, as the code is put to use",
        observed=f"it makes up {e['share']:.0%} of the gradient; in {STEPS} steps on one batch it goes from {start:.3g} to "
        f"{end:.2g}, and without it to {free:.3g}, with a reconstruction of {alone:.3g} instead of {company:.3g}",
        fix="Give both the same reduction: sum the reconstruction over the elements of an example, as the divergence is summed "
        "over its dimensions, and take the mean of both over the batch.",
    )


def _names(whole: Parts) -> dict[int, str]:
    """A name for each term that people can tell from the others."""
    found: dict[int, str] = {}
    for term in whole.terms:
        line = f", line {term.place.line}" if term.place is not None else ""
        kind = "penalty on weights" if term.weights_only else term.known.name if term.known is not None else term.name
        name = f"{kind}{line}"
        while name in found.values():
            name += "'"
        found[id(term)] = name
    return found


def _shares(step: Step, whole: Parts) -> dict[str, float]:
    """The share of each term, meaned over the recorded steps that have the same terms."""
    from trainrecipe.subjects.terms import parts

    names = _names(whole)
    sums = dict.fromkeys(names.values(), 0.0)
    steps = 0
    for one in [*step.each(), *([step.latest] if step.latest is not step else [])]:
        again = parts(one)
        total = sum(t.shared for t in again.terms)
        same = {(t.name, t.place): t.shared for t in again.terms}
        if total <= 0 or any((t.name, t.place) not in same for t in whole.terms):
            continue
        steps += 1
        for term in whole.terms:
            sums[names[id(term)]] += same[term.name, term.place] / total
    return {k: v / max(1, steps) for k, v in sums.items()}


def _suspect(step: Step, whole: Parts, shares: dict[str, float]) -> tuple[Term | None, str]:
    """The term that is worth an experiment, and which."""
    names = _names(whole)
    for term in whole.terms:
        share = shares[names[id(term)]]
        if term.weights_only and (share > DROWNED or (share > PULLS and _pulls_to_zero(step, term))):
            return term, "penalty"
    fitting = [t for t in whole.terms if t.meets_target or t.pull]
    for term in whole.terms:
        plain = term.factor is None or abs(term.factor) >= 0.5
        limit = SMALL if _is_given(term) else DWARFED
        if term.meets_target and plain and len(fitting) > 1 and shares[names[id(term)]] < limit and term.shared > 0:
            return term, "term"
    losses = [t for t in whole.terms if t.pull]
    for term in whole.terms:
        if not term.pull and not term.weights_only and losses and shares[names[id(term)]] > HALF and _is_code(step, term):
            return term, "code"
    return None, ""


def _pulls_to_zero(step: Step, term: Term) -> bool:
    """Whether a term pulls each tensor of its weights to zero, and is nothing where they are zero, as penalties are."""
    import torch

    from trainrecipe.capture.tensors import dense
    from trainrecipe.subjects.summands import Graph

    graph = Graph(step)
    own, _ = _parts_of(graph, term)
    weights = step.trained(graph.twin)
    if not own.requires_grad or float(own.detach()) <= 0:
        return False
    found = zip(weights, torch.autograd.grad(own, weights, allow_unused=True), strict=True)
    pulls = [float((dense(g).detach() * w.detach()).sum()) for w, g in found if g is not None]
    if min(pulls, default=-1.0) < 0:
        return False
    with torch.no_grad():
        for weight in weights:
            weight.zero_()
    return abs(float(_parts_of(Graph(step, graph.twin), term)[0].detach())) < NOTHING * float(own.detach())


def _is_given(term: Term) -> bool:
    """Whether a term's targets are classes, which no other net has given."""
    return bool(term.targets) and not any(t.is_floating_point() for t in term.targets)


def _is_code(step: Step, term: Term) -> bool:
    """Whether noise reaches the rest of the loss and not this term, which shares its weights: a sampled code's divergence."""
    from trainrecipe.subjects.summands import Graph

    graph = Graph(step)
    own, rest = (any(_drawn(graph, p) for p in pieces) for pieces in _pieces_of(graph, term))
    return rest and not own


def _drawn(graph: Graph, piece: Piece) -> bool:
    from trainrecipe.subjects.names import GAUSSIAN

    return any(op.name in GAUSSIAN for op in graph.cone(piece.tensor))


def _at_stake(run: list[tuple[float, float]]) -> tuple[float, float]:
    """First and last value of what is at stake, the last one the lowest of a few."""
    return run[0][0], min(stake for stake, _ in run[-5:])


def _run(step: Step, suspect: Term, kind: str, *, whole: bool) -> tuple[list[tuple[float, float]], float] | None:
    """What is at stake and the suspect's own part, step by step, and how far the last predictions differ over the batch.

    None where the time is up.
    """
    import torch

    from trainrecipe.capture.tensors import dense
    from trainrecipe.subjects.practice import adam
    from trainrecipe.subjects.summands import Graph

    twin = step.twin()
    optimizer = adam(step, twin, RATE)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values: list[tuple[float, float]] = []
    for _ in range(STEPS + 1):
        if step.seconds_left() < 0:
            return None
        graph = Graph(step, twin)
        own, rest = _parts_of(graph, suspect)
        stake = own if kind == "term" else rest
        values.append((float(stake.detach()), float(own.detach())))
        if not math.isfinite(values[-1][0]) or not stake.requires_grad:
            break
        loss = graph.root.sum() if whole else stake
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = None if grad is None else dense(grad)
        optimizer.step()
    predicted = [graph.env[n].detach() for n in step.predictions if n in graph.env]
    return values, sum(float((p - p.mean(0)).norm()) for p in predicted if p.ndim and p.is_floating_point())


def _parts_of(graph: Graph, suspect: Term) -> tuple[torch.Tensor, torch.Tensor]:
    """The suspect's own part of the loss, and all but that."""
    import torch

    own, rest = _pieces_of(graph, suspect)
    tensors = [p.tensor for p in (*own, *rest)]
    weights = torch.autograd.grad(graph.root.sum(), tensors, retain_graph=True, allow_unused=True)
    values = [graph.root.new_zeros(()) if w is None else (t * w.detach()).sum() for t, w in zip(tensors, weights, strict=True)]
    nothing = graph.root.new_zeros(())
    return sum(values[: len(own)], nothing), sum(values[len(own) :], nothing)


def _pieces_of(graph: Graph, suspect: Term) -> tuple[list[Piece], list[Piece]]:
    """The summands that are the suspect, and the others."""
    from trainrecipe.subjects.names import plain_name
    from trainrecipe.subjects.summands import pieces_of

    own: list[Piece] = []
    rest: list[Piece] = []
    for piece in pieces_of(graph):
        name = "the loss" if piece.op is None else plain_name(piece.op)
        same = name == suspect.name and (piece.op is None or piece.op.place == suspect.place)
        (own if same else rest).append(piece)
    return own, rest
