"""Memory stays bounded however many examples there are: of a scan, and of a table that is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from trainrecipe.table.manifest import Column, Manifest, Split
from trainrecipe.table.store import Store

SCANNED = """
import resource, sys, tempfile
from pathlib import Path
import torch
from torch.utils.data import DataLoader, IterableDataset
from trainrecipe.scan.scan import scan

class Stream(IterableDataset):
    def __init__(self, n): self.n = n
    def __iter__(self):
        rng = torch.Generator().manual_seed(0)
        return ((torch.rand(3, 56, 56, generator=rng), i % 7) for i in range(self.n))

def peak(n):
    with tempfile.TemporaryDirectory() as folder:
        scan({"train": DataLoader(Stream(n), batch_size=32)}, Path(folder), budget=1e9)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

print(peak(10000), peak(30000))  # a shard is 4096 examples
"""
ASKED = """
import resource, sys
from pathlib import Path
from trainrecipe.table.table import Table

def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

table = Table(Path(sys.argv[1]), memory=96 << 20, cache=24 << 20)
names = [c for c in table.columns if c.startswith("x")]
first = table.page("x0 > 0", "x0")
before = peak()
for name in names:
    table.histogram(name, f"{name} > 0.1")
    table.page(f"{name} < 1", name, True, 5000)
    table.cross(names[:3] + [name], "x1 > 0", {name: (0, 1)})
print(before, peak())
"""


def _peaks(code: str, *words: str) -> tuple[int, int]:
    """Two peaks of a process's memory, in MB."""
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    first, last = map(int, done.stdout.split())
    return first, last


def test_a_scan_of_more_examples_needs_no_more_memory() -> None:
    few, many = _peaks(SCANNED)
    assert many - few < 100  # the further examples alone are 752 MB


def test_a_table_is_asked_within_its_budgets(tmp_path: Path) -> None:
    rows, names = 800_000, [f"x{i}" for i in range(24)]
    rng = np.random.default_rng(0)
    kinds = [Column(n, "number") for n in names]
    store = Store.create(tmp_path, Manifest("x", {"kind": "python"}, splits=[Split("train", rows)], columns=kinds))
    for number, start in enumerate(range(0, rows, 200_000)):
        columns = {"split": np.full(200_000, "train", dtype=object), "index": np.arange(start, start + 200_000)}
        columns |= {"status": np.full(200_000, "ok", dtype=object), "hash": rng.integers(0, 2**63, 200_000).astype(np.uint64)}
        store.write_shard("train", number, columns | {n: rng.normal(size=200_000) for n in names})
    store.build()
    before, after = _peaks(ASKED, str(tmp_path))
    assert after - before < 96 + 24 + 60  # the columns alone are 150 MB
