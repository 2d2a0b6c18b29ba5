"""Small tables as a scan leaves them, with known contents: digits, features, texts, series; and large made-up ones."""

from __future__ import annotations

import base64
import functools
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainrecipe.finding import Evidence, Finding, Ruling, Severity
from trainrecipe.journal.store import Journal
from trainrecipe.table.manifest import Column, Manifest, Part, Split
from trainrecipe.table.store import Store

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe \x1b[31m"


def folder_of(project: Path, name: str) -> Path:
    folder = project / ".trainrecipe" / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def png(pixels: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def image(values: np.ndarray, dtype: str = "float32", scale: float = 16.0) -> dict[str, Any]:
    grey = (np.clip(values / scale, 0, 1) * 255).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    return {"kind": "image", "png": png(grey), "shape": [1, *values.shape], "dtype": dtype, "low": low, "high": high}


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images.astype(np.float32), data.target


def digits(project: Path, name: str = "digits", *, hostile: bool = False, count: int = 900, names: Sequence[str] = ()) -> Path:
    """Digits in two splits with losses, predictions, wrong labels (rows 3 and 40), duplicates (0 and 600) and one unread."""
    images, target = (a[:count].copy() for a in _digits())
    train = count * 2 // 3
    images[train] = images[0]
    noise = np.random.default_rng(0)
    names = names or "0123456789"
    labels = [names[t] for t in target]
    labels[3], labels[40] = names[(target[3] + 1) % 10], names[(target[40] + 5) % 10]
    labels[train] = labels[0]
    if hostile:
        labels[:3] = [HOSTILE, "x" * 10_000, "'; drop table examples; --"]
    predicted = np.array([names[t] for t in target], dtype=object)
    for i in noise.choice(count, count // 12, replace=False):
        predicted[i] = names[{3: 8, 8: 3, 4: 9, 9: 4, 1: 7, 7: 1}.get(int(target[i]), (int(target[i]) + 3) % 10)]
    wrong = np.array([p != label for p, label in zip(predicted, labels, strict=True)])
    loss = np.where(wrong, 2 + noise.gamma(2, 0.8, count), noise.gamma(0.7, 0.12, count)).astype(np.float32)
    group = np.full(count, None, dtype=object)
    group[[0, train]] = 1
    columns = {
        "hash": np.arange(count, dtype=np.uint64) * np.uint64(2654435761),
        "status": np.array(["ok"] * count, dtype=object),
        "error": np.array([None] * count, dtype=object),
        "label": np.array(labels, dtype=object),
        "predicted": predicted,
        "loss": loss,
        "confidence": np.where(wrong, 0.45, 0.96).astype(np.float32) + noise.normal(0, 0.02, count).astype(np.float32),
        "image_mean": images.mean((1, 2)),
        "image_std": images.std((1, 2)),
        "ink": (images > 8).sum((1, 2)).astype(np.int64),
        "faint": images.mean((1, 2)) < 4.5,
        "duplicate_group": group,
        **{f"margin_e{e}": (1 - np.exp(-(e + 1) / 2) - loss / 8).astype(np.float32) for e in range(6)},
    }
    columns["status"][7], columns["error"][7] = "unreadable", "OSError: cannot identify image file <b>'7.png'</b>"
    store = Store.create(folder_of(project, name), _digits_manifest(name, count, train))
    for split, first, last in (("train", 0, train), ("test", train, count)):
        part = {k: v[first:last] for k, v in columns.items()}
        part |= {"split": np.array([split] * (last - first), dtype=object), "index": np.arange(last - first)}
        part["duplicate_group"] = np.ma.masked_array(
            [g or 0 for g in part["duplicate_group"]], [g is None for g in part["duplicate_group"]], dtype=np.int64
        )
        views = [(i - first, _view(images[i], labels[i], noise)) for i in range(first, last) if i != 7]
        thumbs = (images[first:last] * 15.9).astype(np.uint8)
        vectors = images[first:last].reshape(last - first, -1).astype(np.float16)
        store.write_shard(split, 0, part, views=views, thumbs=thumbs, vectors=vectors)
    store.build()
    _neighbours(store)
    return store.folder


def _view(pixels: np.ndarray, label: str, noise: np.random.Generator) -> str:
    large = np.kron(pixels, np.ones((4, 4), dtype=np.float32))
    draws = [np.roll(large, tuple(noise.integers(-4, 5, 2)), (0, 1)) for _ in range(2)]
    cls = {"kind": "class", "text": label}
    fed = image((draws[0] - 4.9) / 6, scale=1) | {"png": image(draws[0])["png"]}
    return json.dumps(
        {
            "raw": {"image": image(pixels, "uint8"), "label": cls},
            "item": {"image": image(large), "label": cls},
            "draws": [{"image": image(d), "label": cls} for d in draws],
            # A model that computes its own loss is fed the label too: here those with classes of words are.
            "fed": [fed, cls] if label.isalpha() else [fed],
        }
    )


def _neighbours(store: Store, k: int = 16) -> None:
    vectors = np.asarray(store.array("vectors"), dtype=np.float32)
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -1)
    near = np.argsort(-alike, axis=1, kind="stable")[:, :k].astype(np.int32)
    np.save(store.folder / "neighbours.npy", near)
    np.save(store.folder / "similarities.npy", np.take_along_axis(alike, near, 1).astype(np.float16))


def _digits_manifest(name: str, count: int, train: int) -> Manifest:
    return Manifest(
        name,
        {"kind": "script", "target": "train.py", "args": []},
        created="2026-01-05T10:00:00",
        splits=[
            Split("train", train, "train", read=train, failed=1, complete=True, seconds=0.8),
            Split("test", count - train, "test", read=count - train, complete=True, seconds=0.4),
        ],
        parts=[
            Part("image", "[0]", "image", "input", (1, 32, 32), "float32"),
            Part("label", "[1]", "class", "target", (), "int64", classes=tuple("0123456789")),
        ],
        columns=[
            Column("loss", "number", "loss", about="cross-entropy of the example", tail=True),
            Column("confidence", "number", "confidence", about="probability of the predicted class"),
            Column("image_mean", "number", "mean", "image", "mean over all pixels", "grey levels", tail=True),
            Column("image_std", "number", "standard deviation", "image", "over all pixels", "grey levels", tail=True),
            Column("faint", "flag", "faint", "image", "its mean is below 4.5"),
            Column("ink", "integer", "inked pixels", "image", "pixels darker than half"),
            *(Column(f"margin_e{e}", "number", "margin", hidden=True) for e in range(6)),
        ],
        finished=True,
    )


def journal(project: Path, folder: Path) -> None:
    """The record of a scan that found two things in the table of a folder."""
    log = Journal.at(project).new_run(command="data", script="train.py")
    log.append("summary", facts={"table": str(folder), "examples": "900"})
    suspects = Ruling.found(
        Severity.WARNING,
        "For 2 examples of train the nearest neighbours and the model agree on another class than the label.",
        expected="labels that neighbours share",
        observed="2 that no neighbour shares",
        fix="Look at them, most suspicious first, and relabel what is wrong.",
    )
    leak = Ruling.found(
        Severity.ERROR,
        "1 example of test is a copy of one of train, so the accuracy on test is measured in part on what was learnt.",
        expected="no example in two splits",
        observed="1 in both",
        fix="Drop it from train.",
    )
    where = {"where": "row in [3, 40]"}
    for check, title, ruling, evidence in (
        ("conflicting-labels", "Labels that look wrong", suspects, where),
        ("train-val-overlap", "Test examples that were trained on", leak, {"where": "not isnull(duplicate_group)"}),
    ):
        log.append("finding", finding=Finding(check, title, ruling, Evidence(evidence)).to_json())
    log.append("ended", status="finished", exit_code=1, seconds=1.4)
    log.close()
    (log.path.parent / "report.html").write_text("<!doctype html><title>Report</title><h1>Report of the scan</h1>")


def wine(project: Path, name: str = "wine") -> Path:
    """One row of features for each example, in one split."""
    from sklearn.datasets import load_wine

    data = load_wine()
    n = len(data.target)
    names = [f.replace("/", "_per_") for f in data.feature_names]
    columns = {"split": np.array(["train"] * n, dtype=object), "index": np.arange(n), **_always(n)}
    columns["label"] = np.array([data.target_names[t] for t in data.target], dtype=object)
    columns |= {f: data.data[:, i].astype(np.float32) for i, f in enumerate(names)}
    views = [(i, json.dumps({"item": {"x": {"kind": "table", "values": row.tolist()}}})) for i, row in enumerate(data.data)]
    parts = [
        Part("x", "[0]", "table", "input", (13,), "float32", features=tuple(names)),
        Part("label", "[1]", "class", "target", (), "int64"),
    ]
    columns_of = [Column(f, "number", f, "x", tail=i < 5) for i, f in enumerate(names)]
    return _built(project, name, n, columns, views, parts, columns_of)


def texts(project: Path, name: str = "texts") -> Path:
    """Short texts of two kinds, also in other scripts."""
    words = {
        "calm": ["still", "slow", "quiet", "静かな", "тихий"],
        "loud": ["roaring", "fast", "shouting", "うるさい", "громкий"],
    }
    chooser, n = np.random.default_rng(1), 240
    labels = [list(words)[i % 2] for i in range(n)]
    said = [" ".join(chooser.choice(words[label], 6 + i % 30)) for i, label in enumerate(labels)]
    columns = {"split": np.array(["train"] * n, dtype=object), "index": np.arange(n), **_always(n)}
    columns |= {"label": np.array(labels, dtype=object), "text": np.array([s[:300] for s in said], dtype=object)}
    columns["text_length"] = np.array([len(s) for s in said])
    views = [(i, json.dumps(_text_view(s, labels[i]))) for i, s in enumerate(said)]
    parts = [Part("text", "[0]", "tokens", "input", (), "int64", ragged=True), Part("label", "[1]", "class", "target")]
    return _built(project, name, n, columns, views, parts, [Column("text_length", "integer", "characters", "text", tail=True)])


def _text_view(said: str, label: str) -> dict[str, Any]:
    tokens = {"kind": "tokens", "ids": [len(w) for w in said.split()], "text": said, "shape": [len(said.split())]}
    cls = {"kind": "class", "text": label}
    return {
        "raw": {"text": {"kind": "text", "text": said}, "label": cls},
        "item": {"text": tokens, "label": cls},
        "fed": [tokens],
    }


def series(project: Path, name: str = "series") -> Path:
    """Noisy waves whose frequency is to be predicted."""
    chooser, n = np.random.default_rng(2), 160
    frequency = chooser.uniform(1, 6, n)
    waves = np.sin(np.linspace(0, 6, 240)[None] * frequency[:, None]) + chooser.normal(0, 0.15, (n, 240))
    columns = {"split": np.array(["train"] * 120 + ["test"] * 40, dtype=object), "index": np.r_[:120, :40], **_always(n)}
    columns |= {"target": frequency, "series_rms": np.sqrt((waves**2).mean(1)).astype(np.float32)}
    views = []
    for i, wave in enumerate(waves):
        one = {"kind": "series", "values": [np.round(wave, 3).tolist()], "shape": [1, 240], "dtype": "float32"}
        both = one | {"values": [np.round(wave, 3).tolist(), np.round(np.gradient(wave), 3).tolist()], "shape": [2, 240]}
        target = {"kind": "number", "text": f"{frequency[i]:.3f}"}
        views.append((i, json.dumps({"raw": {"wave": one, "target": target}, "fed": [both]})))
    spark = ((waves[:, ::4][:, :60] + 2) / 4 * 255).clip(0, 255).astype(np.uint8)
    parts = [Part("wave", "[0]", "series", "input", (1, 240), "float32"), Part("target", "[1]", "number", "target")]
    kinds = [Column("series_rms", "number", "root mean square", "wave", tail=True)]
    return _built(project, name, n, columns, views, parts, kinds, thumbs=spark)


def scenes(project: Path, name: str = "scenes") -> Path:
    """Colour images with boxes, a mask, several labels and a tensor of another kind."""
    chooser, n = np.random.default_rng(4), 24
    columns = {"split": np.array(["train"] * n, dtype=object), "index": np.arange(n), **_always(n)}
    both = [",".join(chooser.choice(["cat", "dog", "hat"], 2, replace=False)) for _ in range(n)]
    columns["labels"] = np.array(both, dtype=object)
    views, thumbs = [], chooser.integers(60, 90, (n, 32, 32), dtype=np.uint8)
    for i in range(n):
        x, y = (int(v) for v in chooser.integers(2, 16, 2))
        thumbs[i, y : y + 12, x : x + 12] = 210
        grey, mask = thumbs[i], np.zeros((32, 32), dtype=np.uint8)
        mask[y : y + 12, x : x + 12] = 255
        seen = {"kind": "image", "png": png(np.stack([grey, grey // 2, grey // 3], -1)), "shape": [3, 32, 32], "dtype": "uint8"}
        item = {
            "image": seen | {"low": 20, "high": 210},
            "boxes": {"kind": "boxes", "boxes": [[x, y, x + 12, y + 12]], "labels": ["cat"], "width": 32, "height": 32},
            "mask": {"kind": "mask", "png": png(mask), "shape": [32, 32], "dtype": "uint8"},
            "labels": {"kind": "labels", "text": both[i]},
            "heat": {"kind": "tensor", "shape": [4, 4], "values": [[0.0, 1.0], [None, "nan"]]},
        }
        views.append((i, json.dumps({"item": item})))
    targets = [Part(kind, f"[{kind!r}]", kind, "target") for kind in ("boxes", "mask", "labels")]
    parts = [Part("image", "['image']", "image", "input", (3, 32, 32), "uint8"), *targets]
    return _built(project, name, n, columns, views, parts, [], thumbs=thumbs)


def _always(n: int) -> dict[str, Any]:
    ok, none = np.array(["ok"] * n, dtype=object), np.array([None] * n, dtype=object)
    return {"hash": np.arange(n, dtype=np.uint64), "status": ok, "error": none}


def _built(
    project: Path,
    name: str,
    n: int,
    columns: dict[str, Any],
    views: list[tuple[int, str]],
    parts: list[Part],
    described: list[Column],
    thumbs: np.ndarray | None = None,
) -> Path:
    names = list(dict.fromkeys(columns["split"].tolist()))
    splits = [Split(s, n := int((columns["split"] == s).sum()), s, read=n, complete=True) for s in names]
    manifest = Manifest(name, {"kind": "script", "target": "train.py"}, "", splits, parts, described, finished=True)
    store = Store.create(folder_of(project, name), manifest)
    for split in splits:
        keep = np.flatnonzero(columns["split"] == split.name)
        own = [(int(columns["index"][i]), views[i][1]) for i in keep]
        part = {k: v[keep] for k, v in columns.items()}
        store.write_shard(split.name, 0, part, views=own, thumbs=None if thumbs is None else thumbs[keep])
    store.build()
    return store.folder


def large(project: Path, rows: int, name: str = "large") -> Path:
    """A made-up table of any length with 18 columns and thumbnails, for measuring speed."""
    chooser, size, splits = np.random.default_rng(3), 250_000, {"train": rows * 9 // 10, "test": rows - rows * 9 // 10}
    described = [Column(f"stat_{i}", "number", tail=i < 4) for i in range(8)]
    parts = [Part("image", "[0]", "image", "input", (1, 16, 16), "uint8"), Part("label", "[1]", "class", "target")]
    made = [Split(s, n, s, read=n, complete=True) for s, n in splits.items()]
    manifest = Manifest(name, {"kind": "script", "target": "train.py"}, "", made, parts, described, finished=True)
    store = Store.create(folder_of(project, name), manifest)
    classes = np.array([str(i) for i in range(100)], dtype=object)
    for split, n in splits.items():
        for number, first in enumerate(range(0, n, size)):
            k = min(size, n - first)
            label, guess = chooser.integers(0, 100, (2, k))
            part = {"split": np.array([split] * k, dtype=object), "index": np.arange(first, first + k), **_always(k)}
            part |= {"label": classes[label], "predicted": classes[np.where(chooser.random(k) < 0.9, label, guess)]}
            part |= {"loss": chooser.exponential(0.5, k).astype(np.float32), "confidence": chooser.random(k).astype(np.float32)}
            part |= {f"stat_{i}": chooser.normal(i, 1 + i, k).astype(np.float32) for i in range(8)}
            thumbs = chooser.integers(0, 255, (k, 16, 16), dtype=np.uint8)
            pixels = image(thumbs[0].astype(np.float32), "uint8", 255)
            views = [(first + i, json.dumps({"raw": {"image": pixels}, "fed": [pixels]})) for i in range(0, k, k // 200 + 1)]
            store.write_shard(split, number, part, views=views, thumbs=thumbs)
    store.build()
    return store.folder
