from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Forward, Optimizer, OptimizerStep, Run

FEWEST = 2
"""Steps on each of the two loaders, or turns of each of the two modes."""
AGAIN = 0.9
"""Share of the rows of later turns in eval mode that the first turn held: an evaluation goes over the same rows each time."""
KNOWN = 0.5
"""Share of the rows of later turns in training mode that came before, from which rows that never came are not among them."""
MANY = 16
"""Rows of a turn in eval mode: by chance, one in 2^16 such turns holds no row of a set that is half known."""

Turn = list[tuple["OptimizerStep", frozenset[int]]]


class TrainsOnEvaluationData(Check):
    """The optimiser steps on training data only.

    What it checks
    --------------
    Whether the one optimiser of a program steps on the batches of two loaders: of one in training mode, and of another, with
    examples of its own, always in eval mode. A note where the other is smaller, read in order, and takes its turn after each
    pass over the first, which is shuffled. Without loaders: whether it steps in turns, in training mode on some rows, and in
    eval mode on others that are the same in each turn and that the steps in training mode never get.

    Why it matters
    --------------
    A `backward` and `step` left in the evaluation loop fit the model to the data that it is judged by. The validation loss
    falls as the training loss does, and says nothing any more.

    What healthy looks like
    -----------------------
    Evaluation runs under `torch.no_grad()` and calls neither backward nor step.

    What to do
    ----------
    Remove the step from the evaluation loop, and wrap it in `torch.no_grad()`.

    When it is wrong
    ----------------
    Adaptation to test data after the training is not meant. Programs with several optimisers are not judged. Two tasks that
    take turns look the same as a validation pass that trains, if one of them is read in order. Without loaders it is a warning
    while no training row was seen twice. It is a note where other lines call the model in eval mode than in training mode, as
    for self-training on unlabelled rows, and where turns are single steps, as of two tasks with one batch each.

    Source
    ------
    Fault catalogue 47; PyTorch forum thread 70881.
    """

    title = "The model is trained on the data it is judged by"
    rows = ("S24", "S3")
    faults = (47,)
    explains = ("train-in-eval-mode", "gradients-in-evaluation")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        stepping = [o for o in run.optimizers if o.steps]
        if len(stepping) != 1:
            return Evidence(missing="there is not exactly one optimiser that steps")
        loaders = {p.loader for p in run.passes if p.batches}
        if not loaders:
            by_hand = [e for n in sorted(run.trained_models()) if (e := _by_hand(run, n, stepping[0])) is not None]
            return by_hand or Evidence({"steps": 0})
        if len(loaders) < 2:
            return Evidence(missing="only one loader was read")
        found = [e for n in sorted(run.trained_models()) if (e := self._look(run, n)) is not None]
        return found or Evidence({"steps": 0})

    def _look(self, run: Run, number: int) -> Evidence | None:
        fed = [f for f in run.forwards if f.model == number and f.in_pass is not None and f.stepped]
        by_loader: dict[int, list[Forward]] = {}
        for f in fed:
            by_loader.setdefault(run.passes[f.in_pass or 0].loader, []).append(f)
        awake = [fs for fs in by_loader.values() if all(f.training for f in fs)]
        asleep = [fs for fs in by_loader.values() if not any(f.training for f in fs)]
        for judged in asleep:
            for trained in awake:
                rows = {r for f in judged for r in f.rows}
                if rows & {r for f in trained for r in f.rows}:
                    continue
                if min(f.first_event for f in judged) > max(f.last_event for f in trained):
                    continue  # adapted to after the training
                if min(sum(f.stepped for f in judged), sum(f.stepped for f in trained)) >= FEWEST:
                    return Evidence(
                        {
                            "model": run.models[number].name,
                            "steps": sum(f.stepped for f in judged),
                            "trained": sum(f.stepped for f in trained),
                            "passes": len({f.in_pass for f in judged}),
                        },
                        place=judged[0].place,
                    )
        return self._in_turns(run, number, by_loader)

    def _in_turns(self, run: Run, number: int, by_loader: dict[int, list[Forward]]) -> Evidence | None:
        """A loader in order that is trained on after each pass over a shuffled one, as a validation pass would come."""
        if len(by_loader) != 2 or not all(f.training for fs in by_loader.values() for f in fs):
            return None
        shuffled, ordered = sorted(by_loader, key=lambda n: not run.loaders[n].shuffled)
        if not run.loaders[shuffled].shuffled or run.loaders[ordered].shuffled:
            return None
        turns = [p.loader for p in run.passes if p.trains and p.loader in by_loader]
        steps = {n: sum(f.stepped for f in fs) for n, fs in by_loader.items()}
        rows = {n: {r for f in fs for r in f.rows} for n, fs in by_loader.items()}
        in_turns = len(turns) >= 4 and turns[: len(turns) // 2 * 2] == [shuffled, ordered] * (len(turns) // 2)
        sizes = [run.loaders[n].examples or 0 for n in (ordered, shuffled)]
        if not in_turns or rows[ordered] & rows[shuffled] or min(steps.values()) < FEWEST or sizes[0] >= sizes[1]:
            return None
        counts = {"steps": steps[ordered], "trained": steps[shuffled], "passes": turns.count(ordered), "turns": True}
        return Evidence({"model": run.models[number].name, **counts}, place=by_loader[ordered][0].place)

    def judge(self, evidence: Evidence) -> Ruling:
        steps = evidence["steps"]
        if not steps:
            return Ruling.passed("no step was taken on data of its own in eval mode")
        if evidence.get("turns"):
            return Ruling.found(
                Severity.NOTE,
                f"{evidence['model']} is trained on a second loader after each pass over the first: a validation that trains?",
                expected="no optimiser step in a pass over evaluation data",
                observed=f"{steps} steps in {evidence['passes']} passes over a smaller set that is read in order, next to "
                f"{evidence['trained']} steps on a shuffled one",
                fix="If it is there to judge the model, call eval() and torch.no_grad() for it, and neither backward nor step.",
            )
        if evidence.get("rows"):
            sure = Severity.ERROR if evidence["known"] else Severity.WARNING
            return Ruling.found(
                sure if evidence["alike"] and not evidence["single"] else Severity.NOTE,
                f"{evidence['model']} is trained on rows that it sees in eval mode only, as in an evaluation.",
                expected="no optimiser step in a pass over evaluation data",
                observed=f"{steps} steps in eval mode, {evidence['passes']} recorded turns of them over the same "
                f"{evidence['rows']} rows, and none of these among the rows of {evidence['trained']} steps in training mode",
                fix="Remove backward and step from the evaluation and run it under torch.no_grad().",
            )
        return Ruling.found(
            Severity.ERROR,
            f"{evidence['model']} is trained on batches that it sees in eval mode, as in an evaluation.",
            expected="no optimiser step in a pass over evaluation data",
            observed=f"{steps} steps in {evidence['passes']} passes in eval mode over a loader of its own, next to "
            f"{evidence['trained']} "
            "steps in training mode on another",
            fix="Remove backward and step from the evaluation loop and run it under torch.no_grad().",
        )


# ---- without loaders


def _by_hand(run: Run, number: int, optimizer: Optimizer) -> Evidence | None:
    """Turns of steps in eval mode over rows of their own, each time the same ones, between turns in training mode."""
    fed = [f for f in run.forwards if f.model == number and f.stepped]
    awake, asleep = [f for f in fed if f.training], [f for f in fed if not f.training]
    if not awake or not asleep or any(f.moody for f in asleep):
        return None
    if min(f.first_event for f in asleep) > max(f.last_event for f in awake):
        return None  # adapted to after the training
    trained, judged = (_turns(fs, optimizer) for fs in (awake, asleep))
    if not trained or not judged or {s.step for t in trained for s, _ in t} & {s.step for t in judged for s, _ in t}:
        return None  # one step for both, as with adversarial or unlabelled examples
    rows = _rows(judged[:1])
    if len(rows) < MANY or rows & _rows(trained) or (_seen_before(judged, first_only=True) or 0.0) < AGAIN:
        return None
    return Evidence(
        {
            "model": run.models[number].name,
            "steps": sum(f.stepped for f in asleep),
            "trained": sum(f.stepped for f in awake),
            "passes": len(judged),
            "rows": len(rows),
            "known": (_seen_before(trained) or 0.0) >= KNOWN,
            "single": len(trained[0]) < FEWEST and len(judged[0]) < FEWEST,
            "alike": bool({f.place for f in awake} & {f.place for f in asleep}),
        },
        place=judged[0][0][0].backward_place or asleep[0].place,
    )


def _turns(forwards: Iterable[Forward], optimizer: Optimizer) -> list[Turn]:
    """The rows of recorded forwards with the step that follows each; those of successive steps make one turn."""
    events = [s.event for s in optimizer.seen]
    turns: list[Turn] = []
    for event, rows, _ in sorted((look for f in forwards for look in f.looks), key=lambda look: look[0]):
        at = bisect_left(events, event)
        if at < len(events):
            step = optimizer.seen[at]
            if not turns or step.step > turns[-1][-1][0].step + 1:
                turns.append([])
            turns[-1].append((step, rows))
    return turns


def _rows(turns: Iterable[Turn]) -> set[int]:
    return {r for turn in turns for _, rows in turn for r in rows}


def _seen_before(turns: list[Turn], first_only: bool = False) -> float | None:
    """The share of the rows of all turns but the first that earlier turns held, or the first; None with fewer than two."""
    if len(turns) < FEWEST:
        return None
    before, known, total = _rows(turns[:1]), 0, 0
    for turn in turns[1:]:
        rows = _rows([turn])
        known, total = known + len(rows & before), total + len(rows)
        if not first_only:
            before |= rows
    return known / total if total else None
