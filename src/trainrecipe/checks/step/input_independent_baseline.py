"""Whether what the net predicts depends on what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    import torch

    from trainrecipe.capture.replay import Twin
    from trainrecipe.subjects.step import Input, Step

STEPS = (3, 12)
"""Steps of training before asking again: a zero-initialised output layer needs one, a zero gate in front of it a few."""
RATE = 3e-3
"""Adam's rate on the twin, whatever the script's: too low to kill a layer in so few steps."""


class InputIndependentBaseline(Check):
    """The predictions depend on the input.

    What it checks
    --------------
    Each input of the batch in turn is scrambled, zeroed or replaced by noise on a twin, at first and after a few steps of
    training. If none of that ever changes a single bit of any prediction, the net does not look at its input. Then the
    first steps are repeated with zeroed inputs: the dumb baseline that a net must beat.

    Why it matters
    --------------
    A net that ignores its input learns the frequencies of the labels, and its loss falls from its start to that
    plateau as if something were learnt. An inverted mask, a wrong variable, a dead bottleneck or a forgotten residual
    do it.

    What healthy looks like
    -----------------------
    Other inputs give other predictions, and the loss with real inputs falls below that with zeroed ones.

    What to do
    ----------
    Follow the input through `forward` and find where its influence ends: masks, products with zero, wrong variables.

    When it is wrong
    ----------------
    A baseline that is meant to ignore its input is reported all the same: waive it. A net whose output depends on the
    input only faintly passes; vanishing-gradients and dead-units look at those.

    Source
    ------
    A. Karpathy, A Recipe for Training Neural Networks ("input-independent baseline"); fault catalogue 118.
    """

    title = "The predictions do not depend on the input"
    rows = ("S7", "S12")
    faults = (118,)
    price = Price.TRAIN
    explains = (
        "overfit-one-batch",
        "learning-rate-range",
        "unused-inputs",
        "output-bias-at-init",
        "dead-units",
        "vanishing-gradients",
        "parameters-never-updated",
        "unused-parameters",
    )

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.practice import adam, practise

        if step.distrust:
            return Evidence(missing=step.distrust)
        inputs = [i for i in step.inputs if i.tensor.numel() > 1]
        if not inputs or not step.predictions:
            return Evidence(missing="no input that goes into the model was seen")
        twin = step.twin()
        data: dict[str, Any] = {"inputs": _effects(step, twin, inputs), "real": [], "broken": False, "steps": 0}
        optimizer = adam(step, twin, RATE)
        for steps in STEPS:
            if not data["inputs"] or any(i["effect"] or i["effect"] is None for i in data["inputs"]):
                break
            curve = practise(step, twin, optimizer, steps)
            if curve.cut:
                return Evidence(missing="the time for experiments ran out during the first steps of training")
            data["real"] += curve.losses[: None if steps == STEPS[-1] else -1]
            data["broken"] = curve.broken
            data["steps"] += steps
            data["inputs"] = _effects(step, twin, inputs)
        if not any(i["effect"] or i["effect"] is None for i in data["inputs"]):
            data["zeroed"] = _zeroed(step, inputs)
        return Evidence(data, place=_place(step))

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence["broken"]:
            return Ruling.unsure("training on the twin gave a loss that is not finite")
        if not evidence["inputs"]:
            return Ruling.unsure("the predictions could not be computed again on the twin")
        effects = [i["effect"] for i in evidence["inputs"]]
        if any(e for e in effects):
            shape = next(i["shape"] for i in evidence["inputs"] if i["effect"])
            return Ruling.passed(f"changing the input of shape {tuple(shape)} changes the predictions")
        if any(e is None for e in effects):
            return Ruling.unsure("the step cannot be executed with other inputs, so their influence cannot be tried")
        tried = sum(i["tried"] for i in evidence["inputs"])
        zeroed = evidence.get("zeroed") or []
        same = f"; with zeroed inputs the loss after {len(zeroed) - 1} steps is {zeroed[-1]:.4g} too" if zeroed else ""
        return Ruling.found(
            Severity.ERROR,
            "Scrambled, zeroed and random inputs all give bit-identical predictions: the net does not use its input.",
            expected="other inputs give other predictions, once the net was trained for a few steps",
            observed=f"{tried} replacements of {len(effects)} input tensors left all "
            f"{evidence['inputs'][0]['values']} predicted values bit-identical, at first and after {evidence['steps']} "
            f"steps of training (loss {evidence['real'][-1]:.4g}){same}",
            fix="Follow the input through forward: look for an inverted mask, a product with zero, or a wrong variable.",
            causes=(
                "a mask is inverted or all zero (print its mean)",
                "forward uses another variable than its argument",
                "a layer in between is dead: its output is the same for all inputs (print its standard deviation "
                "over the batch)",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("zeroed"):
            return None
        series = {"real inputs": evidence["real"], "zeroed inputs": evidence["zeroed"]}
        length = min(map(len, series.values()))
        caption = "With real inputs the loss should fall below that with zeroed ones; here the curves lie on each other."
        return lines("Real against zeroed inputs", caption, {k: v[:length] for k, v in series.items()}, y_title="loss")


def _effects(step: Step, twin: Twin, inputs: list[Input]) -> list[dict[str, Any]]:
    """What replacing each input does to the predictions, until one has an effect; empty if they cannot be computed.

    Where no loss function of PyTorch's says what the predictions are, the loss must stay the same as well.
    """
    numbers = list(step.predictions) if step.losses else [*step.predictions, *step.tape.roots]
    original = _predict(twin, numbers, {})
    found: list[dict[str, Any]] = []
    for given in inputs if original is not None else ():
        assert original is not None
        tried = [_effect(twin, numbers, original, {given.number: new}) for new in _others(given.tensor)]
        known = [e for e in tried if e is not None]
        effect = max(known, default=None)
        values = sum(p.numel() for p in original)
        found.append({"shape": list(given.tensor.shape), "effect": effect, "tried": len(known), "values": values})
        if effect:
            break
    return found


def _predict(twin: Twin, numbers: list[int], overrides: dict[int, torch.Tensor]) -> list[torch.Tensor] | None:
    from trainrecipe.capture.replay import CannotReplay

    try:
        env = twin.run(overrides, until=numbers)
        return [env[n].detach().clone() for n in numbers]
    except (CannotReplay, RuntimeError, IndexError, ValueError, KeyError, TypeError, AssertionError):
        return None


def _effect(twin: Twin, numbers: list[int], original: list[torch.Tensor], overrides: dict[int, torch.Tensor]) -> float | None:
    """The largest difference that other inputs make, 0.0 only for bit-identical predictions; None if they cannot be
    tried."""
    import torch

    changed = _predict(twin, numbers, overrides)
    if changed is None or any(a.shape != b.shape for a, b in zip(changed, original, strict=True)):
        return None
    if all(torch.equal(a, b) for a, b in zip(changed, original, strict=True)):
        return 0.0
    return max(float((a.double() - b.double()).abs().max()) for a, b in zip(changed, original, strict=True)) or 1e-300


def _others(tensor: torch.Tensor) -> list[torch.Tensor]:
    """Other inputs of the same kind: the same elements in another order, zeros, and for real numbers noise."""
    import torch

    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
    found = [tensor.flatten()[order].reshape(tensor.shape)]
    if tensor.is_floating_point():
        noise = torch.randn(tensor.shape, generator=generator).to(tensor)
        found += [torch.zeros_like(tensor), tensor + noise * (tensor.std(correction=0) + 1)]
    elif tensor.dtype is not torch.bool:
        found.append(tensor.roll(1, 0))
    return found


def _zeroed(step: Step, inputs: list[Input]) -> list[float]:
    """The loss curve of a fresh twin that is trained on zeros."""
    import torch

    from trainrecipe.subjects.practice import adam, practise

    twin = step.twin()
    zeros = {i.number: torch.zeros_like(i.tensor) for i in inputs if i.tensor.is_floating_point()}
    zeros |= {i.number: torch.zeros_like(i.tensor) for i in inputs if not i.tensor.is_floating_point()}
    try:
        return practise(step, twin, adam(step, twin, RATE), sum(STEPS), overrides=zeros).losses
    except (RuntimeError, IndexError, ValueError):
        return []


def _place(step: Step) -> Any:
    """Where the model is called."""
    from trainrecipe.capture.where import place

    modules = step.tape.modules()
    return (place(modules[-1].at) if modules else None) or step.place
