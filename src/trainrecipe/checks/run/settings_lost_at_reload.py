from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run

APART = 0.02
"""Difference of the outputs, as a share of their norm, from which on the model is another function. Rounding gives 1e-6, other
settings that matter 0.1 and more."""


class SettingsLostAtReload(Check):
    """A model that is built again for its stored weights computes what the trained one computed.

    What it checks
    --------------
    Where weights are loaded into a second model of a class that was trained: both models are copied, given the same weights,
    put into eval mode and called on the same input. Their outputs must agree. Where they do not, the attributes that differ
    between the two are listed.

    Why it matters
    --------------
    A state dict holds tensors only. The activation, the order of norm and attention, the number of heads, a scale or a
    threshold are arguments of the constructor. Forgotten ones fall back to their defaults: all names and shapes match, loading
    succeeds, and the weights are used by another function than the one they were trained in.

    What healthy looks like
    -----------------------
    Outputs that are equal but for rounding. Settings that matter in training only, such as the dropout rate, may differ.

    What to do
    ----------
    Store the constructor's arguments next to the weights, and build the model from them.

    When it is wrong
    ----------------
    Where a setting is changed on purpose, such as a temperature, a resolution or the length of a context. It is a note where
    the loaded model's setting is not a default of the constructor, and where most of its weights are trained further and may
    adapt. Models whose outputs are not repeatable in eval mode are not judged.

    Source
    ------
    Fault catalogue 98; PyTorch documentation, "Saving and Loading Models".
    """

    title = "A model is built with other settings for its stored weights"
    rows = ("S2",)
    faults = (98,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        found = run.weights.reloads
        if not found:
            return Evidence(missing="no weights were loaded into a second model of a class that was trained")
        return [
            Evidence(
                {"model": r.model, "apart": r.apart, "settings": r.settings, "default": r.default, "further": r.further},
                place=r.place,
            )
            for r in found
        ]

    def judge(self, evidence: Evidence) -> Ruling:
        model, apart = evidence["model"], evidence["apart"]
        if not evidence["settings"]:
            return Ruling.passed(f"{model} is built with the same settings for its stored weights")
        if apart <= APART:
            return Ruling.passed(f"{model} computes the same after loading (outputs {apart:.2g} apart)")
        return Ruling.found(
            Severity.WARNING if evidence["default"] and not evidence["further"] else Severity.NOTE,
            f"{model} is built with other settings for its stored weights than it was trained with.",
            expected="the same outputs from the same weights and the same input, in eval mode",
            observed=f"outputs differ by {apart:.0%} of their norm; " + "; ".join(evidence["settings"]),
            fix="Store the constructor's arguments with the weights, and build the model from them.",
        )
