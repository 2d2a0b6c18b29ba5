"""Examples followed through a training: what is told is what a slow twin sees, and the training is the same bit by bit."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainrecipe.subjects.histories import History, judged
from trainrecipe.table.store import Store

SCRIPT = """
import json
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

torch.manual_seed(3)
digits = load_digits()
data = TensorDataset(torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target))
order = torch.randperm(len(data)).tolist()
train, test = Subset(data, order[:1500]), Subset(data, order[1500:])
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
seen = {}
for epoch in range(4):
    model.train()
    for x, y in DataLoader(train, batch_size=37, shuffle=True, num_workers=WORKERS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        predicted = torch.cat([model(x).argmax(1) for x, _ in DataLoader(test, batch_size=50)])
json.dump({"predicted": predicted.tolist(), "index": order[1500:]}, open("seen.json", "w"))
print(sum(p.double().sum().item() for p in model.parameters()))
"""


def _recipe(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-m", "trainrecipe", *words], cwd=cwd, capture_output=True, text=True, env=environment
    )


def test_predictions_are_those_of_the_script_and_nothing_changes(tmp_path: Path, ask: Any) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent(SCRIPT.replace("WORKERS", "2")))
    bare = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    table = tmp_path / ".trainrecipe" / "data" / "train"
    assert ask(str(tmp_path / "train.py"), data=str(table))["status"] in ("rehearsed", "finished")
    done = _recipe("run", "train.py", "--track-examples", "--no-experiments", cwd=tmp_path)
    assert bare.stdout.strip() in done.stdout, done.stderr
    assert "1,797 examples were followed" in done.stdout
    told = json.loads((tmp_path / "seen.json").read_text())
    with Store.open(table).connect() as db:
        rows = db.execute("SELECT index, predicted, times FROM examples WHERE split = 'validation'").fetchall()
        trained = db.execute("SELECT count(*), min(times), max(times) FROM examples WHERE split = 'train'").fetchall()
    assert {i: int(p) for i, p, _ in rows} == dict(zip(told["index"], told["predicted"], strict=True))
    assert {t for *_, t in rows} == {4.0}
    assert trained == [(1500, 4.0, 4.0)]


def test_sums_equal_a_slow_twin() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 40).astype(float)
    history = History(40)
    confidences: list[list[float]] = [[] for _ in range(40)]
    rights: list[list[bool]] = [[] for _ in range(40)]
    margins: list[list[float]] = [[] for _ in range(40)]
    for _ in range(6):
        order = rng.permutation(40)
        for start in range(0, 40, 8):
            batch = order[start : start + 8]
            logits = torch.from_numpy(rng.normal(0, 2, (8, 5))).float()
            found = judged([logits], labels[batch])
            assert found is not None
            history.add(batch, found)
            for n, i in enumerate(batch):
                y = int(labels[i])
                p = torch.softmax(logits[n], 0)
                confidences[i].append(float(p[y]))
                rights[i].append(int(p.argmax()) == y)
                margins[i].append(float(logits[n, y] - max(v for c, v in enumerate(logits[n].tolist()) if c != y)))
    columns = history.columns()
    assert columns["mean_confidence"] == pytest.approx([np.mean(c) for c in confidences], abs=1e-6)
    assert columns["variability"] == pytest.approx([np.std(c) for c in confidences], abs=1e-5)
    assert columns["margin"] == pytest.approx([np.mean(m) for m in margins], abs=1e-5)
    assert columns["right_share"] == pytest.approx([np.mean(r) for r in rights])
    assert columns["forgotten"] == pytest.approx([sum(a and not b for a, b in itertools.pairwise(r)) for r in rights])
    assert columns["confidence"] == pytest.approx([c[-1] for c in confidences], abs=1e-6)


@pytest.mark.parametrize(
    ("output", "labels", "predicted"),
    [
        (torch.tensor([[0.1, 0.9], [0.8, 0.2]]), [1, 0], [1, 0]),  # probabilities
        (torch.tensor([[-3.0, 2.0], [4.0, -1.0]]), [0, 0], [1, 0]),  # logits
        (torch.tensor([[2.0], [-1.0]]), [1, 1], [1, 0]),  # one logit
        (torch.tensor([0.7, 0.2]), [1, 0], [1, 0]),  # one probability
        (torch.tensor([[3.5], [0.25]]), [3.0, 0.5], [3.5, 0.25]),  # numbers
    ],
)
def test_outputs_are_read_as_what_they_are(output: torch.Tensor, labels: list[float], predicted: list[float]) -> None:
    found = judged([torch.zeros(3, 3), output], np.array(labels, float))
    assert found is not None
    assert found.predicted == pytest.approx(predicted)
    assert np.isfinite(found.loss).all()


def test_outputs_without_a_prediction_each_are_left_alone() -> None:
    assert judged([torch.zeros(5, 3), torch.zeros(()), torch.zeros(2, dtype=torch.long)], np.array([0.0, 1.0])) is None
