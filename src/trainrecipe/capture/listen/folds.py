"""Hears the folds of a cross-validation: the indices that a loop around the training hands out, and whether a new fold begins
with the weights that the last one ended with.

    for fold, (train, val) in enumerate(KFold(5).split(x)):

The two index arrays of the loop are read from its frame when an optimiser is built and when training goes on after an
evaluation; nothing of the program's is called.
"""

from __future__ import annotations

import ast
import dataclasses
from types import FrameType
from typing import Any

import numpy as np
import torch

from trainrecipe.capture.listen.loops import Key, enclosing
from trainrecipe.capture.where import place
from trainrecipe.finding import Place
from trainrecipe.subjects.run import Run, Seam

_MOST = 1_000_000
"""Indices up to which a part is looked at."""
_FEWEST = 3
_SEAMS = 20


@dataclasses.dataclass(slots=True)
class _Fold:
    """The parts of the present fold, and what was counted as it began."""

    training: Any
    judged: Any
    steps: int
    event: int
    optimizers: int


class Folds:
    """Follows the folds of the loops around the training. `note` is called where a fold may have changed."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._now: dict[Key, _Fold] = {}

    def built(self, replaces: int | None, untouched: bool, optimizer: str) -> None:
        """An optimiser was built; `untouched` tells that it goes on with the very weights that another one left."""
        self._note(carried=replaces is not None and untouched, optimizer=optimizer, building=True)

    def resumes(self, untouched: bool, optimizer: str) -> None:
        """Training goes on after an evaluation, with the optimisers that there are."""
        self._note(carried=untouched, optimizer=optimizer, building=False)

    def _note(self, carried: bool, optimizer: str, building: bool) -> None:
        for _, key, node, frame in enclosing():
            if not isinstance(node, ast.For) or (parts := _parts(node, frame)) is None:
                continue
            last, count = self._now.get(key), len(self.run.optimizers)
            if last is not None and _same(last.training, parts[0]) and _same(last.judged, parts[1]):
                return
            if last is not None and not building and count != last.optimizers:
                carried = False  # an optimiser was built for this fold, before its indices were known
            self._now[key] = _Fold(*parts, self.run.steps, self.run.events, count)
            if last is not None and self.run.steps > last.steps and len(self.run.seams) < _SEAMS:
                self._add(last, parts, carried, optimizer, place((key[0], node.lineno, "")))
            return

    def _add(self, last: _Fold, parts: tuple[Any, Any], carried: bool, optimizer: str, at: Place | None) -> None:
        training, judged = parts
        evaluated = any(not f.fed and f.last_event > last.event for f in self.run.forwards)
        self.run.seams.append(
            Seam(
                optimizer=optimizer,
                carried=carried and evaluated,
                shared=len(np.intersect1d(judged, last.training)),
                judged=len(judged),
                back=len(np.intersect1d(last.judged, training)),
                before=len(last.judged),
                place=at,
            )
        )


def _same(one: Any, other: Any) -> bool:
    return len(one) == len(other) and bool((one == other).all())


def _parts(node: ast.For, frame: FrameType) -> tuple[Any, Any] | None:
    """The two disjoint arrays of indices among a loop's variables: (training, evaluation)."""
    for target in ast.walk(node.target):
        if isinstance(target, ast.Tuple) and len(target.elts) == 2 and all(isinstance(e, ast.Name) for e in target.elts):
            first, second = (_indices(frame.f_locals.get(e.id)) for e in target.elts if isinstance(e, ast.Name))
            if first is not None and second is not None and not len(np.intersect1d(first, second)):
                return first, second
    return None


def _indices(value: Any) -> Any:
    """A list of different whole numbers as an array; None for anything else."""
    if isinstance(value, torch.Tensor):
        if value.ndim != 1 or value.is_floating_point() or value.dtype == torch.bool or value.numel() > _MOST:
            return None
        value = value.detach().cpu().numpy()
    if type(value) is list and value and len(value) <= _MOST and all(type(v) is int for v in value[:10]):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "iu":
        return None
    if not _FEWEST <= len(value) <= _MOST or len(np.unique(value)) != len(value):
        return None
    return value
