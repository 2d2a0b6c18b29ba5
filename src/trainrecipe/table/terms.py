"""Pieces of SQL that carry their values, and how two of them are compared where NaN and what is missing match nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

NUMBERS = ("number", "integer")
OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "=": "<>", "<>": "="}
WHAT = {"number": "a number", "integer": "a number", "text": "text", "flag": "a condition", "missing": "None"}
"""Kinds of terms, as a message says them."""


@dataclasses.dataclass(frozen=True)
class Term:
    """SQL with `?` for each of `values`, in order. `kind` is one of `number`, `integer`, `text`, `flag`, `missing`."""

    sql: str
    kind: str
    values: tuple[Any, ...] = ()
    constant: bool = False

    @property
    def double(self) -> str:
        """The SQL as a float: sums of integers would overflow, and DuckDB counts literals with a point as decimals."""
        return f"CAST({self.sql} AS DOUBLE)" if self.kind != "number" or self.constant else self.sql

    def as_double(self) -> Term:
        """A constant as a float, so that a column of float32 is not compared in its own precision; others as they are."""
        return dataclasses.replace(self, kind="number", values=(float(self.values[0]),)) if self.constant else self


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def together(terms: Sequence[Term], word: str) -> Term:
    """Conditions joined by AND or OR."""
    if len(terms) == 1:
        return terms[0]
    return Term(f" {word} ".join(f"({t.sql})" for t in terms), "flag", tuple(v for t in terms for v in t.values))


def flipped(term: Term) -> Term:
    """The opposite of a condition that does not concern NaN."""
    return Term(f"NOT ({term.sql})", "flag", term.values)


def compare(a: Term, sign: str, b: Term) -> Term:
    """`a sign b`, false or missing where either side is missing or NaN.

    DuckDB takes NaN for the greatest number, equal to itself, so only a side that may win by it is asked not to be NaN.
    """
    guarded = {"<": [b], "<=": [b], ">": [a], ">=": [a], "<>": [a, b], "=": [] if b.constant or a.constant else [a]}[sign]
    plain = Term(f"{a.sql} {sign} {b.sql}", "flag", a.values + b.values)
    return together([plain, *(g for side in guarded for g in not_nan(side))], "AND")


def not_nan(term: Term) -> list[Term]:
    """The condition that a number is not NaN, in a form that lets DuckDB skip blocks; none for what cannot be NaN."""
    if term.kind != "number" or term.constant:
        return []
    return [Term(f"{term.sql} <= 'infinity'::DOUBLE", "flag", term.values)]
