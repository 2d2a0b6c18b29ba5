"""Interventions on unmodified scripts: each changes what it says, proves it, and says why where it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainrecipe.capture.launch import Order
from trainrecipe.intervene.intervention import intervention, interventions
from trainrecipe.wrong_use import WrongUse

SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(200, 6)
y = (x[:, 0] + x[:, 1] > 0).long()
train = DataLoader(TensorDataset(x[:160], y[:160]), batch_size=16, shuffle=True)
test = DataLoader(TensorDataset(x[160:], y[160:]), batch_size=40)
net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
opt = torch.optim.SGD([{"params": net[0].parameters(), "lr": 0.05}, {"params": net[3].parameters()}], lr=0.1, momentum=0.9)
sched = torch.optim.lr_scheduler.StepLR(opt, 1, 0.5)
for epoch in range(3):
    net.train()
    for a, b in train:
        loss = nn.functional.cross_entropy(net(a), b)
        opt.zero_grad()
        loss.backward()
        opt.step()
    print("rates", *(f"{g['lr']:.6g}" for g in opt.param_groups), "batch", len(a), "kind", type(opt).__name__)
    sched.step()
    net.eval()
    with torch.no_grad():
        right = sum((net(a).argmax(1) == b).sum().item() for a, b in test)
    print(f"epoch {epoch} test acc {right / 40:.3f} decay {opt.param_groups[0]['weight_decay']:g} p {net[2].p:g}")
"""


def run(tmp_path: Path, source: str, *changes: str, seed: int = 0) -> tuple[dict[str, Any], str]:
    """What an experiment tells, and its output."""
    script, result = tmp_path / "train.py", tmp_path / "result.json"
    script.write_text(source)
    order = Order(str(script), [], False, "", in_place=True, seed_offset=seed, interventions=list(changes), result=str(result))
    done = subprocess.run(
        [sys.executable, "-m", "trainrecipe.capture.launch"],
        env={**order.environment(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(result.read_text()), done.stdout


@pytest.mark.parametrize(
    ("change", "seen", "told"),
    [
        ("learning_rate=0.2", "rates 0.2 0.4", "0.05 to 0.2"),
        ("learning_rate=x0.1", "rates 0.005 0.01", "0.05 to 0.005"),
        ("schedule=off", "rates 0.05 0.1 batch 16 kind SGD\nepoch 2", "put back"),
        ("optimizer=adam", "kind Adam", "SGD became adam"),
        ("optimizer=sgd:0.3", "rates 0.3 0.3", "SGD became sgd at 0.3"),
        ("weight_decay=0.01", "decay 0.01", "0 to 0.01"),
        ("batch_size=32", "batch 32", "16 to 32"),
        ("batch_size=x0.5", "batch 8", "16 to 8"),
        ("train_fraction=0.3", "batch 16", "48 of 160"),
        ("dropout=0.5", "p 0.5", "Dropout from 0.1 to 0.5"),
        ("dropout=off", "p 0\n", "Dropout from 0.1 to 0"),
        ("label_smoothing=0.2", "test acc", "30 losses"),
        ("inputs=zero", "test acc", "33 calls"),
        ("clip=0.01", "test acc", "30 of 30 steps"),
    ],
)
def test_an_intervention_changes_what_it_says(tmp_path: Path, change: str, seen: str, told: str) -> None:
    result, output = run(tmp_path, SCRIPT, change)
    assert seen in output
    (effect,) = result["effects"]
    assert effect["took"], effect
    assert told in effect["says"]


BY_HAND = """
import torch

torch.manual_seed(0)
w = torch.zeros(3, requires_grad=True)
for step in range(20):
    loss = ((torch.randn(8, 3) * w).sum(1) - 1).pow(2).mean()
    loss.backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
        w.grad = None
"""


@pytest.mark.parametrize("name", sorted(interventions()))
def test_what_cannot_take_effect_says_why(tmp_path: Path, name: str) -> None:
    values = {"optimizer": "adam", "schedule": "off", "inputs": "zero", "batch_size": "4"}
    result, _ = run(tmp_path, BY_HAND, f"{name}={values.get(name, '0.5')}")
    (effect,) = result["effects"]
    assert not effect["took"]
    assert len(effect["says"]) > 10


def test_without_a_change_the_training_is_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    script = tmp_path / "bare" / "train.py"
    script.write_text(SCRIPT)
    bare = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    result, output = run(tmp_path, SCRIPT)
    assert output == bare.stdout
    assert result["status"] == "finished"
    assert result["steps"] == 30
    assert [round(v, 3) for _, v in result["series"]["captured test accuracy"]] == [v for _, v in result["series"]["test acc"]]
    assert [step for step, _ in result["series"]["test acc"]] == [10, 20, 30]


def test_another_seed_gives_another_training(tmp_path: Path) -> None:
    outputs = {run(tmp_path, SCRIPT, seed=seed)[1] for seed in (0, 1, 2)}
    assert len(outputs) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dropuot=0.5", "did you mean 'dropout'"),
        ("dropout", "gives dropout no value"),
        ("dropout=high", "no number"),
        ("dropout=1.5", "not between 0 and 0.999"),
        ("schedule=on", "must be off or constant"),
        ("optimizer=lion", "adam or adamw or sgd"),
    ],
)
def test_wrong_changes_are_refused_with_a_remedy(text: str, said: str) -> None:
    with pytest.raises(WrongUse, match=said):
        intervention(text)
