from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run, Written

FEWEST = 2
"""Steps that must have been taken with another value than the one that was written."""
PLACES = {
    "defaults": '`optimizer.defaults["{}"]`',
    "attribute": "the attribute `{}` of the optimiser",
    "key": '`group["{}"]`',
}


class SettingWithoutEffect(Check):
    """A learning rate, or another setting, that the script changes is one that the optimiser reads.

    What it checks
    --------------
    Numbers that are written to an optimiser of PyTorch's where it does not look: into `optimizer.defaults` after it was
    built, into an attribute such as `optimizer.lr`, or under a key of its groups that it does not know. Whether they differ
    from the value that the steps are taken with, which must be the same at all steps that were seen.

    Why it matters
    --------------
    Every step takes its settings from `param_groups`. A schedule that is written elsewhere changes nothing: the rate stays at
    its first value, which is often the small one of a warm-up. The log shows the schedule all the same.

    What healthy looks like
    -----------------------
    The value that is written is the value of the next step.

    What to do
    ----------
    `for group in optimizer.param_groups: group["lr"] = value`, or a scheduler of `torch.optim.lr_scheduler`.

    When it is wrong
    ----------------
    Where the script reads the number again, other than to print it, it may be a note to itself, and nothing is said. Nor
    is anything said of optimisers of other makes, which may read what they like, nor where groups are added later, for
    which the defaults count.

    Source
    ------
    Documentation of torch.optim, "Per-parameter options"; fault catalogue 70.
    """

    title = "A setting of the optimiser is written where nothing reads it"
    rows = ("S24", "O4")
    faults = (70, 68)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not any(o.steps and o.standard for o in run.optimizers):
            return Evidence(missing="no optimiser of PyTorch's took a step")
        written = [w for o in run.optimizers for w in o.written if w.steps >= FEWEST]
        return [_look(w) for w in written] or Evidence({"setting": ""})

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["setting"]:
            return Ruling.passed("no number was written to an optimiser where it does not read it")
        where, used = PLACES[evidence["form"]].format(evidence["name"]), ", ".join(f"{u:.3g}" for u in evidence["used"])
        varies = evidence["first"] != evidence["last"]
        seen = f"{evidence['first']:.3g} to {evidence['last']:.3g}" if varies else f"{evidence['last']:.3g}"
        return Ruling.found(
            Severity.WARNING,
            f"{where[0].upper() + where[1:]} is set, but the optimiser does not read it: `{evidence['setting']}` stays {used}.",
            expected=f"steps with the `{evidence['setting']}` that was written",
            observed=f"{seen} was written; {evidence['steps']} steps that were looked at were taken with {used}",
            fix=f'Write it to every group: for group in optimizer.param_groups: group["{evidence["setting"]}"] = value.',
        )


def _look(written: Written) -> Evidence:
    data = {"form": written.form, "name": written.name, "setting": written.setting, "steps": written.steps}
    values = {"first": written.first, "last": written.last, "used": sorted(set(written.used))[:4]}
    return Evidence({**data, **values}, place=written.place)
