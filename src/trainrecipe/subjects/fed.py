"""Batches as a model was fed them: the tensors of one call with the targets that belong to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from trainrecipe.capture import hashing
from trainrecipe.capture.tensors import equal, size_of
from trainrecipe.finding import Place

_COLUMNS = 60
"""Columns of a data frame that are looked at."""
PLACES = 4
"""Examples of a batch from which labels 0, 1, 2, … in any order are taken for places in the batch."""

Signature = tuple[tuple[tuple[int, ...], torch.dtype], ...]


@dataclasses.dataclass(slots=True)
class Batch:
    """One call of a model. `inputs` are its tensors, `target` what its loss was compared with (None where unknown).

    `module` identifies the model that was called, `kind` is its class; `trains` tells whether a backward followed.
    `in_pass` and `number` are the pass over a loader and the batch of it. `loss` is the PyTorch loss function that took
    the target, `outputs` the shape of the predictions it took. `moved`: the share of rows that lie at another place than
    in the loader's batch, while the target lies where it was. `turned`: how rows of an image were turned since the loader
    gave them, while the map of labels that they are compared with was not, or, with `apart`, was in another way, and
    `turned_at` where.
    """

    module: int
    kind: str
    inputs: list[torch.Tensor]
    target: torch.Tensor | None
    trains: bool
    in_pass: int | None
    number: int
    place: Place | None
    step: int = 0
    loss: str = ""
    outputs: tuple[int, ...] = ()
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    moved: float = 0.0
    turned: str = ""
    turned_at: Place | None = None
    apart: bool = False

    def is_again(self, other: Batch) -> bool:
        """Whether this is the same call as another one, whose result is compared with a target of another head."""
        same = (self.module, self.in_pass, self.number, self.step, self.place)
        if same != (other.module, other.in_pass, other.number, other.step, other.place):
            return False
        pairs = zip(self.inputs, other.inputs, strict=False)
        return len(self.inputs) == len(other.inputs) and all(equal(a, b) for a, b in pairs)

    @property
    def signature(self) -> Signature:
        """What calls of the same kind have in common: shape of a row and type of each input."""
        return tuple((tuple(t.shape[1:]), t.dtype) for t in self.inputs)

    @property
    def rows(self) -> int:
        """How many examples the first input holds."""
        return self.inputs[0].shape[0] if self.inputs and self.inputs[0].ndim else 0

    def labels(self) -> list[float]:
        """One number per example, where the target is that; none for its place in the batch, as contrastive losses take it."""
        if self.target is None or not self.target.ndim or self.target.shape[0] != self.rows:
            return []
        found = hashing.column(self.target, max(1, self.rows))
        places = len(found) >= PLACES and sorted(found) == list(range(len(found)))
        return [] if places else found


@dataclasses.dataclass(slots=True)
class Held:
    """An array that the script holds while it trains: `name` in the code, `array` itself."""

    name: str
    array: Any
    place: Place | None = None

    @property
    def nbytes(self) -> int:
        """Its size in memory, about."""
        if isinstance(self.array, torch.Tensor):
            return size_of(self.array)
        size = getattr(self.array, "nbytes", None)
        return int(size) if isinstance(size, int) else 8 * int(getattr(self.array, "size", 0))

    @property
    def rows(self) -> int:
        """How long it is along its first axis."""
        return len(self.array) if getattr(self.array, "ndim", 1) and hasattr(self.array, "__len__") else 0

    def tensor(self) -> torch.Tensor | None:
        """As a tensor; None where it holds no numbers."""
        value = self.array.to_numpy() if hasattr(self.array, "to_numpy") else self.array
        if isinstance(value, torch.Tensor):
            return value.detach().cpu()
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iufb":
            return None
        return torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="), copy=True)))

    def columns(self) -> Iterator[tuple[str, np.ndarray]]:
        """What it holds one of per row, whole numbers or texts (N,): itself, or each column of a data frame."""
        frame = hasattr(self.array, "columns") and hasattr(self.array, "to_numpy")
        parts = [(f"{self.name}[{c!r}]", self.array[c]) for c in list(self.array.columns)[:_COLUMNS]] if frame else []
        for name, part in parts or [(self.name, self.array)]:
            column = _column(part)
            if column is not None:
                yield name, column


def _column(value: Any) -> np.ndarray | None:
    """One whole number or text per row, as a list, a tensor, an array or a series holds it; else None."""
    if isinstance(value, torch.Tensor):
        whole = not (value.is_floating_point() or value.is_complex()) and value.numel() == value.shape[0]
        return value.detach().cpu().reshape(-1).numpy() if whole else None
    if isinstance(value, list):
        value = np.asarray(value) if all(isinstance(v, int | str) for v in value) else None
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if not isinstance(value, np.ndarray) or not value.ndim or value.size != len(value):
        return None
    column = value.reshape(-1)
    if column.dtype.kind == "f":
        return column.astype(np.int64) if bool((column == np.round(column)).all()) else None
    plain = column.dtype.kind in "iuUS" or all(isinstance(v, int | str) for v in column.tolist())
    return column if plain else None


def of_one_kind(batches: Sequence[Batch]) -> list[Batch]:
    """The batches with the commonest signature among those with rows; one for each call of the model, the first target's."""
    usable = [b for b in batches if b.rows]
    usable = [b for before, b in zip([None, *usable], usable, strict=False) if before is None or not b.is_again(before)]
    counts: dict[Signature, int] = {}
    for batch in usable:
        counts[batch.signature] = counts.get(batch.signature, 0) + batch.rows
    best = max(counts, key=lambda s: counts[s], default=None)
    return [b for b in usable if b.signature == best]
