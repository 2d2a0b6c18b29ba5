from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

NARROW = 0.55
"""Entropy over that of even weights below which attention is narrow at the start; scaled attention begins at 0.9 to 1."""
MENDED = 0.8
"""The same after division by the root of the width, from which on the missing division explains it."""


class AttentionScale(Check):
    """Attention begins by looking everywhere.

    What it checks
    --------------
    At the first step, the entropy of attention's weights, relative to that of even weights, on a copy in evaluation mode.
    Where it is low and division of the scores by the root of the queries' width would restore it, that division is missing.

    Why it matters
    --------------
    Products of wide vectors are large, so the softmax puts nearly all weight on one position at random and its gradient
    vanishes: attention hardly learns where to look.

    What healthy looks like
    -----------------------
    Scores with a standard deviation of at most about one, and a relative entropy near one at the start.

    What to do
    ----------
    Divide the scores by the square root of the width of a head before the softmax, or use
    `scaled_dot_product_attention`, which does it.

    When it is wrong
    ----------------
    Only untrained models are judged: loaded weights may attend sharply with good reason. Small heads (up to 32) without the
    division lose little and pass, as do models that scale queries or initial weights instead.

    Source
    ------
    A. Vaswani et al., Attention Is All You Need, 3.2.1; fault catalogue 122.
    """

    title = "Attention is nearly one-hot at the start"
    rows = ("S17", "S19")
    faults = (122,)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.capture.replay import CannotReplay
        from trainrecipe.subjects.attention import spreads

        if not step.first or step.loaded:
            return Evidence(missing="the weights of this step are not the initial ones")
        if step.distrust:
            return Evidence(missing=step.distrust)
        try:
            found = spreads(step)
        except CannotReplay as error:
            return Evidence(missing=f"the step cannot be executed in evaluation mode: {error}")
        if not found:
            return Evidence(missing="no attention whose scores can be seen")
        found.sort(key=lambda s: s.entropy)
        rows = [
            {"entropy": s.entropy, "divided": s.divided, "width": s.width, "keys": s.keys, "deviation": s.deviation}
            for s in found[:40]
        ]
        return Evidence({"attentions": rows}, place=found[0].place)

    def judge(self, evidence: Evidence) -> Ruling:
        every = evidence["attentions"]
        narrow = [a for a in every if a["entropy"] < NARROW]
        worst = every[0]
        if not narrow:
            return Ruling.passed(f"attention spreads over its keys: relative entropy of at least {worst['entropy']:.2f}")
        if worst["divided"] < MENDED:
            return Ruling.unsure(
                f"an attention begins with a relative entropy of {worst['entropy']:.2f}, which its scale does not explain"
            )
        return Ruling.found(
            Severity.WARNING,
            f"Attention puts nearly all weight on few keys before anything is learned ({len(narrow)} of {len(every)}).",
            expected="scores with a standard deviation of about one or less, and a relative entropy near one",
            observed=f"scores of queries and keys of width {worst['width']} have a standard deviation of "
            f"{worst['deviation']:.1f}; over {worst['keys']} keys the relative entropy is {worst['entropy']:.2f}, and "
            f"{worst['divided']:.2f} after division by the root of {worst['width']}",
            fix=f"Divide the scores by math.sqrt({worst['width']}) before the softmax.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        rows = evidence["attentions"]
        names = [f"attention {i}" for i in range(1, len(rows) + 1)]
        return bars(
            "How evenly attention begins",
            "Healthy: near 1. Entropy of the weights over that of even weights, narrowest first.",
            dict(zip(names, [a["entropy"] for a in rows], strict=True)),
        )
