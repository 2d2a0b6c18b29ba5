"""The table of examples on disk: shards that a scan writes, and one file that questions are asked of.

    store = Store.create(folder, manifest)
    store.write_shard("train", 0, columns, views=views)      # any order, any process; atomic
    store.build()                                            # shards -> examples.duckdb, read-only from then on

Layout of the folder:

    manifest.json                       what the table is: see `Manifest`
    shards/<split>-00000.parquet        one row per example
    shards/<split>-00000.views.parquet  how some examples look: raw, transformed, as the net is fed
    shards/looks.views.parquet          the same of examples that stand out, by `row`
    shards/<split>-00000.npz            `thumbs` and `vectors` of the same rows, where there are any
    added/<name>.parquet                columns that are computed later, by `row`
    examples.duckdb                     tables `examples` and `views`; rebuilt from the files above
    thumbs.npy, vectors.npy             by row: grey thumbnails (N, h, w) uint8; vectors (N, d) float16

Rows of `examples` are numbered from 0 in the order of splits and of `index` in each: column `row`. Columns that are always
there: `row`, `split`, `index` (position in the data set), `status` (`ok`, or what is wrong with the example), `error`, `hash`
(64 bits of its inputs' contents before random transforms where they are known). Column `label` is the class, as text, `target`
a number to be predicted; the others are described by the manifest.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainrecipe.table.manifest import Manifest
from trainrecipe.table.missing import MISSING
from trainrecipe.wrong_use import WrongUse

LOOKS = "looks.views.parquet"
ALWAYS = ("row", "split", "index", "status", "error", "hash")


class Store:
    """One table's folder."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def create(cls, folder: Path, manifest: Manifest) -> Store:
        """Make the folder and write the manifest. What an earlier scan of something else left there is removed."""
        for name in ("shards", "added"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for old in (folder / name).iterdir():
                old.unlink()
        store = cls(folder, manifest)
        store.save()
        return store

    @classmethod
    def open(cls, folder: Path) -> Store:
        """The table in a folder. Raises WrongUse where there is none that can be read."""
        path = folder / "manifest.json"
        try:
            manifest = Manifest.from_json(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise WrongUse(f"no table of examples in {folder}; `recipe data` makes one") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WrongUse(f"{path} cannot be read ({error}); scan the data anew with `recipe data`") from None
        return cls(folder, manifest)

    def save(self) -> None:
        """Write the manifest, atomically."""
        _replace(self.folder / "manifest.json", json.dumps(self.manifest.to_json(), indent=1).encode())

    # ---- shards

    def write_shard(
        self,
        split: str,
        number: int,
        columns: Mapping[str, np.ndarray],
        *,
        views: Sequence[tuple[int, str]] = (),
        thumbs: np.ndarray | None = None,
        vectors: np.ndarray | None = None,
    ) -> None:
        """Write rows of one split; `views` are pairs of an index and JSON. The shard is there whole, or not at all."""
        stem = self._stem(split, number)
        if views:
            indices = np.array([i for i, _ in views], dtype=np.int64)
            texts = np.array([text for _, text in views], dtype=object)
            write_parquet(stem.with_suffix(".views.parquet"), {"index": indices, "view": texts})
        arrays = {k: v for k, v in (("thumbs", thumbs), ("vectors", vectors)) if v is not None}
        if arrays:
            part = stem.with_suffix(".part.npz")
            np.savez(part, **arrays)  # type: ignore[arg-type]
            os.replace(part, stem.with_suffix(".npz"))
        write_parquet(stem.with_suffix(".parquet"), columns)  # last: it is what counts the shard as written

    def written(self, split: str) -> list[int]:
        """Numbers of the shards of a split that are there, in order."""
        name = _file_name(split)
        found = [
            p.name for p in (self.folder / "shards").glob("*.parquet") if ".views." not in p.name and ".part." not in p.name
        ]
        return sorted(int(n[len(name) + 1 : -len(".parquet")]) for n in found if n[:-14] == name)

    def counted(self, split: str) -> tuple[int, int]:
        """How many rows of a split are written, and how many of them could not be read."""
        files = [str(s.with_suffix(".parquet")) for s in self._stems(split)]
        if not files:
            return 0, 0
        query = "SELECT count(*), count(error) FROM read_parquet(?)"
        rows, failed = _in_memory(os.getpid()).execute(query, [files]).fetchone()
        return int(rows), int(failed)

    def _stems(self, split: str) -> list[Path]:
        """The shards of a split that are there, in order, without their files' endings."""
        return [self._stem(split, n) for n in self.written(split)]

    def _stem(self, split: str, number: int) -> Path:
        return self.folder / "shards" / f"{_file_name(split)}-{number:05d}"

    # ---- the whole

    def add(self, name: str, columns: Mapping[str, np.ndarray]) -> None:
        """Add columns that were computed from the built table; `row` (int64) is among them. `build` joins them."""
        write_parquet(self.folder / "added" / f"{name}.parquet", columns)

    def add_views(self, rows: Sequence[int], views: Sequence[str]) -> None:
        """Add looks of examples, as JSON, to those of the shards. `build` joins them."""
        columns = {"row": np.array(rows, np.int64), "view": np.array([*views, None], dtype=object)[:-1]}
        write_parquet(self.folder / "shards" / LOOKS, columns)

    def build(self) -> None:
        """Make `examples.duckdb`, `thumbs.npy` and `vectors.npy` of the shards and of what was added."""
        duckdb = _duckdb()
        path, part = self.folder / "examples.duckdb", self.folder / "examples.part.duckdb"
        part.unlink(missing_ok=True)
        files = [str(p.with_suffix(".parquet")) for s in self.manifest.splits for p in self._stems(s.name)]
        with duckdb.connect(str(part)) as db:
            db.execute("SET preserve_insertion_order=true")
            order = {s.name: i for i, s in enumerate(self.manifest.splits)}
            db.execute("CREATE TABLE splits (split VARCHAR, rank INTEGER)")
            if order:
                db.executemany("INSERT INTO splits VALUES (?, ?)", list(order.items()))
            if not files:
                always = "row BIGINT, split VARCHAR, index BIGINT, status VARCHAR, error VARCHAR, hash UBIGINT"
                db.execute(f"CREATE TABLE examples ({always})")
                db.execute("CREATE TABLE views (row BIGINT, view VARCHAR)")
            else:
                self._fill(db, files)
                self._fill_views(db)
                self._gather(db)
            db.execute("DROP TABLE splits")
        os.replace(part, path)

    def _fill(self, db: Any, files: list[str]) -> None:
        added = sorted((self.folder / "added").glob("*.parquet"))
        joins = "".join(f" LEFT JOIN read_parquet('{_quoted(str(p))}') AS a{i} USING (row)" for i, p in enumerate(added))
        numbered = (
            "SELECT (row_number() OVER (ORDER BY s.rank, e.index)) - 1 AS row, e.* REPLACE (nullif(e.hash, 0) AS hash) "
            "FROM read_parquet(?, union_by_name=true) AS e JOIN splits AS s USING (split)"
        )
        db.execute(f"CREATE TABLE examples AS SELECT * FROM ({numbered}) AS n{joins} ORDER BY row", [files])

    def _fill_views(self, db: Any) -> None:
        found = []
        for split in self.manifest.splits:
            views = [v for s in self._stems(split.name) if (v := s.with_suffix(".views.parquet")).exists()]
            files = [f"'{_quoted(str(v))}'" for v in views]
            if files:
                found.append(f"SELECT '{_quoted(split.name)}' AS split, * FROM read_parquet([{', '.join(files)}])")
        every = " UNION ALL ".join(found) or "SELECT '' AS split, 0 AS index, '' AS view WHERE false"
        joined = f"SELECT e.row, v.view FROM ({every}) AS v JOIN examples AS e USING (split, index)"
        more = self.folder / "shards" / LOOKS
        joined += f" UNION ALL SELECT row, view FROM read_parquet('{_quoted(str(more))}')" if more.exists() else ""
        db.execute(f"CREATE TABLE views AS {joined} ORDER BY row")

    def _gather(self, db: Any) -> None:
        """Thumbnails and vectors of all shards, by row."""
        total = db.execute("SELECT count(*) FROM examples").fetchone()[0]
        made: dict[str, np.ndarray] = {}
        for stem, rows in self._rows(db):
            if not stem.with_suffix(".npz").exists():
                continue
            with np.load(stem.with_suffix(".npz")) as arrays:
                for kind in arrays.files:
                    values = arrays[kind]
                    if kind not in made:
                        part = self.folder / f"{kind}.part.npy"
                        made[kind] = np.lib.format.open_memmap(part, "w+", values.dtype, (total, *values.shape[1:]))
                    if values.shape[1:] == made[kind].shape[1:]:
                        made[kind][rows] = values
        for kind, array in made.items():
            array.flush()  # type: ignore[attr-defined]
            os.replace(self.folder / f"{kind}.part.npy", self.folder / f"{kind}.npy")

    def _rows(self, db: Any) -> Iterator[tuple[Path, np.ndarray]]:
        """Every shard with the row of each of its examples, in the shard's order."""
        first, query = 0, "SELECT index FROM read_parquet(?)"
        for split in self.manifest.splits:
            stems = self._stems(split.name)
            indices = [db.execute(query, [str(s.with_suffix(".parquet"))]).fetchnumpy()["index"] for s in stems]
            if not stems:
                continue
            rows = first + np.concatenate(indices).argsort(kind="stable").argsort()
            first += len(rows)
            yield from zip(stems, np.split(rows, np.cumsum([len(i) for i in indices])[:-1]), strict=True)

    def connect(self) -> Any:
        """A read-only connection to the built table. Raises WrongUse where it was not built."""
        path = self.folder / "examples.duckdb"
        if not path.exists():
            raise WrongUse(f"the scan in {self.folder} has not ended; go on with it by `recipe data`")
        return _duckdb().connect(str(path), read_only=True)

    def array(self, kind: str) -> np.ndarray | None:
        """`thumbs` or `vectors` by row, mapped from disk; None where the table has none."""
        path = self.folder / f"{kind}.npy"
        return np.load(path, mmap_mode="r") if path.exists() else None


def write_parquet(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns of equal length (text as arrays of objects) to a Parquet file, atomically.

    LZ4, as zstd takes three times as long.
    """
    part = path.with_name(path.name + ".part")
    table = {f"c{i}": _writable(c) for i, c in enumerate(columns.values())}
    chosen = ", ".join(
        f"c{i}{'::VARCHAR' if table[f'c{i}'].dtype.kind == 'O' else ''} AS {_identifier(name)}"
        for i, name in enumerate(columns)
    )
    with _in_memory(os.getpid()).cursor() as db:
        db.register("columns_to_write", table)
        target = f"'{_quoted(str(part))}' (FORMAT parquet, COMPRESSION lz4)"
        db.execute(f"COPY (SELECT {chosen} FROM columns_to_write) TO {target}")
    os.replace(part, path)


def _writable(column: np.ndarray) -> np.ndarray:
    """A column as it can be stored: texts without halves of surrogate pairs, which no encoding has."""
    if column.dtype.kind != "O" or all(v is None or (isinstance(v, str) and v.isascii()) for v in column.tolist()):
        return column
    clean = [v.encode("utf-8", "replace").decode("utf-8") if isinstance(v, str) else v for v in column]
    return np.array([*clean, None], dtype=object)[:-1]


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@functools.cache
def _in_memory(process: int) -> Any:
    """A database without a file, kept since opening one takes longer than writing a shard; a fork of the process has its own.

    One thread of its own is enough, and leaves the others to the workers that read.
    """
    return _duckdb().connect(config={"threads": 1})


def _duckdb() -> Any:
    try:
        import duckdb
    except ImportError:
        raise WrongUse(MISSING) from None
    return duckdb


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _file_name(split: str) -> str:
    """A split's name as part of a file's name."""
    return "".join(c if c.isalnum() or c in "-_" else f"%{ord(c):x}%" for c in split)
