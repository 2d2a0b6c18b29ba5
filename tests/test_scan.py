"""The scan: structure is told from examples, every example becomes a row, whatever it is, and nothing else changes."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xxhash
from PIL import Image
from sklearn.datasets import load_digits, load_wine
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split

from trainrecipe.scan import views
from trainrecipe.scan.leaves import leaves
from trainrecipe.scan.measures import images, tokens
from trainrecipe.scan.measures.stacked import odd
from trainrecipe.scan.raw import Tracer, stored
from trainrecipe.scan.reading import hash_of, hashed_rows
from trainrecipe.scan.scan import scan
from trainrecipe.scan.structure import layout_of
from trainrecipe.subjects.scan import Scan
from trainrecipe.table.store import Store
from trainrecipe.wrong_use import WrongUse


class Listed(Dataset[Any]):
    """Examples from a list, through a transform."""

    def __init__(self, items: list[Any], transform: Any = None) -> None:
        self.items = items
        self.transform = transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        item = self.items[i]
        if isinstance(item, Exception):
            raise item
        return self.transform(item) if self.transform is not None else item


def _rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.connect() as db:
        found: list[tuple[Any, ...]] = db.execute(query).fetchall()
    return found


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    digits = load_digits()
    return torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)


# ---- how examples are built


def _kinds(item: Any, more: int = 6) -> list[tuple[str, str, str]]:
    items = [item() for _ in range(more)]
    return [(leaf.part.name, leaf.part.kind, leaf.part.role) for leaf in layout_of(items).leaves]


RNG = np.random.default_rng(0)
_SMOOTH = np.sin(np.linspace(0, 3, 32)[:, None] + np.linspace(0, 5, 32)).astype(np.float32)
STRUCTURES = {
    "image, class": (lambda: (torch.rand(3, 32, 32), 4), [("image", "image", "input"), ("label", "class", "target")]),
    "channels last": (
        lambda: (np.zeros((32, 24, 3), np.uint8), np.int64(1)),
        [("image", "image", "input"), ("label", "class", "target")],
    ),
    "picture": (lambda: (Image.new("RGB", (20, 30)), "cat"), [("image", "image", "input"), ("label", "class", "target")]),
    "grey": (lambda: (torch.from_numpy(_SMOOTH), 1), [("image", "image", "input"), ("label", "class", "target")]),
    "flat image": (
        lambda: (torch.from_numpy(_SMOOTH.reshape(-1)), 1),
        [("image", "image", "input"), ("label", "class", "target")],
    ),
    "table, number": (lambda: (torch.randn(13), 0.5), [("table", "table", "input"), ("target", "number", "target")]),
    "table, one-hot": (
        lambda: (torch.randn(13), torch.eye(4)[2]),
        [("table", "table", "input"), ("label", "class", "target")],
    ),
    "multi-label": (
        lambda: (torch.rand(3, 32, 32), torch.tensor([1.0, 0.0, 1.0])),
        [("image", "image", "input"), ("labels", "labels", "target")],
    ),
    "tokens": (
        lambda: {"input_ids": RNG.integers(0, 99, RNG.integers(5, 30)), "attention_mask": [1, 1, 1], "label": 1},
        [("input_ids", "tokens", "input"), ("label", "class", "target"), ("attention_mask", "tensor", "other")],
    ),
    "text": (
        lambda: ("a long sentence about something that happened to someone a while ago", 0),
        [("text", "text", "input"), ("label", "class", "target")],
    ),
    "sound": (
        lambda: (torch.sin(torch.linspace(0, 60, 4000))[None], 3),
        [("series", "series", "input"), ("label", "class", "target")],
    ),
    "series": (
        lambda: (torch.sin(torch.linspace(0, 20, 128)), 1),
        [("series", "series", "input"), ("label", "class", "target")],
    ),
    "segmentation": (
        lambda: (torch.rand(3, 32, 32), torch.randint(0, 5, (32, 32))),
        [("image", "image", "input"), ("mask", "mask", "target")],
    ),
    "detection": (
        lambda: (torch.rand(3, 32, 32), {"boxes": torch.rand(RNG.integers(1, 4), 4) * 32, "labels": torch.tensor([1])}),
        [("image", "image", "input"), ("boxes", "boxes", "target"), ("labels", "class", "target")],
    ),
    "language model": (
        lambda: (torch.randint(0, 65, (16,)), torch.randint(0, 65, (16,))),
        [("tokens", "tokens", "input"), ("tokens2", "tokens", "target")],
    ),
    "alone": (lambda: torch.randn(7), [("table", "table", "input")]),
    "group": (
        lambda: {"x": torch.randn(5), "patient_id": 3, "y": 1},
        [("x", "table", "input"), ("y", "class", "target"), ("patient_id", "class", "other")],
    ),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure_is_told_from_examples(name: str) -> None:
    make, expected = STRUCTURES[name]
    assert _kinds(make) == expected


def test_leaves_are_found_by_path() -> None:
    found = dict(leaves(({"a": torch.ones(2)}, ["x", "y"], [1, 2, 3], None)))
    assert list(found) == [(0, "a"), (1,), (2,)]


# ---- every example becomes a row


def test_rows_are_those_of_the_data_sets(tmp_path: Path) -> None:
    images, labels = _digits()
    whole = TensorDataset(images, labels)
    train, test = random_split(whole, [1500, 297], torch.Generator().manual_seed(0))
    store = scan({"train": train, "test": DataLoader(test, batch_size=50)}, tmp_path)
    rows = _rows(store, "SELECT split, index, label, image_mean FROM examples ORDER BY row")
    assert [r[1] for r in rows if r[0] == "train"] == sorted(train.indices)
    assert [r[1] for r in rows if r[0] == "test"] == sorted(test.indices)
    for _, index, label, mean in rows[::97]:
        assert label == str(int(labels[index]))
        assert mean == pytest.approx(float(images[index].mean()), abs=1e-5)
    thumbs = store.array("thumbs")
    assert thumbs is not None
    assert thumbs.shape == (1797, 16, 16)
    assert store.manifest.finished


def test_whole_tensors_and_single_examples_give_the_same_table(tmp_path: Path) -> None:
    images, labels = _digits()
    quick = scan({"train": TensorDataset(images, labels)}, tmp_path / "quick")
    slow = scan({"train": Listed(list(zip(images, labels, strict=True)))}, tmp_path / "slow")
    query = "SELECT * FROM examples ORDER BY row"
    for a, b in zip(_rows(quick, query), _rows(slow, query), strict=True):
        assert a == pytest.approx(b, nan_ok=True)


def test_workers_give_the_same_table(tmp_path: Path) -> None:
    images, labels = _digits()
    data = Listed(list(zip(images, labels, strict=True)))
    alone = scan({"train": DataLoader(data, num_workers=0)}, tmp_path / "alone")
    two = scan({"train": DataLoader(data, num_workers=2)}, tmp_path / "two")
    query = "SELECT * FROM examples ORDER BY row"
    assert _rows(alone, query) == _rows(two, query)


def test_odd_examples_are_rows_that_say_so(tmp_path: Path) -> None:
    good = [(torch.rand(1, 8, 8), i % 3) for i in range(300)]
    good[5] = OSError("cut off")  # type: ignore[call-overload]
    good[6] = (torch.zeros(1, 8, 8), 1)
    good[7] = (torch.full((1, 8, 8), float("nan")), 1)
    good[8] = (torch.rand(1, 9, 8), 1)
    good[9] = {"other": 1}  # type: ignore[call-overload]
    good[10] = ("text", 1)  # type: ignore[call-overload]
    store = scan({"train": Listed(good)}, tmp_path)
    rows = dict(_rows(store, "SELECT index, status FROM examples WHERE status <> 'ok'"))
    assert rows == {
        5: "unreadable",
        6: "constant",
        7: "not finite",
        8: "built otherwise",
        9: "built otherwise",
        10: "built otherwise",
    }
    assert store.manifest.splits[0].failed == 4
    [(error,)] = _rows(store, "SELECT error FROM examples WHERE index = 5")
    assert error == "OSError: cut off"


def _bytes(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _opened(content: bytes) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(io.BytesIO(content)).convert("L"), dtype=np.float32))


def test_hostile_files_become_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # a decompression bomb is what is twice as large
    files = [_bytes(np.full((16, 16), i, np.uint8) + np.arange(16, dtype=np.uint8)) for i in range(40)]
    files[3] = files[3][:40]
    files[4] = b""
    files[5] = b"\x89PNG\r\n\x1a\n" + bytes(200)
    files[6] = _bytes(np.zeros((64, 64), np.uint8))
    store = scan({"train": Listed(files, _opened)}, tmp_path)
    rows = dict(_rows(store, "SELECT index, error FROM examples WHERE status = 'unreadable'"))
    assert set(rows) == {3, 4, 5, 6}
    assert "DecompressionBomb" in rows[6]


def test_text_with_anything_in_it_is_stored(tmp_path: Path) -> None:
    texts = [
        "<b>bold</b> & \x00 zero",
        "quote ' and \"",
        "lone \ud800 surrogate",
        "עברית \u202e right",
        "",
        " ",
        "x" * 10_000,
        "日本",
    ]
    store = scan({"train": Listed([(t, i % 2) for i, t in enumerate(texts * 5)])}, tmp_path)
    rows = _rows(store, "SELECT text, status FROM examples ORDER BY row")
    assert rows[1][0] == texts[1]
    assert rows[4][1] == rows[5][1] == "empty"
    assert len(rows[6][0]) == 2000


def test_streams_are_read_through_their_workers(tmp_path: Path) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            info = torch.utils.data.get_worker_info()
            start, step = (info.id, info.num_workers) if info is not None else (0, 1)
            for i in range(start, 600, step):
                yield torch.full((12,), float(i)) + torch.arange(12), i % 2

    alone = scan({"train": Stream()}, tmp_path / "alone")
    two = scan({"train": DataLoader(Stream(), batch_size=8, num_workers=2)}, tmp_path / "two")
    query = "SELECT index, table_0, label FROM examples ORDER BY index"
    assert len(_rows(alone, query)) == 600
    assert _rows(alone, query) == _rows(two, query)
    assert not alone.manifest.splits[0].sampled


def test_empty_and_hopeless_splits_are_told(tmp_path: Path) -> None:
    broken = Listed([ValueError("no")] * 20)
    store = scan({"train": Listed([]), "test": broken, "val": TensorDataset(torch.randn(20, 3), torch.ones(20))}, tmp_path)
    assert any("no example" in n for n in store.manifest.notes)
    assert any("could be read" in n for n in store.manifest.notes)
    assert _rows(store, "SELECT count(*) FROM examples") == [(20,)]


def test_what_is_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="is no data set"):
        scan({"train": 5}, tmp_path)


# ---- a sample, an interruption, a trace


def test_a_sample_is_read_where_time_is_short(tmp_path: Path) -> None:
    class Slow(Listed):
        def __getitem__(self, i: int) -> Any:
            time.sleep(0.001)
            return super().__getitem__(i)

    data = Slow([(torch.randn(5), i % 2) for i in range(20_000)])
    store = scan({"train": DataLoader(data)}, tmp_path, budget=2.0)
    [split] = store.manifest.splits
    assert split.sampled
    assert 1000 <= split.read == (split.planned or 0) < 4000
    indices = [r[0] for r in _rows(store, "SELECT index FROM examples ORDER BY row")]
    assert indices == sorted(set(indices))
    assert np.mean(indices) == pytest.approx(10_000, rel=0.1)  # drawn from everywhere


def test_a_scan_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        import torch
        from pathlib import Path
        from torch.utils.data import DataLoader, Dataset
        from trainrecipe.scan.scan import scan

        class Slow(Dataset):
            def __len__(self):
                return 20_000
            def __getitem__(self, i):
                if i % 1000 == 0:
                    print(i, flush=True)
                time.sleep(0.0001)
                return torch.arange(6).float() * i, i % 2

        scan({"train": DataLoader(Slow())}, Path(sys.argv[1]))
        print("done", flush=True)
        """
    )
    path = tmp_path / "slow.py"
    path.write_text(script)
    with subprocess.Popen([sys.executable, str(path), str(tmp_path / "t")], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if line.strip() == "12000":
                first.send_signal(signal.SIGKILL)
                break
    kept = len(Store.open(tmp_path / "t").written("train"))
    assert kept >= 2
    again = subprocess.run([sys.executable, str(path), str(tmp_path / "t")], capture_output=True, text=True, check=True)
    read = [int(x) for x in again.stdout.split() if x.isdigit()]
    assert sum(n > 64 for n in read[12:]) <= 20 - 4 * kept + 4  # shards of 4,096 that were there are not read again
    store = Store.open(tmp_path / "t")
    assert _rows(store, "SELECT count(*), count(DISTINCT index), max(index) FROM examples") == [(20_000, 20_000, 19_999)]


def test_the_random_state_and_the_data_are_left_alone(tmp_path: Path) -> None:
    images, labels = _digits()

    def flip(x: torch.Tensor) -> torch.Tensor:
        random.random(), np.random.rand()
        return x.flip(-1) if torch.rand(()) < 0.5 else x

    data = Listed(
        [(i, label) for i, label in zip(images[:300], labels[:300], strict=True)], lambda item: (flip(item[0]), item[1])
    )
    held = dict(vars(data))
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]
    before = xxhash.xxh3_64_hexdigest(images.numpy().tobytes())
    scan({"train": DataLoader(data, shuffle=True)}, tmp_path)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()  # type: ignore[index]
    assert states[2] == random.getstate()
    assert vars(data) == held
    assert xxhash.xxh3_64_hexdigest(images.numpy().tobytes()) == before


def test_the_same_scan_gives_the_same_table(tmp_path: Path) -> None:
    images, labels = _digits()
    noisy = Listed(list(zip(images[:600], labels[:600], strict=True)), lambda item: (item[0] + torch.randn(1, 8, 8), item[1]))
    query = "SELECT * FROM examples ORDER BY row"
    first, second = (scan({"train": DataLoader(noisy)}, tmp_path / n) for n in ("a", "b"))
    assert _rows(first, query) == _rows(second, query)


# ---- what is stored


def _flip(x: torch.Tensor) -> torch.Tensor:
    return x.flip(-1) if torch.rand(()) < 0.5 else x + 0.01 * torch.randn(1)


class Augmented(Dataset[Any]):
    """Images through a random transform, in the style of torchvision's data sets."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, transform: Any = None) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Any:
        x = self.images[i]
        return (self.transform(x) if self.transform else x), int(self.labels[i])


class Inside(Augmented):
    """The same with the random change in `__getitem__`."""

    def __getitem__(self, i: int) -> Any:
        return _flip(self.images[i]), int(self.labels[i])


def test_copies_are_found_before_random_transforms(tmp_path: Path) -> None:
    images, labels = _digits()
    train = Augmented(images[:1000], labels[:1000], _flip)
    val = Augmented(torch.cat([images[1000:1200], images[:50]]), torch.cat([labels[1000:1200], labels[:50]]), lambda x: x - 0.5)
    store = scan({"train": train, "validation": val}, tmp_path)
    assert [s.raw for s in store.manifest.splits] == ["transform", "transform"]
    assert [s.random for s in store.manifest.splits] == [True, False]
    query = (
        "SELECT count(*) FROM examples WHERE split = 'validation' AND hash IN (SELECT hash FROM examples WHERE split = 'train')"
    )
    assert _rows(store, query) == [(50,)]
    views = [json.loads(v) for (v,) in _rows(store, "SELECT view FROM views WHERE row < 1000")]
    assert all("raw" in v for v in views)
    assert sum("draws" in v for v in views) == 200


def test_stored_examples_are_found_in_attributes(tmp_path: Path) -> None:
    images, labels = _digits()
    train = Inside(images[:1000], labels[:1000])
    store = scan({"train": Subset(train, list(range(0, 1000, 2))), "copy": Inside(images[:100], labels[:100])}, tmp_path)
    assert [s.raw for s in store.manifest.splits] == ["storage", "storage"]
    query = "SELECT count(*) FROM examples WHERE split = 'copy' AND hash IN (SELECT hash FROM examples WHERE split = 'train')"
    assert _rows(store, query) == [(50,)]


def test_a_tracer_leaves_the_data_set_as_it_is() -> None:
    images, labels = _digits()
    inner = Augmented(images, labels, _flip)
    for data in (inner, Subset(inner, [5, 6]), ConcatDataset([inner, inner])):
        tracer = Tracer(data)
        assert tracer.traced
        tracer[0]
        assert torch.equal(tracer.raw, images[5 if isinstance(data, Subset) else 0])
    assert inner.transform is _flip
    assert stored(inner) is not None


def test_hashes_are_of_content_shape_and_type() -> None:
    x = torch.arange(12.0)
    assert hash_of([x]) == hash_of([x.numpy().copy()])
    assert hash_of([x]) != hash_of([x.reshape(3, 4)])
    assert hash_of([x]) != hash_of([x.double()])
    assert hash_of(["a"]) != hash_of(["b"])


@pytest.mark.parametrize("array", [np.arange(24.0).reshape(4, 2, 3).transpose(0, 2, 1), np.arange(4), np.zeros((4, 0, 2))])
def test_hashes_of_many_examples_are_those_of_each(array: np.ndarray) -> None:
    assert hashed_rows([array], 4).tolist() == [hash_of([example]) for example in array]
    assert hashed_rows([array, list("abcd")], 4).tolist() == [hash_of(pair) for pair in zip(array, "abcd", strict=True)]


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (1, 7, 1), (3, 64, 48), (1, 160, 160)])
def test_pictures_are_written_without_loss(shape: tuple[int, ...]) -> None:
    planes = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(views.png(planes)))))
    assert np.array_equal(np.atleast_3d(image).transpose(2, 0, 1), planes)


# ---- measures against slow twins


@pytest.mark.parametrize("size", [(32, 64), (28, 28), (9, 17), (16, 40)])
def test_averages_over_a_grid_are_those_of_adaptive_pooling(size: tuple[int, int]) -> None:
    pictures = torch.rand(5, 3, *size, generator=torch.Generator().manual_seed(0))
    for side in (8, 16):
        assert torch.allclose(images.averages(pictures, side), F.adaptive_avg_pool2d(pictures, side), atol=1e-6)


@pytest.mark.parametrize("kind", ["float32", "float64", "float16", "uint8", "int64", "bool"])
def test_odd_examples_are_told_like_by_a_slow_twin(kind: str) -> None:
    rng = np.random.default_rng(0)
    for width in (3, 20):
        stack = rng.integers(0, 2, (60, width)).astype(kind)
        stack[::7] = stack[::7, :1]
        if kind.startswith("float"):
            stack[rng.random(stack.shape) < 0.01] = np.nan
            stack[5], stack[6, 0] = np.inf, -np.inf
        slow = {i: "constant" for i, row in enumerate(stack) if width >= 16 and (row == row[0]).all()}
        slow |= {i: "not finite" for i, row in enumerate(stack) if not np.isfinite(row).all()}
        assert odd(stack) == slow


def test_tokens_are_measured_like_a_slow_twin() -> None:
    rng = np.random.default_rng(1)
    values = np.zeros((300, 12), np.int64)
    for row in values:
        length = rng.integers(0, 13)
        row[:length] = rng.integers(1, 6, length)
    values[7, -2:] = 3  # a run, but of no padding
    leaf = layout_of([(values[0], 1), (values[1], 0)]).leaves[0]
    found = tokens.measure(leaf, values).columns
    for i, ids in enumerate(values.tolist()):
        kept = list(ids)
        if kept[-1] == kept[-2] == 0:
            while kept and kept[-1] == 0:
                kept.pop()
        assert found["tokens_length"][i] == len(kept)
        if kept:
            assert found["tokens_distinct"][i] == pytest.approx(len(set(kept)) / len(kept))
            assert found["tokens_commonest"][i] == pytest.approx(max(kept.count(t) for t in kept) / len(kept))


def test_windows_of_a_text_are_not_padded() -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(0, 30, (200, 24))
    values[5] = 4
    leaf = layout_of([(values[0], 1), (values[1], 0)]).leaves[0]
    measured = tokens.measure(leaf, values)
    assert (measured.columns["tokens_length"] == 24).all()
    assert not measured.status


def test_features_are_columns(tmp_path: Path) -> None:
    wine = load_wine()
    x = wine.data.copy()
    x[3, 2] = np.nan
    store = scan({"train": TensorDataset(torch.tensor(x), torch.tensor(wine.target))}, tmp_path)
    rows = _rows(store, "SELECT table_0, table_missing, status FROM examples ORDER BY row")
    assert rows[3][1:] == (1, "not finite")
    assert rows[10][0] == pytest.approx(wine.data[10, 0], rel=1e-6)
    scanned = Scan(store)
    assert scanned.labels() is not None
    assert scanned.has_vectors
    assert scanned.vectors(np.arange(178)).shape == (178, 13)


# ---- the command


DATA = """
import torch
from torch.utils.data import TensorDataset
from sklearn.datasets import load_digits
d = load_digits()
x, y = torch.tensor(d.images, dtype=torch.float32)[:, None], torch.tensor(d.target)
def splits():
    return TensorDataset(x[:1400], y[:1400]), TensorDataset(x[1300:], y[1300:])
number = 3
def fails():
    raise RuntimeError("no disk")
"""


def _recipe(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainrecipe", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
    )


def test_the_command_reads_named_data(tmp_path: Path) -> None:
    (tmp_path / "digits.py").write_text(DATA)
    done = _recipe("data", "digits.py:splits", "--probe-seconds", "0", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    record = json.loads(done.stdout)
    assert record["findings"][0]["check"] == "copies-across-splits"
    assert "100 of 497" in record["findings"][0]["says"]
    assert Store.open(tmp_path / ".trainrecipe" / "data" / "digits-py-splits").manifest.finished


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("digits.py:split", "did you mean 'splits'?"),
        ("digits.py:number", "no data set"),
        ("digits.py:fails", "RuntimeError: no disk"),
        ("missing.py:splits", "no such file"),
        ("nowhere.at.all:splits", "no module"),
    ],
)
def test_wrong_names_are_told(tmp_path: Path, target: str, said: str) -> None:
    (tmp_path / "digits.py").write_text(DATA)
    done = _recipe("data", target, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert said in " ".join((done.stdout + done.stderr).split())


# ---- from Python


def test_data_are_examined_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainrecipe import data

    monkeypatch.chdir(tmp_path)
    images, labels = _digits()
    train = TensorDataset(images[:1400], labels[:1400])
    clean = data({"train": train, "val": TensorDataset(images[1400:], labels[1400:])}, folder=tmp_path / "clean")
    assert not [f for f in clean.findings if f.check != "split-shift"]  # other people wrote the rest
    overlapping = data((train, TensorDataset(images[1300:], labels[1300:])))
    assert overlapping.findings[0].check == "copies-across-splits"
    assert Store.open(tmp_path / ".trainrecipe" / "data" / "data").manifest.finished
    assert (tmp_path / ".trainrecipe" / ".gitignore").exists()


def test_what_is_missing_is_none(tmp_path: Path) -> None:
    x = torch.randn(50, 4)
    store = scan({"train": TensorDataset(x, torch.arange(50) % 3), "more": TensorDataset(x + 1)}, tmp_path)
    scanned = Scan(store)
    labels = scanned.labels()
    assert labels is not None
    assert set(labels[scanned.where("train")]) == {"0", "1", "2"}
    assert set(labels[scanned.where("more")]) == {None}
    assert set(scanned.column("error")) == {None}


def test_any_name_and_any_text_can_be_stored(tmp_path: Path) -> None:
    from trainrecipe.table.store import write_parquet

    path = tmp_path / "odd.parquet"
    names = np.array(["plain", "half \ud800 pair", None, "ü"], dtype=object)
    write_parquet(path, {'a "quoted" name': names, "row": np.arange(4)})
    import duckdb

    with duckdb.connect() as db:
        found = db.execute(f'SELECT "a ""quoted"" name" FROM read_parquet(\'{path}\') ORDER BY row').fetchall()
    assert found == [("plain",), ("half ? pair",), (None,), ("ü",)]


def test_what_stands_out_is_looked_at(tmp_path: Path) -> None:
    from trainrecipe import data

    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 255, (3000, 3, 24, 24)).astype(np.float32)) / 255
    images[2900:2950] = images[100:150]
    labels = torch.from_numpy(rng.integers(0, 4, 3000))
    order = torch.randperm(3000, generator=torch.Generator().manual_seed(1)).tolist()
    held = Augmented(images, labels, _flip)
    before = torch.get_rng_state()
    data({"train": Subset(held, order[:2600]), "test": Subset(held, order[2600:])}, folder=tmp_path / "t")
    assert torch.equal(torch.get_rng_state(), before)
    with Store.open(tmp_path / "t").connect() as db:
        seen = dict(db.execute("SELECT row, view FROM views").fetchall())
        copies = db.execute("SELECT row, index FROM examples WHERE duplicate_group IS NOT NULL").fetchall()
        twice = db.execute("SELECT count(*) - count(DISTINCT row) FROM views").fetchone()
    assert len(copies) == 100
    assert {row for row, _ in copies} <= seen.keys()
    assert twice == (0,)
    assert len(seen) < 1500
    stored = [json.loads(seen[row]) for row, index in sorted(copies, key=lambda c: c[1]) if index in (100, 2900)]
    assert stored[0]["raw"] == stored[1]["raw"]
