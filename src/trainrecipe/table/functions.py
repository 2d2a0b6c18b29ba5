"""The functions of the language in which examples are asked for.

    abs(x)  min(x, y, ...)  max(x, y, ...)      of numbers; min and max leave out what is missing or NaN
    between(x, low, high)                       both ends count
    len(text)  lower(text)                      characters; in small letters
    contains(text, 'x')  startswith(text, 'x')  as it is written, capitals and all
    has(labels, 'cat')                          one of the items of a comma separated list
    matches(text, 'a+b')                        a regular expression, found anywhere in the text
    isnull(x)  isnan(x)  isfinite(x)            always answered; what is missing is not finite

Regular expressions are those of RE2 (https://github.com/google/re2/wiki/Syntax): their time grows with the length of the text,
never exponentially, for which they have neither backreferences nor look-around.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from trainrecipe.table.terms import NUMBERS, Term

_TEXT = ("text",)


@dataclasses.dataclass(frozen=True)
class Function:
    """One function: what it makes of its arguments, how many and of which kinds (empty: any) it takes, in words `asks`.

    Where `literal`, the last argument is a value, not a column.
    """

    make: Callable[[list[Term]], Term]
    asks: str
    least: int = 1
    most: int = 1
    kinds: tuple[str, ...] = ()
    literal: bool = False


def _values(terms: list[Term]) -> tuple[object, ...]:
    return tuple(v for t in terms for v in t.values)


def _plain(sql: str, kind: str) -> Callable[[list[Term]], Term]:
    """`{0}`, `{1}` in the SQL stand for the arguments, each once and in order."""
    return lambda terms: Term(sql.format(*(t.sql for t in terms)), kind, _values(terms))


def _on_doubles(sql: str, kind: str) -> Callable[[list[Term]], Term]:
    return lambda terms: Term(sql.format(*(t.double for t in terms)), kind, _values(terms))


def _extreme(name: str) -> Callable[[list[Term]], Term]:
    def make(terms: list[Term]) -> Term:
        return Term(f"{name}({', '.join(_without_nan(t) for t in terms)})", "number", _values(terms))

    return make


def _without_nan(term: Term) -> str:
    return f"nullif({term.double}, 'nan'::DOUBLE)"


FUNCTIONS = {
    "abs": Function(_on_doubles("abs({0})", "number"), "a number", kinds=NUMBERS),
    "min": Function(_extreme("least"), "two or more numbers", 2, 20, NUMBERS),
    "max": Function(_extreme("greatest"), "two or more numbers", 2, 20, NUMBERS),
    "len": Function(_plain("length({0})", "integer"), "text", kinds=_TEXT),
    "lower": Function(_plain("lower({0})", "text"), "text", kinds=_TEXT),
    "contains": Function(_plain("contains({0}, {1})", "flag"), "two texts: contains(text, 'x')", 2, 2, _TEXT),
    "startswith": Function(_plain("starts_with({0}, {1})", "flag"), "two texts: startswith(text, 'x')", 2, 2, _TEXT),
    "has": Function(
        _plain("contains(',' || replace({0}, ', ', ',') || ',', ',' || {1} || ',')", "flag"),
        "a column and one item: has(labels, 'cat')",
        *(2, 2, _TEXT, True),
    ),
    "matches": Function(
        _plain("regexp_matches({0}, {1})", "flag"), "a column and a pattern in quotes: matches(text, 'a+b')", 2, 2, _TEXT, True
    ),
    "isnull": Function(_plain("({0}) IS NULL", "flag"), "one column"),
    "isnan": Function(_on_doubles("coalesce(isnan({0}), false)", "flag"), "a number", kinds=NUMBERS),
    "isfinite": Function(_on_doubles("coalesce(isfinite({0}), false)", "flag"), "a number", kinds=NUMBERS),
}
"""By name. `column` and `between` are not here: the one names a column, the other is a chained comparison."""
