from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run


class SavesWrongObject(Check):
    """A checkpoint holds weights, not the method that would give them.

    What it checks
    --------------
    What `torch.save` is given: a bound method, such as `model.state_dict` without its parentheses, alone or as an entry of a
    dict, and states without any tensor.

    Why it matters
    --------------
    Pickling a method succeeds. That the file cannot be loaded as weights turns up when it is needed, after the training.

    What healthy looks like
    -----------------------
    `torch.save(model.state_dict(), path)`.

    What to do
    ----------
    Call the method: `model.state_dict()`.

    When it is wrong
    ----------------
    A file that is meant to hold a method of an object, with the object, is reported.

    Source
    ------
    PySIASSIST root cause "model storage"; PyTorch tutorial on saving and loading models.
    """

    title = "The checkpoint holds a method instead of weights"
    rows = ("S24",)
    faults = (99,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        saved = run.checkpoints.saved
        if not saved:
            return Evidence(missing="nothing was saved with torch.save while the script was observed")
        return [
            Evidence({"kinds": s.kinds, "methods": [k for k, v in s.kinds.items() if v == "method"]}, place=s.place)
            for s in saved
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        methods = evidence["methods"]
        if not methods:
            return Ruling.passed("what is saved holds no method in place of weights")
        where = " and ".join(repr(m) for m in methods if m)
        return Ruling.found(
            Severity.ERROR,
            "What is saved is a method, not the weights that it would return.",
            expected="a dict of tensors: model.state_dict()",
            observed=f"a bound method under {where}" if where else "a bound method",
            fix="Add the parentheses: model.state_dict(), optimizer.state_dict().",
        )
