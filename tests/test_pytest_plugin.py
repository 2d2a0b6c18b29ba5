"""The pytest plugin: one item per check, waivers as expected failures, scripts from the configuration."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

STEP = """
import pytest, torch
from torch import nn
from trainrecipe import Step

def build(softmax):
    torch.manual_seed(0)
    layers = [nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)] + [nn.Softmax(dim=1)] * softmax
    return nn.Sequential(*layers)

BATCH = torch.randn(32, 6), torch.randint(0, 4, (32,))

def loss(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])

@pytest.mark.recipe
def healthy_step():
    return Step(build(False), BATCH, loss)

@pytest.mark.recipe
def faulty_step():
    return Step(build(True), BATCH, loss)
"""
SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
data = TensorDataset(torch.randn(64, 6), torch.randint(0, 4, (64,)))
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4), nn.Softmax(dim=1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for x, y in DataLoader(data, batch_size=16, shuffle=True):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
"""


def _pytest(folder: Path, *options: str) -> tuple[dict[str, int], str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-ra", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|skipped|xfailed|error)", done.stdout[-400:])}
    return counts, done.stdout + done.stderr


def test_each_check_of_a_step_is_an_item_and_a_waiver_an_expected_failure(tmp_path: Path) -> None:
    (tmp_path / "test_step.py").write_text(STEP)
    counts, text = _pytest(tmp_path)
    assert "FAILED test_step.py::faulty_step::softmax-before-cross-entropy" in text, text
    assert "healthy_step::softmax" not in text.split("short test summary")[1]
    assert counts["failed"] == text.count("FAILED test_step.py::faulty_step")
    assert counts["passed"] > 20
    assert counts["skipped"] > 0
    (tmp_path / "pyproject.toml").write_text(
        '[tool.trainrecipe]\nwaive = { "softmax-before-cross-entropy" = "an old baseline" }\n'
    )
    counts, text = _pytest(tmp_path)
    assert counts["xfailed"] == 1
    assert "waived: an old baseline" in text


def test_scripts_named_in_the_configuration_are_rehearsed_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "pyproject.toml").write_text('[tool.trainrecipe]\nscripts = ["train.py"]\ndisable = ["input-scale"]\n')
    counts, text = _pytest(tmp_path, "--recipe-scripts")
    assert "train.py::softmax-before-cross-entropy" in text, text
    assert "input-scale" not in text
    assert counts["failed"] >= 1
    assert counts["skipped"] > 5
    assert "expected: raw logits" in text
    nothing, _ = _pytest(tmp_path)
    assert not nothing
