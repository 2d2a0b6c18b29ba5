"""Whether training drives a loss up that is meant to fall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step
    from trainrecipe.subjects.terms import Parts, Term
    from trainrecipe.subjects.uphill import Outward, Weighed


class LossSign(Check):
    """Training lowers each loss of predictions against targets; none is driven up.

    What it checks
    --------------
    The loss is taken apart into the terms that it is a sum of. What each term computes is found by trying: its
    prediction is replaced at random, and its value compared with cross-entropy, binary cross-entropy, squared and
    absolute error against the targets, so that hand-written losses are seen through. It is a finding when such a term
    enters with a negative sign and the optimiser goes down, or with a positive one and the optimiser goes up
    (`maximize=True`, or weights that are moved along the gradient by hand). Beside such a loss, every other term of the same
    predictions and targets, such as a Dice loss, is followed while the predictions are moved to the targets: it may not rise.
    Of a policy's loss, log-probabilities of the actions taken times weights of the batch (advantages, returns), the sign is
    measured; it is a note where descent makes actions less likely the more weight they have. Of the log-density of a standard
    normal, as in a normalising flow, the square enters the loss with the factor -1/2; it is a finding when descent has driven
    the squares ten times as far out as such a density has them, and to four times what they were.

    Why it matters
    --------------
    These losses have no upper bound. Driven up, the loss goes to minus infinity as it is printed, which looks like
    success, while accuracy falls below chance.

    What healthy looks like
    -----------------------
    The loss itself goes into backward. A log-likelihood is negated once.

    What to do
    ----------
    Remove the minus sign, or add the one that is missing before the log-likelihood; drop `maximize=True`. With rewards, a
    policy's loss is `-(log_prob * advantage).mean()`.

    When it is wrong
    ----------------
    Adversaries raise a loss on purpose: where the layer that makes the prediction is not trained by this optimiser, or
    is trained to lower the same kind of loss elsewhere in the program, nothing is reported. Targets that are the same
    for all examples, as in GANs, and losses that are none of those named are not looked at. A policy's loss without a minus
    is right where the weights are costs, as the length of a tour; whether the weights are costs is not known, so it is at
    most a note, and none where the source turns a sign on the way. Only discrete actions whose weights are one tensor are seen.
    Of densities, only the standard normal is known; where another backward trains the same weights, the check is unsure.

    Source
    ------
    Fault catalogue 16; an error that is minimised with a negative sign is unbounded below: an identity.
    """

    title = "The loss is driven up instead of down"
    rows = ("S18",)
    faults = (16,)
    price = Price.FORWARD
    explains = (
        "overfit-one-batch",
        "learning-rate-range",
        "loss-at-init",
        "non-finite",
        "exploding-gradients",
        "update-ratio",
        "input-independent-baseline",
        "learning-rate-starved",
        "output-bias-at-init",
        "log-probabilities-expected",
    )

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Find terms that are known losses, with their signs."""
        from trainrecipe.subjects.terms import parts
        from trainrecipe.subjects.uphill import goes_up, outward, weighed

        whole = parts(step)
        if whole.why:
            return Evidence(missing=whole.why)
        known = [t for t in whole.terms if t.pull and t.head]
        policies = list(weighed(step))
        driven = None if known else outward(step)
        if not known and not policies and driven is None:
            return Evidence(missing="no term of the loss is a known loss of a trained prediction and targets")
        up = goes_up(step)
        if up is None:
            return Evidence(missing="in which direction the weights are moved cannot be told")
        if driven is not None and not up:
            return _density(driven)
        if not known and not policies:
            return Evidence(missing="no term of the loss is a known loss of a trained prediction and targets")
        losses = (_look(step, whole, term, up) for term in known)
        return [*losses, *_opposed(step, up), *(_policy(step, one, up) for one in policies)]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e.get("actions"):
            return _discouraged(e)
        if e.get("driven"):
            return _unlikely(e)
        name = e["loss"]
        if e["opposed"]:
            return _rising(e)
        text = f"{name} enters the loss with weight {e['factor']:.3g} and the optimiser goes {'up' if e['up'] else 'down'}"
        if (e["factor"] < 0) == e["up"]:
            return Ruling.passed(f"{text}: it is driven down")
        if e["excuse"]:
            return Ruling.unsure(f"{text}, so it is driven up: {e['excuse']}")
        return Ruling.found(
            Severity.ERROR if e["alone"] else Severity.WARNING,
            f"Training drives {name} up: the predictions are moved away from their targets.",
            expected=f"a loss that grows with {name}, and steps that lower it",
            observed=f"{'the loss' if e['alone'] else 'a term of the loss'} is {e['factor']:.3g} times {name} of the "
            f"predictions and targets, and the optimiser moves {'up' if e['up'] else 'down'} on it",
            fix="Remove `maximize=True`, or go against the gradient where weights are moved by hand."
            if e["up"]
            else "Remove the minus sign at this line."
            if e["flipped"]
            else "Put a minus sign before the log-likelihood.",
        )


def _look(step: Step, whole: Parts, term: Term, up: bool) -> Evidence:
    rivals = [t for t in whole.terms if t is not term and not t.weights_only]
    excuse = _excuse(step, term, rivals)
    place = (step.optimizer_place or step.place) if up else (term.flipped or term.place)
    return Evidence(
        {
            "loss": term.name if term.known is None else term.known.name,
            "factor": term.pull,
            "up": up,
            "alone": not rivals,
            "excuse": excuse,
            "flipped": term.flipped is not None,
            "opposed": "",
        },
        place=place or step.place,
    )


def _opposed(step: Step, up: bool) -> list[Evidence]:
    """Terms that rise as the predictions of a known loss become right, where the optimiser goes down."""
    from trainrecipe.subjects.opposing import opposed

    if up:
        return []
    facts = ((o, {"loss": o.name, "opposed": o.known, "rise": o.rise, "fall": o.fall}) for o in opposed(step))
    return [Evidence(found, place=one.place or step.place) for one, found in facts]


def _rising(e: Evidence) -> Ruling:
    return Ruling.found(
        Severity.WARNING,
        "A term of the loss rises as the predictions approach the targets.",
        expected=f"every term that takes the targets falls, as {e['opposed']} does",
        observed=f"with the predictions moved to the targets, {e['opposed']} falls by {e['fall']:.3g} and this term rises by "
        f"{e['rise']:.3g}, all the way",
        fix="Turn the sign of this term; a score such as Dice or a correlation is to be subtracted, a loss added.",
    )


def _density(one: Outward) -> Evidence:
    facts = {"driven": one.elements, "first": one.first, "latest": one.latest, "steps": one.steps, "rival": one.rival}
    return Evidence(facts, place=one.place)


def _unlikely(e: Evidence) -> Ruling:
    text = f"the mean square of what a standard normal is to fit went from {e['first']:.3g} to {e['latest']:.3g} in "
    text += f"{e['steps']} steps, and the loss falls as it grows"
    if e["rival"]:
        return Ruling.unsure(f"{text}; but another backward of the program trains the same weights")
    return Ruling.found(
        Severity.WARNING,
        "Training drives a Gaussian log-likelihood down: the data are made ever less likely.",
        expected="a negative log-likelihood: half of each square is added to the loss, so that the squares stay near one",
        observed=f"half of each square is subtracted; {text}",
        fix="Put a minus sign before the log-likelihood.",
    )


def _policy(step: Step, one: Weighed, up: bool) -> Evidence:
    facts = {"actions": one.actions, "sign": one.sign, "up": up, "low": one.low, "high": one.high}
    return Evidence(facts, place=one.place or step.place)


def _discouraged(e: Evidence) -> Ruling:
    way = f"enters the loss with a {'positive' if e['sign'] > 0 else 'negative'} sign and the optimiser goes "
    way += "up" if e["up"] else "down"
    if (e["sign"] < 0) != e["up"]:
        return Ruling.passed(f"log-probability times weight {way}: what has high weight is made likelier")
    return Ruling.found(
        Severity.NOTE,
        "Training makes actions less likely the more weight they have: right for costs, wrong for rewards.",
        expected="rewarded actions become likelier: a minus sign before log-probability times advantage or return, and descent",
        observed=f"the product of {e['actions']} weights, from {e['low']:.3g} to {e['high']:.3g}, and the log-probabilities of "
        f"the actions taken {way}",
        fix="If the weights are advantages, returns or rewards, turn the sign of this term; if they are costs, it is right.",
    )


def _excuse(step: Step, term: Term, rivals: list[Term]) -> str:
    """Why a term may be driven up on purpose; empty when nothing speaks for it."""
    from trainrecipe.subjects.terms import parts

    if all(bool((t == t.flatten()[0]).all()) for t in term.targets if t.numel()):
        return "its targets are all the same, as an adversary's are"
    if any(t.reached & term.head for t in rivals):
        return "other terms train the same layer"
    if not step.first:
        return "the weights were trained before this line was reached, so they may be unlearning"
    for other in step.others:
        if any(p is q for p in step.tape.parameters for q in other.tape.parameters):
            theirs = parts(other).terms
            if any(t.pull * term.pull <= 0 for t in theirs) or not theirs:
                return "another backward of the program trains the same weights"
    for later in step.each()[1:]:
        again = [t for t in parts(later).terms if t.pull and t.place == term.place]
        if again and all(t.pull * term.pull < 0 for t in again):
            return "its sign changes from step to step"
    return ""
