"""Keeps account of gradients: which backward calls they hold, who has stepped with them, whether they were changed.

It is kept per parameter, in detailed steps only. Between two looks a gradient that is None, or exactly zero, holds nothing; one
that changed during a backward holds that call as well; one that changed otherwise was modified.
"""

from __future__ import annotations

import collections
import dataclasses
import weakref
from collections.abc import Iterable
from typing import Any

import torch

from trainrecipe.capture import members
from trainrecipe.capture.listen.ear import guarded
from trainrecipe.subjects.gradients import Contribution, GradientUse, NormShare

USES = 600
"""Steps of which the gradients' origin is kept."""
NORMS = 200
"""Clippings of which it is kept where the norm comes from."""
_CALLS = 64
"""Backward calls kept of one parameter, and of one step."""
_LARGEST = 20_000_000
"""Elements above which gradients are not copied to measure what a further backward adds to them."""
_ABANDONED = 3
"""Steps of other optimisers after which a gradient that none of its own has used counts as abandoned."""
_UNSEEN = -1
"""Stands for backward calls that were not seen in detail."""

Mark = tuple[int, int]


@dataclasses.dataclass(slots=True)
class Call:
    """One backward call: its line's index in the run, event, pass, batch, factor of the scaler, optimisers it reached."""

    backward: int
    event: int
    in_pass: int | None
    batch: int
    scale: float
    reached: set[int] = dataclasses.field(default_factory=set)
    stepped: set[int] = dataclasses.field(default_factory=set)
    norms: dict[int, float] = dataclasses.field(default_factory=dict)
    cosines: dict[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Account:
    """One parameter: the calls that its gradient holds and, for each, the optimisers that have stepped with it.

    `modified`: it was changed since the last backward by something else; `altered`: at any time since it was cleared.
    """

    ref: weakref.ref[torch.Tensor]
    name: str
    owners: tuple[int, ...]
    elements: int
    mark: Mark = (0, 0)
    holds: dict[int, set[int]] = dataclasses.field(default_factory=dict)
    modified: bool = False
    altered: bool = False
    unscaled: bool = False

    @property
    def gradient(self) -> torch.Tensor | None:
        """The parameter's gradient, as long as both exist."""
        parameter = self.ref()
        return None if parameter is None else parameter.grad


class Ledger:
    """The accounts of all parameters that an optimiser holds or a called model has. Ears tell it what happens."""

    def __init__(self, listener: Any) -> None:
        self.listener = listener
        self.run = listener.run
        self.accounts: dict[int, Account] = {}
        self.calls: dict[int, Call] = {}
        self._stamp: tuple[int, ...] = ()
        self._serial = 0
        self._scale_now = 1.0
        self._clipped: dict[int, float] = {}
        self._before: dict[int, torch.Tensor] = {}
        self._blind = False
        self._inside: list[int] = []
        self._steps: collections.deque[tuple[int, int]] = collections.deque(maxlen=64)
        self.by_scaler: set[int] = set()

    def note_trouble(self, where: str, error: BaseException) -> None:
        """Keep an error of ours."""
        self.listener.note_trouble(where, error)

    # ---- who there is

    def _refresh(self) -> None:
        """Open accounts for new parameters, and note again which optimisers hold which."""
        watched = list(self.listener.optimizers.watched.values())
        roots = self.listener.models.roots
        stamp = (len(roots), *(n for w in watched for n in (w.record.number, len(w.parameters))))
        if stamp == self._stamp:
            return
        self._stamp = stamp
        owners: dict[int, list[int]] = {}
        tensors: dict[int, tuple[str, torch.Tensor]] = {}
        for w in watched:
            for parameter in w.parameters:
                owners.setdefault(id(parameter), []).append(w.record.number)
                tensors.setdefault(id(parameter), ("", parameter))
        for root in roots.values():
            tensors |= {id(p): (name, p) for name, p in members.named_parameters(root) if p.requires_grad or id(p) in owners}
        old, self.accounts = self.accounts, {}
        for key, (name, tensor) in tensors.items():
            known = old.get(key)
            if known is None or known.ref() is not tensor:
                known = Account(weakref.ref(tensor), name, (), tensor.numel())
                if tensor.grad is not None:
                    known.mark = _mark(tensor.grad)
                    if _any_left([tensor.grad])[0]:
                        known.holds[_UNSEEN] = set()
            known.owners = tuple(owners.get(key, ()))
            self.accounts[key] = known

    def knows(self, parameter: torch.Tensor) -> bool:
        """Whether this very tensor has an account: identities are given again when a tensor dies."""
        account = self.accounts.get(id(parameter))
        return account is not None and account.ref() is parameter

    def blind(self) -> None:
        """A backward or step was not looked at: what the gradients hold is not known until they are cleared."""
        self._blind = True

    def _sync(self) -> None:
        """Find out whose gradients were cleared or changed since the last look."""
        self._refresh()
        changed: list[tuple[Account, torch.Tensor]] = []
        for account in self.accounts.values():
            grad = account.gradient
            if grad is None:
                account.holds.clear()
                account.mark, account.modified, account.altered, account.unscaled = (0, 0), False, False, False
                continue
            if self._blind:
                account.holds = {_UNSEEN: set()}
            mark = _mark(grad)
            if mark != account.mark or self._blind:
                account.mark = mark
                changed.append((account, grad))
        self._blind = False
        for (account, _), left in zip(changed, _any_left([g for _, g in changed]), strict=True):
            if left:
                account.modified = account.altered = True
            else:
                account.holds.clear()
                account.modified = account.altered = account.unscaled = False

    # ---- what happens

    @guarded
    def before_backward(self, scale: float) -> None:
        """Look at what is left, and copy what a further backward will add to. `scale` is a scaler's factor in the loss."""
        self._scale_now = scale
        self._sync()
        held = [(key, g) for key, a in self.accounts.items() if a.holds and a.owners and (g := a.gradient) is not None]
        self._before = {}
        if sum(g.numel() for _, g in held) <= _LARGEST:
            self._before = {key: g.detach().clone() for key, g in held if not g.is_sparse}

    @guarded
    def after_backward(self, backward: int) -> None:
        """Note whose gradients this call, at the line with that index, has changed."""
        listener = self.listener
        self._serial += 1
        current = listener.loaders.open
        number = current.number if current is not None else None
        call = Call(backward, self.run.events, number, listener.loaders.serial, self._scale_now)
        added: dict[int, list[Any]] = {}
        for key, account in self.accounts.items():
            grad = account.gradient
            if grad is None or (mark := _mark(grad)) == account.mark:
                continue
            if len(account.holds) < _CALLS:
                account.holds[self._serial] = set()
            account.mark, account.modified, account.unscaled = mark, False, False
            for owner in account.owners:
                call.reached.add(owner)
                self._clipped.pop(owner, None)
                before = self._before.get(key)
                added.setdefault(owner, []).append(_gain(grad, before, first=len(account.holds) == 1))
        self._before = {}
        for owner, gains in added.items():
            if all(gain is not None for gain in gains):
                call.norms[owner] = _norm([gain for gain, _ in gains])
                call.cosines |= _cosine(owner, [(gain, before) for gain, before in gains if before is not None])
        self.calls[self._serial] = call
        for old in [s for s in self.calls if s < self._serial - 4 * _CALLS]:
            del self.calls[old]

    @guarded
    def clipping(self, held: list[torch.Tensor], clip: int, coefficient: float | None, shares: Any) -> None:
        """A clipping is over: its change of the gradients is known. `shares` is what `norm_shares` gave before it."""
        for parameter in held:
            account = self.accounts.get(id(parameter))
            grad = parameter.grad
            if account is not None and grad is not None:
                account.mark = _mark(grad)
                for owner in account.owners:
                    self._clipped[owner] = 1.0 if coefficient is None else min(1.0, coefficient)
        if isinstance(shares, NormShare) and len(self.run.norm_shares) < NORMS:
            shares.clip = clip
            self.run.norm_shares.append(shares)

    @guarded
    def norm_shares(self, held: list[torch.Tensor]) -> NormShare | None:
        """Before a clipping by the norm: how much of it comes from parameters that no optimiser holds."""
        self._sync()
        accounts = [a for p in held if (a := self.accounts.get(id(p))) is not None and a.gradient is not None]
        accounts = [a for a in accounts if (g := a.gradient) is not None and not g.is_sparse]
        if not accounts:
            return None
        norms = torch._foreach_norm([g.detach().float() for a in accounts if (g := a.gradient) is not None])
        squares = [n * n for n in torch.stack(list(norms)).tolist()]
        total = sum(squares)
        if not 0 < total < float("inf"):
            return None
        foreign = [(s, a) for s, a in zip(squares, accounts, strict=True) if self._abandoned(a)]
        stale = [(s, a) for s, a in foreign if len(a.holds) > self._held_by_owned(accounts)]
        scaled = [a for a in accounts if not a.unscaled and self._scale(a) > 1]
        return NormShare(
            clip=-1,
            step=self.run.steps,
            norm=total**0.5,
            foreign=sum(s for s, _ in foreign) / total,
            stale=sum(s for s, _ in stale) / total,
            oldest=max((len(a.holds) for _, a in foreign), default=0),
            scale=max((self._scale(a) for a in scaled), default=1.0),
            names=[a.name for _, a in sorted(foreign, key=lambda f: -f[0])[:3]],
        )

    def _held_by_owned(self, accounts: list[Account]) -> int:
        return max((len(a.holds) for a in accounts if not self._abandoned(a)), default=0)

    def _abandoned(self, account: Account) -> bool:
        """Whether no optimiser holds a parameter, or none of those has stepped while others have, several times."""
        if not account.owners:
            return True
        oldest = min((s for s in account.holds if s in self.calls), default=None)
        if oldest is None:
            return False
        since = [n for n, event in self._steps if event > self.calls[oldest].event]
        return len(since) >= _ABANDONED and not set(since) & set(account.owners)

    def _scale(self, account: Account) -> float:
        return max((self.calls[s].scale for s in account.holds if s in self.calls), default=1.0)

    @guarded
    def unscaling(self, optimizer: torch.optim.Optimizer) -> None:
        """A scaler has taken its factor out of an optimiser's gradients."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                account = self.accounts.get(id(parameter))
                if account is not None and parameter.grad is not None:
                    account.mark, account.unscaled = _mark(parameter.grad), True

    # ---- steps

    def enter_step(self, number: int) -> None:
        """An optimiser's step begins; others that step before it is over do so inside it."""
        self._inside.append(number)

    @guarded
    def use(self, number: int, parameters: Iterable[torch.Tensor]) -> None:
        """An optimiser is about to step, or has just done so: note what its gradients hold."""
        inside = next((n for n in reversed(self._inside) if n != number), None)
        self._sync()
        accounts = [a for p in parameters if (a := self.accounts.get(id(p))) is not None and a.gradient is not None]
        holding = [a for a in accounts if a.holds]
        if len(self.run.gradients) < USES:
            self.run.gradients.append(self._use(number, inside, holding))
        self.by_scaler.discard(number)
        self._steps.append((number, self.run.events))
        for account in holding:
            for serial, users in account.holds.items():
                users.add(number)
                if serial in self.calls and number in account.owners:
                    self.calls[serial].stepped.add(number)

    def after_step(self, number: int) -> None:
        """That step is over."""
        if number in self._inside:
            del self._inside[self._inside.index(number) :]

    def _use(self, number: int, inside: int | None, holding: list[Account]) -> GradientUse:
        total = sum(a.elements for a in holding) or 1
        elements: collections.Counter[int] = collections.Counter()
        used: dict[int, set[int]] = {}
        stale = [a for a in holding if not a.altered and any(number in users for users in a.holds.values())]
        for account in holding:
            for serial, users in account.holds.items():
                elements[serial] += account.elements
                used.setdefault(serial, set()).update(users)
        record = self.run.optimizers[number]
        serials = [s for s in sorted(elements) if s != _UNSEEN]
        current = self.listener.loaders.open
        return GradientUse(
            optimizer=number,
            step=record.steps,
            event=self.run.events,
            contributions=[self._contribution(s, number, elements[s] / total, used[s]) for s in serials[-_CALLS:]],
            known=_UNSEEN not in elements,
            modified=any(a.modified for a in holding),
            clipped=self._clipped.pop(number, None),
            unscaled=bool(holding) and all(a.unscaled for a in holding),
            by_scaler=number in self.by_scaler,
            inside=inside,
            norm=_norm([g for a in holding if (g := a.gradient) is not None]),
            partial=sum(a.elements for a in stale) / total,
            stale=[a.name or f"tensor of {a.elements}" for a in stale[:3]],
            in_pass=current.number if current is not None else None,
        )

    def _contribution(self, serial: int, number: int, share: float, used: set[int]) -> Contribution:
        call = self.calls.get(serial) or Call(0, 0, None, 0, 1.0)
        return Contribution(
            backward=call.backward,
            serial=serial,
            event=call.event,
            in_pass=call.in_pass,
            batch=call.batch,
            share=share,
            norm=call.norms.get(number),
            reached=sorted(call.reached),
            used=sorted(used),
            others=sorted(call.stepped - {number}),
            scale=call.scale,
            cosine=call.cosines.get(number),
        )


def _mark(grad: torch.Tensor) -> Mark:
    return id(grad), grad._version


def _gain(grad: torch.Tensor, before: torch.Tensor | None, *, first: bool) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """What was added to a gradient, and what was there before; None where that was not kept."""
    if first:
        return grad.detach(), None
    if before is None or before.shape != grad.shape or grad.is_sparse:
        return None
    return grad.detach() - before, before


def _cosine(owner: int, pairs: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[int, float]:
    """The cosine between gains and what was there before, over all tensors that had something."""
    if not pairs:
        return {}
    dot = sum(float((g.float() * b.float()).sum()) for g, b in pairs)
    size = _norm([g for g, _ in pairs]) * _norm([b for _, b in pairs])
    return {owner: dot / size} if size > 0 else {}


def _any_left(grads: list[torch.Tensor]) -> list[bool]:
    """For each gradient whether anything in it is not zero; one look at the device for all of them."""
    values = [(g.coalesce().values() if g.is_sparse else g).detach() for g in grads]
    found = [v.ne(0).any() if v.numel() else None for v in values]
    by_device: dict[torch.device, list[int]] = {}
    for i, flag in enumerate(found):
        if flag is not None:
            by_device.setdefault(flag.device, []).append(i)
    left = [False] * len(grads)
    for indices in by_device.values():
        flags = torch.stack([f for i in indices if (f := found[i]) is not None]).tolist()
        for i, flag in zip(indices, flags, strict=True):
            left[i] = bool(flag)
    return left


def _norm(tensors: list[torch.Tensor]) -> float:
    flat = [(t.coalesce().values() if t.is_sparse else t).detach().float() for t in tensors]
    if not flat:
        return 0.0
    return float(sum(float(n) ** 2 for n in torch._foreach_norm(flat)) ** 0.5)
