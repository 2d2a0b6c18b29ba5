"""Whether the loss counts the positions that only fill up short sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.padded_targets import Tokens
    from trainrecipe.subjects.step import Step

MANY = 0.25
"""Share of the counted positions that are padding, from where on the loss mostly tells how well padding is predicted."""
FEW = 0.02


class PaddingInLoss(Check):
    """Padding is left out of the loss.

    What it checks
    --------------
    Whole-number inputs and targets whose rows end in runs of one value that is rare elsewhere: padded sequences. Then,
    in a replay, whether gradient flows into the predictions at these positions, which sees through masks, weights,
    `ignore_index` and hand-written losses alike.

    Why it matters
    --------------
    Predicting padding after padding is learned at once: the loss looks low from the first epoch, its gradient is mostly
    about padding, real tokens weigh less in batches with one long sequence, and perplexities cannot be compared.

    What healthy looks like
    -----------------------
    No gradient at padded positions; the mean is taken over real tokens.

    What to do
    ----------
    `cross_entropy(logits, targets, ignore_index=PAD)`, or multiply by a mask and divide by its sum.

    When it is wrong
    ----------------
    Where the padding value also ends the sequence and the net is meant to go on predicting it, this is intended; unless
    the value is declared as padding (`padding_idx`) it is only a note. A frequent real class, such as background or the
    tag O, is not taken for padding unless the input is padded at the same positions.

    Source
    ------
    Fault catalogue 19 (forum thread 56093). The gradient at each position is measured.
    """

    title = "The loss counts padding"
    rows = ("S18",)
    faults = (19,)
    price = Price.BACKWARD
    explains = ("output-bias-at-init",)

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Compare padded positions with the gradient at them."""
        from trainrecipe.subjects.padded_targets import padded

        if step.distrust:
            return Evidence(missing=step.distrust)
        tokens = list(padded(step))
        if not tokens:
            return Evidence(missing="no input or target is a padded sequence of tokens")
        found = []
        for name, target, gradient, place in _given(step):
            counted = _counted(gradient, target)
            best: dict[str, Any] | None = None
            for one in tokens:
                tails = _aligned(one, target)
                if tails is None:
                    continue
                pads = int((tails & counted).sum())
                data = {
                    "loss": name,
                    "pad": one.pad,
                    "declared": one.declared,
                    "padding": int(tails.sum()),
                    "pads": pads,
                    "counted": int(counted.sum()),
                    "positions": int(target.numel()),
                }
                if best is None or (data["declared"], data["pads"]) > (best["declared"], best["pads"]):
                    best = data
            if best is not None:
                found.append(Evidence(best, place=place))
        return found or Evidence(missing="no loss has one target per token of the padded sequences")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        share = e["pads"] / max(1, e["counted"])
        if share < FEW:
            return Ruling.passed(f"no gradient comes from {e['padding']} padded positions of {e['positions']}")
        return Ruling.found(
            Severity.WARNING if e["declared"] and share >= MANY else Severity.NOTE,
            f"{share:.0%} of what {e['loss']} counts is padding (value {e['pad']}).",
            expected="no gradient from positions that only fill up short sequences",
            observed=f"{e['pads']} of the {e['counted']} positions that get a gradient are padding"
            + (f"; an embedding declares padding_idx={e['pad']}" if e["declared"] else ""),
            fix=f"Give the loss ignore_index={e['pad']}, or mask those positions and divide by the number of real tokens.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        values = {"real tokens": evidence["counted"] - evidence["pads"], "padding": evidence["pads"]}
        return bars("What the loss counts", "Healthy: no padding.", values, x_title="positions with a gradient")


def _given(step: Step) -> list[tuple[str, torch.Tensor, torch.Tensor, Any]]:
    """Name, whole-number target, gradient in the prediction and line of each loss of tokens."""
    from trainrecipe.subjects.loss_calls import live_calls
    from trainrecipe.subjects.terms import parts

    found = [
        (c.name, c.target, c.gradient, c.place)
        for c in live_calls(step)
        if c.name in ("cross_entropy", "nll_loss") and c.gradient is not None and not c.target.is_floating_point()
    ]
    for term in parts(step).terms if not found else ():
        known = term.known
        if known is None or known.name != "cross_entropy" or known.gradient is None or known.target.is_floating_point():
            continue
        found.append((known.name, known.target, known.gradient.movedim(known.axis, 1), term.place))
    return found


def _counted(gradient: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Which targets get a gradient into their prediction."""
    return (gradient != 0).any(1).reshape(target.shape) if gradient.ndim > 1 else (gradient != 0).any().reshape(target.shape)


def _aligned(one: Tokens, target: torch.Tensor) -> torch.Tensor | None:
    """The padded positions of tokens, shaped as the target; None where the two do not belong together."""
    width = one.tensor.shape[1]
    for start, stop in ((0, 0), (1, 0), (0, 1)):
        part = slice(start, width - stop)
        values, marks = one.tensor[:, part], one.tails[:, part]
        for turned, a, b in ((False, values, marks), (True, values.T, marks.T)):
            if a.numel() != target.numel():
                continue
            found = b.reshape(target.shape)
            if bool((a.reshape(-1) == target.reshape(-1)).all()):
                return found
            fits = a.shape == target.shape if target.ndim == 2 else target.ndim == 1 and turned == one.turned
            if one.given and start == stop == 0 and fits and len(target[found].unique()) == 1:  # type: ignore[no-untyped-call]
                return found
    return None
