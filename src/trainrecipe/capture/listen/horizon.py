"""How long a training is meant to last, read off the loops around it while it runs.

The loops that enclose the optimiser's step are found in the source of the frames on the stack; how often each of them
turns is evaluated from the frame's own variables, without calling anything of the user's. What cannot be evaluated stays
unknown. Loops that also enclosed the optimiser's construction (folds, seeds) do not count.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

from trainrecipe.capture.listen.loops import Guard, Key, Loop, enclosing, guards_of, loop_of
from trainrecipe.subjects.run import Pass, Run

_LOOKS = 400
"""Observations kept per optimiser."""


@dataclasses.dataclass(slots=True)
class Look:
    """What was around the optimiser at one of its steps."""

    step: int
    in_pass: int | None
    loops: list[Loop]
    guards: list[Guard]


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What a framework says of a training whose loops are its own. `early`: it may end sooner."""

    epochs: int | None
    steps: int | None
    early: bool


class Horizon:
    """Collects looks while the script runs, and derives the planned number of steps and epochs from them."""

    def __init__(self) -> None:
        self.born: dict[int, set[tuple[int, Key]]] = {}
        self.around_pass: dict[int, set[Key]] = {}
        self.looks: dict[int, list[Look]] = {}
        self.closed = False
        self.told: Told | None = None

    def birth(self, optimizer: int) -> None:
        """An optimiser was built."""
        self.born[optimizer] = {(frame, key) for frame, key, *_ in enclosing()}

    def open_pass(self, number: int) -> None:
        """A pass over a loader begins."""
        self.around_pass[number] = {key for _, key, *_ in enclosing()}

    def step(self, optimizer: int, step: int, in_pass: int | None) -> None:
        """An optimiser takes its step number `step` (from 0)."""
        looks = self.looks.setdefault(optimizer, [])
        if self.closed or len(looks) >= _LOOKS:
            return
        loops: list[Loop] = []
        guards: list[Guard] = []
        for _, key, node, frame in enclosing():
            loops.append(loop_of(node, frame, key))
            guards += guards_of(node, frame, key[0])
        looks.append(Look(step, in_pass, loops, guards))

    def way(self) -> float | None:
        """The share of the whole training, folds and seeds included, that is over; None where the loops do not tell.

        Where the folds come from a generator, whose length nobody knows, it is the share of the present one.
        """
        share, whole = 0.0, 1.0
        for _, key, node, frame in enclosing():
            loop = loop_of(node, frame, key)
            if loop.total is None and whole == 1 and isinstance(node, ast.For):
                continue
            if loop.total is None or loop.index is None or not 0 <= loop.index <= loop.total:
                break
            whole /= max(1, loop.total)
            share += loop.index * whole
        return share if whole < 1 else None

    def outer_loops(self, passes: list[Pass]) -> list[Key]:
        """The loops around the present line, but for those over a loader that is not done, and what lies within them."""
        around = [key for _, key, *_ in enclosing()]
        going = passes[-1] if passes and not passes[-1].finished else None
        outside = self.around_pass.get(going.number) if going is not None else None
        if going is None or outside is None:
            return around
        inner = next((i for i, key in enumerate(around) if key not in outside), len(around))
        return around[:inner]

    def in_later_loop(self) -> bool:
        """Whether the loop around the present line is another one than the training began in."""
        first = next((look.loops[0].key for looks in self.looks.values() for look in looks if look.loops), None)
        now = next((key for _, key, *_ in enclosing()), None)
        return first is not None and now is not None and now != first

    def close(self, passes: list[Pass]) -> None:
        """No further steps are to be looked at; a pass that is not over counts no more."""
        self.closed = True
        open_now = {p.number for p in passes if not p.finished}
        self.looks = {number: [x for x in looks if x.in_pass not in open_now] for number, looks in self.looks.items()}

    # ---- conclusions

    def fill(self, run: Run) -> None:
        """Write `planned_steps`, `least_steps` of each optimiser and `planned_epochs` of the run."""
        complete = run.ended == "finished" and not any(p.cut for p in run.passes)
        best = -1
        for optimizer in run.optimizers:
            optimizer.least_steps = optimizer.steps
            if not optimizer.steps or (not run.rehearsal and not complete):
                continue
            per_pass = self._steps_per_pass(run, optimizer.number)
            optimizer.least_steps = _seen_in_reality(run, optimizer, per_pass)
            if complete:
                optimizer.planned_steps, optimizer.certain = optimizer.steps, True
                continue
            epochs = self._plan(run, optimizer, per_pass)
            if epochs is not None and optimizer.steps > best:
                best, run.planned_epochs = optimizer.steps, epochs
        if complete and run.planned_epochs is None:
            run.planned_epochs = len({p.number for p in run.passes if p.trains}) or self._turns_of_outer_loop()

    def _turns_of_outer_loop(self) -> int | None:
        """How often the outermost of several loops around the last step turns, where no loader tells epochs."""
        last = max((looks[-1] for looks in self.looks.values() if looks), key=lambda look: look.step, default=None)
        return last.loops[0].total if last is not None and len(last.loops) > 1 else None

    def _steps_per_pass(self, run: Run, optimizer: int) -> dict[int, float]:
        """Steps that this optimiser takes in each finished training pass, as they would be with no batch left out."""
        counts: dict[int, int] = {}
        for look in self.looks.get(optimizer, ()):
            if look.in_pass is not None:
                counts[look.in_pass] = counts.get(look.in_pass, 0) + 1
        found = {}
        for number, count in counts.items():
            seen = run.passes[number]
            if seen.batches and (seen.finished or not seen.cut):
                if not seen.cut:
                    found[number] = float(count)
                elif seen.length is not None:
                    found[number] = count / seen.batches * seen.length
        if self.closed and found:
            known = [found[n] / (run.passes[n].length or 1) for n in found if run.passes[n].length]
            for later in run.passes_of(run.optimizers[optimizer]):
                if later.number not in counts and later.finished and later.length is not None and known:
                    found[later.number] = later.length * sum(known) / len(known)
        return found

    def _plan(self, run: Run, optimizer: Any, per_pass: dict[int, float]) -> int | None:
        looks = self.looks.get(optimizer.number, [])
        if not looks or len(looks) >= _LOOKS:
            return None
        last = looks[-1]
        shared = self.born.get(optimizer.number, set())
        loops = [x for x in last.loops if (x.frame, x.key) not in shared]
        steps, epochs, certain = self._by_loops(loops, looks, per_pass)
        for bound_steps, bound_epochs in self._by_guards(looks, per_pass):
            if steps is None or bound_steps <= steps:
                steps, certain = bound_steps, True
                epochs = bound_epochs if bound_epochs is not None else epochs
        if steps is None and self.told is not None and per_pass:
            steps, epochs, certain = self._by_framework(self.told, sum(per_pass.values()) / len(per_pass))
        if steps is not None:
            optimizer.planned_steps = max(optimizer.steps, round(steps))
            optimizer.certain = certain
        return epochs

    def _by_framework(self, told: Told, per_epoch: float) -> tuple[float | None, int | None, bool]:
        lengths = [told.epochs * per_epoch] if told.epochs is not None else []
        lengths += [float(told.steps)] if told.steps is not None else []
        if not lengths:
            return None, None, False
        return min(lengths), max(1, round(min(lengths) / per_epoch)), not told.early

    def _by_loops(
        self, loops: list[Loop], looks: list[Look], per_pass: dict[int, float]
    ) -> tuple[float | None, int | None, bool]:
        """Steps, epochs, and whether no loop can be left early."""
        in_pass = looks[-1].in_pass
        certain = not any(x.early for x in loops)
        if in_pass is None:
            return *_without_loader(loops, looks), certain
        around = self.around_pass.get(in_pass, set())
        outer = [x for x in loops if x.key in around]
        fine = [x for x in outer if _turns_within_pass(x.key, looks)]
        if not outer or any(x.total is None for x in outer):
            return None, None, certain
        turns = math.prod(x.total or 0 for x in outer)
        if fine:
            return float(turns) * _per_turn(fine[-1].key, looks), None, certain
        if not per_pass:
            return None, turns, certain
        return turns * sum(per_pass.values()) / len(per_pass), turns, certain

    def _by_guards(self, looks: list[Look], per_pass: dict[int, float]) -> Iterator[tuple[float, int | None]]:
        """Bounds on the number of steps from comparisons such as `while step < total`."""
        series: dict[tuple[str, int, int], list[tuple[Look, Guard]]] = {}
        for look in looks:
            for guard in {g.key: g for g in look.guards}.values():
                series.setdefault(guard.key, []).append((look, guard))
        mean = sum(per_pass.values()) / len(per_pass) if per_pass else None
        for seen in series.values():
            rights = {g.right for _, g in seen}
            lefts = {g.left for _, g in seen}
            if len(rights) == 1 and len(lefts) > 1:
                counter, bound = [(k, g.left) for k, g in seen], rights.pop()
            elif len(lefts) == 1 and len(rights) > 1:
                counter, bound = [(k, g.right) for k, g in seen], lefts.pop()
            else:
                continue
            pace = _pace(counter)
            if pace is None or bound <= counter[-1][1]:
                continue
            kind, size = pace
            if kind == "step":
                yield bound / size, None
            elif mean is not None:
                yield bound / size * mean, round(bound / size)


def _pace(counter: list[tuple[Look, float]]) -> tuple[str, float] | None:
    """How a counter grows: by how much per step, or per pass; None when it does neither steadily."""
    values = [v for _, v in counter]
    if any(b < a for a, b in itertools.pairwise(values)) or values[-1] <= values[0]:
        return None
    within = [b - a for (k, a), (m, b) in itertools.pairwise(counter) if k.in_pass == m.in_pass]
    between = [b - a for (k, a), (m, b) in itertools.pairwise(counter) if k.in_pass != m.in_pass]
    if within and min(within) > 0:
        first, last = counter[0][0], counter[-1][0]
        return "step", (values[-1] - values[0]) / max(1, last.step - first.step)
    if between and within and max(within) == 0 and min(between) == max(between):
        return "pass", between[0]
    return None


def _seen_in_reality(run: Run, optimizer: Any, per_pass: dict[int, float]) -> int:
    if not per_pass:
        return int(optimizer.steps)
    loose = optimizer.steps - sum(1 for n in per_pass for _ in range(run.passes[n].batches))
    return round(sum(per_pass.values())) + max(0, loose if not any(run.passes[n].cut for n in per_pass) else 0)


def _without_loader(loops: list[Loop], looks: list[Look]) -> tuple[float | None, int | None]:
    known = list(itertools.takewhile(lambda x: x.total is not None, loops))
    if not known or (len(known) < len(loops) and known[-1].index is None):
        return None, None
    turns = float(math.prod(x.total or 0 for x in known))
    epochs = known[0].total if len(loops) > 1 else None
    per_turn = _per_turn(known[-1].key, looks)
    return turns * per_turn, epochs


def _turns_within_pass(key: Key, looks: list[Look]) -> bool:
    seen: dict[int | None, set[int]] = {}
    for look in looks:
        for loop in look.loops:
            if loop.key == key and loop.index is not None:
                seen.setdefault(look.in_pass, set()).add(loop.index)
    return any(len(v) > 1 for v in seen.values())


def _per_turn(key: Key, looks: list[Look]) -> float:
    """Mean number of steps per turn of a loop, over its finished turns (1 when none was told apart)."""
    turns: list[tuple[Any, int]] = []
    for look in looks:
        at = next((n for n, x in enumerate(look.loops) if x.key == key), None)
        if at is None or look.loops[at].index is None:
            continue
        name = tuple((x.frame, x.index) for x in look.loops[: at + 1])
        if turns and turns[-1][0] == name:
            turns[-1] = (name, turns[-1][1] + 1)
        else:
            turns.append((name, 1))
    whole = turns[:-1]
    if not whole:
        return 1.0
    first, last = whole[0][0][-1][1], turns[-1][0][-1][1]
    across = last - first if len({t[0][:-1] for t in turns}) == 1 and last > first else len(whole)
    return sum(n for _, n in whole) / across
