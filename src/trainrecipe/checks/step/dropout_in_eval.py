from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.step import Step

DROPOUTS = frozenset(
    {
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "dropout_", "alpha_dropout", "alpha_dropout_"),
        *("feature_dropout", "feature_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_"),
    }
)
ATTENTION = frozenset({"scaled_dot_product_attention"})
SAMPLES = 3
"""Forwards of one batch in evaluation from which on randomness is taken to be wanted (averaging over dropout masks)."""


class DropoutInEval(Check):
    """Evaluation mode switches every dropout off.

    What it checks
    --------------
    A copy of the model in evaluation mode runs on the captured batch. A dropout whose result is not its input is still
    active, although the model is in evaluation mode; so is one written by hand, which multiplies features by a random mask
    of zeros and one other value.

    Why it matters
    --------------
    Validation scores and predictions are noisy and worse than the model; two predictions for one input differ.

    What healthy looks like
    -----------------------
    Two evaluation forwards of one batch are bit-identical, or differ by what the model samples on purpose.

    What to do
    ----------
    Pass `training=self.training` to `F.dropout`, give `scaled_dot_product_attention` a `dropout_p` of 0 outside of
    training, and create `nn.Dropout` once, in `__init__`.

    When it is wrong
    ----------------
    Dropout that is wanted in evaluation (Monte Carlo dropout) is recognised by `training=True` in the call, by a dropout
    module that the model itself keeps in training mode, and by several evaluation forwards per batch. Other randomness
    (a VAE's or a diffusion model's noise, masks of whole tokens or examples, masks of the input) is not looked at.

    Source
    ------
    PyTorch documentation: the default of `F.dropout` is `training=True`; fault catalogue 84, 85.
    """

    title = "Dropout stays active in evaluation mode"
    rows = ("S12",)
    faults = (84, 85)
    price = Price.FORWARD

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        if step.distrust:
            return Evidence(missing=step.distrust)
        if not step.tape.modules():
            return Evidence(missing="the step calls no module, so there is no evaluation mode")
        from trainrecipe.capture.replay import CannotReplay

        try:
            active = self._active(step)
        except CannotReplay as error:
            return Evidence(missing=f"the step cannot be executed in evaluation mode: {error}")
        if not active:
            return Evidence({"active": False})
        return [self._look(step, seen) for seen in active[:3]]

    def _active(self, step: Step) -> list[Seen]:
        import torch

        from trainrecipe.capture.watch import run_watched
        from trainrecipe.subjects.masks import RandomMasks

        found: list[Seen] = []
        masks = RandomMasks()

        def look(seen: Seen) -> None:
            masks.see(seen)
            if not seen.inside or seen.name not in DROPOUTS | ATTENTION:
                return
            drops = _drops(seen)
            if drops and all((f.at, f.path) != (seen.at, seen.path) for f in found):
                found.append(seen)

        twin = step.twin()
        twin.evaluating = True
        torch.manual_seed(0)
        run_watched(step, twin, look, rng=False)
        return found + masks.dropping()

    def _look(self, step: Step, seen: Seen) -> Evidence:
        from trainrecipe.capture.where import place

        module = type(seen.caller).__name__ if seen.caller is not None else ""
        return Evidence(
            {
                "active": True,
                "operation": seen.name,
                "module": module,
                "registered": seen.registered,
                "written": seen.name not in DROPOUTS | ATTENTION,
                "asked": _asked(seen) if seen.name in DROPOUTS | ATTENTION else "default",
                "evaluates": step.evaluates,
                "repeats": step.repeats,
                "changed": _drops(seen),
            },
            place=place(seen.at),
        )

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["active"]:
            return Ruling.passed("no dropout is active in evaluation mode")
        if evidence["asked"] == "literal":
            return Ruling.passed("a dropout is active in evaluation mode because its call says `training=True`")
        if evidence["module"] and evidence["registered"] and not evidence["written"]:
            return Ruling.unsure(f"the model keeps its {evidence['module']} in training mode when it is evaluated; on purpose?")
        if evidence["repeats"] >= SAMPLES:
            return Ruling.unsure(
                f"dropout is active in evaluation mode, and batches are evaluated {evidence['repeats']} times: wanted?"
            )
        if evidence["asked"] == "computed":
            return Ruling.unsure("a dropout is active in evaluation mode, by a `training` argument that the program computes")
        if evidence["written"]:
            return self._written(evidence)
        made = bool(evidence["module"])
        call = f"an {evidence['module']} that is no part of the model" if made else f"`{evidence['operation']}`"
        call = call.replace("an Drop", "a Drop")
        return Ruling.found(
            Severity.ERROR if evidence["evaluates"] else Severity.NOTE,
            f"In evaluation mode {call} still drops values.",
            expected="a dropout returns its input unchanged in evaluation mode",
            observed=f"{evidence['changed']:.0%} of its values are changed"
            if evidence["operation"] in DROPOUTS
            else f"attention drops {evidence['changed']:.0%} of its weights",
            fix="Create the dropout once, in `__init__`, as an attribute of the model, so that `model.eval()` reaches it."
            if made
            else "Give it `dropout_p=self.p if self.training else 0.0`."
            if evidence["operation"] in ATTENTION
            else "Pass `training=self.training`: the default is `training=True`.",
        )

    def _written(self, evidence: Evidence) -> Ruling:
        return Ruling.found(
            Severity.WARNING if evidence["evaluates"] else Severity.NOTE,
            "In evaluation mode features are still multiplied by a random mask, as dropout does.",
            expected="a dropout, written by hand or not, returns its input unchanged in evaluation mode",
            observed=f"a mask of a random number per feature sets {evidence['changed']:.0%} of them to zero",
            fix="Draw the mask only `if self.training`, or use nn.Dropout, which does.",
        )


def _drops(seen: Seen) -> float:
    """The share of values that a dropout changed, or attention's dropout probability."""
    import torch

    if seen.name not in DROPOUTS | ATTENTION:
        return float((seen.outputs[0] == 0).double().mean())
    if seen.name in ATTENTION:
        given = seen.args[4] if len(seen.args) > 4 else seen.kwargs.get("dropout_p", 0.0)
        return float(given or 0.0)
    if seen.kwargs.get("inplace") or seen.name.endswith("_"):
        zero = seen.outputs[0] == 0
        training = seen.kwargs.get("training", True) and float(seen.kwargs.get("p", 0.5) or 0.0) > 0
        return float(zero.double().mean()) if training else 0.0
    a, b = seen.inputs[0], seen.outputs[0]
    return float((a != b).double().mean()) if a.shape == b.shape and a.numel() and torch.is_floating_point(a) else 0.0


def _asked(seen: Seen) -> str:
    """How the call says whether to drop: `default`, `literal` (training=True, or a dropout_p, written out) or `computed`."""
    import ast
    import linecache

    if seen.at is None:
        return "default"
    try:
        tree = ast.parse("".join(linecache.getlines(seen.at[0])))
    except SyntaxError:
        return "default"
    wanted = "attention" if seen.name in ATTENTION else "dropout"
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.lineno <= seen.at[1] <= (n.end_lineno or n.lineno)]
    calls = [n for n in calls if wanted in ast.unparse(n.func).lower()]
    if not calls or seen.name in ATTENTION or seen.caller is not None:
        return "default"
    call = min(calls, key=lambda n: len(ast.unparse(n)))
    given = _training(call)
    if given is None:
        return "default"
    return "literal" if isinstance(given, ast.Constant) else "computed"


def _training(call: Any) -> Any:
    by_name = next((k.value for k in call.keywords if k.arg in ("training", "train")), None)
    return by_name if by_name is not None else call.args[2] if len(call.args) > 2 else None
