"""Random masks that features are multiplied by: dropout written by hand."""

from __future__ import annotations

import torch

from trainrecipe.capture.watch import Seen
from trainrecipe.subjects.names import UNIFORM

_RANDOM = UNIFORM | {"bernoulli", "bernoulli_"}
_SHAPING = frozenset(
    {
        *("lt", "gt", "le", "ge", "__lt__", "__gt__", "__le__", "__ge__", "__invert__", "logical_not", "floor", "floor_"),
        *(
            "to",
            "float",
            "type",
            "type_as",
            "double",
            "half",
            "bool",
            "div",
            "div_",
            "__truediv__",
            "__rtruediv__",
            "mul",
            "__mul__",
        ),
        *(
            "__rmul__",
            "add",
            "__add__",
            "__radd__",
            "__rsub__",
            "rsub",
            "__sub__",
            "view",
            "expand",
            "expand_as",
            "detach",
            "clone",
        ),
    }
)
"""Operations that make a mask out of random numbers one by one; sorting them makes masks of another kind."""
_PRODUCTS = frozenset({"mul", "__mul__", "__rmul__", "mul_", "__imul__"})


class RandomMasks:
    """Follows random numbers through a run, and notes the products of learned features with masks made of them."""

    def __init__(self) -> None:
        self._noise: dict[int, int] = {}
        self._kept: list[Seen] = []
        self._uses: dict[int, list[Seen | None]] = {}

    def see(self, seen: Seen) -> None:
        """Look at one executed operation."""
        out = seen.outputs[0] if len(seen.outputs) == 1 else None
        if out is None or not seen.inside:
            return
        noisy = [t for t in seen.inputs if id(t) in self._noise]
        clean = [t for t in seen.inputs if id(t) not in self._noise]
        if seen.name in _RANDOM and not (seen.name == "bernoulli" and _varies(seen.inputs)):
            self._mark(seen, out, seen.index)
        elif noisy and any(t.requires_grad for t in clean):
            product = seen.name in _PRODUCTS and len(clean) == 1 and _is_mask(noisy[0], clean[0])
            self._uses.setdefault(self._noise[id(noisy[0])], []).append(seen if product else None)
        elif noisy and seen.name in _SHAPING:
            self._mark(seen, out, self._noise[id(noisy[0])])
        elif id(out) in self._noise:
            del self._noise[id(out)]

    def _mark(self, seen: Seen, out: torch.Tensor, root: int) -> None:
        self._kept.append(seen)  # keeps the tensors alive, so that their identities stay unique
        self._noise[id(out)] = root

    def dropping(self) -> list[Seen]:
        """The products that drop features. A mask used twice chooses between two values and is none of them."""
        return [uses[0] for uses in self._uses.values() if len(uses) == 1 and uses[0] is not None]


def _varies(inputs: list[torch.Tensor]) -> bool:
    """Whether probabilities depend on weights or differ from element to element."""
    return any(t.requires_grad or (t.numel() > 1 and bool((t != t.flatten()[0]).any())) for t in inputs)


def _is_mask(mask: torch.Tensor, features: torch.Tensor) -> bool:
    """Whether a mask holds zeros and one other value, drawn for each feature."""
    if mask.ndim == 0 or features.ndim < 2 or mask.shape[-1] != features.shape[-1] or mask.shape[-1] < 2:
        return False
    values = mask.detach().unique()  # type: ignore[no-untyped-call]
    return len(values) == 2 and not bool(values[0]) and bool((mask != mask.narrow(-1, 0, 1)).any())
