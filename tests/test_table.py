"""Tables of examples: every question equals a naive answer, hostile expressions are refused, marks survive."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

duckdb = pytest.importorskip("duckdb", reason="tables need DuckDB: pip install 'trainrecipe[data]'")

from trainrecipe.table.histograms import binned, span  # noqa: E402
from trainrecipe.table.manifest import Column, Manifest, Split  # noqa: E402
from trainrecipe.table.marks import Marks  # noqa: E402
from trainrecipe.table.query import compiled, spelled  # noqa: E402
from trainrecipe.table.recent import Recent  # noqa: E402
from trainrecipe.table.store import Store  # noqa: E402
from trainrecipe.table.table import Counts, Histogram, Table  # noqa: E402
from trainrecipe.wrong_use import WrongUse  # noqa: E402

TEXTS = (
    "it's",
    'say "no"',
    "; DROP TABLE examples; --",
    "a\x00b",
    "\x1b[31mred",
    "\u202eright",
    "tab\tend\n",
    "",
    "Äpfel 😀",
    "%_\\",
)
KINDS = {
    "loss": "number",
    "mean": "number",
    "n": "integer",
    "small": "integer",
    "bad": "flag",
    "label": "category",
    "text": "text",
    "mean radius": "number",
    "odd": "number",
}
Row = dict[str, Any]


def columns(rng: np.random.Generator, split: str, size: int) -> dict[str, np.ndarray]:
    """Columns of every kind, with what is missing, infinite, hostile or alike."""
    loss = np.ma.array(np.round(rng.lognormal(0, 1, size), 1), mask=rng.random(size) < 0.1)
    loss[rng.random(size) < 0.03] = np.inf
    labels = np.array(["3", "8", "cat", "Cat", None], dtype=object)
    return {
        "split": np.full(size, split, dtype=object),
        "index": np.arange(size),
        "status": np.where(rng.random(size) < 0.05, "unreadable", "ok").astype(object),
        "error": np.full(size, None, dtype=object),
        "hash": rng.integers(0, 2**64 - 1, size, dtype=np.uint64),
        "label": labels[rng.integers(0, 5, size)],
        "predicted": labels[rng.integers(0, 5, size)],
        "loss": loss,
        "mean": rng.normal(0, 1, size).astype(np.float32),
        "n": np.ma.array(rng.integers(-3, 8, size), mask=rng.random(size) < 0.1),
        "small": rng.integers(0, 200, size).astype(np.uint8),
        "bad": rng.random(size) < 0.3,
        "text": np.array([*TEXTS, None], dtype=object)[rng.integers(0, len(TEXTS) + 1, size)],
        "mean radius": rng.integers(0, 5, size) / 2,
    }


def store_of(folder: Path, sizes: dict[str, int], seed: int = 0) -> Store:
    """A built table; the column `odd` holds NaN, which arrays cannot bring into the file."""
    rng = np.random.default_rng(seed)
    told = [Column("loss", "number", tail=True), Column("gone", "number")]
    store = Store.create(
        folder, Manifest("a table", {"kind": "python"}, splits=[Split(s, n) for s, n in sizes.items()], columns=told)
    )
    for split, size in sizes.items():
        for number, start in enumerate(range(0, size, 150)):
            shard = {k: v[start : start + 150] for k, v in columns(rng, split, size).items()} if number == 0 else None
            shard = shard or {**columns(rng, split, min(150, size - start)), "index": np.arange(start, min(start + 150, size))}
            store.write_shard(split, number, shard, views=[(start, json.dumps({"item": {"label": split}}))])
    odd = "CASE row % 5 WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN NULL WHEN 2 THEN '-infinity'::DOUBLE ELSE (row * 7919) % 13 END"
    with duckdb.connect() as db:
        path = folder / "added" / "odd.parquet"
        db.execute(
            f"COPY (SELECT i AS row, {odd.replace('row', 'i')} AS odd FROM range({sum(sizes.values())}) t(i)) TO '{path}'"
        )
    store.build()
    return store


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("table")
    store_of(folder, {"train": 400, "val's": 100})
    return Table.open(folder)


@pytest.fixture(scope="module")
def rows(table: Table) -> list[Row]:
    return table.page(limit=10_000).rows


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def rows_of(table: Table, where: str) -> list[int]:
    return [r["row"] for r in table.page(where, limit=10_000, columns=["row"]).rows]


# ---- random expressions, each with its meaning in plain Python: None for what is missing or NaN

Twin = tuple[str, Callable[[Row], Any]]


class Expressions:
    """Draws expressions; their twins follow the three-valued logic of the language's description."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def pick(self, options: Any) -> Any:
        return options[self.rng.integers(len(options))]

    def number(self, depth: int) -> Twin:
        if depth == 0 or self.rng.random() < 0.4:
            if self.rng.random() < 0.3:
                value = self.pick([-1, 0, 2, 0.5, 3, -2.25, 100])
                return repr(value), lambda r: value
            name = self.pick(["loss", "mean", "n", "small", "mean radius", "odd", "row"])
            return spelled(name), lambda r: None if missing(r[name]) else r[name]
        (a, f), (b, g) = self.number(depth - 1), self.number(depth - 1)
        kind = self.rng.integers(5)
        if kind == 0:
            return f"abs({a})", lambda r: _strict(lambda x: abs(float(x)), f(r))
        if kind == 1:
            name, best = self.pick([("min", min), ("max", max)])
            return f"{name}({a}, {b})", lambda r: best([x for x in (f(r), g(r)) if x is not None], default=None)
        if kind == 2:
            m = self.pick([2, 3, -4])
            return f"(({a}) % {m})", lambda r: _strict(lambda x: _mod(float(x), m), f(r))
        sign, do = self.pick([("+", lambda x, y: x + y), ("-", lambda x, y: x - y), ("*", lambda x, y: x * y), ("/", _divided)])
        return f"({a} {sign} {b})", lambda r: _strict(lambda x, y: do(float(x), float(y)), f(r), g(r))

    def condition(self, depth: int) -> Twin:
        if depth and self.rng.random() < 0.6:
            (a, f), (b, g) = self.condition(depth - 1), self.condition(depth - 1)
            kind = self.rng.integers(3)
            if kind == 0:
                return f"({a} and {b})", lambda r: _and(f(r), g(r))
            if kind == 1:
                return f"({a} or {b})", lambda r: _not(_and(_not(f(r)), _not(g(r))))
            return f"not ({a})", lambda r: _not(f(r))
        return self.pick([self.compared, self.compared, self.chained, self.among, self.text, self.asked])()

    def compared(self) -> Twin:
        (a, f), (b, g) = self.number(2), self.number(1)
        sign, do = self.pick(_SIGNS)
        return f"{a} {sign} {b}", lambda r: _strict(do, f(r), g(r))

    def chained(self) -> Twin:
        (a, f), (b, g), (c, h) = self.number(0), self.number(1), self.number(0)
        if self.rng.random() < 0.5:
            return f"between({b}, {a}, {c})", lambda r: _and(
                _strict(lambda x, y: x <= y, f(r), g(r)), _strict(lambda x, y: x <= y, g(r), h(r))
            )
        (s, do), (t, to) = self.pick(_SIGNS), self.pick(_SIGNS)
        return f"{a} {s} {b} {t} {c}", lambda r: _and(_strict(do, f(r), g(r)), _strict(to, g(r), h(r)))

    def among(self) -> Twin:
        negated = self.rng.random() < 0.5
        name = self.pick(["label", "text", "n", "odd"])
        options: Any = {"label": ["3", "cat"], "text": list(TEXTS[:4]), "n": [1, 2, -3], "odd": []}[name]
        return f"{name} {'not in' if negated else 'in'} {options!r}", lambda r: _strict(
            lambda x: (x in options) != negated, r[name]
        )

    def text(self) -> Twin:
        name = self.pick(["label", "text", "status", "split"])
        word = self.pick(["a", "'", "%", "ca", "Ä", "\x00", "3", ""])
        options: list[Twin] = [
            (f"contains({name}, {word!r})", lambda r: _strict(lambda x: word in x, r[name])),
            (f"{word!r} in {name}", lambda r: _strict(lambda x: word in x, r[name])),
            (f"startswith({name}, {word!r})", lambda r: _strict(lambda x: x.startswith(word), r[name])),
            (f"len({name}) > {len(word)}", lambda r: _strict(lambda x: len(x) > len(word), r[name])),
            (f"lower({name}) == {word!r}", lambda r: _strict(lambda x: x.lower() == word, r[name])),
            (f"{name} < {word!r}", lambda r: _strict(lambda x: x < word, r[name])),
            ("label != predicted", lambda r: _strict(lambda x, y: x != y, r["label"], r["predicted"])),
            ("label == 3", lambda r: _strict(lambda x: x == "3", r["label"])),
        ]
        return self.pick(options)  # type: ignore[no-any-return]

    def asked(self) -> Twin:
        name = self.pick(["loss", "odd", "n"])
        options: list[Twin] = [
            ("bad", lambda r: r["bad"]),
            ("bad == False", lambda r: not r["bad"]),
            (f"isnull({name})", lambda r: r[name] is None),
            (f"{name} != None", lambda r: r[name] is not None),
            (f"isnan({name})", lambda r: r[name] is not None and math.isnan(r[name])),
            (f"isfinite({name})", lambda r: r[name] is not None and math.isfinite(r[name])),
        ]
        return self.pick(options)  # type: ignore[no-any-return]


_SIGNS: list[tuple[str, Callable[[Any, Any], bool]]] = [
    ("<", lambda x, y: x < y),
    ("<=", lambda x, y: x <= y),
    (">", lambda x, y: x > y),
    (">=", lambda x, y: x >= y),
    ("==", lambda x, y: x == y),
    ("!=", lambda x, y: x != y),
]


def _strict(do: Callable[..., Any], *values: Any) -> Any:
    if any(missing(v) for v in values):
        return None
    found = do(*values)
    return None if missing(found) else found


def _and(a: Any, b: Any) -> Any:
    return False if a is False or b is False else None if a is None or b is None else True


def _not(a: Any) -> Any:
    return None if a is None else not a


def _mod(x: float, m: float) -> float | None:
    return math.fmod(math.fmod(x, m) + m, m) if math.isfinite(x) else None


def _divided(x: float, y: float) -> float | None:
    return None if y == 0 else x / y


@pytest.mark.parametrize("seed", range(4))
def test_a_random_expression_selects_what_its_meaning_in_python_does(table: Table, rows: list[Row], seed: int) -> None:
    draw = Expressions(seed)
    for _ in range(150):
        where, twin = draw.condition(3)
        expected = [r["row"] for r in rows if twin(r) is True]
        assert rows_of(table, where) == expected, where
        assert table.count(where) == len(expected), where


def test_every_text_is_found_by_its_own_value_and_none_is_executed(table: Table, rows: list[Row]) -> None:
    for text in TEXTS:
        assert rows_of(table, f"text == {text!r}") == [r["row"] for r in rows if r["text"] == text]
    assert table.count('text == "x\' OR 1=1 --"') == 0
    assert table.count() == len(rows) == 500


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("los > 2", "did you mean 'loss'?"),
        ("label == 'x' and lable == 'y'", "did you mean 'label'?"),
        ("loss", "compare it"),
        ("loss and bad", "compare it"),
        ("loss == 'x'", "do not compare"),
        ("label < 3", "do not compare"),
        ("loss = 2", "write =="),
        ("loss > 2 && bad", "write and"),
        ("n between 1 and 3", "write between"),
        ("between(n, 1)", "both ends"),
        ("between(n, 1, 2) + 1 > 0", "is a condition"),
        ("n is 3", "None only"),
        ("abss(n) > 1", "did you mean 'abs'?"),
        ("abs(n, n) > 1", "abs() takes a number"),
        ("len(n) > 1", "len() takes text"),
        ("matches(text, label)", "pattern in quotes"),
        ("n % n == 0", "other than 0"),
        ("column('gone') > 1", "no column 'gone'"),
        ("label in [None]", "isnull"),
        ("loss.__class__ == 1", "not part of the language"),
        ("().__class__.__bases__[0]", "not part of the language"),
        ("__import__('os').system('touch /tmp/no')", "not part of the language"),
        ("(lambda: 1)() == 1", "not part of the language"),
        ("[x for x in (1, 2)] == 1", "not part of the language"),
        ("f'{loss}' == 'x'", "not part of the language"),
        ("(x := 3) == 3", "not part of the language"),
        ("loss if bad else n", "not part of the language"),
        ("loss[0] > 1", "not part of the language"),
        ("b'x' == text", "not part of the language"),
        ("read_csv('/etc/passwd')", "no function read_csv()"),
        ("loss > 1; DROP TABLE examples", "cannot be read"),
        ("text == 'a\x00b'", "cannot be read"),
        ("text == '\ud800'", "cannot be read"),
        ("text == '\\ud800'", "surrogate"),
        ("n == " + "9" * 30, "64 bits"),
        ("n == " + "9" * 9000, "cannot be read"),
        ("(" * 5000 + "n" + ")" * 5000, "cannot be read"),
        ("-" * 19_000 + "1 > n", "cannot be read"),
        ("not " * 100 + "bad", "nested more than"),
        ("n" + " + n" * 100 + " > 1", "nested more than"),
        ("bad or " * 5000 + "bad", "characters, more than"),
        ("*", "cannot be read"),
    ],
)
def test_a_hostile_or_mistaken_expression_is_refused_at_once_and_pointed_at(where: str, says: str) -> None:
    started = time.perf_counter()
    with pytest.raises(WrongUse) as refused:
        compiled(where, KINDS)
    message = str(refused.value)
    assert says in message
    assert "characters, more" in message or message.splitlines()[-1].strip("^ ") == ""
    assert "\x00" not in message
    assert time.perf_counter() - started < 1.0


def test_the_mark_of_an_error_stands_under_the_spot() -> None:
    with pytest.raises(WrongUse) as refused:
        compiled("text == 'äöü 😀' and los > 2", KINDS)
    _, shown, marks = str(refused.value).splitlines()
    assert shown[marks.index("^") : marks.rindex("^") + 1] == "los"


def test_a_regular_expression_cannot_blow_up(table: Table, rows: list[Row]) -> None:
    started = time.perf_counter()
    assert table.count(r"matches(text, '^(a+)+$') or matches(status, '(o*)*(k*)*x')") == 0
    assert rows_of(table, r"matches(text, '\d+m')") == [r["row"] for r in rows if r["text"] == "\x1b[31mred"]
    with pytest.raises(WrongUse, match="missing"):
        table.count("matches(text, '(')")
    with pytest.raises(WrongUse, match="repetition"):
        table.count("matches(text, '((a{900}){900}){900}')")
    assert time.perf_counter() - started < 2.0


def test_names_that_are_no_names_of_python_are_written_with_column() -> None:
    assert [spelled(n) for n in ("loss", "class", "mean radius", 'a"b', "ﬁ")] == [
        *("loss", "column('class')", "column('mean radius')", "column('a\"b')", "column('ﬁ')")
    ]
    assert compiled("""column('a"b') > 1""", {'a"b': "integer"})[0].startswith('"a""b" >')


# ---- pages


def test_a_page_is_sorted_with_missing_ones_last_and_equal_ones_by_row(table: Table, rows: list[Row]) -> None:
    for sort in ("row", "loss", "odd", "n", "text", "bad", "label"):
        for descending in (False, True):
            there = [r for r in rows if r[sort] is not None and r["loss"] != 1.0]
            key = (lambda r: (math.isnan(r[sort]), r[sort])) if sort == "odd" else lambda r: r[sort]  # noqa: B023
            expected = sorted(there, key=key, reverse=descending) if sort != "odd" else _with_nan(there, descending)
            expected = _by_row(expected, sort)
            expected += [r for r in rows if r[sort] is None and r["loss"] != 1.0]
            wanted = [r["row"] for r in expected if r["loss"] is not None]
            page = table.page("loss != 1", sort, descending, offset=17, limit=50, columns=[sort])
            assert page.total == len(wanted)
            assert [r["row"] for r in page.rows] == wanted[17:67], (sort, descending)


def _with_nan(there: list[Row], descending: bool) -> list[Row]:
    numbers = sorted((r for r in there if not math.isnan(r["odd"])), key=lambda r: r["odd"], reverse=descending)
    odd = [r for r in there if math.isnan(r["odd"])]
    return odd + numbers if descending else numbers + odd


def _by_row(found: list[Row], sort: str) -> list[Row]:
    """Equal values in the order of rows, whichever way the values run."""
    groups: dict[str, list[Row]] = {}
    for r in found:
        groups.setdefault(repr(r[sort]), []).append(r)
    return [r for group in groups.values() for r in sorted(group, key=lambda r: r["row"])]


def test_pages_far_down_continue_those_above(tmp_path: Path) -> None:
    store_of(tmp_path, {"train": 6_000})
    table = Table.open(tmp_path)
    pages = [table.page("row % 7 != 0", "label", True, offset, 100).rows for offset in range(4_800, 5_200, 100)]
    found = [r["row"] for page in pages for r in page]
    every = [r["row"] for r in table.page("row % 7 != 0", "label", True, 0, 10_000).rows]
    assert found == every[4_800:5_200]
    assert table.page(offset=6_000).rows == []
    assert table.page("bad", "loss", offset=10**9).rows == []


def test_a_row_its_key_and_its_views_belong_together(table: Table) -> None:
    row = table.row(400)
    assert (row["split"], row["index"]) == ("val's", 0)
    assert table.rows_of([("val's", 0), ("train", 3), ("train", 10**6), ("none", 1)]) == {("val's", 0): 400, ("train", 3): 3}
    assert table.views([400, 3]) == {400: {"item": {"label": "val's"}}}
    for n in (-1, 500):
        with pytest.raises(WrongUse, match="500 rows"):
            table.row(n)
    with pytest.raises(WrongUse, match="did you mean 'loss'"):
        table.page(sort="los")


def test_random_rows_match_differ_by_seed_and_repeat(table: Table, rows: list[Row]) -> None:
    one, again, other = (table.random("bad", 20, seed) for seed in (1, 1, 2))
    assert one == again != other
    assert len(set(one)) == 20
    assert all(rows[r]["bad"] for r in one)
    assert sorted(table.random("bad", 10_000)) == rows_of(table, "bad")


def test_neighbours_and_thumbnails_lie_beside_the_table(tmp_path: Path) -> None:
    store_of(tmp_path, {"train": 5})
    table = Table.open(tmp_path)
    assert table.neighbours(0) == []
    assert table.thumbs([0]) == {}
    np.save(tmp_path / "neighbours.npy", np.array([[0, 1, -1], [1, 0, 2], [2, 1, 0], [3, 4, 0], [4, 3, 0]], dtype=np.int32))
    np.save(tmp_path / "similarities.npy", np.full((5, 3), 0.5, dtype=np.float16))
    np.save(tmp_path / "thumbs.npy", np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2))
    assert table.neighbours(0) == [(1, 0.5)]
    assert table.neighbours(1, k=1) == [(0, 0.5)]
    assert table.neighbours(-1) == table.neighbours(5) == []
    assert {r: t.tolist() for r, t in table.thumbs([1, -1, 9]).items()} == {1: [[4, 5], [6, 7]]}


def test_the_exported_code_makes_the_subsets(table: Table, rows: list[Row]) -> None:
    where = "bad\nor split == 'train' and 50 <= index < 60"
    code = table.export(where)
    names: dict[str, Any] = {"datasets": {"train": range(400), "val's": range(100)}}
    exec(code, names)
    expected = {
        s: [r["index"] for r in rows if r["split"] == s and (r["bad"] or (s == "train" and 50 <= r["index"] < 60))]
        for s in names["datasets"]
    }
    assert {s: list(subset.indices) for s, subset in names["subsets"].items()} == expected
    assert "*range(" in code
    assert max(map(len, code.splitlines())) < 130
    assert table.export("label == \"'''\\n\"").count("\n") < 12


# ---- distributions


def naive(values: list[Any], edges: list[float]) -> tuple[list[int], dict[str, int]]:
    """The bars of a histogram, value by value."""
    counts, apart = [0] * (len(edges) - 1), dict.fromkeys(("below", "above", "nan", "infinite", "missing"), 0)
    for v in values:
        if v is None:
            apart["missing"] += 1
        elif math.isnan(v):
            apart["nan"] += 1
        elif math.isinf(v):
            apart["infinite"] += 1
        elif not edges[0] <= v <= edges[-1]:
            apart["below" if v < edges[0] else "above"] += 1
        else:
            counts[min(max(i for i, e in enumerate(edges) if e <= v), len(counts) - 1)] += 1
    return counts, apart


def check(found: Histogram, values: list[Any]) -> None:
    counts, apart = naive(values, found.edges)
    assert found.counts == counts
    assert {k: getattr(found, k) for k in apart} == apart
    assert found.total == len(values)


@pytest.mark.parametrize("column", ["loss", "mean", "n", "small", "odd", "mean radius", "hash", "row"])
def test_a_histogram_equals_counting_by_hand(table: Table, rows: list[Row], column: str) -> None:
    check(table.histogram(column), [r[column] for r in rows])
    check(table.histogram(column, "bad", bins=7), [r[column] for r in rows if r["bad"]])
    zoomed = table.histogram(column, "not bad", low=0, high=1.7, bins=5)
    check(zoomed, [r[column] for r in rows if not r["bad"]])


def test_a_bar_counts_what_its_edges_select(table: Table) -> None:
    for column in ("mean", "loss", "small"):
        found = table.histogram(column, bins=13)
        for low, high, n in zip(found.edges, found.edges[1:-1], found.counts, strict=False):
            assert table.count(f"{low!r} <= {column} < {high!r}") == n


def test_few_integers_get_a_bar_each_and_many_get_bars_of_the_same_number_of_them(table: Table) -> None:
    each = table.histogram("n")
    assert each.whole
    assert each.edges == [n - 0.5 for n in range(-3, 9)]
    many = table.histogram("small")
    assert not many.whole
    assert {b - a for a, b in zip(many.edges, many.edges[1:], strict=False)} == {4.0}


@pytest.mark.parametrize(
    "values",
    [
        np.array([]),
        np.array([np.nan, np.inf]),
        np.array([3.5]),
        np.array([-1.7e308, 1.7e308, 0.0]),
        np.array([5e-324, 0.0, 1e-323]),
        1 + np.arange(4) * 2.3e-16,
        np.array([1e300, 1e300]),
        np.concatenate([np.random.default_rng(0).normal(0, 1, 5000), [1e9, -1e12]]),
        np.array([2**63 - 1, -(2**63)], dtype=np.int64),
        np.array([0, 2**64 - 1], dtype=np.uint64),
        np.array([True, False]),
    ],
)
def test_bars_are_right_at_the_ends_of_what_floats_hold(values: np.ndarray) -> None:
    edges, whole = span(values, 50)
    assert (np.diff(edges) > 0).all()
    assert len(edges) <= 52
    codes = binned(values, None, edges)
    counts, apart = naive([float(v) for v in values], edges.tolist())
    tallied = np.bincount(codes, minlength=len(edges) + 4).tolist()
    assert tallied == [*counts, *apart.values()]
    assert whole == (values.dtype.kind == "b")


def test_far_tails_do_not_squeeze_a_histogram(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, 1000)
    values[3] = 1e9
    edges, _ = span(values, 50)
    assert -5 < edges[0] < -2
    assert 2 < edges[-1] < 5


def test_counts_equal_counting_by_hand(table: Table, rows: list[Row]) -> None:
    for where, kept in (("", rows), ("bad", [r for r in rows if r["bad"]])):
        tally: dict[Any, int] = {}
        for r in kept:
            tally[r["text"]] = tally.get(r["text"], 0) + 1
        none = tally.pop(None)
        order = sorted(tally.items(), key=lambda kv: (-kv[1], kv[0]))
        assert table.counts("text", where, most=4) == Counts(order[:4], sum(n for _, n in order[4:]), len(order), none)


@pytest.mark.parametrize("seed", range(5))
def test_a_cross_filter_equals_filtering_by_hand(
    table: Table, rows: list[Row], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if seed == 4:  # as for texts of which there are too many
        monkeypatch.setattr("trainrecipe.table.database.MOST_VALUES", 2)
        table = Table.open(table.folder)
    rng = np.random.default_rng(seed)
    low = float(rng.uniform(0, 1))
    brushes: dict[str, Any] = {"loss": (low, 2.0), "n": (None, 4), "text": TEXTS[:6], "odd": (-3.0, None), "bad": [False]}
    held = {
        "loss": lambda r: r["loss"] is not None and low <= r["loss"] <= 2.0,
        "n": lambda r: r["n"] is not None and r["n"] <= 4,
        "text": lambda r: r["text"] in TEXTS[:6],
        "odd": lambda r: not missing(r["odd"]) and r["odd"] >= -3,
        "bad": lambda r: not r["bad"],
    }
    chosen = [str(c) for c in rng.permutation(list(brushes))[: seed + 1]]
    found = table.cross(["loss", "n", "text", "odd", "mean", "label", "bad"], "small > 50", {c: brushes[c] for c in chosen})
    for column, drawn in found.items():
        kept = [r[column] for r in rows if r["small"] > 50 and all(held[c](r) for c in chosen if c != column)]
        if isinstance(drawn, Histogram):
            check(drawn, kept)
            assert drawn.edges == table.histogram(column).edges
        else:
            assert dict(drawn.values) == {v: kept.count(v) for v in set(kept) if v is not None}
            assert drawn.missing == kept.count(None)


def test_splits_are_counted_on_the_same_edges(table: Table, rows: list[Row]) -> None:
    found = table.by_split("loss", "not bad")
    assert list(found) == ["train", "val's"]
    assert found["train"].edges == found["val's"].edges  # type: ignore[union-attr]
    for split, drawn in found.items():
        assert isinstance(drawn, Histogram)
        check(drawn, [r["loss"] for r in rows if r["split"] == split and not r["bad"]])
    labels = table.by_split("label", most=2)
    assert [v for v, _ in labels["train"].values] == [v for v, _ in labels["val's"].values]  # type: ignore[union-attr]
    for split, counted in labels.items():
        kept = [r["label"] for r in rows if r["split"] == split]
        assert isinstance(counted, Counts)
        assert counted.values == [(v, kept.count(v)) for v, _ in counted.values]
        assert counted.missing + counted.others + sum(n for _, n in counted.values) == len(kept)


@pytest.mark.parametrize("cells", [4_000_000, 0])
def test_confusion_equals_counting_by_hand(table: Table, rows: list[Row], cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainrecipe.table.confusion._MOST_CELLS", cells)
    kept = [(r["label"], r["predicted"]) for r in rows if r["bad"] and None not in (r["label"], r["predicted"])]
    found = table.confusion("bad")
    assert found.labels == ["3", "8", "Cat", "cat"]
    assert found.counts == [[kept.count((a, b)) for b in found.labels] for a in found.labels]
    assert [n for _, _, n in found.pairs] == sorted((kept.count(p) for p in set(kept) if p[0] != p[1]), reverse=True)
    few = table.confusion("bad", most=2)
    assert few.others + sum(map(sum, few.counts)) == len(kept)
    assert table.confusion("loss < 0").labels == []


def test_quantiles_and_densities_equal_counting_by_hand(table: Table, rows: list[Row]) -> None:
    kept = [r for r in rows if r["bad"]]
    finite = [r["loss"] for r in kept if r["loss"] is not None and math.isfinite(r["loss"])]
    assert table.quantiles("loss", "bad", [0.1, 0.5]) == pytest.approx({s: np.quantile(finite, s) for s in (0.1, 0.5)})
    assert table.quantiles("loss", "loss < 0") == {}
    found = table.density("loss", "mean", "bad", bins=(6, 4))
    for j, line in enumerate(found.counts):
        inside = [r["loss"] for r in kept if naive([r["mean"]], found.y_edges)[0] == [int(i == j) for i in range(4)]]
        assert line == naive(inside, found.x_edges)[0]
    assert found.left_out + sum(map(sum, found.counts)) == len(kept)


def test_numbers_are_asked_of_numbers_only(table: Table) -> None:
    for ask in (table.histogram, table.quantiles):
        with pytest.raises(WrongUse, match="column of numbers"):
            ask("label")
    with pytest.raises(WrongUse, match="did you mean 'loss'"):
        table.cross(["los"])


# ---- the file


@pytest.mark.parametrize("sizes", [{}, {"train": 0}, {"train": 1}])
def test_a_table_of_nothing_or_one_row_answers_everything(tmp_path: Path, sizes: dict[str, int]) -> None:
    n = sum(sizes.values())
    store = (
        store_of(tmp_path, sizes)
        if n
        else Store.create(tmp_path, Manifest("empty", {"kind": "python"}, splits=[Split(s, 0) for s in sizes]))
    )
    store.build()
    table = Table.open(tmp_path)
    assert table.count() == n
    assert len(table.page(sort="status").rows) == n
    assert len(table.random()) == n
    assert table.histogram("index").total == n
    assert table.cross(["status", "index"])["index"] == table.histogram("index")
    assert table.quantiles("row", "row > 5") == {}
    assert table.density("row", "index").left_out == 0
    assert list(table.by_split("index")) == list(table.by_split("status")) == (["train"] if n else [])
    assert sum(k for _, k in table.counts("status").values) == n
    exec(table.export(), {"datasets": {"train": range(1)}})


def test_columns_are_what_is_stored_described_where_the_manifest_knows_them(table: Table) -> None:
    assert table.columns["loss"].tail
    assert "gone" not in table.columns
    assert {n: c.kind for n, c in table.columns.items()}["bad"] == "flag"
    assert list(table.columns)[:2] == ["row", "split"]
    assert table.kinds["hash"] == "integer"


def test_no_scan_or_a_broken_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="no table of examples"):
        Table.open(tmp_path)
    store = Store.create(tmp_path, Manifest("x", {"kind": "python"}))
    with pytest.raises(WrongUse, match="has not ended"):
        Table.open(tmp_path)
    (store.folder / "examples.duckdb").write_bytes(b"no database" * 500)
    with pytest.raises(WrongUse, match="scan the data anew"):
        Table.open(tmp_path)


def test_the_database_reaches_no_other_file(table: Table) -> None:
    for sql in ("SELECT * FROM read_csv('/etc/passwd')", "ATTACH '/tmp/x.duckdb'", "SET enable_external_access = true"):
        with pytest.raises((duckdb.Error, WrongUse)):
            table._db.ask(sql)
    with pytest.raises((duckdb.Error, WrongUse)):
        table._db.ask("DELETE FROM data.examples")


def test_a_rebuilt_file_is_noticed_while_others_still_ask(tmp_path: Path) -> None:
    store = store_of(tmp_path, {"train": 300})
    table, stop, failures = Table.open(tmp_path), threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                assert table.count("row >= 0") in (300, 700)
                assert table.histogram("row").total in (300, 700)
            except Exception as error:
                failures.append(error)
                return

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for t in askers:
        t.start()
    try:
        store_of(tmp_path, {"train": 700}, seed=1)
        assert table.count() == 700
        assert table.manifest.splits[0].length == 700
        store.manifest = Store.open(tmp_path).manifest
        store.add("later", {"row": np.arange(700), "margin": np.linspace(0, 1, 700)})
        store.build()
        assert table.kinds["margin"] == "number"
        assert table.count("margin > 0.5") == 350
    finally:
        stop.set()
        for t in askers:
            t.join()
    assert failures == []


def test_threads_get_the_answers_that_one_alone_would_get(table: Table) -> None:
    draw = Expressions(11)
    asked = [draw.condition(2)[0] for _ in range(40)]
    alone = [(table.count(w), table.histogram("loss", w), table.page(w, "mean").total) for w in asked]
    fresh, found = Table.open(table.folder), [None, None]

    def ask(n: int) -> None:
        found[n] = [(fresh.count(w), fresh.histogram("loss", w), fresh.page(w, "mean").total) for w in asked]  # type: ignore[call-overload]

    askers = [threading.Thread(target=ask, args=(n,)) for n in range(2)]
    for t in askers:
        t.start()
    for t in askers:
        t.join()
    assert found == [alone, alone]


def test_without_room_for_arrays_the_answers_are_the_same(table: Table) -> None:
    small = Table(table.folder, cache=0)
    brushes = {"loss": (0.5, 2.0)}
    assert small.cross(["loss", "label"], "bad", brushes) == table.cross(["loss", "label"], "bad", brushes)
    recent = Recent(10_000)
    for n in range(20):
        assert len(recent.get(n, lambda: np.zeros(1_000, dtype=np.uint8))) == 1_000
    assert len(recent._kept) == 8


# ---- marks


def test_marks_are_kept_by_split_and_index(tmp_path: Path) -> None:
    marks, keys = Marks.open(tmp_path), [("train", 3), ("val's", np.int64(7))]
    marks.tag(keys, " blurred ")
    marks.tag(keys[:1], "blurred")
    marks.tag(keys[:1], '"; DROP TABLE tags; --')
    marks.note(keys[0], "first")
    marks.note(keys[0], "half \ud800 a pair, 'quoted'\n")
    marks.judge(keys[0], "yes", "ada")
    marks.judge(keys[0], "no", "ada")
    marks.judge(keys[0], "unsure", "bob")
    again = Marks.open(tmp_path)
    assert again.tags() == {"blurred": 2, '"; DROP TABLE tags; --': 1}
    assert again.tagged("blurred") == [("train", 3), ("val's", 7)]
    assert again.tags_of([*keys, ("train", 4)]) == {
        ("train", 3): ['"; DROP TABLE tags; --', "blurred"],
        ("val's", 7): ["blurred"],
    }
    assert again.notes_of(keys) == {("train", 3): "half ? a pair, 'quoted'\n"}
    assert [(j.key, j.verdict, j.person) for j in again.judgements()] == [
        (("train", 3), "no", "ada"),
        (("train", 3), "unsure", "bob"),
    ]
    again.untag(keys, "blurred")
    again.note(keys[0], " ")
    assert marks.tagged("blurred") == marks.noted() == []
    for wrong in (lambda: marks.tag(keys, " "), lambda: marks.tag(keys, "x" * 200), lambda: marks.judge(keys[0], "maybe")):
        with pytest.raises(WrongUse):
            wrong()


def test_tags_of_many_examples_at_once(tmp_path: Path) -> None:
    marks, keys = Marks.open(tmp_path), [("train", i) for i in range(2_000)]
    marks.tag(keys, "all")
    assert len(marks.tags_of(keys)) == 2_000


def test_a_human_baseline_is_paused_undone_and_resumed(tmp_path: Path) -> None:
    marks = Marks.open(tmp_path)
    marks.begin("s1", {"keys": [["test", 1], ["test", 2]]})
    marks.begin("s1", {"keys": "another"})
    marks.answer("s1", "ada", ("test", 1), "cat", 1.5)
    marks.answer("s1", "ada", ("test", 2), "dog", 2.5)
    marks.answer("s1", "ada", ("test", 1), "dog", 0.5, again=True)
    marks.answer("s1", "bob", ("test", 1), "bird", 0.5)
    marks.close()
    marks = Marks.open(tmp_path)
    assert marks.sessions() == {"s1": {"keys": [["test", 1], ["test", 2]]}}
    assert marks.undo("s1", "ada") == ("test", 2)
    assert [(a.person, a.key, a.answer, a.again) for a in marks.answers("s1")] == [
        *(("ada", ("test", 1), "cat", False), ("ada", ("test", 1), "dog", True), ("bob", ("test", 1), "bird", False))
    ]
    assert marks.undo("s1", "ada", again=True) == ("test", 1)
    assert marks.undo("s1", "ada", again=True) is None


WRITER = """
import sys
from pathlib import Path
from trainrecipe.table.marks import Marks
marks = Marks.open(Path(sys.argv[1]))
for i in range(int(sys.argv[3])):
    marks.tag([(sys.argv[2], i)], "tag")
    marks.note((sys.argv[2], i), "note")
    print(i, flush=True)
"""


def writer(folder: Path, split: str, n: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), split, str(n)], stdout=subprocess.PIPE, text=True)


def test_many_open_new_marks_at_the_same_moment(tmp_path: Path) -> None:
    gate, failures = threading.Barrier(8), []

    def write(n: int, folder: Path) -> None:
        gate.wait()
        try:
            Marks.open(folder).tag([("train", n)], "tag")
        except Exception as error:
            failures.append(error)

    for _ in range(5):
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        writers = [threading.Thread(target=write, args=(n, folder)) for n in range(8)]
        for t in writers:
            t.start()
        for t in writers:
            t.join()
        assert failures == []
        assert Marks.open(folder).tags() == {"tag": 8}


def test_two_processes_and_this_one_write_at_once(tmp_path: Path) -> None:
    writers = [writer(tmp_path, split, 60) for split in ("a", "b")]
    marks = Marks.open(tmp_path)
    for i in range(60):
        marks.tag([("c", i)], "tag")
    for process in writers:
        assert len(process.communicate(timeout=30)[0].split()) == 60
        assert process.returncode == 0
    assert marks.tags() == {"tag": 180}
    assert len(marks.noted()) == 120


def test_what_was_written_outlives_a_killed_process(tmp_path: Path) -> None:
    process = writer(tmp_path, "a", 1_000_000)
    assert process.stdout is not None
    seen = [int(process.stdout.readline()) for _ in range(30)]
    os.kill(process.pid, signal.SIGKILL)
    seen += [int(line) for line in process.communicate()[0].split()]
    marks = Marks.open(tmp_path)
    assert set(seen) <= {i for _, i in marks.noted()}
    marks.tag([("b", 1)], "tag")
    assert marks._rows("PRAGMA integrity_check") == [("ok",)]


def test_marks_that_cannot_be_read_are_not_made_anew(tmp_path: Path) -> None:
    (tmp_path / "marks.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(WrongUse, match="cannot be opened"):
        Marks.open(tmp_path)
    assert (tmp_path / "marks.sqlite").read_bytes().startswith(b"not a database")


def test_asking_a_table_imports_no_torch() -> None:
    code = "import sys, trainrecipe.table.table, trainrecipe.table.marks; assert not {'torch', 'duckdb'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dataclasses_of_answers_are_plain_data(table: Table) -> None:
    for answer in (table.histogram("loss"), table.counts("label"), table.confusion(), table.density("loss", "n")):
        assert json.loads(json.dumps(dataclasses.asdict(answer))).keys() == dataclasses.asdict(answer).keys()


def test_the_most_alike_are_those_of_brute_force(tmp_path: Path) -> None:
    from trainrecipe.table.alike import Alike

    rng = np.random.default_rng(5)
    vectors = rng.normal(2.0, [1.0, 50.0, 0.1], (500, 3)).astype(np.float16)
    scaled = (vectors.astype(np.float32) - vectors.astype(np.float32).mean(0)) / vectors.astype(np.float32).std(0)
    unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    likeness = unit @ unit[7]
    likeness[7] = -np.inf
    found = Alike(vectors).to(7, 5)
    assert [row for row, _ in found] == np.argsort(-likeness)[:5].tolist()
    assert found[0][1] == pytest.approx(float(likeness.max()), abs=1e-3)
