"""How fast a large table answers the questions of the page, on the server's side.

    python benchmarks/table.py --rows 1000000
    python benchmarks/table.py --rows 10000000 --seconds 8

Makes a synthetic table of 18 columns in a temporary folder, in the way that a scan writes it: losses with a long tail, 1,000
labels of uneven frequency, flags, paths, some values missing or NaN. Then each kind of question is asked many times with other
numbers, columns and labels, so that little can be answered from what was kept; `first` is the first time of all, which loads
columns. Budgets are for 1,000,000 rows, and three times that for 10,000,000. The time of all processors is told beside that of
the clock, for it says more on a machine that others use; on two free ones the clock is between half of it and all of it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trainrecipe.table.manifest import Column, Manifest, Split
from trainrecipe.table.store import Store
from trainrecipe.table.table import Table

SHARD = 250_000
LABELS = 1_000
NUMBERS = ("loss", "confidence", "image_mean", "image_std", "sharpness", "entropy", "nearest")
BUDGETS = {
    "first paint": 500,
    "filtered, sorted page": 50,
    "histogram": 30,
    "cross-filter of six, dragging": 80,
    "confusion": 150,
}
"""Milliseconds, p95, at a million rows."""


def shard(rng: np.random.Generator, split: str, start: int, n: int) -> dict[str, np.ndarray]:
    """The columns of some rows."""
    label = np.minimum(rng.zipf(1.3, n) - 1, LABELS - 1) if n else np.zeros(0, dtype=int)
    wrong = rng.random(n) < 0.12
    loss = rng.lognormal(-2, 1.5, n) + 3 * wrong
    loss[rng.random(n) < 1e-4] = np.nan
    nearest = np.ma.array(rng.beta(8, 2, n), mask=rng.random(n) < 0.05)
    text = np.array([f"{split}/{i % 977:03d}/img_{i:08d}.png" for i in range(start, start + n)], dtype=object)
    return {
        "split": np.full(n, split, dtype=object),
        "index": np.arange(start, start + n),
        "status": np.where(rng.random(n) < 1e-3, "unreadable", "ok").astype(object),
        "error": np.full(n, "", dtype=object),
        "hash": rng.integers(0, 2**63, n).astype(np.uint64),
        "label": _named(label),
        "predicted": _named(np.where(wrong, rng.integers(0, LABELS, n), label)),
        "confidence": 1 - rng.beta(1, 8, n),
        "loss": loss,
        "image_width": rng.choice([224, 256, 320, 512], n),
        "image_mean": rng.normal(120, 30, n).astype(np.float32),
        "image_std": rng.gamma(9, 6, n).astype(np.float32),
        "sharpness": rng.lognormal(4, 1, n).astype(np.float32),
        "entropy": rng.beta(5, 2, n).astype(np.float32) * 8,
        "nearest": nearest,
        "suspect": rng.random(n) < 0.02,
        "text": text,
    }


def _named(numbers: np.ndarray) -> np.ndarray:
    return np.array([f"n{i:04d}" for i in range(LABELS)], dtype=object)[numbers]


def made(folder: Path, rows: int) -> float:
    """Write and build the table; seconds."""
    started, rng = time.perf_counter(), np.random.default_rng(0)
    sizes = {"train": rows * 8 // 10, "val": rows // 10, "test": rows - rows * 8 // 10 - rows // 10}
    kinds = [Column(n, "number", tail=True) for n in NUMBERS]
    store = Store.create(
        folder, Manifest("synthetic", {"kind": "python"}, splits=[Split(s, n) for s, n in sizes.items()], columns=kinds)
    )
    for split, size in sizes.items():
        for number, start in enumerate(range(0, size, SHARD)):
            store.write_shard(split, number, shard(rng, split, start, min(SHARD, size - start)))
    store.build()
    return time.perf_counter() - started


class Questions:
    """Random questions of each kind, as a person who plays with the page would ask them."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.rng = np.random.default_rng(1)
        self.rows = table.count()
        self.shift = 0.0

    def where(self) -> str:
        rng = self.rng
        parts = (
            f"split == '{rng.choice(['train', 'val', 'test'])}'",
            f"loss > {rng.uniform(0.05, 3):.4f}",
            f"{rng.uniform(80, 120):.3f} < image_mean <= {rng.uniform(120, 180):.3f}",
            f"label == 'n{rng.integers(0, 50):04d}'",
            "label != predicted",
            f"confidence < {rng.uniform(0.5, 1):.4f}",
            f"not suspect and image_width in [224, {rng.choice([256, 320])}]",
        )
        return " and ".join(parts[i] for i in rng.choice(len(parts), rng.integers(1, 4), replace=False))

    def column(self) -> str:
        return str(self.rng.choice(NUMBERS))

    def page(self) -> None:
        self.table.page(self.where(), self.column(), bool(self.rng.random() < 0.5), int(self.rng.integers(0, 10)) * 60)

    def by_row(self) -> None:
        self.table.page(self.where(), offset=int(self.rng.integers(0, self.rows)))

    def scrolled(self) -> None:
        self.table.page("loss > 0.1", "confidence", offset=int(self.rng.integers(5_000, self.rows // 2)))

    def deep(self) -> None:
        self.table.page(self.where(), self.column(), offset=int(self.rng.integers(5_000, self.rows // 2)))

    def histogram(self) -> None:
        self.table.histogram(self.column(), self.where())

    def zoomed(self) -> None:
        self.table.histogram("image_mean", low=self.rng.uniform(0, 100), high=self.rng.uniform(110, 200))

    def counts(self) -> None:
        self.table.counts("label", self.where())

    def cross(self) -> None:
        self.shift = (self.shift + 1.37) % 60
        brushes = {
            "image_mean": (60 + self.shift, 120 + self.shift),
            "loss": (0.05, 2.0),
            "label": [f"n{i:04d}" for i in range(1, 40)],
        }
        self.table.cross(["loss", "confidence", "image_mean", "sharpness", "nearest", "label"], "split == 'train'", brushes)

    def confusion(self) -> None:
        self.table.confusion(self.where())

    def random(self) -> None:
        self.table.views(self.table.random(self.where(), 60, int(self.rng.integers(1000))))

    def substring(self) -> None:
        self.table.page(f"contains(text, '{self.rng.integers(0, 977):03d}/img')", "loss", True)

    def splits(self) -> None:
        self.table.by_split(self.column())

    def quantiles(self) -> None:
        self.table.quantiles(self.column(), self.where())

    def density(self) -> None:
        self.table.density("image_mean", self.column(), self.where())

    def paint(self) -> None:
        """What the first page asks, of a table that was just opened."""
        table = Table.open(self.table.folder)
        table.counts("label")
        for split in table.manifest.splits:
            table.counts("label", f"split == {split.name!r}", most=500)
            table.count(f"split == {split.name!r}")
        table.count("status != 'ok'")
        rows = table.random("", 60)
        table.views(rows), table.thumbs(rows), table.page(limit=60)
        table.close()

    def opened(self) -> None:
        """The histograms of a table that was just opened: columns are read and put into bars."""
        table = Table.open(self.table.folder)
        table.cross(["label", *NUMBERS[:5]])
        table.close()


def timed(ask: Callable[[], None], seconds: float, least: int = 20, most: int = 200) -> tuple[list[float], list[float]]:
    """Milliseconds of each question: by the clock, and of all processors."""
    wall: list[float] = []
    cpu: list[float] = []
    started = time.perf_counter()
    while len(wall) < most and (len(wall) < least or time.perf_counter() - started < seconds):
        before, spent = time.perf_counter(), time.process_time()
        ask()
        wall.append((time.perf_counter() - before) * 1e3)
        cpu.append((time.process_time() - spent) * 1e3)
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each kind of question")
    parser.add_argument("--only", default="", help="kinds of questions whose name holds this")
    parser.add_argument("--folder", type=Path, help="keep the table here, and use it when it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "table"
        just_made = False
        if not (folder / "examples.duckdb").exists():
            just_made, took = True, made(folder, options.rows)
            print(f"{options.rows:,} rows written and built in {took:.1f} s", end="; ")
        print(f"{(folder / 'examples.duckdb').stat().st_size / 1e6:.0f} MB")
        report(Table.open(folder), options.seconds, options.only, just_made)


def report(table: Table, seconds: float, only: str, just_made: bool) -> None:
    """Ask, and print a line for each kind of question."""
    ask, scale = Questions(table), 3 if table.count() > 3_000_000 else 1
    kinds = {
        "first paint": ask.paint,
        "six histograms, table just opened": ask.opened,
        "filtered, sorted page": ask.page,
        "filtered page anywhere, by row": ask.by_row,
        "scrolled far in one order": ask.scrolled,
        "far down, every time another order": ask.deep,
        "histogram": ask.histogram,
        "histogram, zoomed": ask.zoomed,
        "counts of 1,000 labels": ask.counts,
        "cross-filter of six, dragging": ask.cross,
        "confusion": ask.confusion,
        "60 at random": ask.random,
        "substring": ask.substring,
        "by split": ask.splits,
        "quantiles": ask.quantiles,
        "density 64 x 64": ask.density,
    }
    print(f"{'milliseconds':36}{'n':>5}{'p50':>9}{'p95':>9}{'first':>9}{'budget':>9}{'CPU p50':>9}{'CPU p95':>9}")
    for name, question in kinds.items():
        if only not in name:
            continue
        took, cpu = timed(question, seconds)
        budget = f"{BUDGETS[name] * scale}" if name in BUDGETS else ""
        p50, p95, spent, most = (float(np.quantile(t, q)) for t in (took, cpu) for q in (0.5, 0.95))
        late = " !" if budget and p95 > float(budget) else ""
        print(f"{name:36}{len(took):5}{p50:9.1f}{p95:9.1f}{took[0]:9.1f}{budget:>9}{spent:9.1f}{most:9.1f}{late}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process {peak:,.0f} MB" + " with the making of the table" * just_made)


if __name__ == "__main__":
    main()
