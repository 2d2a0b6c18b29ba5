"""Whether a loss object with weights or an ignored index was built and then forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run

STEPS = 5
"""Optimiser steps after which an object that was never called counts as forgotten."""


class UnusedCriterion(Check):
    """A loss object that was given class weights, an ignored index or label smoothing is the one that is used.

    What it checks
    --------------
    Loss objects of PyTorch's that were built with `weight`, `pos_weight`, `ignore_index` or `label_smoothing` and never
    called, while the training step calls the same loss function without these settings. The name that the object was
    given must not be read anywhere in the file, or must have been given to another object later.

    Why it matters
    --------------
    The settings have no effect, although the code reads as if they had: rare classes are ignored, or padding is counted.

    What healthy looks like
    -----------------------
    The object that was built is the one called in the step.

    What to do
    ----------
    Call the object, or delete it.

    When it is wrong
    ----------------
    An object whose name is read somewhere, as for a later phase or for evaluation, is not reported.

    Source
    ------
    Fault catalogue 18 ("criterion built but not used").
    """

    title = "A loss object was built with settings and is never used"
    rows = ("S18",)
    faults = (18, 19)

    def measure(self, run: Run) -> list[Evidence] | Evidence:
        """Compare loss objects with the loss functions that were called."""
        if not run.criteria:
            return Evidence(missing="no loss object of PyTorch's was built with settings of its own")
        found = []
        for criterion in run.criteria:
            others = [u for u in run.loss_uses if u.function == criterion.function]
            lacking = [u for u in others if not set(u.settings) & set(criterion.settings)]
            found.append(
                Evidence(
                    {
                        "name": criterion.name,
                        "settings": criterion.settings,
                        "called": criterion.called,
                        "bound": criterion.bound,
                        "steps": criterion.steps_since,
                        "instead": bool(others) and len(lacking) == len(others),
                        "line": lacking[0].place.line if lacking and lacking[0].place is not None else None,
                    },
                    place=criterion.place,
                )
            )
        return found

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        settings = ", ".join(e["settings"])
        if e["called"]:
            return Ruling.passed(f"the {e['name']} with {settings} is used")
        if not e["instead"] or e["steps"] < STEPS or e["bound"] not in ("never read", "overwritten"):
            return Ruling.unsure(f"the {e['name']} with {settings} was not called so far; it may be meant for later")
        where = f" at line {e['line']}" if e["line"] else ""
        return Ruling.found(
            Severity.WARNING,
            f"This {e['name']} with {settings} is never called; the training step{where} uses the loss without.",
            expected="the loss object with the settings is the one that the step calls",
            observed=f"not called in {e['steps']} steps; its name is "
            + ("never read in the file" if e["bound"] == "never read" else "given to another object later"),
            fix="Call this object in the training step, or delete it.",
        )
