"""What two executions with the same seed must have in common, in the order in which it happens."""

from __future__ import annotations

import xxhash

from trainrecipe.capture import hashing
from trainrecipe.capture.listen import Listener


def fingerprint(listener: Listener) -> list[tuple[str, str]]:
    """Labelled hashes: the initial parameters, then for each recorded step what it consumed and its loss, then losses."""
    marks: list[tuple[str, str]] = []
    tapes = sorted((t for kept in listener.tapes.values() for t in kept), key=lambda t: (t.step, str(t.at)))
    for i, tape in enumerate(tapes):
        where = f"step {tape.step + 1}"
        for op in tape.ops if i == 0 else ():
            for original, frozen in op.memo.pairs() if op.memo is not None else ():
                if hasattr(original, "requires_grad") and getattr(frozen, "is_leaf", False) and frozen.requires_grad:
                    marks.append((f"initial parameter {tuple(frozen.shape)}", _hash(frozen)))
        for n, number in enumerate(tape.constants()):
            value = tape.values[number]
            if value.parameter is None and value.constant is not None:
                marks.append((f"{where}: tensor {n} that the step consumed, {tuple(value.shape)}", _hash(value.constant)))
        marks += [(f"{where}: loss", _hash(t)) for t in tape.observed]
    marks += [(f"loss of backward {i + 1} (step {s + 1})", repr(v)) for i, (s, v) in enumerate(listener.run.losses[:200])]
    return marks


def _hash(tensor: object) -> str:
    import torch

    assert isinstance(tensor, torch.Tensor)
    dense = tensor.to_dense() if tensor.is_sparse else tensor
    return xxhash.xxh3_64_hexdigest(hashing._as_bytes(dense.reshape(1, -1)).tobytes()) if dense.numel() else ""
