"""Watches models that follow another one: target networks, teachers and averages, next to the model that is trained.

Two modules of one class and with the same shapes, of which only one is in an optimiser, are a pair. At each step of the
trained one a sample of both is compared with that of the step before.
"""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from trainrecipe.capture import members
from trainrecipe.capture.where import Spot, packages_above

if TYPE_CHECKING:
    from trainrecipe.capture.listen.listener import Listener

_TENSORS = 12
_ELEMENTS = 96
_PAIRS = 8
_FIT = 0.05
"""Part of the follower's movement that may point elsewhere than to the model it follows."""
_KEPT = 64
_PLAIN = frozenset({"accelerate", "ignite", "keras", "lightning", "pytorch_lightning", "skorch", "transformers"})
"""Frameworks that take the steps and leave a second network to the user's code."""
_PULL = 1e-4
"""Part of the way below which nothing was gone but by rounding."""


@dataclasses.dataclass(slots=True)
class Pair:
    """A trained module and one of the same shape that no optimiser holds.

    `alike`: both had the same values before the first step. `shares` are the parts of the way to the student that the
    follower went, `changes` the steps in which it changed at all, `odd` those that led elsewhere; `moved` is how far the
    student went, relative to its size. `pulls` are the parts of the way to the follower that the student went between two
    steps, `pulled` the line that loaded it all; `synced` counts the loads of the student's weights into the follower. `seen`
    are both after the last step.
    """

    student: weakref.ref[nn.Module]
    follower: weakref.ref[nn.Module]
    root: bool
    alike: bool
    plain: bool
    steps: int = 0
    changes: int = 0
    odd: int = 0
    shares: list[float] = dataclasses.field(default_factory=list)
    first: torch.Tensor | None = None
    moved: float = 0.0
    last: tuple[torch.Tensor, torch.Tensor] | None = None
    previous: torch.Tensor | None = None
    seen: tuple[torch.Tensor, torch.Tensor] | None = None
    pulls: list[float] = dataclasses.field(default_factory=list)
    pulled: Spot | None = None
    synced: int = 0


class Pairs:
    """The pairs of a program, found anew when another module is called or another optimiser built."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.found: dict[tuple[int, int], Pair] = {}
        self.steppers: set[str] = set()
        """Packages that take the steps, and may write to the follower as well."""
        self._looked = (-1, -1)

    def forget(self) -> None:
        """Between steps that are not looked at nothing can be compared."""
        for pair in self.found.values():
            pair.last = pair.previous = pair.seen = None

    def before_step(self) -> None:
        """Look for new pairs before an optimiser moves anything."""
        now = (len(self.listener.models.roots), len(self.listener.optimizers.held_by))
        if now != self._looked:
            self._looked = now
            self._look()
            self.steppers |= packages_above() - _PLAIN
        for pair in self.found.values():
            if pair.seen is not None:
                self._note_pull(pair)

    def loaded(self, module: nn.Module, at: Spot | None) -> None:
        """Weights were loaded into a module: are they those of the other one of its pair?"""
        for pair in self.found.values():
            student, follower = pair.student(), pair.follower()
            if student is None or follower is None or module not in (student, follower):
                continue
            if not torch.equal(_sample(student), _sample(follower)):
                continue
            if module is follower:
                pair.synced += 1
            elif len(pair.pulls) < _KEPT:
                pair.pulls.append(1.0)
                pair.pulled, pair.seen = at, None

    def _note_pull(self, pair: Pair) -> None:
        """Where the student went since the last step, if to the follower, while that stayed where it was."""
        assert pair.seen is not None
        student, follower = pair.student(), pair.follower()
        (then, goal), pair.seen = pair.seen, None
        if student is None or follower is None or not torch.equal(_sample(follower), goal):
            return
        share = _share(_sample(student) - then, goal - then)
        if share is not None and share > _PULL and len(pair.pulls) < _KEPT:
            pair.pulls.append(share)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimiser stepped: where did the follower go since its last step?"""
        held = {id(p) for g in optimizer.param_groups for p in g["params"]}
        for pair in self.found.values():
            student, follower = pair.student(), pair.follower()
            if student is not None and follower is not None and any(id(p) in held for p in members.parameters(student)):
                pair.seen = _sample(student), _sample(follower)
                self._compare(pair, *pair.seen)

    def _compare(self, pair: Pair, student: torch.Tensor, follower: torch.Tensor) -> None:
        pair.steps += 1
        if pair.first is None:
            pair.first = student
        pair.moved = float((student - pair.first).norm() / pair.first.norm().clamp(min=1e-12))
        if pair.last is not None:
            then_student, then_follower = pair.last
            way = follower - then_follower
            if bool(way.any()):
                pair.changes += 1
                options = [then_student] if pair.previous is None else [then_student, pair.previous]
                shares = [s for target in options if (s := _share(way, target - then_follower)) is not None]
                if shares and len(pair.shares) < _KEPT:
                    pair.shares.append(shares[0])
                elif not shares:
                    pair.odd += 1
            pair.previous = then_student
        pair.last = (student, follower)

    def _look(self) -> None:
        held = self.listener.optimizers.held_by
        groups: dict[tuple[int, type, tuple[torch.Size, ...]], list[tuple[nn.Module, bool]]] = {}
        for module, parent in self._modules():
            shapes = tuple(p.shape for p in members.parameters(module))
            if shapes:
                groups.setdefault((parent, type(module), shapes), []).append((module, parent == 0))
        for group in groups.values():
            students = [(m, r) for m, r in group if all(id(p) in held or not p.requires_grad for p in members.parameters(m))]
            students = [(m, r) for m, r in students if any(id(p) in held and p.requires_grad for p in members.parameters(m))]
            followers = [(m, r) for m, r in group if not any(id(p) in held and p.requires_grad for p in members.parameters(m))]
            for (student, one), (follower, two) in itertools.product(students, followers):
                self._add(student, follower, one and two)

    def _add(self, student: nn.Module, follower: nn.Module, root: bool) -> None:
        shared = {id(p) for p in members.parameters(student)} & {id(p) for p in members.parameters(follower)}
        if shared or (id(student), id(follower)) in self.found or len(self.found) >= _PAIRS:
            return
        early = self.listener.run.steps == 0
        alike = early and bool(torch.equal(_sample(student), _sample(follower)))
        plain = early and student not in self.listener.models.loaded
        pair = Pair(weakref.ref(student), weakref.ref(follower), root, alike, plain)
        self.found[id(student), id(follower)] = pair

    def _modules(self) -> Iterator[tuple[nn.Module, int]]:
        """The called models (0), and the parts that each of them is made of directly (with its number)."""
        for root in self.listener.models.roots.values():
            yield root, 0
            children = list(members.children(root)) if _small(root) else []
            yield from ((c, id(root)) for c in children if id(c) not in self.listener.models.roots)


def _small(root: nn.Module) -> bool:
    return sum(1 for _ in itertools.islice(members.children(root), 9)) <= 8


def _sample(module: nn.Module) -> torch.Tensor:
    """Some elements of some parameters, spread evenly."""
    every = [p for p in members.parameters(module) if p.numel()]
    chosen = every[:: max(1, len(every) // _TENSORS)][:_TENSORS]
    flat = [p.detach().reshape(-1) for p in chosen]
    return torch.cat([f[:: max(1, f.numel() // _ELEMENTS)][:_ELEMENTS].double().cpu() for f in flat])


def _share(way: torch.Tensor, whole: torch.Tensor) -> float | None:
    """Which part of the whole way was gone; None when it led elsewhere."""
    length = float(whole @ whole)
    if length == 0:
        return None
    share = float(way @ whole) / length
    return share if float((way - share * whole).norm()) <= _FIT * float(way.norm()) else None
