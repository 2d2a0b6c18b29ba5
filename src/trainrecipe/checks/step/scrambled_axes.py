from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.axes import Scramble
    from trainrecipe.subjects.step import Step


class ScrambledAxes(Check):
    """A reshape merges and splits axes; only a transposition swaps them.

    What it checks
    --------------
    Each reshape whose result an operation reads by axes, against the sizes that its values lie in memory with. Where the
    same sizes come out in another order, each new row holds pieces of several old ones. Sizes that could also be a
    regrouping on purpose are tried again with one position less.

    Why it matters
    --------------
    `x.view(T, B, C)` of a (B, T, C) tensor has the right shape and the wrong content: positions, heads, channels or examples
    are cut up and glued together. Training goes on and learns less.

    What healthy looks like
    -----------------------
    `transpose` or `permute` where axes change places, `view` and `reshape` where neighbouring axes are merged or one is split.

    What to do
    ----------
    Use `x.transpose(a, b)` or `x.permute(...)`, followed by `reshape` where axes are to be merged.

    When it is wrong
    ----------------
    Axes of equal length cannot be told apart. Regrouping whose sizes happen to be those of another axis (32 steps of 16
    features to 16 of 32) is told by its sizes at another length, where the program runs at one; the trick that shifts the rows
    of a matrix (relative positions) by its lengths, which differ by one.

    Source
    ------
    PyTorch documentation of `Tensor.view`; fault catalogue 102.
    """

    title = "A reshape swaps axes without moving their content"
    rows = ("S12",)
    faults = (102, 136)
    price = Price.FORWARD
    explains = ("batch-mixing", "peeking-ahead", "overfit-one-batch", "wrong-class-dimension")

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.axes import scrambles

        if step.distrust:
            return Evidence(missing=step.distrust)
        sure, doubtful = scrambles(step)
        found = [self._look(step, s, sure=True) for s in sure] + [self._look(step, s, sure=False) for s in doubtful]
        return found or Evidence({"scrambled": False})

    def _look(self, step: Step, one: Scramble, sure: bool) -> Evidence:
        batch = step.batch_size in one.moved
        return Evidence(
            {"scrambled": True, "sure": sure, "layout": one.layout, "shape": one.shape, "user": one.user, "batch": batch},
            place=one.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["scrambled"]:
            return Ruling.passed("every reshape merges or splits axes, or its result is not read by axes")
        old, new = (tuple(evidence[k]) for k in ("layout", "shape"))
        if not evidence["sure"]:
            return Ruling.unsure(f"a reshape reads {old} as {new}: a regrouping on purpose, or swapped axes?")
        return Ruling.found(
            Severity.ERROR if evidence["batch"] else Severity.WARNING,
            f"A reshape reads values that lie as {old} as if they were {new}, for `{evidence['user']}`: the axes change "
            f"places, their content does not{', and examples get mixed up' if evidence['batch'] else ''}.",
            expected="axes that change places are transposed; a reshape only merges or splits neighbouring axes",
            observed=f"index 1 of an axis of {new} holds pieces of several indices of {old}",
            fix="Use `transpose` or `permute` to bring the axes into the new order, then `reshape` if some are to be merged.",
        )
