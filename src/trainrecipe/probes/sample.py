"""The examples that probes look at: checked, drawn with the classes kept in proportion, labels as class numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from trainrecipe.probes import inputs as probe_inputs
from trainrecipe.probes.models import FOLDS

FEWEST = 30
"""Examples below which no experiment is made: a test fold would hold fewer than six."""
SIDE = 64
"""Images with a longer shorter side are averaged down to it before anything else."""
VALUES = 6_000_000
"""Numbers of input that are looked at; the sample is cut to keep within it, down to 500 examples."""
_SHAPES = {"image": (4,), "series": (2, 3), "tokens": (2,), "table": (2,)}
_LAYOUTS = {"image": "(N, C, H, W)", "series": "(N, T) or (N, C, T)", "tokens": "(N, T)", "table": "(N, F)"}


class CannotTell(Exception):
    """The data do not admit an experiment; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """Examples (N, ...) of one kind, `labels` as class numbers (N,) or numbers (N, C), and what was done to get them."""

    inputs: np.ndarray
    labels: np.ndarray
    notes: tuple[str, ...]


def draw(inputs: np.ndarray, labels: np.ndarray, kind: str, task: str, most: int, seed: int) -> Sample:
    """A sample of at most `most` examples. Raises ValueError for malformed arguments, CannotTell for data too poor to probe."""
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    _refuse(inputs, labels, kind, task)
    notes: list[str] = []
    kept = _usable(labels, task, notes)
    if task == "classes":
        labels = np.unique(labels[kept], return_inverse=True)[1].reshape(-1)
        if len(np.unique(labels)) < 2:
            raise CannotTell(f"there are fewer than two classes of at least {FOLDS} examples")
    else:
        labels = labels[kept].astype(float)
        if not (labels.std(0) > 0).any():
            raise CannotTell("all labels are the same number")
    if len(kept) < FEWEST:
        raise CannotTell(f"{len(kept)} examples are too few, at least {FEWEST} are needed")
    per_example = max(1, min(int(np.prod(inputs.shape[1:])), inputs.shape[1] * SIDE**2 if kind == "image" else 1 << 62))
    most = max(500, min(most, VALUES // per_example))
    chosen = _proportional(labels, most, task, seed)
    if len(chosen) < len(kept):
        notes.append(f"{len(chosen)} of {len(kept)} examples were looked at")
    rows = kept[chosen]
    return Sample(_read(inputs[rows], kind, notes), labels[chosen], tuple(notes))


def _refuse(inputs: np.ndarray, labels: np.ndarray, kind: str, task: str) -> None:
    if kind not in _SHAPES:
        raise ValueError(f"kind is one of {', '.join(_SHAPES)}, not {kind!r}")
    if task not in ("classes", "numbers"):
        raise ValueError(f"task is 'classes' or 'numbers', not {task!r}")
    if inputs.ndim not in _SHAPES[kind] or 0 in inputs.shape[1:]:
        raise ValueError(f"inputs of kind {kind!r} are of shape {_LAYOUTS[kind]}, not {inputs.shape}")
    if len(labels) != len(inputs) or (task == "classes" and labels.ndim != 1) or labels.ndim not in (1, 2):
        raise ValueError(f"labels of shape {labels.shape} do not fit {len(inputs)} examples with {task}")
    if kind == "tokens" and inputs.dtype.kind not in "iu":
        raise ValueError(f"tokens are integers, not {inputs.dtype}")
    if inputs.dtype.kind not in "biuf":
        raise ValueError(f"inputs are numbers, not {inputs.dtype}")


def _usable(labels: np.ndarray, task: str, notes: list[str]) -> np.ndarray:
    """Rows whose label is known and, for classes, common enough for every fold to have one."""
    known = np.ones(len(labels), bool)
    if labels.dtype.kind == "f":
        known = np.isfinite(labels).all(tuple(range(1, labels.ndim)))
    if not known.all():
        notes.append(f"{int((~known).sum())} examples without a label were left out")
    rows = np.flatnonzero(known)
    if task != "classes" or not len(rows):
        return rows
    _, number, counts = np.unique(labels[rows], return_inverse=True, return_counts=True)
    rare = counts[number] < FOLDS
    if rare.any():
        notes.append(f"{int((counts < FOLDS).sum())} classes of fewer than {FOLDS} examples were left out")
    return rows[~rare]


def _proportional(labels: np.ndarray, most: int, task: str, seed: int) -> np.ndarray:
    """At most `most` rows; each class in proportion, but no fewer than FOLDS of it."""
    if len(labels) <= most:
        return np.arange(len(labels))
    rng = np.random.default_rng(seed)
    if task != "classes":
        return np.sort(rng.choice(len(labels), most, replace=False))
    shares = np.maximum(FOLDS, np.floor(np.bincount(labels) * most / len(labels))).astype(int)
    order = rng.permutation(len(labels))
    return np.sort(np.concatenate([order[labels[order] == c][:n] for c, n in enumerate(shares)]))


def _read(inputs: np.ndarray, kind: str, notes: list[str]) -> np.ndarray:
    if kind == "tokens":
        return inputs.astype(np.int64)
    x = inputs.astype(np.float64 if kind == "table" else np.float32)
    if kind == "table":
        return np.where(np.isfinite(x), x, np.nan)
    if kind == "series" and x.ndim == 2:
        x = x[:, None]
    if not np.isfinite(x).all():
        notes.append(f"{np.mean(~np.isfinite(x)):.2%} of the values are not finite and were set to their channel's mean")
        over = (0, *range(2, x.ndim))
        finite = np.isfinite(x)
        mean = np.where(finite, x, 0).sum(over, keepdims=True) / np.maximum(finite.sum(over, keepdims=True), 1)
        x = np.where(finite, x, mean).astype(np.float32)
    if kind == "image" and min(x.shape[2:]) > SIDE:
        notes.append(f"images of {x.shape[2]} x {x.shape[3]} were averaged down to a side of {SIDE} first")
        x = probe_inputs.area_average(x, SIDE)
    return x


def feature_names(names: Sequence[str] | None, count: int, word: str) -> list[str]:
    """Names of features or channels. Raises ValueError where there are not as many as columns."""
    if names is None:
        return [f"{word} {i}" for i in range(count)]
    if len(names) != count:
        raise ValueError(f"{len(names)} names for {count} {word}s")
    return [str(n) for n in names]
