"""The data sets that defects are planted in: scikit-learn's, generated ones, and the docstrings of installed packages.

A base set is a list of examples and an array of their labels: arrays (height, width[, channels]) of bytes for pictures,
(1, length) for series, (width,) for rows of a table, and strings. `as_dataset` gives them as a training program would,
`as_features` as numbers for tools that have no model of their own. The same name and seed give the same set, except for a
few of SciPy's docstrings, into which it writes random numbers or the names of a set at each start.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import pkgutil
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn import datasets
from torch.utils.data import Dataset, TensorDataset

PICTURES = ("digits, 32 x 32 grey", "digits, 64 x 64 colour")
TABLES = ("wine", "breast cancer", "diabetes")
TEXTS = ("docstrings of torch", "docstrings of SciPy, NumPy and scikit-learn")
TRAINED = 0.72
"""Share of the rows that are trained on; the others are the test split."""
Labelled = tuple[list[Any], np.ndarray]
"""Examples, and the label of each."""


@functools.cache
def base(name: str) -> Labelled:
    """A base set by its name: one of `PICTURES`, `TABLES`, `TEXTS`, "waves", "iris" or "digits, 8 x 8"."""
    digits = datasets.load_digits()
    match name:
        case "digits, 8 x 8":
            return list(digits.images.astype(np.float32) / 16), digits.target
        case "digits, 32 x 32 grey":
            return [_enlarged(d, 32) for d in digits.images], digits.target
        case "digits, 64 x 64 colour":
            rng = np.random.default_rng(1)
            return [_coloured(d, rng) for d in digits.images[:900]], digits.target[:900]
        case "waves":
            return _waves()
        case "docstrings of torch":
            return _docstrings("torch")
        case "docstrings of SciPy, NumPy and scikit-learn":
            return _docstrings("scipy", "numpy", "sklearn")
    table = getattr(datasets, f"load_{name.replace(' ', '_')}")()
    return list(table.data.astype(np.float32)), table.target


def parted(name: str, seed: int = 0) -> tuple[list[Any], np.ndarray, int]:
    """A base set in random order, and how many of its rows are trained on."""
    rows, labels = base(name)
    order = np.random.default_rng(seed).permutation(len(rows))
    return [rows[i] for i in order], labels[order], int(TRAINED * len(rows))


# ---- pictures


def _enlarged(digit: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray((digit * 15.9).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _coloured(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turned = Image.fromarray(_enlarged(digit, 64)).rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR)
    ink = np.asarray(turned, float)[..., None] / 255
    paper, pen = rng.uniform(0, 110, 3), rng.uniform(150, 255, 3)
    return (paper + ink * (pen - paper) + rng.normal(0, 4, ink.shape)).clip(0, 255).astype(np.uint8)


def as_png(picture: np.ndarray) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


# ---- series, in which time goes by from example to example in `walk` and `film`, and within each in `waves`


def _waves(n: int = 900, length: int = 128) -> Labelled:
    rng, t = np.random.default_rng(2), np.linspace(0, 1, length)
    label = rng.integers(0, 3, n)
    made = []
    for kind in label:
        parts = [rng.normal() * np.sin(2 * np.pi * (rng.uniform(2, 5) + 4 * kind) * t + rng.uniform(0, 6.28)) for _ in range(4)]
        made.append((sum(parts) + 0.2 * rng.normal(size=length)).astype(np.float32)[None])
    return made, label


def walk(rng: np.random.Generator, keep: float = 0.97) -> Labelled:
    """Rows of an autoregressive series, each of which keeps a share of the one before."""
    x = rng.normal(size=(800, 6))
    for i in range(1, len(x)):
        x[i] = keep * x[i - 1] + (1 - keep**2) ** 0.5 * x[i]
    return list(x.astype(np.float32)), (x[:, 0] + 0.5 * rng.normal(size=len(x)) > 0).astype(int)


def film(rng: np.random.Generator) -> Labelled:
    """Digits that turn into one another over 12 frames."""
    digits = base(PICTURES[0])[0]
    keys = [digits[i].astype(float) for i in rng.choice(len(digits), 71)]
    frames = [keys[i // 12] * (1 - i % 12 / 12) + keys[i // 12 + 1] * (i % 12 / 12) for i in range(840)]
    return [(f + rng.normal(0, 6, f.shape)).clip(0, 255).astype(np.uint8) for f in frames], rng.integers(0, 2, 840)


# ---- several examples of each person


def patients(rng: np.random.Generator, person: np.ndarray) -> Labelled:
    """Rows of 12 features, alike where they are of one person."""
    x = rng.normal(size=(person.max() + 1, 12))[person] + 0.7 * rng.normal(size=(len(person), 12))
    return list(torch.from_numpy(x.astype(np.float32))), (x[:, 0] > 0).astype(int)


def writers(rng: np.random.Generator, person: np.ndarray, seed: int) -> Labelled:
    """Digits of 32 x 32, on paper that each person has of their own."""
    rows, labels, _ = parted(PICTURES[0], seed)
    small = rng.integers(0, 200, (person.max() + 1, 4, 4), dtype=np.uint8)
    paper = [np.asarray(Image.fromarray(p).resize((32, 32))) for p in small]
    pages = [np.maximum(rows[i], paper[p]) for i, p in enumerate(person)]
    return [torch.from_numpy(page[None].astype(np.float32) / 255) for page in pages], labels[: len(person)]


# ---- texts


def _docstrings(*packages: str, most: int = 1500) -> Labelled:
    """Docstrings of at least 25 words, and whether they name parameters."""
    found: dict[str, int] = {}
    for member in _members(packages):
        text = inspect.getdoc(member) if callable(member) else None
        if text and len(text.split()) >= 25:
            found.setdefault(text, "Parameters" in text or "Args" in text)
    kept = _apart(found, most)
    return kept, np.array([found[t] for t in kept], int)


def _members(packages: Sequence[str]) -> Iterator[Any]:
    """What packages, and the public modules right below them, define."""
    for name in packages:
        path = importlib.import_module(name).__path__
        for module in [name, *(f"{name}.{m.name}" for m in pkgutil.iter_modules(path) if m.name[0] != "_")]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    members = list(vars(importlib.import_module(module)).values())
                except Exception:  # such as a part of the package that needs another one
                    continue
            yield from members


def _apart(texts: Iterable[str], most: int) -> list[str]:
    """Texts none of which shares three in ten of its 3-word shingles with another one, so that no pair is there unplanted."""
    kept: list[str] = []
    sizes: list[int] = []
    seen: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        shingles = set(zip(words, words[1:], words[2:], strict=False))
        shared = Counter(k for s in shingles for k in seen[s])
        if len(kept) == most or any(n / (len(shingles) + sizes[k] - n) >= 0.3 for k, n in shared.items()):
            continue
        for s in shingles:
            seen[s].append(len(kept))
        kept.append(text)
        sizes.append(len(shingles))
    return kept


# ---- sets without a defect


def clean_sets(seed: int, rng: np.random.Generator) -> dict[str, Labelled]:
    """Base sets as they are, and sets generated anew under each seed."""
    x, y = datasets.make_classification(600, 12, n_informative=6, n_classes=3, flip_y=0, random_state=seed)
    smooth = rng.normal(size=(500, 5, 5))
    pictures = [np.asarray(Image.fromarray((s * 40 + 128).clip(0, 255).astype(np.uint8)).resize((32, 32))) for s in smooth]
    digits = datasets.load_digits()
    return {
        "digits": ([_enlarged(d, 8) for d in digits.images], digits.target),
        **{name: base(name) for name in (*TABLES, "iris")},
        "digits, 64 x 64 colour": base(PICTURES[1]),
        "generated table, 3 classes": (list(x.astype(np.float32)), y),
        "generated table, regression": friedman(600, seed),
        "generated smooth pictures": (pictures, (smooth[:, 2, 2] > 0).astype(int)),
        "generated waves": base("waves"),
    }


def friedman(rows: int, seed: int) -> Labelled:
    """Friedman's first regression, with noise of one unit."""
    x, y = datasets.make_friedman1(rows, noise=1.0, random_state=seed)
    return list(x.astype(np.float32)), y


# ---- as a program gives them, and as a tool reads them


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
    """Whether an example is an image, in memory or encoded; series are (1, length), rows of features (width,)."""
    return isinstance(row, bytes) or (not isinstance(row, str) and row.ndim > 1 and len(row) > 1)


def as_dataset(rows: Sequence[Any], labels: np.ndarray, transform: Callable[[Any], Any] | None = None) -> Dataset[Any]:
    """Rows of any base set as a program would give them."""
    first = rows[0]
    if isinstance(first, str):
        return Items([{"text": t, "label": int(y)} for t, y in zip(rows, labels, strict=True)])
    if pictured(first):
        return Pictures(rows, labels.tolist(), transform)
    y = labels.astype(np.float32) if labels.dtype.kind == "f" else labels
    return TensorDataset(torch.from_numpy(np.stack(rows)), torch.from_numpy(y))


def train_and_test(
    rows: Sequence[Any], labels: np.ndarray, cut: int, transform: Callable[[Any], Any] | None = None
) -> dict[str, Dataset[Any]]:
    """Two splits: the first rows are trained on, those from the cut on are tested on."""
    train, test = slice(cut), slice(cut, None)
    return {k: as_dataset(rows[s], labels[s], transform) for k, s in {"train": train, "test": test}.items()}


def as_features(rows: Sequence[Any]) -> np.ndarray:
    """What peers without a model of their own are given: pixels averaged to 8 x 8, TF-IDF in 64 components, or the numbers."""
    if isinstance(rows[0], str):
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TruncatedSVD(64, random_state=0).fit_transform(TfidfVectorizer().fit_transform(rows))
    if not pictured(rows[0]):
        return np.stack(rows).reshape(len(rows), -1)
    return np.stack([np.asarray(Image.fromarray(r).resize((8, 8), Image.Resampling.BOX), np.float32).reshape(-1) for r in rows])
