"""A selection as Python code, to be pasted into the training program."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from trainrecipe.table.database import Database

_RUN = 4
"""Successive indices from which on a range is shorter to read than the list of them."""


def subset_code(db: Database, where: str) -> str:
    """Code that holds the indices of each split, and tells how to make subsets of them."""
    sql, values = db.condition(where)
    found = db.arrays(f"SELECT split, index FROM data.examples WHERE {sql} ORDER BY row", values)
    splits = [s.name for s in db.manifest.splits]
    lines = [
        f"# {len(found['index']):,} of {db.total:,} examples of {db.manifest.name!a}; selected by {where!a}",
        "from torch.utils.data import Subset",
        "",
        "indices = {",
    ]
    for split in splits:
        chosen = found["index"][found["split"] == split]
        if len(chosen):
            lines.append(f"    {split!a}: [")
            lines += textwrap.wrap(_listed(chosen), 100, initial_indent=" " * 8, subsequent_indent=" " * 8)
            lines.append("    ],")
    lines += ["}", "", "# `datasets` maps names of splits to the data sets that were scanned"]
    lines += ["subsets = {name: Subset(datasets[name], chosen) for name, chosen in indices.items()}", ""]
    return "\n".join(lines)


def _listed(indices: np.ndarray) -> str:
    """Indices in order, runs of them as ranges."""
    runs: Sequence[np.ndarray] = np.split(indices, np.flatnonzero(np.diff(indices) != 1) + 1)
    parts = [f"*range({r[0]}, {r[-1] + 1})," if len(r) >= _RUN else "".join(f"{i}, " for i in r).strip() for r in runs]
    return " ".join(parts)
