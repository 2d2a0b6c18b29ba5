"""Which classes are taken for which: the confusion matrix of the columns `label` and `predicted`."""

from __future__ import annotations

import dataclasses

import numpy as np

from trainrecipe.table.database import Categories, Database
from trainrecipe.table.histograms import Confusion
from trainrecipe.wrong_use import WrongUse

_MOST_CELLS = 4_000_000
"""Of a matrix of all classes that is counted in memory; larger ones are counted by the database."""
_PAIRS = 20
"""The most frequent mistakes that are named."""


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """`rows[k]` examples of class `names[label[k]]` were predicted as `names[predicted[k]]`; each pair occurs once."""

    names: list[str]
    label: np.ndarray
    predicted: np.ndarray
    rows: np.ndarray


def confusion(db: Database, where: str, most: int) -> Confusion:
    """The matrix of the classes with most mistakes. Raises WrongUse without labels or predictions."""
    for column in ("label", "predicted"):
        if column not in db.kinds:
            raise WrongUse(f"the table has no column {column!r}: a confusion matrix needs `label` and `predicted`")
    label, predicted = db.categories("label"), db.categories("predicted")
    if label is None or predicted is None or (len(label.names) + 1) * (len(predicted.names) + 1) > _MOST_CELLS:
        return _drawn(_asked(db, where), most)
    return _drawn(_counted(label, predicted, db.mask(where)), most)


def _counted(label: Categories, predicted: Categories, mask: np.ndarray | None) -> _Pairs:
    width = len(predicted.names) + 1
    rows = slice(None) if mask is None else np.flatnonzero(mask)
    both = label.codes[rows].astype(np.int64) * width + predicted.codes[rows]
    table = np.bincount(both, minlength=(len(label.names) + 1) * width).reshape(-1, width)[:-1, :-1]
    i, j = np.nonzero(table)
    return _named([str(n) for n in label.names], [str(n) for n in predicted.names], i, j, table[i, j])


def _asked(db: Database, where: str) -> _Pairs:
    sql, values = db.condition(where)
    found = db.ask(
        "SELECT CAST(label AS VARCHAR), CAST(predicted AS VARCHAR), count(*) FROM data.examples "
        f"WHERE ({sql}) AND label IS NOT NULL AND predicted IS NOT NULL GROUP BY 1, 2",
        values,
    )
    each = np.arange(len(found))
    return _named(
        [a for a, _, _ in found], [b for _, b, _ in found], each, each, np.array([n for _, _, n in found], dtype=np.int64)
    )


def _named(labels: list[str], predicted: list[str], i: np.ndarray, j: np.ndarray, rows: np.ndarray) -> _Pairs:
    """Pairs with one numbering of the classes that occur, in natural order."""
    names = sorted({labels[n] for n in np.unique(i)} | {predicted[n] for n in np.unique(j)}, key=natural)
    at = {name: n for n, name in enumerate(names)}
    to_label, to_predicted = (np.array([at.get(n, -1) for n in side], dtype=np.int64) for side in (labels, predicted))
    return _Pairs(names, to_label[i], to_predicted[j], rows)


def _drawn(found: _Pairs, most: int) -> Confusion:
    i, j, rows, classes = found.label, found.predicted, found.rows, len(found.names)
    wrong = np.flatnonzero(i != j)
    mistakes = np.bincount(i[wrong], rows[wrong], classes) + np.bincount(j[wrong], rows[wrong], classes)
    shown = np.sort(np.argsort(-mistakes, kind="stable")[:most])
    place = np.full(classes, -1)
    place[shown] = np.arange(len(shown))
    inside = (place[i] >= 0) & (place[j] >= 0)
    matrix = np.zeros((len(shown), len(shown)), dtype=np.int64)
    matrix[place[i[inside]], place[j[inside]]] = rows[inside]
    worst = wrong[np.lexsort((j[wrong], i[wrong], -rows[wrong]))][:_PAIRS]
    pairs = [(found.names[i[p]], found.names[j[p]], int(rows[p])) for p in worst]
    return Confusion([found.names[n] for n in shown], matrix.tolist(), int(rows[~inside].sum()), pairs)


def natural(name: str) -> tuple[bool, float, str]:
    """The key that sorts numbers by size, before other texts."""
    try:
        value = float(name)
    except ValueError:
        return (True, 0.0, name)
    return (False, value, name) if value == value else (True, 0.0, name)  # NaN has no place among numbers
