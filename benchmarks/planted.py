"""Defects at known places in data sets, each as a `Case`: what is planted, where, and which check should speak of it.

Defects of single examples come first, planted once in two base sets or more. Then those of a whole set, planted under several
seeds, each beside a twin without the defect. `DEFECTS` makes them all; `clean` makes sets in which there is nothing to find.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import base_sets as sets
import numpy as np
import torch
from base_sets import PICTURES, TABLES, TEXTS, Items, as_features, as_png, base, parted, pictured, train_and_test
from PIL import Image, ImageFilter
from torch.utils.data import Subset, TensorDataset

COPIED, ODD = 40, 12
"""Copies, and broken examples, that are planted in a set."""
FAR = 6
"""Outliers that are planted: fewer than the ten neighbours that tools look at, so that they do not vouch for each other."""
SEEDS = range(3)
IMAGE_TOOLS = ("cleanvision", "imagededup", "fastdup", "cleanlab")
Change = Callable[[Any], Any]
"""Makes another example of one."""
Make = Callable[[int, bool], Mapping[str, Any]]
"""By a seed, and whether the defect is planted: the splits, `seen` as peers are given them, and other labels `y` for peers."""


@dataclasses.dataclass
class Case:
    """A data set. `truth` are planted rows, or pairs of rows (numbered over all splits); `planted` is False for a healthy twin.

    `ask` is how answers are read: `pairs`, `conflicts`, `rows`, `labels`, `outliers` or `alarm`; `check` the check that should
    speak. `images`, `x` and `y` are what peers are given, `peers` which of them, and `peer_ask` what they are asked. `share` is
    that of the labels which are wrong.
    """

    defect: str
    base: str
    ask: str
    splits: Mapping[str, Any]
    truth: frozenset[Any] = frozenset()
    check: str = ""
    planted: bool = True
    images: Sequence[np.ndarray | bytes] | None = None
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    peers: tuple[str, ...] = ()
    peer_ask: str = ""
    share: float = 0.0


# ---- copies


def copies() -> Iterator[Case]:
    everything = (*PICTURES, *TABLES, "waves", *TEXTS)
    for name in everything:
        yield _copied("exact copies within a split", name, _same, "copies-within-split", across=False)
    for name in everything:
        yield _copied("exact copies across splits", name, _same)
    for title, change in CHANGES.items():
        for name in PICTURES:
            yield _copied(f"near-duplicates: {title}", name, change)
    for name in (*TABLES, "waves"):
        title = "near-duplicates: rows and series measured again, noise of 1 % of each deviation"
        yield _copied(title, name, _noisy(name))
    title = "near-duplicates: rows with the same number to predict, noise of 20 % of each deviation"
    yield _copied(title, "diabetes", _noisy("diabetes", 0.2))
    for share in (0.03, 0.1):
        for name in TEXTS:
            yield _copied(f"near-duplicates: texts with {share:.0%} of their words changed", name, _reworded(share))
    for name in PICTURES:
        yield _copied("exact copies behind flips and crops", name, _same, transform=augment)
    for name in (*PICTURES, "wine", "breast cancer", *TEXTS):
        yield _copied("conflicting labels on exact copies", name, _same, "copies-labelled-differently", relabel=True)


def _copied(
    defect: str,
    name: str,
    change: Change,
    check: str = "copies-across-splits",
    *,
    across: bool = True,
    relabel: bool = False,
    transform: Change | None = None,
) -> Case:
    """A case in which changed copies of training examples stand at the end of the test split, or else of training."""
    rows, labels, cut = parted(name)
    count = min(COPIED, len(rows) // 10)
    first = len(rows) if across else cut
    whole = [*rows[:first], *(change(r) for r in rows[:count]), *rows[first:]]
    theirs = (labels[:count] + 1) % (labels.max() + 1) if relabel else labels[:count]
    y = np.insert(labels, [first] * count, theirs)
    pictures = pictured(rows[0])
    tools = tuple(t for t in IMAGE_TOOLS if t != "fastdup" or (name == PICTURES[1] and not relabel))  # 20 s a set
    seen = whole if transform is None else _as_read(whole, transform)
    return Case(
        defect,
        name,
        "conflicts" if relabel else "pairs",
        train_and_test(whole, y, cut if across else cut + count, transform),
        frozenset((k, first + k) for k in range(count)),
        check,
        images=seen if pictures else None,
        x=as_features(seen),
        y=y,
        peers=tools if pictures else ("cleanlab",),
        peer_ask="pairs",
    )


def _as_read(rows: Sequence[Any], transform: Change) -> list[np.ndarray]:
    torch.manual_seed(0)
    seen = []
    for r in rows:
        x = torch.from_numpy(r.copy())
        turned = transform(x[None] if r.ndim == 2 else x.movedim(-1, 0))
        seen.append((turned[0] if r.ndim == 2 else turned.movedim(0, -1)).contiguous().numpy())
    return seen


def augment(x: torch.Tensor) -> torch.Tensor:
    """Flip at random, and crop at random after a border of an eighth of the side is added."""
    x = x.flip(-1) if torch.rand(()) < 0.5 else x
    side, border = x.shape[-1], x.shape[-1] // 8
    top, left = (int(v) for v in torch.randint(0, 2 * border + 1, (2,)))
    return torch.nn.functional.pad(x, (border,) * 4)[:, top : top + side, left : left + side]


def _same(row: Any) -> Any:
    return row if isinstance(row, str) else row.copy()


def _jpeg(a: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(a).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def _resized(a: np.ndarray, crop: int = 0) -> np.ndarray:
    side, image = len(a), Image.fromarray(a)
    small = image.crop((crop, crop, side - crop, side - crop)) if crop else image.resize((3 * side // 4,) * 2)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


CHANGES: dict[str, Change] = {
    "saved as JPEG, quality 60": _jpeg,
    "15 % brighter": lambda a: (a * 1.15).clip(0, 255).astype(np.uint8),
    "resized to 3/4 and back": _resized,
    "cropped by 2 pixels on each side": lambda a: _resized(a, 2),
    "mirrored": lambda a: a[:, ::-1].copy(),
}


def _noisy(name: str, share: float = 0.01) -> Change:
    rng, spread = np.random.default_rng(3), np.stack(base(name)[0]).std(0)
    return lambda row: (row + share * spread * rng.normal(size=row.shape)).astype(np.float32)


def _reworded(share: float) -> Change:
    rng = np.random.default_rng(4)

    def change(text: str) -> str:
        words = text.split()
        for i in rng.choice(len(words), max(1, round(share * len(words))), replace=False):
            words[i] = "".join(rng.choice(list("abcdefghij"), 6))
        return " ".join(words)

    return change


# ---- other defects of single examples


def unusable() -> Iterator[Case]:
    spoil: dict[str, Callable[[np.ndarray], bytes]] = {
        "unreadable": lambda a: b"no picture" * 20,
        "truncated": lambda a: (whole := as_png(a))[: len(whole) // 2],
        "constant": lambda a: as_png(np.full_like(a, 128)),
        "of another shape": lambda a: as_png(np.asarray(Image.fromarray(a).resize((40, 40)))),
    }
    for (kind, change), name in itertools.product(spoil.items(), PICTURES):
        rows, labels, cut = parted(name)
        bad = _drawn(5, len(rows), ODD)
        files = [change(r) if i in bad else as_png(r) for i, r in enumerate(rows)]
        tools = ("cleanvision", "imagededup", *(("fastdup",) if name == PICTURES[1] else ()))
        splits = train_and_test(files, labels, cut)
        given: dict[str, Any] = {"images": files, "peers": tools, "peer_ask": "rows"}
        yield Case(f"unusable examples: {kind}", name, "rows", splits, bad, "unusable-examples", **given)
    for name in (*PICTURES, "waves", "breast cancer"):
        rows, labels, cut = parted(name)
        rows = [r.astype(np.float32) / (255 if pictured(r) else 1) for r in rows]
        bad = _drawn(5, len(rows), ODD)
        for i in bad:
            rows[i].reshape(-1)[7] = np.nan
        splits = train_and_test(rows, labels, cut)
        yield Case("unusable examples: one NaN", name, "rows", splits, bad, "unusable-examples")


def _drawn(by: int | np.random.Generator, rows: int, count: int) -> frozenset[int]:
    """Rows drawn at random, by a seed or a generator."""
    return frozenset(np.random.default_rng(by).choice(rows, count, replace=False).tolist())


def mixed_ranges() -> Iterator[Case]:
    for name in (*PICTURES, "waves"):
        rows, labels, cut = parted(name)
        bad = _drawn(6, cut, ODD)
        times = 255 if pictured(rows[0]) else 32768
        rows = [r.astype(np.float32) * ((times if i in bad else 1) / (255 if pictured(r) else 1)) for i, r in enumerate(rows)]
        yield Case("mixed ranges of values", name, "rows", train_and_test(rows, labels, cut), bad, "mixed-ranges")


def sentinels() -> Iterator[Case]:
    rng = np.random.default_rng(7)
    given = {"diabetes": base("diabetes"), "Friedman's regression": sets.friedman(800, 0)}
    for name, (rows, target) in given.items():
        for code, share in itertools.product((-1.0, 999.0, 0.0), (0.02, 0.05)):
            cut, y = int(sets.TRAINED * len(rows)), target.astype(np.float32).copy()
            bad = _drawn(rng, cut, round(share * cut))
            y[list(bad)] = code
            splits = train_and_test(rows, y, cut)
            yield Case(f"sentinels among targets: {code:g} in {share:.0%}", name, "rows", splits, bad, "target-spikes")


def boxes() -> Iterator[Case]:
    for name in PICTURES:
        for kind in ("outside", "empty", "there twice", "one in ten as (x, y, width, height)", "all as (x, y, width, height)"):
            rng, (rows, labels, cut) = np.random.default_rng(8), parted(name)
            side, items = len(rows[0]), []
            count = len(rows) if kind.startswith("all") else len(rows) // 10 if kind.startswith("one in ten") else 2 * ODD
            bad = _drawn(rng, len(rows), count)
            for i, row in enumerate(rows):
                corner, size = rng.integers(0, side // 2, (3, 2)), rng.integers(4, side // 2, (3, 2))
                found = np.concatenate([corner, corner + size], 1).astype(np.float32)
                if i in bad:
                    found = _spoilt(found, kind)
                image = torch.tensor(row if row.ndim == 3 else row[..., None]).movedim(-1, 0).float() / 255
                kinds = torch.from_numpy((labels[i] + corner[:, 0]) % 10)
                items.append({"image": image, "boxes": torch.from_numpy(found), "labels": kinds})
            splits = {"train": Items(items[:cut]), "test": Items(items[cut:])}
            yield Case(f"boxes: {kind}", name, "rows", splits, bad, "faulty-boxes")


def _spoilt(found: np.ndarray, kind: str) -> np.ndarray:
    match kind:
        case "outside":  # as of a crop that the boxes were not told of
            return found + 64
        case "empty":
            found[0, 2] = found[0, 0]
        case "there twice":
            found[1] = found[0]
        case _:
            found[:, 2:] -= found[:, :2]
    return found


def outliers() -> Iterator[Case]:
    rng = np.random.default_rng(9)
    kinds: dict[str, Change] = {
        "noise": lambda a: rng.integers(0, 256, a.shape, dtype=np.uint8),
        "negatives": lambda a: 255 - a,
        "pixels shuffled": lambda a: rng.permutation(a.reshape(-1, *a.shape[2:])).reshape(a.shape),
    }
    for name, (kind, change) in itertools.product(PICTURES, kinds.items()):
        rows, labels, cut = parted(name)
        bad = _drawn(rng, cut, FAR)
        rows = [change(r) if i in bad else r for i, r in enumerate(rows)]
        yield _outlying(f"outliers: {kind} among pictures", name, rows, labels, cut, bad)
    for name in TABLES[:2]:
        for kind in ("one number five times as far from the median", "numbers drawn from the columns one by one"):
            rows, labels, cut = parted(name)
            table = np.stack(rows)
            far = rng.choice(cut, FAR, replace=False)
            middle, columns = np.median(table, 0), rng.integers(0, table.shape[1], FAR)
            if kind.startswith("one number"):
                reach = np.abs(table - middle).max(0)
                table[far, columns] = middle[columns] + 5 * reach[columns]
            else:
                table[far] = np.stack([rng.choice(c, FAR) for c in table.T], 1)
            yield _outlying(f"outliers: {kind}", name, list(table), labels, cut, frozenset(far.tolist()))


def _outlying(defect: str, name: str, rows: list[Any], labels: np.ndarray, cut: int, bad: frozenset[int]) -> Case:
    images = rows if pictured(rows[0]) else None
    tools = ("cleanlab", *(("cleanvision",) if images else ()), *(("fastdup",) if name == PICTURES[1] else ()))
    given: dict[str, Any] = {"images": images, "x": as_features(rows), "y": labels, "peers": tools, "peer_ask": "outliers"}
    return Case(defect, name, "outliers", train_and_test(rows, labels, cut), bad, **given)


def label_noise() -> Iterator[Case]:
    names, shares = ("digits, 8 x 8", "breast cancer", "wine", "iris"), (0.02, 0.05, 0.1, 0.2)
    for name, share, flip, seed in itertools.product(names, shares, ("symmetric", "pair"), SEEDS):
        rows, labels = base(name)
        rng, kinds, y = np.random.default_rng([seed, int(1000 * share)]), labels.max() + 1, labels.copy()
        bad = rng.choice(len(y), round(share * len(y)), replace=False)
        y[bad] = (y[bad] + (1 if flip == "pair" else rng.integers(1, kinds, len(bad)))) % kinds
        stack = np.stack(rows)
        shaped = torch.from_numpy(stack[:, None] if stack.ndim == 3 else stack)
        yield Case(
            f"label noise, {share:.0%}, {flip}",
            name,
            "labels",
            {"train": TensorDataset(shaped, torch.from_numpy(y))},
            frozenset(bad.tolist()),
            "suspect-labels",
            x=stack.reshape(len(stack), -1),
            y=y,
            peers=("cleanlab",),
            peer_ask="labels",
            share=len(bad) / len(y),
        )


# ---- defects of a whole set, each with a healthy twin


def _twins(defect: str, name: str, check: str, make: Make, **more: Any) -> Iterator[Case]:
    for seed, planted in itertools.product(SEEDS, (True, False)):
        made = dict(make(seed, planted))
        seen = made.pop("seen", None)
        y = made.pop("y", None)
        given = {} if seen is None else {"x": as_features(seen), "images": seen if pictured(seen[0]) else None, "y": y}
        yield Case(defect, name, "alarm", made, check=check, planted=planted, **given, **more)


def shift() -> Iterator[Case]:
    asked: dict[str, Any] = {"peers": ("cleanlab",), "peer_ask": "order"}
    for name in TABLES:
        spread = np.stack(base(name)[0]).std(0)
        moved = _shifted(name, functools.partial(np.add, 0.2 * spread))
        yield from _twins("shift: test features moved by 0.2 deviations", name, "split-shift", moved, **asked)
        scaled = _shifted(name, lambda r: r * 1.3)
        yield from _twins("shift: test features scaled by 1.3", name, "split-shift", scaled, **asked)
    for name in PICTURES:
        darker = _shifted(name, lambda a: (a * 0.85).astype(np.uint8))
        yield from _twins("shift: test pictures 15 % darker", name, "split-shift", darker, **asked)
        blurred = _shifted(name, lambda a: np.asarray(Image.fromarray(a).filter(ImageFilter.GaussianBlur(len(a) / 48))))
        yield from _twins("shift: test pictures blurred, as of another scanner", name, "split-shift", blurred, **asked)


def _shifted(name: str, change: Change) -> Make:
    def make(seed: int, planted: bool) -> Mapping[str, Any]:
        rows, labels, cut = parted(name, seed)
        rows = [change(r) if planted and i >= cut else r for i, r in enumerate(rows)]
        return {**train_and_test(rows, labels, cut), "seen": rows}

    return make


def shortcuts() -> Iterator[Case]:
    for name, (kind, change) in itertools.product(PICTURES, {"size": _wider, "border": _framed}.items()):
        make = functools.partial(_told_by, name, change)
        title = f"metadata shortcut: the {kind} tells the class in 95 %"
        yield from _twins(title, name, "told-by-metadata", make, peers=("cleanlab",), peer_ask="shortcut")


def _told_by(name: str, change: Change, seed: int, planted: bool) -> Mapping[str, Any]:
    rows, labels, cut = parted(name, seed)
    rng, upper = np.random.default_rng(seed), labels >= 5
    told = np.where(rng.random(len(rows)) < 0.95, upper, ~upper) if planted else rng.random(len(rows)) < 0.5
    rows = [change(r) if t else r for r, t in zip(rows, told, strict=True)]
    return {**train_and_test(rows, upper, cut), "seen": rows, "y": upper.astype(int)}


def _framed(a: np.ndarray) -> np.ndarray:
    made = a.copy()
    for edge in (made[:2], made[-2:], made[:, :2], made[:, -2:]):
        edge[:] = 200
    return made


def _wider(a: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(a).resize((len(a) * 5 // 4, len(a)), Image.Resampling.BICUBIC))


def target_leaks() -> Iterator[Case]:
    for name in TABLES:
        make = functools.partial(_leaking, name)
        yield from _twins("target leak: a feature is the target with 5 % noise", name, "feature-tells-target", make)


def _leaking(name: str, seed: int, planted: bool) -> Mapping[str, Any]:
    rows, labels, cut = parted(name, seed)
    rng = np.random.default_rng(seed)
    copy = labels / labels.std() if planted else rng.normal(size=len(rows))
    column = (copy + 0.05 * rng.normal(size=len(rows))).astype(np.float32)
    return train_and_test([np.append(r, c) for r, c in zip(rows, column, strict=True)], labels, cut)


def leaks() -> Iterator[Case]:
    asked: dict[str, Any] = {"peers": ("cleanlab",), "peer_ask": "order"}
    for name, series in {"autoregressive series, 0.97 per step": sets.walk, "a film of digits": sets.film}.items():
        make = functools.partial(_in_time, series)
        yield from _twins("time leak: a series split at random", name, "time-leak", make, **asked)
    for name in ("patients, 12 features", "writers, 32 x 32 grey"):
        make = functools.partial(_grouped, name)
        yield from _twins("group leak: rows of one person on both sides", name, "group-leak", make)


def _in_time(series: Callable[[np.random.Generator], sets.Labelled], seed: int, planted: bool) -> Mapping[str, Any]:
    rng = np.random.default_rng(seed)
    rows, labels = series(rng)
    whole, order = sets.as_dataset(rows, labels), np.arange(len(rows))
    order = rng.permutation(order) if planted else order
    cut = int(0.75 * len(rows))
    parts = {"train": order[:cut], "test": order[cut:]}
    return {**{k: Subset(whole, np.sort(part).tolist()) for k, part in parts.items()}, "seen": rows}


def _grouped(name: str, seed: int, planted: bool) -> Mapping[str, Any]:
    rng, person = np.random.default_rng(seed), np.repeat(np.arange(60), 15)
    of_patients = name.startswith("patients")
    inputs, y = sets.patients(rng, person) if of_patients else sets.writers(rng, person, seed)
    part = "features" if of_patients else "image"
    items = [{part: v, "label": int(t), "person_id": int(p)} for v, t, p in zip(inputs, y, person, strict=True)]
    held = rng.random(len(person)) < 0.25 if planted else np.isin(person, rng.choice(60, 15, replace=False))
    return {k: Items([items[i] for i in np.flatnonzero(side)]) for k, side in {"train": ~held, "test": held}.items()}


def classes() -> Iterator[Case]:
    for name in (PICTURES[0], "wine"):
        by_class, rare = functools.partial(_by_class, name), functools.partial(_rare, name)
        yield from _twins("missing classes: split without shuffling", name, "class-missing", by_class)
        yield from _twins("class imbalance: one class with a twentieth of its examples", name, "class-imbalance", rare)


def _by_class(name: str, seed: int, planted: bool) -> Mapping[str, Any]:
    rows, labels, cut = parted(name, seed)
    order = np.argsort(labels, kind="stable") if planted else np.arange(len(rows))
    return train_and_test([rows[i] for i in order], labels[order], cut)


def _rare(name: str, seed: int, planted: bool) -> Mapping[str, Any]:
    rows, labels, _ = parted(name, seed)
    rng = np.random.default_rng(seed)
    kept = np.flatnonzero((labels != 1) | (rng.random(len(rows)) < 0.05) | (not planted))
    return train_and_test([rows[i] for i in kept], labels[kept], int(sets.TRAINED * len(kept)))


DEFECTS: tuple[Callable[[], Iterator[Case]], ...] = (
    copies,
    unusable,
    label_noise,
    outliers,
    shift,
    shortcuts,
    target_leaks,
    leaks,
    boxes,
    mixed_ranges,
    sentinels,
    classes,
)
"""In the order of the tables."""


# ---- nothing planted


def clean(seeds: int = 20) -> Iterator[Case]:
    """Sets as they are, split at random under each seed, and generated ones."""
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 1])
        for name, (rows, labels) in sets.clean_sets(seed, rng).items():
            order = rng.permutation(len(rows))
            splits = train_and_test([rows[i] for i in order], np.asarray(labels)[order], int(sets.TRAINED * len(rows)))
            yield Case("clean", name, "alarm", splits, planted=False)
