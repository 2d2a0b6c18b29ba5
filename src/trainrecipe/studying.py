"""Data sets examined from Python: the same as `recipe data`, for data sets that are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainrecipe.config import BUDGET, Config
from trainrecipe.exam import Examination, examine
from trainrecipe.journal.home import prepared
from trainrecipe.journal.store import Journal


def data(
    given: Any,
    *,
    name: str = "data",
    folder: str | Path | None = None,
    scan_seconds: float = 300.0,
    budget: float = BUDGET,
) -> Examination:
    """Read data sets into a table, and say what is wrong with them.

        from trainrecipe import data

        print(data({"train": train_set, "validation": val_loader}))

    `given` is a torch Dataset, an iterable one, a DataLoader, a mapping of these by the names of the splits, or a tuple in the
    order train, validation, test. Splits called `train`, `val`, `valid`, `validation`, `dev` and `test` are taken for what they
    are. The table is kept in `folder`, by default `.trainrecipe/data/<name>`, where `recipe view` finds it; reading takes at
    most about `scan_seconds`, beyond which a random sample is read, and experiments `budget` seconds. Random states are left as
    they were. Raises WrongUse for what is no data, or where DuckDB is missing (`pip install 'trainrecipe[data]'`).
    """
    from trainrecipe.dataset.outliers import rank
    from trainrecipe.scan.defaults import usual_defaults
    from trainrecipe.scan.scan import scan
    from trainrecipe.scan.splits import sources
    from trainrecipe.scan.standing_out import keep_looks
    from trainrecipe.subjects.examples import read_place
    from trainrecipe.subjects.scan import Scan

    splits = sources(given)
    where = Path(folder) if folder is not None else prepared(Journal.at().homes[0]).parent / "data" / name
    where.mkdir(parents=True, exist_ok=True)
    places = {s.name: place for s in splits if (place := read_place(s.dataset)) is not None}
    subject = Scan(scan(given, where, name=name, budget=scan_seconds), places)
    with usual_defaults():
        found = examine(subject, config=Config.load(), budget=budget)
        rank(subject)
    keep_looks(subject, given)
    subject.write_found()
    return found
