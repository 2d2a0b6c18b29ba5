"""What a person wants to see of any program first: facts about it, the examples that went in, its phases and schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from trainrecipe import picture
from trainrecipe.capture import anatomy, imagery
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.picture import Picture
from trainrecipe.subjects.dynamics import Dynamics
from trainrecipe.subjects.evaluation import Evaluation, score_of
from trainrecipe.subjects.layers import depths
from trainrecipe.subjects.run import Run
from trainrecipe.subjects.step import Step

MOST_EXAMPLES = 16
MOST_LAYERS = 40
MOST_TRACED = 6
"""Examples drawn where each has a target of its own."""
LAST_LOOKS = 1 / 3
"""Share of the looks at a batch over which it is told how much predictions jump."""
FEWEST_TIMED = 20
"""Timed steps below which nothing is said about times."""


def facts(listener: Listener, over: str) -> dict[str, str]:
    """Short facts: models, optimisers, loaders, losses, how far the observation went."""
    run = listener.run
    found: dict[str, str] = {}
    trained = run.trained_models()
    models = [m for m in run.models if m.number in trained] or run.models
    if models:
        found["model"] = ", ".join(f"{m.name} ({m.trainable:,} trainable parameters)" for m in models[:3])
    stepping = [o for o in run.optimizers if o.steps]
    if stepping:
        found["optimiser"] = ", ".join(f"{o.name}, lr {max(o.rates):g}" for o in stepping[:3])
    if run.loaders:
        described = [f"{x.examples} × {x.dataset_name}" for x in run.loaders[:3] if x.examples is not None]
        found["data"] = ", ".join(described)
    train, evaluated = len(run.train_passes()), len(run.evaluation_passes())
    passes = f"{train} training and {evaluated} evaluation passes" if run.loaders else "no DataLoader"
    found["seen"] = f"{run.steps} optimiser steps, {passes}"
    found |= score_facts(run)
    if not over and (run.ended == "shortened" or any(p.cut for p in run.passes)):
        what = "the training loops" if run.ended == "shortened" else "passes over the data"
        found["shortened"] = f"{what}; what the script printed is no result of a whole training"
    if over:
        found["stopped"] = f"after {over}"
    return found


def captured(step: Step) -> dict[str, Any]:
    """What was captured of one step: where, through which modules, whether replaying is exact and moves to other batches."""
    return {
        "place": str(step.place),
        "modules": [op.name for op in step.tape.modules()],
        "parameters": len(step.tape.parameters),
        "exact": step.agreement.exact,
        "gradient": step.agreement.gradient,
        "why_not_exact": step.agreement.why,
        "transfers": not step.transfers,
        "why_no_transfer": step.transfers,
    }


def no_training(listener: Listener, status: str) -> str:
    """Why no training was seen, as far as can be told, and what to do; `status` is how the script ended."""
    run = listener.run
    if status in ("failed", "exited"):
        return "the script ended before its first training step: repair what stopped it, then check again"
    if run.forwards:
        return (
            "the script calls a model, but never backward: there is no training by autograd to examine. Loops with "
            "manual or functional gradients (torch.func) can be examined by giving a Step explicitly."
        )
    return (
        "the script never called a model or backward while it was observed: no training was found in it. If it trains only "
        "when told to, give its arguments after `--`; if it starts another program that trains, check that one."
    )


def of_steps(steps: list[Step], trouble: Callable[[str, BaseException], None]) -> Iterator[Picture]:
    """Pictures of what was captured that belong to no check; one that fails is told to `trouble` and left out."""
    step = next((s for s in steps if not s.distrust), None)
    yield from _drawn(lambda: [examples(steps)], trouble)
    yield from _drawn(lambda: anatomy.tables(steps), trouble)
    yield from _drawn(lambda: imagery.of_step(step) if step is not None else (), trouble)
    yield from _drawn(lambda: layers(steps), trouble)


def of_run(run: Run, trouble: Callable[[str, BaseException], None]) -> Iterator[Picture]:
    """Pictures of the run that belong to no check; one that fails is told to `trouble` and left out."""
    for draw in (losses, predictions, rates, phases, times, scores):
        yield from _drawn(lambda draw=draw: [draw(run)], trouble)  # type: ignore[misc]


def _drawn(draw: Callable[[], Iterable[Picture | None]], trouble: Callable[[str, BaseException], None]) -> Iterator[Picture]:
    try:
        found = [p for p in draw() if p is not None]
    except Exception as error:
        trouble("picture", error)
        return
    yield from found


def _scored(run: Run) -> list[tuple[str, Evaluation]]:
    """The evaluations over a loader, or outside any, whose predictions were seen with their labels, with a name for each."""
    trained = run.related_to_training()
    kept = [e for e in run.evaluated if e.predictions.examples > 1 and e.complete and not e.aside and e.model in trained]
    return [(f"step {e.step}" + (f", loader {e.loader + 1}" if e.loader is not None else ""), e) for e in kept]


def score_facts(run: Run) -> dict[str, str]:
    """The last evaluation's accuracy, or its error in units of the target, with a 95 % interval."""
    scored = _scored(run)
    if not scored:
        return {}
    name, evaluation = scored[-1]
    low, middle, high, what = score_of(evaluation.predictions)
    text = "{:.1%} ({:.1%} to {:.1%}" if what == "accuracy" else "{:.4g} ({:.4g} to {:.4g}"
    label, of = ("accuracy", "") if what == "accuracy" else ("error", f"{what} ")
    return {
        label: f"{of}{text.format(middle, low, high)} with 95 % confidence, {evaluation.predictions.examples} examples, {name})"
    }


def scores(run: Run) -> Picture | None:
    """Accuracy, or absolute error in units of the target, of each watched evaluation, with its 95 % interval."""
    told = [(name, score_of(evaluation.predictions)) for name, evaluation in _scored(run)[-30:]]
    kinds = {what for _, (_, _, _, what) in told}
    if len(told) < 2 or len(kinds) != 1:
        return None
    what = kinds.pop()
    rows = [
        {"name": f"{i} {name}", "low": low, "middle": middle, "high": high}
        for i, (name, (low, middle, high, _)) in enumerate(told, 1)
    ]
    caption = "Evaluations in their order, recomputed from outputs and labels: differences inside the intervals may be chance."
    return picture.ranges("Score and its interval", caption, rows, x_title=what)


def layers(steps: list[Step]) -> list[Picture]:
    """How large activations and gradients are from layer to layer, in the first recorded step that can be replayed."""
    step = next((s for s in steps if not s.distrust), None)
    if step is None:
        return []
    try:
        found = depths(step)[:MOST_LAYERS]
    except Exception:  # a step that can be replayed but not watched has no such picture
        return []
    if len(found) < 2:
        return []
    out = [{"name": f"{i} {d.name}", **dataclasses.asdict(d.results)} for i, d in enumerate(found, 1)]
    back = [{"name": f"{i} {d.name}", **dataclasses.asdict(d.gradients)} for i, d in enumerate(found, 1)]
    told = "by layer, from first to last: the middle 90 % and the median, in the first recorded step."
    return [
        picture.ranges("Activations", f"What the weights give, {told}", out, x_title="absolute value", log=True),
        picture.ranges("Gradients", f"The gradients of the weights, {told}", back, x_title="absolute value", log=True),
    ]


def examples(steps: list[Step]) -> Picture | None:
    """The very examples that entered the net in the first recorded step, with their targets."""
    for step in steps:
        size = step.batch_size
        chosen = [i for i in step.inputs if i.dense and i.tensor.ndim >= 2 and (size is None or i.tensor.shape[0] == size)]
        if not chosen:
            continue
        tensor = chosen[0].tensor[:MOST_EXAMPLES].detach().cpu()
        tiles = [{**_tile(row), "caption": imagery.label_of(step, i)} for i, row in enumerate(tensor)]
        shape = "×".join(map(str, chosen[0].tensor.shape))
        caption = f"The tensor that entered the model in the first recorded step ({shape}, {chosen[0].tensor.dtype})."
        return picture.grid("What the net is fed", caption, tiles)
    return None


def _tile(row: torch.Tensor) -> dict[str, Any]:
    if row.is_floating_point() and row.ndim == 3 and row.shape[0] in (1, 3) and min(row.shape[1:]) >= 4:
        grey = row.shape[0] == 1
        return {"image": imagery.encoded(imagery.unit(row[0] if grey else row.permute(1, 2, 0)))}
    if row.is_floating_point() and row.ndim == 2 and min(row.shape) >= 4 and max(row.shape) <= 128:
        return {"image": imagery.encoded(imagery.unit(row))}
    side = int(row.numel() ** 0.5)
    if row.is_floating_point() and row.ndim == 1 and side >= 6 and side * side == row.numel():
        return {"image": imagery.encoded(imagery.unit(row.reshape(side, side)))}
    shown = row.flatten()[:24]
    return {"values": [round(v, 3) for v in shown.double().tolist()] if row.is_floating_point() else shown.tolist()}


def losses(run: Run) -> Picture | None:
    """The training loss as the script saw it."""
    if len(run.losses) < 2:
        return None
    kept = run.losses[:: max(1, len(run.losses) // 1000)]
    title, caption = "Training loss", "The value that backward was called on, by optimiser step."
    values = [v if v == v else None for _, v in kept]
    return picture.lines(title, caption, {"loss": values}, x=[float(s) for s, _ in kept], y_title="loss")


def predictions(run: Run) -> Picture | None:
    """What is predicted for one batch along the run, with how much it jumps."""
    dynamics = run.dynamics
    if dynamics is None or len(dynamics.looks) < 3:
        return None
    return fixed_batch(dynamics)


def fixed_batch(dynamics: Dynamics) -> Picture:
    """Predictions for the examples of one batch, look by look."""
    numbers = dynamics.kind in ("numbers", "outputs")
    names = dynamics.names[: MOST_TRACED if numbers else None]
    series = {name: [look.values[i] for look in dynamics.looks] for i, name in enumerate(names)}
    targets = dict(zip(names, dynamics.truths, strict=False)) if dynamics.kind == "numbers" else None
    what = {
        "classes": "The probability of the true class",
        "binary": "The probability of the true label",
        "numbers": "The predicted number (dashed: its target)",
        "outputs": "The first output",
    }[dynamics.kind]
    caption = (
        f"{what} for {len(names)} examples of the first recorded batch, computed on a copy with the noise of that batch, so "
        f"that only the weights differ.{'' if numbers else ' Bold: the median.'} {_jitter(dynamics, numbers)}"
    )
    return picture.traces(
        "Predictions for one batch",
        caption,
        series,
        x=[float(look.step) for look in dynamics.looks],
        targets=targets or None,
        y_title="prediction" if numbers else "probability",
        middle="" if numbers else "median",
    )


def _jitter(dynamics: Dynamics, numbers: bool) -> str:
    """How much predictions change from look to look, and whether they are stuck."""
    if dynamics.stuck:
        return "Stuck: no output changed although weights did."
    told = []
    change, flips = dynamics.jitter(LAST_LOOKS), dynamics.flips(LAST_LOOKS)
    if change is not None:
        told.append(f"From look to look, in the last third of {len(dynamics.looks)}, they change by {change:.2g} on average")
    if flips is not None and not numbers and told:
        told.append(f"and {flips:.0%} of the examples change their class")
    alike = " At every look all examples get the same outputs." if dynamics.alike else ""
    return (", ".join(told) + "." if told else "") + alike


def rates(run: Run) -> Picture | None:
    """The learning rate that was really used, by optimiser step."""
    stepping = [o for o in run.optimizers if len(o.rates) > 1]
    if not stepping:
        return None
    length = max(len(o.rates) for o in stepping)
    every = max(1, length // 600)
    series = {f"{o.name} {o.number + 1}": o.rates[::every] + [None] * 0 for o in stepping[:4]}
    longest = max(map(len, series.values()))
    padded: dict[str, list[float | None]] = {k: [*v, *[None] * (longest - len(v))] for k, v in series.items()}
    steps = [float(i * every) for i in range(longest)]
    caption = "The learning rate of each optimiser's largest group, at every step that was observed."
    return picture.lines("Learning rate", caption, padded, x=steps, y_title="learning rate")


def phases(run: Run) -> Picture | None:
    """When the program trained and when it evaluated, in order of events."""
    spans = []
    for seen in run.passes[:60]:
        if seen.batches:
            row = f"loader {seen.loader + 1}"
            kind = "training" if seen.trains else "evaluation"
            spans.append({"row": row, "start": seen.first_event, "end": seen.last_event + 1, "kind": kind})
    if not spans:
        return None
    return picture.timeline("Phases", "Passes over each loader, in the order of events.", spans, x_title="events")


def times(run: Run) -> Picture | None:
    """Where the time of a training step goes."""
    shares = run.clock.shares()
    if run.clock.steps < FEWEST_TIMED:
        return None
    step = 1000 * run.clock.whole / run.clock.steps
    caption = f"Shares of {step:.3g} ms, the mean over {run.clock.steps} steps that were not looked at in detail."
    lines = [f"{line.place.source or line.place} ({line.share:.0%})" for line in run.clock.lines[:3] if line.place is not None]
    if lines:
        caption += " Lines that take most of the time, with what they call: " + "; ".join(lines) + "."
    return picture.bars("Where the time goes", caption, {k: 100 * v for k, v in shares.items()}, x_title="% of the time")
