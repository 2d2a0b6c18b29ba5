"""What the data stage finds of defects at known places, next to cleanlab, CleanVision, imagededup and fastdup on the same data.

    python benchmarks/data_quality.py                           # trainrecipe alone, minutes; writes data_quality.md
    python benchmarks/data_quality.py --peers peers/bin/python  # and the peers, as data_peers.py says how to install them
    python benchmarks/data_quality.py --only "exact copies"     # these defects, printed only
    python benchmarks/data_quality.py --work FOLDER             # keeps cases and answers: what is there is not asked again

Base sets are scikit-learn's digits (enlarged), wine, breast cancer, diabetes and iris, generated series and tables, and the
docstrings of installed packages. Each defect is planted in two of them or more, at places drawn with a seed. trainrecipe is
asked as `recipe data` asks it: `scan`, then all checks of a scan; its rows are those that the expression of a finding (`where`)
selects in the table. Defects of a whole data set are planted under several seeds, each beside a twin without the defect.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import inspect
import io
import itertools
import json
import os
import pkgutil
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image, ImageFilter
from sklearn import datasets
from torch.utils.data import Dataset, Subset, TensorDataset

from trainrecipe.check import built_in
from trainrecipe.dataset.copies import copies
from trainrecipe.dataset.label_noise import conflicts
from trainrecipe.dataset.neighbours import nearest
from trainrecipe.dataset.tails import ranked
from trainrecipe.exam import examine
from trainrecipe.finding import Finding, Severity
from trainrecipe.scan.scan import scan
from trainrecipe.subjects.scan import Scan
from trainrecipe.table.database import Database

HERE = Path(__file__).resolve().parent
CHECKS = [c for c in built_in() if c.subject == "Scan"]
COPIED, ODD = 40, 12
"""Copies, and broken examples, that are planted in a set."""
FAR = 6
"""Outliers that are planted: fewer than the ten neighbours that tools look at, so that they do not vouch for each other."""
SEEDS = range(3)
PICTURES = ("digits, 32 x 32 grey", "digits, 64 x 64 colour")
TABLES = ("wine", "breast cancer", "diabetes")
IMAGE_TOOLS = ("cleanvision", "imagededup", "fastdup", "cleanlab")
Answer = dict[str, Any]


@dataclasses.dataclass
class Case:
    """A data set. `truth` are planted rows, or pairs of rows (numbered over all splits); `planted` is False for a healthy twin.

    `ask` is how answers are read: `pairs`, `conflicts`, `rows`, `labels`, `outliers` or `alarm`; `check` the check that should
    speak. `images`, `x` and `y` are what peers are given, `peers` which of them, and `peer_ask` what they are asked.
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


# ---- base sets


@functools.cache
def base(name: str) -> tuple[list[Any], np.ndarray]:
    """Examples and labels of a base set."""
    match name:
        case "digits, 32 x 32 grey":
            digits = datasets.load_digits()
            return [_enlarged(d, 32) for d in digits.images], digits.target
        case "digits, 64 x 64 colour":
            digits, rng = datasets.load_digits(), np.random.default_rng(1)
            return [_coloured(d, rng) for d in digits.images[:900]], digits.target[:900]
        case "waves":
            return _waves()
        case "docstrings of torch" | "docstrings of SciPy, NumPy and scikit-learn":
            return _docstrings(("torch",) if name.endswith("torch") else ("scipy", "numpy", "sklearn"))
    table = getattr(datasets, f"load_{name.replace(' ', '_')}")()
    return list(table.data.astype(np.float32)), table.target


def _enlarged(digit: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray((digit * 15.9).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _coloured(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turned = Image.fromarray(_enlarged(digit, 64)).rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR)
    ink = np.asarray(turned, float)[..., None] / 255
    paper, pen = rng.uniform(0, 110, 3), rng.uniform(150, 255, 3)
    return (paper + ink * (pen - paper) + rng.normal(0, 4, ink.shape)).clip(0, 255).astype(np.uint8)


def _waves(n: int = 900, length: int = 128) -> tuple[list[np.ndarray], np.ndarray]:
    rng, t = np.random.default_rng(2), np.linspace(0, 1, length)
    label = rng.integers(0, 3, n)
    made = []
    for kind in label:
        parts = [rng.normal() * np.sin(2 * np.pi * (rng.uniform(2, 5) + 4 * kind) * t + rng.uniform(0, 6.28)) for _ in range(4)]
        made.append((sum(parts) + 0.2 * rng.normal(size=length)).astype(np.float32)[None])
    return made, label


def _docstrings(packages: Sequence[str], most: int = 1500) -> tuple[list[str], np.ndarray]:
    """Docstrings of at least 25 words, none of which shares three in ten of its 3-word shingles with another one."""
    found: dict[str, int] = {}
    for name in packages:
        package = importlib.import_module(name)
        for module in [name, *(f"{name}.{m.name}" for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    members = vars(importlib.import_module(module))
                except Exception:
                    continue
            for member in members.values():
                text = inspect.getdoc(member) if callable(member) else None
                if text and len(text.split()) >= 25:
                    found.setdefault(text, "Parameters" in text or "Args" in text)
    kept, seen = [], defaultdict(list)
    sizes: list[int] = []
    for text in found:
        words = re.findall(r"\w+", text.lower())
        shingles = set(zip(words, words[1:], words[2:], strict=False))
        shared = Counter(k for s in shingles for k in seen[s])
        if any(n / (len(shingles) + sizes[k] - n) >= 0.3 for k, n in shared.items()) or len(kept) == most:
            continue
        for s in shingles:
            seen[s].append(len(kept))
        kept.append(text)
        sizes.append(len(shingles))
    return kept, np.array([found[t] for t in kept], int)


class Pictures(Dataset[Any]):
    """Images in memory, or encoded, as tensors (channels, height, width) from 0 to 1, through a transform."""

    def __init__(self, images: Sequence[Any], labels: Sequence[Any], transform: Callable[[Any], Any] | None = None) -> None:
        self.images, self.labels, self.transform = list(images), list(labels), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, int]:
        image = self.images[i]
        pixels = np.asarray(Image.open(io.BytesIO(image))) if isinstance(image, bytes) else image
        if pixels.dtype == np.uint8:
            pixels = pixels.astype(np.float32) / 255
        x = torch.from_numpy(np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)))
        return (self.transform(x) if self.transform is not None else x), int(self.labels[i])


class Items(Dataset[Any]):
    """Examples from a list."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = list(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


def pictured(row: Any) -> bool:
    """Whether an example is an image; series are (1, length), rows of features (width,)."""
    return not isinstance(row, str) and row.ndim > 1 and len(row) > 1


def as_dataset(rows: Sequence[Any], labels: Sequence[Any], transform: Callable[[Any], Any] | None = None) -> Dataset[Any]:
    """Rows of any base set as a program would give them."""
    first = rows[0]
    if isinstance(first, str):
        return Items([{"text": t, "label": int(y)} for t, y in zip(rows, labels, strict=True)])
    if pictured(first):
        return Pictures(rows, labels, transform)
    y = np.asarray(labels)
    return TensorDataset(torch.from_numpy(np.stack(rows)), torch.from_numpy(y.astype(np.float32) if y.dtype.kind == "f" else y))


def as_features(rows: Sequence[Any]) -> np.ndarray:
    """What peers without a model of their own are given: pixels averaged to 8 x 8, TF-IDF in 64 components, or the numbers."""
    if isinstance(rows[0], str):
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TruncatedSVD(64, random_state=0).fit_transform(TfidfVectorizer().fit_transform(rows))
    if not pictured(rows[0]):
        return np.stack(rows).reshape(len(rows), -1)
    return np.stack([np.asarray(Image.fromarray(r).resize((8, 8), Image.Resampling.BOX), np.float32).reshape(-1) for r in rows])


# ---- defects of single examples


def _parted(name: str, seed: int = 0) -> tuple[list[Any], np.ndarray, int]:
    """A base set in random order, and how many of its rows are trained on."""
    rows, labels = base(name)
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order], labels[order], int(0.72 * len(rows))


def copied(defect: str, name: str, change: Callable[[Any], Any], check: str, across: bool, **more: Any) -> Case:
    """A case in which changed copies of training examples stand at the end of training, or of the test split."""
    rows, labels, cut = _parted(name)
    count = min(COPIED, len(rows) // 10)
    copies_of = [change(r) for r in rows[:count]]
    wrong = more.pop("relabel", False)
    theirs = (labels[:count] + 1) % (labels.max() + 1) if wrong else labels[:count]
    first = len(rows) if across else cut
    whole = [*rows, *copies_of] if across else [*rows[:cut], *copies_of, *rows[cut:]]
    y = np.insert(labels, [first] * count, theirs)
    end = cut if across else cut + count
    transform = more.pop("transform", None)
    made = {"train": as_dataset(whole[:end], y[:end], transform), "test": as_dataset(whole[end:], y[end:], transform)}
    pictures = pictured(rows[0])
    tools = tuple(t for t in IMAGE_TOOLS if t != "fastdup" or (name == PICTURES[1] and not wrong))  # 20 s a set
    seen = _as_read(whole, transform) if transform is not None else whole
    return Case(
        defect,
        name,
        more.get("ask", "pairs"),
        made,
        frozenset((k, first + k) for k in range(count)),
        check,
        images=seen if pictures else None,
        x=as_features(seen),
        y=y,
        peers=more.get("peers", tools if pictures else ("cleanlab",)),
        peer_ask="pairs",
    )


def _as_read(rows: Sequence[Any], transform: Callable[[Any], Any]) -> list[np.ndarray]:
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


def _jpeg(a: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(a).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer))


def _resized(a: np.ndarray, crop: int = 0) -> np.ndarray:
    side, image = len(a), Image.fromarray(a)
    small = image.crop((crop, crop, side - crop, side - crop)) if crop else image.resize((3 * side // 4,) * 2)
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "saved as JPEG, quality 60": _jpeg,
    "15 % brighter": lambda a: (a * 1.15).clip(0, 255).astype(np.uint8),
    "resized to 3/4 and back": _resized,
    "cropped by 2 pixels on each side": lambda a: _resized(a, 2),
    "mirrored": lambda a: a[:, ::-1].copy(),
}


def _noisy(name: str) -> Callable[[np.ndarray], np.ndarray]:
    rng, spread = np.random.default_rng(3), np.stack(base(name)[0]).std(0)
    return lambda row: (row + 0.01 * spread * rng.normal(size=row.shape)).astype(np.float32)


def _reworded(share: float) -> Callable[[str], str]:
    rng = np.random.default_rng(4)

    def change(text: str) -> str:
        words = text.split()
        for i in rng.choice(len(words), max(1, round(share * len(words))), replace=False):
            words[i] = "".join(rng.choice(list("abcdefghij"), 6))
        return " ".join(words)

    return change


TEXTS = ("docstrings of torch", "docstrings of SciPy, NumPy and scikit-learn")


def all_copies() -> Iterator[Case]:
    def same(r: Any) -> Any:
        return r if isinstance(r, str) else r.copy()

    everything = (*PICTURES, *TABLES, "waves", *TEXTS)
    for name in everything:
        yield copied("exact copies within a split", name, same, "copies-within-split", False)
    for name in everything:
        yield copied("exact copies across splits", name, same, "copies-across-splits", True)
    for title, change in CHANGES.items():
        for name in PICTURES:
            yield copied(f"near-duplicates: {title}", name, change, "copies-across-splits", True)
    for name in (*TABLES, "waves"):
        title = "near-duplicates: rows and series measured again, noise of 1 % of each deviation"
        yield copied(title, name, _noisy(name), "copies-across-splits", True)
    for share in (0.03, 0.1):
        for name in TEXTS:
            title = f"near-duplicates: texts with {share:.0%} of their words changed"
            yield copied(title, name, _reworded(share), "copies-across-splits", True)
    for name in PICTURES:
        yield copied("exact copies behind flips and crops", name, same, "copies-across-splits", True, transform=augment)
    for name in (*PICTURES, "wine", "breast cancer", *TEXTS):
        check = "copies-labelled-differently"
        yield copied("conflicting labels on exact copies", name, same, check, True, relabel=True, ask="conflicts")


def _png(a: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(a).save(buffer, "PNG")
    return buffer.getvalue()


def unusable() -> Iterator[Case]:
    spoil: dict[str, Callable[[np.ndarray], bytes]] = {
        "unreadable": lambda a: b"no picture" * 20,
        "truncated": lambda a: (whole := _png(a))[: len(whole) // 2],
        "constant": lambda a: _png(np.full_like(a, 128)),
        "of another shape": lambda a: _png(np.asarray(Image.fromarray(a).resize((40, 40)))),
    }
    for kind, change in spoil.items():
        for name in PICTURES:
            rows, labels, cut = _parted(name)
            bad = frozenset(np.random.default_rng(5).choice(len(rows), ODD, replace=False).tolist())
            files = [change(r) if i in bad else _png(r) for i, r in enumerate(rows)]
            splits = {"train": Pictures(files[:cut], labels[:cut]), "test": Pictures(files[cut:], labels[cut:])}
            yield Case(
                f"unusable examples: {kind}",
                name,
                "rows",
                splits,
                bad,
                "unusable-examples",
                images=files,
                peers=("cleanvision", "imagededup", *(("fastdup",) if name == PICTURES[1] else ())),
                peer_ask="rows",
            )
    for name in (*PICTURES, "waves", "breast cancer"):
        rows, labels, cut = _parted(name)
        rows = [r.astype(np.float32) / (255 if pictured(r) else 1) for r in rows]
        bad = frozenset(np.random.default_rng(5).choice(len(rows), ODD, replace=False).tolist())
        for i in bad:
            rows[i].reshape(-1)[7] = np.nan
        splits = {"train": as_dataset(rows[:cut], labels[:cut]), "test": as_dataset(rows[cut:], labels[cut:])}
        yield Case("unusable examples: one NaN", name, "rows", splits, bad, "unusable-examples")


def mixed_ranges() -> Iterator[Case]:
    for name in (*PICTURES, "waves"):
        rows, labels, cut = _parted(name)
        bad = frozenset(np.random.default_rng(6).choice(cut, ODD, replace=False).tolist())
        times = 255 if pictured(rows[0]) else 32768
        rows = [r.astype(np.float32) * ((times if i in bad else 1) / (255 if pictured(r) else 1)) for i, r in enumerate(rows)]
        splits = {"train": as_dataset(rows[:cut], labels[:cut]), "test": as_dataset(rows[cut:], labels[cut:])}
        yield Case("mixed ranges of values", name, "rows", splits, bad, "mixed-ranges")


def sentinels() -> Iterator[Case]:
    rng = np.random.default_rng(7)
    regression = datasets.make_friedman1(800, noise=1.0, random_state=0)
    given = {"diabetes": base("diabetes"), "Friedman's regression": (list(regression[0].astype(np.float32)), regression[1])}
    for name, (rows, target) in given.items():
        for code, share in itertools.product((-1.0, 999.0, 0.0), (0.02, 0.05)):
            cut, y = int(0.72 * len(rows)), target.astype(np.float32).copy()
            bad = frozenset(rng.choice(cut, round(share * cut), replace=False).tolist())
            y[list(bad)] = code
            splits = {"train": as_dataset(rows[:cut], y[:cut]), "test": as_dataset(rows[cut:], y[cut:])}
            yield Case(f"sentinels among targets: {code:g} in {share:.0%}", name, "rows", splits, bad, "target-spikes")


def boxes() -> Iterator[Case]:
    for name in PICTURES:
        for kind in ("outside", "empty", "there twice", "one in ten as (x, y, width, height)", "all as (x, y, width, height)"):
            rng, (rows, labels, cut) = np.random.default_rng(8), _parted(name)
            side, items = len(rows[0]), []
            count = len(rows) if kind.startswith("all") else len(rows) // 10 if kind.startswith("one in ten") else 2 * ODD
            bad = frozenset(rng.choice(len(rows), count, replace=False).tolist())
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
    for name in PICTURES:
        kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "noise": lambda a: rng.integers(0, 256, a.shape, dtype=np.uint8),
            "negatives": lambda a: 255 - a,
            "pixels shuffled": lambda a: rng.permutation(a.reshape(-1, *a.shape[2:])).reshape(a.shape),
        }
        for kind, change in kinds.items():
            rows, labels, cut = _parted(name)
            bad = frozenset(rng.choice(cut, FAR, replace=False).tolist())
            rows = [change(r) if i in bad else r for i, r in enumerate(rows)]
            yield _outlying(f"outliers: {kind} among pictures", name, rows, labels, cut, bad)
    for name in TABLES[:2]:
        for kind in ("one number five times as far from the median", "numbers drawn from the columns one by one"):
            rows, labels, cut = _parted(name)
            table = np.stack(rows)
            bad = rng.choice(cut, FAR, replace=False)
            middle, columns = np.median(table, 0), rng.integers(0, table.shape[1], FAR)
            if kind[0] == "o":
                far = np.abs(table - middle).max(0)
                table[bad, columns] = middle[columns] + 5 * far[columns]
            else:
                table[bad] = np.stack([rng.choice(c, FAR) for c in table.T], 1)
            yield _outlying(f"outliers: {kind}", name, list(table), labels, cut, frozenset(bad.tolist()))


def _outlying(defect: str, name: str, rows: list[Any], labels: np.ndarray, cut: int, bad: frozenset[int]) -> Case:
    splits = {"train": as_dataset(rows[:cut], labels[:cut]), "test": as_dataset(rows[cut:], labels[cut:])}
    images = rows if pictured(rows[0]) else None
    tools = ("cleanlab", *(("cleanvision",) if images else ()), *(("fastdup",) if name == PICTURES[1] else ()))
    return Case(
        defect, name, "outliers", splits, bad, images=images, x=as_features(rows), y=labels, peers=tools, peer_ask="outliers"
    )


def label_noise() -> Iterator[Case]:
    for name in ("digits, 8 x 8", "breast cancer", "wine", "iris"):
        if name.startswith("digits"):
            digits = datasets.load_digits()
            rows, labels = list(digits.images.astype(np.float32) / 16), digits.target
        else:
            rows, labels = base(name)
        for share in (0.02, 0.05, 0.1, 0.2):
            for flip in ("symmetric", "pair"):
                for seed in range(3):
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


def _twins(defect: str, name: str, check: str, make: Callable[[int, bool], Mapping[str, Any]], **more: Any) -> Iterator[Case]:
    for seed in SEEDS:
        for planted in (True, False):
            made = dict(make(seed, planted))
            seen = made.pop("seen", None)
            y = made.pop("y", None)
            given = {} if seen is None else {"x": as_features(seen), "images": seen if pictured(seen[0]) else None, "y": y}
            yield Case(defect, name, "alarm", made, check=check, planted=planted, **given, **more)


def _shifted(name: str, change: Callable[[Any], Any]) -> Callable[[int, bool], Mapping[str, Any]]:
    def make(seed: int, planted: bool) -> Mapping[str, Any]:
        rows, labels, cut = _parted(name, seed)
        rows = [change(r) if planted and i >= cut else r for i, r in enumerate(rows)]
        return {"train": as_dataset(rows[:cut], labels[:cut]), "test": as_dataset(rows[cut:], labels[cut:]), "seen": rows}

    return make


def shift() -> Iterator[Case]:
    asked: dict[str, Any] = {"peers": ("cleanlab",), "peer_ask": "order"}
    for name in TABLES:
        spread = np.stack(base(name)[0]).std(0)
        kinds: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "moved by 0.2 deviations": lambda r, s=spread: r + 0.2 * s,
            "scaled by 1.3": lambda r: r * 1.3,
        }
        for kind, change in kinds.items():
            yield from _twins(f"shift: test features {kind}", name, "split-shift", _shifted(name, change), **asked)
    for name in PICTURES:
        darker = _shifted(name, lambda a: (a * 0.85).astype(np.uint8))
        yield from _twins("shift: test pictures 15 % darker", name, "split-shift", darker, **asked)
        blurred = _shifted(name, lambda a: np.asarray(Image.fromarray(a).filter(ImageFilter.GaussianBlur(len(a) / 48))))
        yield from _twins("shift: test pictures blurred, as of another scanner", name, "split-shift", blurred, **asked)


def shortcuts() -> Iterator[Case]:
    for name in PICTURES:

        def make(seed: int, planted: bool, name: str = name, kind: str = "") -> Mapping[str, Any]:
            rows, labels, cut = _parted(name, seed)
            rng = np.random.default_rng(seed)
            told = np.where(rng.random(len(rows)) < 0.95, labels >= 5, labels < 5) if planted else rng.random(len(rows)) < 0.5
            changed = [_framed(r) if kind == "border" else _wider(r) for r in rows]
            rows = [c if t else r for c, r, t in zip(changed, rows, told, strict=True)]
            made = {"train": as_dataset(rows[:cut], labels[:cut] >= 5), "test": as_dataset(rows[cut:], labels[cut:] >= 5)}
            return {**made, "seen": rows, "y": (labels >= 5).astype(int)}

        for kind in ("size", "border"):
            again = functools.partial(make, kind=kind)
            title = f"metadata shortcut: the {kind} tells the class in 95 %"
            yield from _twins(title, name, "told-by-metadata", again, peers=("cleanlab",), peer_ask="shortcut")


def _framed(a: np.ndarray) -> np.ndarray:
    made = a.copy()
    for edge in (made[:2], made[-2:], made[:, :2], made[:, -2:]):
        edge[:] = 200
    return made


def _wider(a: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(a).resize((len(a) * 5 // 4, len(a)), Image.Resampling.BICUBIC))


def target_leaks() -> Iterator[Case]:
    for name in TABLES:

        def make(seed: int, planted: bool, name: str = name) -> Mapping[str, Any]:
            rows, labels, cut = _parted(name, seed)
            rng = np.random.default_rng(seed)
            copy = labels / labels.std() if planted else rng.normal(size=len(rows))
            column = (copy + 0.05 * rng.normal(size=len(rows))).astype(np.float32)
            rows = [np.append(r, c) for r, c in zip(rows, column, strict=True)]
            return {"train": as_dataset(rows[:cut], labels[:cut]), "test": as_dataset(rows[cut:], labels[cut:])}

        yield from _twins("target leak: a feature is the target with 5 % noise", name, "feature-tells-target", make)


def _in_time(make: Callable[[np.random.Generator], tuple[list[Any], np.ndarray]]) -> Callable[[int, bool], Mapping[str, Any]]:
    def split(seed: int, planted: bool) -> Mapping[str, Any]:
        rng = np.random.default_rng(seed)
        rows, labels = make(rng)
        whole, order = as_dataset(rows, labels), np.arange(len(rows))
        order = rng.permutation(order) if planted else order
        cut = int(0.75 * len(rows))
        return {
            "train": Subset(whole, np.sort(order[:cut]).tolist()),
            "test": Subset(whole, np.sort(order[cut:]).tolist()),
            "seen": rows,
        }

    return split


def _walk(rng: np.random.Generator, keep: float = 0.97) -> tuple[list[np.ndarray], np.ndarray]:
    x = rng.normal(size=(800, 6))
    for i in range(1, len(x)):
        x[i] = keep * x[i - 1] + (1 - keep**2) ** 0.5 * x[i]
    return list(x.astype(np.float32)), (x[:, 0] + 0.5 * rng.normal(size=len(x)) > 0).astype(int)


def _film(rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Digits that turn into one another over 12 frames."""
    digits = base(PICTURES[0])[0]
    keys = [digits[i].astype(float) for i in rng.choice(len(digits), 71)]
    frames = [keys[i // 12] * (1 - i % 12 / 12) + keys[i // 12 + 1] * (i % 12 / 12) for i in range(840)]
    return [(f + rng.normal(0, 6, f.shape)).clip(0, 255).astype(np.uint8) for f in frames], rng.integers(0, 2, 840)


def leaks() -> Iterator[Case]:
    asked: dict[str, Any] = {"peers": ("cleanlab",), "peer_ask": "order"}
    for name, make in {"autoregressive series, 0.97 per step": _walk, "a film of digits": _film}.items():
        yield from _twins("time leak: a series split at random", name, "time-leak", _in_time(make), **asked)
    for name in ("patients, 12 features", "writers, 32 x 32 grey"):
        yield from _twins("group leak: rows of one person on both sides", name, "group-leak", _grouped(name))


def _grouped(name: str) -> Callable[[int, bool], Mapping[str, Any]]:
    def make(seed: int, planted: bool) -> Mapping[str, Any]:
        rng = np.random.default_rng(seed)
        person = np.repeat(np.arange(60), 15)
        if name.startswith("patients"):
            x = rng.normal(size=(60, 12))[person] + 0.7 * rng.normal(size=(900, 12))
            y, inputs = (x[:, 0] > 0).astype(int), list(torch.from_numpy(x.astype(np.float32)))
        else:  # each with paper of their own
            rows, y, _ = _parted(PICTURES[0], seed)
            small = rng.integers(0, 200, (60, 4, 4), dtype=np.uint8)
            paper = [np.asarray(Image.fromarray(p).resize((32, 32))) for p in small]
            pages = [np.maximum(rows[i], paper[p]) for i, p in enumerate(person)]
            inputs = [torch.from_numpy(page[None].astype(np.float32) / 255) for page in pages]
        part = "image" if inputs[0].ndim == 3 else "features"
        items = [{part: v, "label": int(t), "person_id": int(p)} for v, t, p in zip(inputs, y, person, strict=False)]
        held = rng.random(900) < 0.25 if planted else np.isin(person, rng.choice(60, 15, replace=False))
        sides = {"train": ~held, "test": held}
        return {k: Items([items[i] for i in np.flatnonzero(side)]) for k, side in sides.items()}

    return make


def classes() -> Iterator[Case]:
    for name in (PICTURES[0], "wine"):

        def sorted_by_class(seed: int, planted: bool, name: str = name) -> Mapping[str, Any]:
            rows, labels, cut = _parted(name, seed)
            order = np.argsort(labels, kind="stable") if planted else np.arange(len(rows))
            train, test = order[:cut], order[cut:]
            parts = {"train": train, "test": test}
            return {k: as_dataset([rows[i] for i in part], labels[part]) for k, part in parts.items()}

        def rare(seed: int, planted: bool, name: str = name) -> Mapping[str, Any]:
            rows, labels, _ = _parted(name, seed)
            rng = np.random.default_rng(seed)
            kept = np.flatnonzero((labels != 1) | (rng.random(len(rows)) < 0.05) | (not planted))
            cut = int(0.72 * len(kept))
            parts = {"train": kept[:cut], "test": kept[cut:]}
            return {k: as_dataset([rows[i] for i in part], labels[part]) for k, part in parts.items()}

        yield from _twins("missing classes: split without shuffling", name, "class-missing", sorted_by_class)
        yield from _twins("class imbalance: one class with a twentieth of its examples", name, "class-imbalance", rare)


DEFECTS = (
    all_copies,
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


# ---- clean data


def clean(seeds: int = 20) -> Iterator[Case]:
    """Sets as they are, split at random under each seed, and generated ones."""
    for seed in range(seeds):
        rng = np.random.default_rng([seed, 1])
        x, y = datasets.make_classification(600, 12, n_informative=6, n_classes=3, flip_y=0, random_state=seed)
        f, t = datasets.make_friedman1(600, noise=1.0, random_state=seed)
        smooth = rng.normal(size=(500, 5, 5))
        pictures = [np.asarray(Image.fromarray((s * 40 + 128).clip(0, 255).astype(np.uint8)).resize((32, 32))) for s in smooth]
        digits = datasets.load_digits()
        given: dict[str, tuple[Any, Any]] = {
            "digits": ([_enlarged(d, 8) for d in digits.images], digits.target),
            **{name: base(name) for name in (*TABLES, "iris")},
            "digits, 64 x 64 colour": base(PICTURES[1]),
            "generated table, 3 classes": (list(x.astype(np.float32)), y),
            "generated table, regression": (list(f.astype(np.float32)), t),
            "generated smooth pictures": (pictures, (smooth[:, 2, 2] > 0).astype(int)),
            "generated waves": base("waves"),
        }
        for name, (rows, labels) in given.items():
            order = rng.permutation(len(rows))
            cut = int(0.72 * len(rows))
            parts = {"train": order[:cut], "test": order[cut:]}
            splits = {k: as_dataset([rows[i] for i in part], np.asarray(labels)[part]) for k, part in parts.items()}
            yield Case("clean", name, "alarm", splits, planted=False)


# ---- answers


def ours(case: Case) -> Answer:
    """What the data stage says: all of a scan and of its checks counts as seconds, whatever is asked."""
    with tempfile.TemporaryDirectory() as folder:
        began = _cpu()
        subject = Scan(scan(case.splits, Path(folder) / "table"))
        done = examine(subject, checks=CHECKS)
        seconds = _cpu() - began
        subject.write_found()
        every = [f for answer in done.answers for f in (answer, *answer.related)]
        mine = [f for f in every if f.check == case.check]
        found = [f for f in mine if f.ruling.severity is not None]
        said: Answer = {"seconds": seconds, "says": _loudest(found), "alarm": bool(found)}
        said["loud"] = [(f.check, f.ruling.severity.value, f.ruling.says) for f in every if f.ruling.severity is not None]
        said["broken"] = [f"{f.check}: {f.ruling.says}" for f in every if "the check itself failed" in f.ruling.says]
        match case.ask:
            case "pairs":
                pairs = copies(subject).pairs
                said["pairs"] = list(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))
            case "conflicts":
                told = conflicts(copies(subject).group, [str(v) for v in subject.labels()])
                said["pairs"] = [(a, b) for c in told for a in c.rows for b in c.rows if a < b]
            case "rows":
                said["rows"] = _selected(subject, found)
            case "labels":
                said["rows"] = _selected(subject, [f for f in mine if f.evidence["where"]])
                said["score"] = subject.found["suspect"][1].tolist()
                said["interval"] = [mine[0].evidence[k] for k in ("low", "share", "high")]
            case "outliers":
                said["score"] = _farness(subject)
        return said


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _loudest(found: Sequence[Finding]) -> str:
    severities = {f.ruling.severity for f in found}
    return "warning" if severities - {Severity.NOTE} else "note" if severities else ""


def _selected(subject: Scan, findings: Iterable[Finding]) -> list[int]:
    """The rows that the findings' expressions select."""
    table = Database(subject.store.folder)
    rows = {int(r) for f in findings for r in table.rows(f.evidence["where"])}
    table.close()
    return sorted(rows)


def _farness(subject: Scan) -> list[float]:
    """How far out rows are along their worst column, or from their neighbours."""
    kept = {p.name for p in subject.manifest.inputs()}
    columns = {c.name: subject.column(c.name) for c in subject.numeric(tail=True) if c.part in kept}
    distance = 1 - nearest(subject.vectors(np.arange(subject.rows)), 10).similarities
    return ranked(columns, distances=distance).score.tolist()


def write_case(case: Case, folder: Path) -> None:
    """A case as peers read it."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    (folder / "case.json").write_text(json.dumps({"peers": case.peers, "peer_ask": case.peer_ask}))
    if case.images is not None:
        (folder / "images").mkdir()
        for i, image in enumerate(case.images):
            (folder / "images" / f"{i:06d}.png").write_bytes(image if isinstance(image, bytes) else _png(image))
    if case.x is not None:
        np.savez(folder / "table.npz", x=case.x, y=np.zeros(len(case.x), int) if case.y is None else case.y)


def ask_peers(python: str, folder: Path) -> None:
    """Each tool in a process of its own, over all cases."""
    for tool in ("cleanlab", "cleanvision", "imagededup", "fastdup"):
        began = time.perf_counter()
        done = subprocess.run(
            [python, "-P", "-W", "ignore", str(HERE / "data_peers.py"), tool, str(folder)], capture_output=True, text=True
        )
        print(f"{tool}: exit {done.returncode}, {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if done.returncode:
            print(done.stderr[-2000:], file=sys.stderr)


# ---- scores


@dataclasses.dataclass
class Line:
    """Sums over the cases of one defect, base set and tool."""

    found: int = 0
    planted: int = 0
    false: int = 0
    cases: int = 0
    seconds: float = 0.0
    says: list[str] = dataclasses.field(default_factory=list)
    precision: list[float] = dataclasses.field(default_factory=list)
    covered: list[bool | None] = dataclasses.field(default_factory=list)
    error: str = ""

    def add(self, case: Case, answer: Answer) -> None:
        """Count one more case."""
        self.cases += 1
        self.seconds += answer["seconds"]
        self.error = answer.get("error", self.error)
        if case.planted or answer.get("says"):
            self.says.append(("" if case.planted else "twin: ") + answer.get("says", ""))
        if case.ask == "alarm":
            self.planted += case.planted
            self.found += case.planted and bool(answer.get("alarm"))
            self.false += not case.planted and bool(answer.get("alarm"))
            return
        told = _told(case, answer)
        self.planted += len(case.truth)
        self.found += len(case.truth & told)
        self.false += len(told - case.truth)
        if "score" in answer and case.ask in ("labels", "outliers"):
            self.precision.append(average_precision(case.truth, answer["score"]))
        if "interval" in answer:
            low, _, high = answer["interval"]
            self.covered.append(None if low is None else low <= case.share <= high)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.found / max(1, self.found + self.false + self.planted)

    @property
    def rates(self) -> str:
        """Precision and recall."""
        told = self.found + self.false
        precision = f"{self.found / told:.2f}" if told else "–"
        return f"{precision} / {self.found / max(1, self.planted):.2f}"

    def cells(self) -> list[str]:
        """Found of planted, false, precision, recall, seconds, and what else there is to say."""
        if self.error:
            return ["could not run: " + self.error, "", "", "", "", ""]
        told = self.found + self.false
        more = [f"average precision {np.mean(self.precision):.2f}"] if self.precision else []
        if self.covered:
            known = [c for c in self.covered if c is not None]
            more.append(f"interval right {sum(known)} of {len(known)}, none told {len(self.covered) - len(known)}")
        else:
            more += [f"{n} {says}" for says, n in Counter(s for s in self.says if s and s != "twin: ").items()]
        return [
            f"{self.found} of {self.planted}",
            f"{self.false}",
            f"{self.found / told:.2f}" if told else "–",
            f"{self.found / self.planted:.2f}" if self.planted else "–",
            f"{self.seconds / self.cases:.2f}",
            "; ".join(more),
        ]


def _told(case: Case, answer: Answer) -> set[Any]:
    if case.ask in ("pairs", "conflicts"):
        pairs = {tuple(p) for p in answer.get("pairs", ())}
        return {(a, b) for a, b in pairs if case.y[a] != case.y[b]} if case.ask == "conflicts" else pairs
    if case.ask == "outliers" and "score" in answer:
        return set(np.argsort(-np.asarray(answer["score"]), kind="stable")[: len(case.truth)].tolist())
    return set(answer.get("rows", ()))


def average_precision(truth: Iterable[int], score: Sequence[float]) -> float:
    """Of a ranking, the highest score first: the mean over planted rows of the precision down to each."""
    order = np.argsort(-np.nan_to_num(np.asarray(score, float), nan=-np.inf), kind="stable")
    hit = np.isin(order, list(truth))
    return float((hit.cumsum() / np.arange(1, len(hit) + 1))[hit].mean())


# ---- report


def tables(lines: Mapping[tuple[str, str, str], Line]) -> list[str]:
    """One table per defect."""
    made: list[str] = []
    for defect in dict.fromkeys(d for d, _, _ in lines):
        made += ["", f"### {defect[0].upper()}{defect[1:]}", ""]
        made += [f"{text}\n" for start, text in REMARKS.items() if defect.startswith(start)]
        made += ["| base set | tool | found of planted | false | precision | recall | CPU s | also |", "|---" * 8 + "|"]
        for name in dict.fromkeys(b for d, b, _ in lines if d == defect):
            for (_, _, tool), line in ((k, v) for k, v in lines.items() if k[:2] == (defect, name)):
                made.append(f"| {name} | {tool} | " + " | ".join(line.cells()) + " |")
    return made


def clean_table(answers: Sequence[tuple[Case, Answer]]) -> list[str]:
    """Findings on clean sets, by check."""
    loud: dict[str, Counter[str]] = defaultdict(Counter)
    notes: dict[str, Counter[str]] = defaultdict(Counter)
    for case, answer in answers:
        for check, severity, _ in answer["loud"]:
            (notes if severity == "note" else loud)[check][case.base] += 1
    sets = Counter(case.base for case, _ in answers)
    made = ["", f"## Clean data: {sets.total()} sets", "", ", ".join(f"{name} ({n} splits)" for name, n in sets.items()) + "."]
    made += ["", "| check | warnings | notes | where |", "|---|---|---|---|"]
    for check in (c.id for c in CHECKS):
        where = "; ".join(f"{b} {n}" for b, n in (loud[check] + notes[check]).items())
        made.append(f"| {check} | {loud[check].total()} | {notes[check].total()} | {where} |")
    made.append(f"| all | {sum(c.total() for c in loud.values())} | {sum(c.total() for c in notes.values())} | |")
    return made


INTRODUCTION = """# Defects planted in data, and who finds them

Made by `python benchmarks/data_quality.py --peers peers/bin/python`. Each defect is planted at known places; every tool
is given the same data. Rows of a table are one base set and one tool.

- **found of planted, false, precision, recall** count pairs for copies, rows for broken, mislabelled and odd examples,
  and whole data sets for shift, leaks and shortcuts: those are planted under three seeds in each base set, beside as
  many healthy twins, in which each finding is false.
- **CPU s** is per data set, imports left out. For trainrecipe it is the whole data stage, the scan and all of its
  checks, whatever was asked; for a peer it is the one question (for CleanVision all of its nine).
- **also**: how loud the check spoke, over the sets of the row; `twin` marks healthy ones. A note costs nothing in CI, a
  warning does.
- trainrecipe's pairs are those of `dataset.copies`, its rows those that a finding's own expression selects in the
  table.

What favours trainrecipe by construction: the defects are the ones that it has checks for, and where a peer has no
question of the kind, none is in the table; the authors of the checks knew these base sets (thresholds were set on
digits, wine, breast cancer, diabetes and iris); texts count as different by the measure that its search uses; copies
behind augmentation are told from what is stored, while peers were given the pictures as they are read. What favours the
peers: cleanlab is given features that suit the sets and a model that is right on 0.96 to 0.98 of them, all tools are asked
for pairs over both splits at once, and where pairs had to be joined with labels to find conflicts, that was done for
them.

imagededup imports torchvision for its CNN, which is not installed here: that import is stubbed, and only PHash is used,
which needs none of it. fastdup takes most of the time of a run and was therefore given the coloured digits only.
cleanlab is 2.9.0, CleanVision 0.3.7, imagededup 0.3.3, fastdup 2.54.
"""
REMARKS = {
    "exact copies within": "Every tool finds equal contents: these tables tell of false pairs, and of time.",
    "near-duplicates: cropped": "Documented as not seen by trainrecipe.",
    "near-duplicates: mirrored": "Documented as not seen by trainrecipe.",
    "near-duplicates: 15 %": "White strokes of the grey digits are cut off at 255 by it, so that more than the "
    "brightness changes.",
    "near-duplicates: texts": "No two texts of a base set share three in ten of their 3-word shingles, the measure by which "
    "trainrecipe searches. It searches in the beginning of a text, as much as the table keeps; docstrings that begin alike "
    "are its false pairs, here and in the tables of exact copies.",
    "exact copies behind": "By construction for trainrecipe, which reads what the transform is given. Given the "
    "stored files, peers would answer as in the tables of exact copies.",
    "conflicting": "A pair counts for a peer where its own pairs bear two labels; that join is the benchmark's.",
    "unusable": "Found are rows that the tool names. A tool that ends with an error names none.",
    "label noise": "Flagged are `suspect > 0` for trainrecipe and `find_label_issues` for cleanlab, at their "
    "defaults. trainrecipe judges by neighbours and a logistic regression, cleanlab by the "
    "regression alone: a better model would do better.",
    "outliers": "No check of the data stage tells outliers. The ranking is that of `dataset.tails.ranked` over the columns "
    "of the scan and the distance to neighbours; found are planted rows among as many first ones. Datalab and fastdup are "
    "read alike, CleanVision by its flags. Datalab sees pictures averaged to 8 x 8, in which noise is plain grey.",
    "shift": "Datalab's test is of rows in order, training before test. Columns of few values, such as "
    "the sex in diabetes, give any change away: their old values do not occur any more.",
    "metadata": "Datalab looks for correlations of CleanVision's measurements with the labels.",
    "target leak": "No peer asks. The rule wants a feature that tells nearly everything while all others together tell less.",
    "time leak": "Datalab says whether rows depend on their order, not whether the split ignores it: it "
    "speaks in the twins as well, which are the same series cut in two.",
    "group leak": "No peer asks. Persons are named by a part `person_id` of the examples.",
    "boxes: all": "By design not seen since boxes are read in the form that fits most of them: what "
    "the model expects is not in the data.",
    "boxes: one": "The form of all boxes is told from a few examples, and a few boxes that no other form explains decide it.",
    "boxes: outside": "The finding counts them rightly, but its expression selects only empty and double boxes.",
    "boxes": "No peer asks without the predictions of a detector.",
    "mixed ranges": "No peer asks; pictures in files have one range.",
    "sentinels": "No peer asks.",
    "missing classes": "No peer asks.",
    "class imbalance": "No peer asks.",
}
"""What has to be said of tables, by the beginning of their titles."""


def summary(lines: Mapping[tuple[str, str, str], Line]) -> list[str]:
    """Precision and recall over all base sets, and beside the peer with the highest F1 those on the sets that it could read."""
    made = ["", "## In short", "", "Precision / recall over the base sets of a defect.", ""]
    made += ["| defect | trainrecipe | best peer | trainrecipe on the sets which that peer could read |", "|---" * 4 + "|"]
    for defect in dict.fromkeys(d for d, _, _ in lines):
        tools: dict[str, dict[str, Line]] = defaultdict(dict)
        for (_, name, tool), line in ((k, v) for k, v in lines.items() if k[0] == defect and not v.error):
            tools[tool][name] = line
        ours_by_set = tools.pop("trainrecipe")
        whole = {tool: total(by_set.values()) for tool, by_set in tools.items()}
        best = max(whole, key=lambda t: whole[t].f1, default="")
        theirs = f"{best}: {whole[best].rates}" if best else "–"
        same = total(line for name, line in ours_by_set.items() if name in tools[best]).rates if best else ""
        made.append(f"| {defect} | {total(ours_by_set.values()).rates} | {theirs} | {same} |")
    return made


def total(lines: Iterable[Line]) -> Line:
    """Counts of several lines together."""
    whole = Line()
    for line in lines:
        whole.found += line.found
        whole.planted += line.planted
        whole.false += line.false
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", help="the interpreter that peers are installed for")
    parser.add_argument("--only", nargs="*", default=[], help="defects that begin with these words; prints only")
    parser.add_argument("--work", default="", help="a folder that keeps cases and answers, so that a run can go on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="trainrecipe-quality-") as temporary:
        folder = Path(options.work or temporary)
        made = itertools.chain(*(make() for make in (*DEFECTS, clean)))
        answers = list(answered((c for c in made if not options.only or c.defect.startswith(tuple(options.only))), folder))
        if options.peers:
            ask_peers(options.peers, folder)
        lines: dict[tuple[str, str, str], Line] = defaultdict(Line)
        for case, place, answer in answers:
            lines[case.defect, case.base, "trainrecipe"].add(case, answer)
            for tool in case.peers if options.peers else ():
                path = place / f"{tool}.json"
                told = json.loads(path.read_text()) if path.exists() else {tool: {"error": "it died", "seconds": 0.0}}
                for variant, theirs in told.items():
                    lines[case.defect, case.base, variant].add(case, theirs)
    clean_ones = [(c, a) for c, _, a in answers if c.defect == "clean"]
    planted = {k: v for k, v in lines.items() if k[0] != "clean"}
    found = clean_table(clean_ones) if clean_ones else []
    text = "\n".join([*summary(planted), "", "## Defect by defect", *tables(planted), *found])
    if options.only:
        print(text)
    else:
        (HERE / "data_quality.md").write_text(INTRODUCTION + text + "\n")


def answered(cases: Iterable[Case], folder: Path) -> Iterator[tuple[Case, Path, Answer]]:
    """What trainrecipe says of each case, which is written for the peers at the same time, and where."""
    numbers: Counter[str] = Counter()
    for case in cases:
        name = re.sub(r"\W+", "-", f"{case.defect} {case.base}")
        place = folder / f"{name}-{numbers[name]:02d}"
        numbers[name] += 1
        write_case(case, place)
        kept = place / "ours.json"
        if not kept.exists():
            kept.write_text(json.dumps(ours(case)))
        answer = json.loads(kept.read_text())
        for text in answer["broken"]:
            print(f"broken: {case.defect}, {case.base}: {text}", file=sys.stderr, flush=True)
        if case.defect == "clean":
            for check, severity, says in answer["loud"]:
                print(f"clean: {case.base}: {check} {severity}: {says}", file=sys.stderr, flush=True)
        yield dataclasses.replace(case, splits={}, images=None, x=None), place, answer


if __name__ == "__main__":
    main()
