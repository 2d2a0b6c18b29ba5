"""Hears gradient clipping, in one call or in two (`get_total_norm`, `clip_grads_with_norm_`), and how much it cuts off."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import torch
from torch import nn

from trainrecipe.capture.listen.ear import Ear, Put, guarded
from trainrecipe.capture.where import Spot, place, spot
from trainrecipe.subjects.run import Clip


class Clips(Ear):
    """The program's calls that clip gradients."""

    def __init__(self, listener: Any) -> None:
        super().__init__(listener)
        self._records: dict[Spot | None, Clip] = {}
        self._total: tuple[Any, float, Any] | None = None

    def install(self, put: Put) -> None:
        """Hear the clipping functions, under either of their names."""
        if hasattr(nn.utils, "get_total_norm"):
            put(nn.utils, "get_total_norm", self._wrap_total)
            put(nn.utils, "clip_grads_with_norm_", self._wrap_with_norm)
        for module in (nn.utils, nn.utils.clip_grad):
            put(module, "clip_grad_norm_", functools.partial(self._wrap, "norm"))
            put(module, "clip_grad_value_", functools.partial(self._wrap, "value"))

    def _wrap(self, kind: str, original: Any) -> Any:
        ear = self

        def clip(parameters: Any, limit: Any, *args: Any, **kwargs: Any) -> Any:
            held = _listed(parameters)
            with ear.recorder.pause():
                size = ear._root_mean_square(held) if kind == "value" else None
                shares = ear.listener.ledger.norm_shares(held) if ear.listener.detail else None
                norm = original(held, limit, *args, **kwargs)
            size = norm if kind == "norm" else size
            ear._note(kind, held, float(limit), size, args[0] if args else kwargs.get("norm_type", 2.0), shares)
            return norm

        def clip_keywords(*args: Any, **kwargs: Any) -> Any:
            if len(args) >= 2:
                return clip(*args, **kwargs)
            name = "max_norm" if kind == "norm" else "clip_value"
            parameters = args[0] if args else kwargs.pop("parameters")
            return clip(parameters, kwargs.pop(name), **kwargs)

        return clip_keywords

    def _wrap_total(self, original: Any) -> Any:
        ear = self

        def get_total_norm(tensors: Any, norm_type: float = 2.0, *args: Any, **kwargs: Any) -> Any:
            held = _listed(tensors)
            with ear.recorder.pause():
                norm = original(held, norm_type, *args, **kwargs)
                shares = ear._shares_of(held) if ear.listener.detail else None
            ear._total = norm, float(norm_type), shares
            return norm

        return get_total_norm

    def _wrap_with_norm(self, original: Any) -> Any:
        ear = self

        def clip_grads_with_norm_(parameters: Any, max_norm: Any, total_norm: Any, *args: Any, **kwargs: Any) -> None:
            held = _listed(parameters)
            with ear.recorder.pause():
                original(held, max_norm, total_norm, *args, **kwargs)
            known = ear._total if ear._total is not None and ear._total[0] is total_norm else None
            _, norm_type, shares = known or (None, 2.0, None)
            ear._note("norm", held, float(max_norm), total_norm, norm_type, shares)

        return clip_grads_with_norm_

    @guarded
    def _shares_of(self, gradients: list[torch.Tensor]) -> Any:
        own = {id(g) for g in gradients}
        accounts = self.listener.ledger.accounts.values()
        return self.listener.ledger.norm_shares([p for a in accounts if id(a.gradient) in own and (p := a.ref()) is not None])

    @guarded
    def _root_mean_square(self, held: list[torch.Tensor]) -> float | None:
        if not self.listener.detail:
            return None
        grads = [p.grad.detach() for p in held if p.grad is not None and not p.grad.is_sparse]
        count = sum(g.numel() for g in grads)
        return float(sum(float(g.float().square().sum()) for g in grads) / count) ** 0.5 if count else None

    @guarded
    def _note(self, kind: str, held: list[torch.Tensor], limit: float, norm: Any, norm_type: Any, shares: Any) -> None:
        at = spot(4)
        record = self._records.get(at)
        if record is None:
            record = self._records[at] = Clip(place(at), kind, limit, float(norm_type) if kind == "norm" else 0.0)
            self.run.clips.append(record)
        record.count += 1
        self.listener.event()
        if not self.listener.detail:
            return
        coefficient = None if norm is None else limit / (float(norm) + 1e-6)
        shares = dataclasses.replace(shares, limit=limit) if shares is not None else None
        self.listener.ledger.clipping(held, self.run.clips.index(record), coefficient, shares)
        own = {id(p) for p in held}
        touched = [w for w in self.listener.optimizers.watched.values() if any(id(p) in own for p in w.probes())]
        record.seen += 1
        record.optimizers.update(w.record.number for w in touched)
        if all(p.grad is None for p in held):
            record.empty += 1
        elif touched and all(w.record.steps and not w.backwards and w.has_same_gradients() for w in touched):
            record.stale += 1
        if coefficient is not None:
            record.coefficients.append(coefficient)


def _listed(tensors: Any) -> list[torch.Tensor]:
    """One tensor, or what a generator gives, as a list that can be read twice."""
    return [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
