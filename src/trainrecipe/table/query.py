"""The language in which examples are asked for, compiled to SQL: `split == 'val' and loss > 2 and label not in ['3', '8']`.

It reads like Python and is parsed by Python, but nothing of it is executed: only what is named here becomes SQL, names only
where they are columns, values only as parameters.

    == != < <= > >=  in  not in  is None     chained too: 0.1 < image_mean <= 0.5; 'cat' in text asks for a substring
    and  or  not  ( )                        a column of kind `flag` stands alone
    + - * / %                                on numbers; the right side of % is a number
    column('mean radius')                    a column whose name is not a Python name
    functions                                see `functions.py`

A missing value, and NaN likewise, matches neither a comparison nor its opposite: `label != predicted` leaves out what was not
predicted. `isnull`, `isnan` and `isfinite` ask for them. A division by zero is missing. A number beside a column of text is
taken as text: `label == 3` is `label == '3'`.
"""

from __future__ import annotations

import ast
import threading
import unicodedata
import warnings
from collections.abc import Mapping
from keyword import iskeyword
from typing import Any, NoReturn

from trainrecipe.table.functions import FUNCTIONS
from trainrecipe.table.pointing import advice, pointed
from trainrecipe.table.terms import NUMBERS, OPPOSITE, WHAT, Term, compare, flipped, not_nan, quoted, together
from trainrecipe.wrong_use import WrongUse, nearest

MAX_LENGTH = 20_000
"""Of an expression, in characters: a list of a few thousand rows fits."""
MAX_DEPTH = 60
"""Of nesting; people need five or so."""

_ORDER = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "=", ast.NotEq: "<>"}
_ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_LANGUAGE = "columns, numbers, 'text', and/or/not, comparisons, + - * / %, and the functions " + ", ".join(FUNCTIONS)
_QUIET = threading.Lock()  # the filters of warnings belong to the process, not to a thread


def compiled(expression: str, columns: Mapping[str, str]) -> tuple[str, list[Any]]:
    """A condition in SQL, with `?` for each of the values that follow.

    >>> compiled("loss > 2 and not (label in ['3', '8'])", {"loss": "number", "label": "category"})
    ('(("loss" > ?) AND ("loss" <= \\'infinity\\'::DOUBLE)) AND ("label" NOT IN (?, ?))', [2.0, '3', '8'])

    `columns` maps names to kinds (`number`, `integer`, `category`, `text`, `flag`). An empty expression is true of all rows.
    Raises WrongUse, which repeats the expression and points at the spot.
    """
    if not expression.strip():
        return "TRUE", []
    term = _Compiler(expression, columns).whole()
    return term.sql, list(term.values)


def spelled(column: str) -> str:
    """How a column is written in an expression: its name where that is a Python name, else `column('its name')`."""
    plain = column.isidentifier() and not iskeyword(column) and unicodedata.normalize("NFKC", column) == column
    return column if plain else f"column({column!r})"


class _Compiler:
    """One expression on its way to SQL."""

    def __init__(self, expression: str, columns: Mapping[str, str]) -> None:
        self.expression = expression.replace("\n", " ").replace("\r", " ").strip()
        self.columns = columns
        self.depth = 0

    def whole(self) -> Term:
        if len(self.expression) > MAX_LENGTH:
            raise WrongUse(f"the expression has {len(self.expression):,} characters, more than {MAX_LENGTH:,}")
        return self.condition(self._parsed())

    def _parsed(self) -> ast.expr:
        try:
            if "\\" not in self.expression:
                return ast.parse(self.expression, mode="eval").body
            # '\d' is a fine regular expression, of which Python would warn
            with _QUIET, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return ast.parse(self.expression, mode="eval").body
        except SyntaxError as error:
            start = max((error.offset or 1) - 1, 0)
            raise WrongUse(pointed(advice(error.msg or "", self.expression), self.expression, start, start + 1)) from None
        except (ValueError, RecursionError, MemoryError) as error:  # null bytes, surrogates, thousands of brackets
            reason = str(error) or "nested too deeply"
            raise WrongUse(pointed(f"the expression cannot be read: {reason}", self.expression, 0, 1)) from None

    # ---- conditions: negation goes down to the leaves, so that what is missing matches neither side

    def condition(self, node: ast.expr, negated: bool = False) -> Term:
        self._deeper(node)
        match node:
            case ast.BoolOp(op=op, values=values):
                word = "OR" if isinstance(op, ast.Or) != negated else "AND"
                term = together([self.condition(v, negated) for v in values], word)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                term = self.condition(operand, not negated)
            case ast.Compare(left=left, ops=ops, comparators=others):
                pairs = zip([left, *others], ops, others, strict=False)
                term = together([self._compared(a, op, b, negated) for a, op, b in pairs], "OR" if negated else "AND")
            case ast.Call(func=ast.Name(id="between"), args=[value, low, high], keywords=[]):
                chain = ast.Compare(left=low, ops=[ast.LtE(), ast.LtE()], comparators=[value, high])
                term = self.condition(chain, negated)
            case _:
                term = self.value(node)
                if term.kind != "flag":
                    self.fail(node, f"`{self._text(node)}` is {WHAT[term.kind]}, not a condition: compare it with something")
                term = flipped(term) if negated else term
        self.depth -= 1
        return term

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr, negated: bool) -> Term:
        if isinstance(op, ast.In | ast.NotIn):
            return self._among(left, right, negated != isinstance(op, ast.NotIn))
        if isinstance(op, ast.Is | ast.IsNot | ast.Eq | ast.NotEq):
            sides = [s for s in (left, right) if not (isinstance(s, ast.Constant) and s.value is None)]
            if len(sides) == 1:
                term = FUNCTIONS["isnull"].make([self.value(sides[0])])
                return flipped(term) if negated != isinstance(op, ast.IsNot | ast.NotEq) else term
        if type(op) not in _ORDER:
            self.fail(right, "`is` asks for None only: write == or !=")
        sign = _ORDER[type(op)]
        a, b = self.alike(left, self.value(left), right, self.value(right), order=sign not in ("=", "<>"))
        return compare(a, OPPOSITE[sign] if negated else sign, b)

    def _among(self, left: ast.expr, right: ast.expr, negated: bool) -> Term:
        value = self.value(left)
        if not isinstance(right, ast.List | ast.Tuple | ast.Set):
            term = FUNCTIONS["contains"].make(self._checked(right, "contains", [right, left]))
            return flipped(term) if negated else term
        items = [self.alike(left, value, item, self._literal(item), order=False)[1] for item in right.elts]
        if not items:  # nothing is in an empty list, and everything that is there is not in it
            return compare(value, "=" if negated else "<>", value)
        sql = f"{value.sql} {'NOT IN' if negated else 'IN'} ({', '.join(['?'] * len(items))})"
        term = Term(sql, "flag", value.values + tuple(v for i in items for v in i.values))
        return together([term, *not_nan(value)], "AND") if negated else term

    def _literal(self, node: ast.expr) -> Term:
        term = self.value(node)
        if not term.constant or term.kind == "missing":
            self.fail(node, "a list holds numbers and texts only" + (": write isnull(x)" if term.kind == "missing" else ""))
        return term

    # ---- values

    def value(self, node: ast.expr) -> Term:
        self._deeper(node)
        match node:
            case ast.Constant(value=value):
                term = self._constant(node, value)
            case ast.Name(id=name):
                term = self._column(node, name)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
                term = self._signed(operand, -1 if isinstance(op, ast.USub) else 1)
            case ast.BinOp(left=left, op=op, right=right):
                term = self._calculated(left, op, right)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                term = self._call(node, name, arguments)
            case ast.BoolOp() | ast.Compare() | ast.UnaryOp():
                self.fail(node, "a condition cannot be part of a calculation; join conditions with and, or, not")
            case _:
                self.fail(node, f"`{self._text(node)}` is not part of the language: {_LANGUAGE}")
        self.depth -= 1
        return term

    def _constant(self, node: ast.expr, value: object) -> Term:
        if value is None:
            return Term("NULL", "missing", (), True)
        if isinstance(value, bool):
            return Term("?", "flag", (value,), True)
        if isinstance(value, int):
            if abs(value) >= 2**64:
                self.fail(node, "a whole number has at most 64 bits")
            return Term("?", "integer", (value,), True)
        if isinstance(value, float):
            return Term("?", "number", (value,), True)
        if not isinstance(value, str):
            self.fail(node, f"`{self._text(node)}` is not part of the language: {_LANGUAGE}")
        if any("\ud800" <= c <= "\udfff" for c in value):
            self.fail(node, "the text holds half of a surrogate pair, which no stored text does")
        return Term("?", "text", (value,), True)

    def _column(self, node: ast.expr, name: str) -> Term:
        if name not in self.columns:
            offer = nearest(name, self.columns) or f"columns are {', '.join(list(self.columns)[:12])}"
            self.fail(node, f"there is no column {name!r}; {offer}")
        kind = self.columns[name]
        return Term(quoted(name), "text" if kind == "category" else kind)

    def _signed(self, operand: ast.expr, sign: int) -> Term:
        term = self._number(operand)
        if term.constant:
            return Term("?", term.kind, (sign * term.values[0],), True)
        return Term(f"(- {term.double})", "number", term.values) if sign < 0 else term

    def _calculated(self, left: ast.expr, op: ast.operator, right: ast.expr) -> Term:
        a, b = self._number(left), self._number(right)
        if isinstance(op, ast.Mod):
            if not b.constant or b.values[0] == 0:
                self.fail(right, "the right side of % is a number other than 0")
            divisor = float(b.values[0])  # twice, for the result has the sign of the divisor, as in Python
            return Term(f"fmod(fmod({a.double}, ?) + ?, ?)", "number", (*a.values, divisor, divisor, divisor))
        if type(op) not in _ARITHMETIC:
            self.fail(left, f"the signs between numbers are + - * / %, in `{self._text(left)}` and what follows")
        other = f"nullif({b.double}, 0)" if isinstance(op, ast.Div) else b.double
        return Term(f"({a.double} {_ARITHMETIC[type(op)]} {other})", "number", a.values + b.values)

    def _number(self, node: ast.expr) -> Term:
        term = self.value(node)
        if term.kind not in NUMBERS:
            self.fail(node, f"`{self._text(node)}` is {WHAT[term.kind]}; a number is needed here")
        return term

    def _call(self, node: ast.Call, name: str, arguments: list[ast.expr]) -> Term:
        if name == "column":
            if len(arguments) == 1 and isinstance(arguments[0], ast.Constant) and isinstance(arguments[0].value, str):
                return self._column(node, arguments[0].value)
            self.fail(node, "column() takes the name of a column in quotes")
        if name == "between":
            self.fail(node, "between() is a condition, and takes a value and both ends: between(x, 1, 5)")
        if name not in FUNCTIONS:
            offer = nearest(name, FUNCTIONS) or "functions are " + ", ".join(FUNCTIONS)
            self.fail(node, f"there is no function {name}(); {offer}")
        return FUNCTIONS[name].make(self._checked(node, name, arguments))

    def _checked(self, node: ast.expr, name: str, arguments: list[ast.expr]) -> list[Term]:
        """The terms of a function's arguments, which are as many and of the kinds that it takes."""
        function = FUNCTIONS[name]
        if not function.least <= len(arguments) <= function.most:
            self.fail(node, f"{name}() takes {function.asks}")
        terms = [self.value(a) for a in arguments]
        for argument, term in zip(arguments, terms, strict=True):
            if function.kinds and term.kind not in function.kinds:
                self.fail(argument, f"`{self._text(argument)}` is {WHAT[term.kind]}; {name}() takes {function.asks}")
        if function.literal and not terms[-1].constant:
            self.fail(arguments[-1], f"{name}() takes {function.asks}")
        return terms

    def alike(self, left: ast.expr, a: Term, right: ast.expr, b: Term, *, order: bool) -> tuple[Term, Term]:
        """Both sides of a comparison, brought to the same kind. Refuses what cannot be compared."""
        if not order:
            a, b = _as_text(a, b), _as_text(b, a)
        kinds = {"number" if t.kind in NUMBERS else t.kind for t in (a, b)}
        if len(kinds) > 1 or kinds & {"missing"} or (order and kinds == {"flag"}):
            what = (f"`{self._text(side)}` is {WHAT[term.kind]}" for side, term in ((left, a), (right, b)))
            self.fail(right if b.constant else left, f"{' and '.join(what)}: they do not compare")
        return (a.as_double() if b.kind == "number" else a), (b.as_double() if a.kind == "number" else b)

    # ---- errors

    def _deeper(self, node: ast.expr) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(node, f"the expression is nested more than {MAX_DEPTH} deep")

    def _text(self, node: ast.expr) -> str:
        text = ast.get_source_segment(self.expression, node) or "this"
        return text if len(text) <= 40 else text[:37] + "..."

    def fail(self, node: ast.expr, message: str) -> NoReturn:
        line = self.expression.encode()  # positions are of bytes
        start, end = (len(line[:at].decode(errors="ignore")) for at in (node.col_offset, node.end_col_offset or 0))
        raise WrongUse(pointed(message, self.expression, start, end))


def _as_text(term: Term, other: Term) -> Term:
    """A number beside a column of text, as text."""
    beside = term.constant and term.kind in NUMBERS and other.kind == "text" and not other.constant
    return Term("?", "text", (str(term.values[0]),), True) if beside else term
