"""Which splits a program has: what it does with each, and that those it makes again and again are one."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainrecipe.scan.structure import box_form, corners
from trainrecipe.table.store import Store

HEAD = """
import numpy as np, torch
from sklearn.datasets import load_digits, load_wine
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
torch.manual_seed(0)
d = load_digits()
x, y = torch.tensor(d.images, dtype=torch.float32)[:, None] / 16, torch.tensor(d.target)

def fit(model, loader):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for a, b in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(a), b).backward()
        optimizer.step()

def score(model, loader):
    with torch.no_grad():
        return sum((model(a).argmax(1) == b).sum().item() for a, b in loader)

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
"""
PROGRAMS = {
    "three roles": (
        """
        train, val, test = (TensorDataset(x[a:b], y[a:b]) for a, b in ((0, 1200), (1200, 1500), (1500, 1797)))
        model = make()
        for _ in range(2):
            fit(model, DataLoader(train, 32, shuffle=True))
            score(model, DataLoader(val, 64))
        score(model, DataLoader(test, 64))
        """,
        {"train": 1200, "validation": 300, "test": 297},
    ),
    "made again in each epoch": (
        """
        class Digits(Dataset):
            def __init__(self, a, b): self.a, self.b = a, b
            def __len__(self): return self.b - self.a
            def __getitem__(self, i): return x[self.a + i], int(y[self.a + i])
        model = make()
        for _ in range(3):
            fit(model, DataLoader(Digits(0, 1000), 32, shuffle=True))
            score(model, DataLoader(Digits(1000, 1400), 64))
        """,
        {"train": 1000, "validation": 400},
    ),
    "folds": (
        """
        order = torch.randperm(len(x))
        for fold in order.chunk(4):
            rest = order[~torch.isin(order, fold)]
            model = make()
            for _ in range(2):
                fit(model, DataLoader(TensorDataset(x[rest], y[rest]), 32, shuffle=True))
                score(model, DataLoader(TensorDataset(x[fold], y[fold]), 64))
        """,
        {"train": 1347, "validation": 450},
    ),
    "two tasks through one function": (
        """
        def loader(a, b): return DataLoader(TensorDataset(x[a:b], y[a:b]), 32)
        model = make()
        for a, b, c in ((0, 700, 900), (900, 1600, 1797)):
            for _ in range(2):
                fit(model, loader(a, b))
                score(model, loader(b, c))
        """,
        {"train": 700, "train 2": 700, "validation": 200, "validation 2": 197},
    ),
    "no loader": (
        """
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for step in range(60):
            i = torch.randperm(1500)[:64]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[i]), y[i]).backward()
            optimizer.step()
            if step % 10 == 9:
                with torch.no_grad():
                    print((model(x[1500:]).argmax(1) == y[1500:]).float().mean())
        """,
        {"train": None, "validation": 297},
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_splits_are_what_a_program_does_with_its_data(tmp_path: Path, name: str, ask: Any) -> None:
    body, expected = PROGRAMS[name]
    (tmp_path / "train.py").write_text(HEAD + textwrap.dedent(body))
    seen = ask(str(tmp_path / "train.py"), data=str(tmp_path / "table"))
    assert seen["status"] in ("finished", "rehearsed"), seen["errors"]
    splits = {s.name: s.read for s in Store.open(tmp_path / "table").manifest.splits}
    assert splits.keys() == expected.keys()
    assert all(expected[k] is None or abs(n - (expected[k] or 0)) <= 1 for k, n in splits.items())
    assert not [f["check"] for f in seen["findings"] if f["severity"] != "note"]


def test_the_form_of_boxes_is_the_one_that_fits() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0, 40, (30, 2))
    two = np.concatenate([first, first + rng.uniform(2, 20, (30, 2))], axis=1)
    size = np.concatenate([two[:, :2], two[:, 2:] - two[:, :2]], axis=1)
    centre = np.concatenate([(two[:, :2] + two[:, 2:]) / 2, two[:, 2:] - two[:, :2]], axis=1) / 64
    for boxes, form in ((two, "xyxy"), (size, "xywh"), (centre, "cxcywh")):
        assert box_form([boxes], {(64, 64)}) == form
    assert box_form([np.concatenate([two, size[:3]])], {(64, 64)}) == "xyxy"
    for boxes, form in ((two, "xyxy"), (size, "xywh"), (centre, "cxcywh")):
        assert corners(boxes, form) * (64 if form == "cxcywh" else 1) == pytest.approx(two)
