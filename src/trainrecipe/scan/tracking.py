"""What a tracked training tells of each example, beside what a scan has told: columns of the table, and a map of the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from trainrecipe import picture
from trainrecipe.capture.listen.describe import innermost
from trainrecipe.picture import Picture
from trainrecipe.scan.program import program_splits
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.histories import History
from trainrecipe.table.manifest import Column
from trainrecipe.table.store import Store
from trainrecipe.wrong_use import WrongUse

COLUMNS = (
    Column("predicted", "category", "predicted", about="what the model predicted last"),
    Column("confidence", "number", "confidence", about="the probability that the model gave the label last"),
    Column("loss", "number", "loss", about="cross-entropy, or the squared error, of the last prediction", tail=True),
    Column("times", "integer", "times fed", about="how often it was fed", hidden=True),
    Column("mean_confidence", "number", "mean confidence", about="mean probability of its label over the training"),
    Column("variability", "number", "variability", about="standard deviation of that probability over the training"),
    Column("margin", "number", "margin", about="mean lead of its label's logit: the area under the margin"),
    Column("right_share", "number", "right", about="share of the times at which it was predicted right"),
    Column("forgotten", "integer", "forgotten", about="how often it was predicted right and then wrong", tail=True),
)
POINTS = 2000
"""Examples that a map of the data shows."""

Told = dict[str, dict[str, np.ndarray]]


def kept(histories: Mapping[tuple[int, bool], History], data: Data, folder: Path) -> tuple[Told, str]:
    """Add histories to the table in a folder. Returns them by split, each with `index`, and what to say about it.

    An evaluated split has what was predicted at its last evaluation; a trained one what was predicted while it was trained on.
    """
    splits, _ = program_splits(data)
    numbers = {id(innermost(loader.dataset)[0]): record.dataset for record, loader in data.loaders}
    told: Told = {}
    for split in splits:
        number = numbers.get(id(split.dataset), -1)
        history = histories.get((number, split.role == "train"))
        if history is None:
            continue
        positions = np.arange(len(history.times)) if split.positions is None else np.asarray(split.positions, np.int64)
        seen = positions[history.times[positions] > 0]
        if len(seen):
            told[split.name] = {"index": seen} | {k: v[seen] for k, v in history.columns().items()}
    if not told:
        return {}, "no example could be followed: that takes a loader whose sampler draws indices, and a label per example"
    count = sum(len(t["index"]) for t in told.values())
    try:
        store = Store.open(folder)
        _add(store, told)
    except WrongUse:
        return told, f"{count:,} examples were followed; say `recipe data` first, and they are added to its table"
    return told, f"{count:,} examples were followed; `recipe view` shows their predictions, and which were forgotten"


def _add(store: Store, told: Told) -> None:
    with store.connect() as db:
        found = db.execute("SELECT row, split, index FROM examples ORDER BY row").fetchnumpy()
    rows, split, index = found["row"], found["split"], found["index"]
    columns = {c.name: np.full(len(rows), np.nan) for c in COLUMNS}
    for name, values in told.items():
        own = np.flatnonzero(split == name)
        order = np.argsort(values["index"], kind="stable")
        place = np.searchsorted(values["index"][order], index[own])
        place = np.minimum(place, len(order) - 1)
        hit = values["index"][order][place] == index[own]
        for column in columns:
            columns[column][own[hit]] = values[column][order][place[hit]]
    target = store.manifest.target()
    classes = target.classes if target is not None and target.kind == "class" else ()
    added: dict[str, np.ndarray] = {"row": rows, **columns}
    if target is not None and target.kind == "class":
        added["predicted"] = np.array([_class(v, classes) for v in columns["predicted"]] + [None], dtype=object)[:-1]
    store.add("tracked", added)
    known = {c.name: c for c in store.manifest.columns}
    store.manifest.columns = list((known | {c.name: c for c in COLUMNS}).values())
    store.build()
    store.save()


def _class(value: float, classes: tuple[str, ...]) -> str | None:
    if np.isnan(value):
        return None
    return classes[int(value)] if 0 <= int(value) < len(classes) else str(int(value))


def pictures(told: Told) -> Iterator[Picture]:
    """A map of the training examples: how sure the model was of each, and how that varied (Swayamdipta et al. 2020)."""
    values = told.get("train")
    if values is None or not np.isfinite(values["mean_confidence"]).any() or values["times"].max() < 2:
        return
    chosen = np.random.default_rng(0).permutation(len(values["index"]))[:POINTS]
    x, y = values["variability"][chosen], values["mean_confidence"][chosen]
    right = values["right_share"][chosen]
    groups = np.select([right >= 0.8, right >= 0.2], ["mostly right", "now and then"], "hardly ever right").tolist()
    never = int((values["right_share"] == 0).sum())
    caption = (
        "Each point is a training example. Top left: easy. Right: ambiguous. Bottom left: never learnt, often a wrong label"
        f" ({never} of {len(values['index'])} were never right)."
    )
    yield picture.points(
        "How examples were learnt",
        caption,
        [round(float(v), 4) for v in x],
        [round(float(v), 4) for v in y],
        x_title="variability of the confidence",
        y_title="mean confidence in the label",
        groups=groups,
    )
