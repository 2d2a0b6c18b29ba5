"""Whether batches occur in which the loss counts no target at all, so that its mean is 0 / 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.step import LossCall, Step

LEAST = 24
"""Examples that must have been seen before a share of empty ones is believed."""
OFTEN = 1e-3
"""Chance of an empty batch from which one in a thousand steps breaks the training."""


class AllTargetsIgnored(Check):
    """Every batch has at least one target that the loss counts.

    What it checks
    --------------
    `cross_entropy` and `nll_loss` with their `ignore_index`: recorded batches in which every target is ignored; and how
    many examples have no valid target, from which follows how often a whole batch has none.

    Why it matters
    --------------
    The mean over nothing is NaN. One such batch makes every weight NaN, silently, at a random step of a long run.

    What healthy looks like
    -----------------------
    Examples without a target are dropped from the data set, or the sum of the losses is divided by `max(1, count)`.

    What to do
    ----------
    Filter such examples, skip such batches, or use `reduction="sum"` and divide by `(target != ignore_index).sum()
    .clamp(min=1)`.

    When it is wrong
    ----------------
    Where the script looks at the number of valid targets before it uses the loss, nothing is said about the risk.

    Source
    ------
    Fault catalogue 20, measured: `cross_entropy` with all targets ignored returns NaN without a warning.
    """

    title = "A batch without any target makes the loss NaN"
    rows = ("S18", "S17")
    faults = (20,)
    explains = ("non-finite", "overfit-one-batch", "learning-rate-range")

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        """Count valid targets per example and batch."""
        from trainrecipe.subjects.step import Step as Made

        seen = step.each()
        if step.broken is not None:
            seen.append(Made.from_tapes([step.broken], step.optimizer, step.names, births=step.births))
        found: dict[Any, dict[str, Any]] = {}
        for one in seen:
            for call in one.losses:
                if call.counts and _averages(call):
                    _note(found.setdefault(call.place, {"empty": None, "examples": 0, "without": 0, "size": 0}), call, one)
        if not found:
            return Evidence(missing="no loss of the step averages over targets some of which may be ignored")
        guarded = _guarded(step)
        return [Evidence({**data, "guarded": guarded}, place=place) for place, data in found.items()]

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["empty"] is not None:
            return Ruling.found(
                Severity.ERROR,
                f"In step {e['empty']} every target of the batch is ignored: the loss is the mean of nothing, NaN.",
                expected="at least one target that counts in every batch",
                observed=f"a batch of {e['size']} examples without any",
                fix="Drop examples without targets, or sum the losses and divide by max(1, number of targets that count).",
            )
        if e["examples"] < LEAST or not e["without"]:
            return Ruling.passed("every example that was seen has a target that counts")
        share = e["without"] / e["examples"]
        chance = share ** e["size"]
        text = f"{share:.0%} of {e['examples']} examples have no target that counts"
        if chance < OFTEN:
            return Ruling.passed(f"{text}; a whole batch of {e['size']} such examples is unlikely ({chance:.0e})")
        if e["guarded"]:
            return Ruling.unsure(f"{text}; the script looks at its targets before it uses the loss")
        return Ruling.found(
            Severity.WARNING,
            f"About one batch in {1 / chance:.0f} will hold no target that counts, and its loss will be NaN.",
            expected="at least one target that counts in every batch",
            observed=f"{text}, and a batch has {e['size']}",
            fix="Drop examples without targets, or sum the losses and divide by max(1, number of targets that count).",
        )


def _averages(call: LossCall) -> bool:
    if call.name not in ("cross_entropy", "nll_loss") or call.target is None or call.target.is_floating_point():
        return False
    return (call.settings.get("reduction") or "mean") == "mean" and call.target.ndim > 0


def _note(data: dict[str, Any], call: LossCall, step: Step) -> None:
    from trainrecipe.subjects.padded_targets import examples

    assert call.target is not None
    ignored = int(call.settings.get("ignore_index", -100))
    size = examples(step) or call.target.shape[0]
    rows = call.target.reshape(size, -1) if call.target.numel() % size == 0 else call.target.reshape(1, -1)
    valid = (rows != ignored).any(1)
    if not bool(valid.any()) and data["empty"] is None:
        data["empty"] = step.tape.step
    data["examples"] += len(valid)
    data["without"] += int((~valid).sum())
    data["size"] = max(data["size"], len(valid))


def _guarded(step: Step) -> bool:
    """Whether the program turns something made of a target into a Python value, as a guard does."""
    targets = {i.number for i in step.targets if not i.tensor.is_floating_point()}
    made = set(targets)
    for op in step.tape.history:
        if any(n in made for n in op.inputs):
            if op.name in ("__bool__", "item", "__int__", "__float__") and not any(n in targets for n in op.inputs):
                return True
            if op.kind == "function" and not any(n in step.derived for n in op.inputs):
                made.update(op.outputs)
    return False
