"""What a script does at its end is seen where the end is near, and nothing of it reaches out of the rehearsal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.test_cli_watched import recipe, write

SCRIPT = """
import torch
from torch import nn

torch.manual_seed(0)
x = torch.randn(256, 6)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(EPOCHS):
    for idx in torch.randperm(192).split(16):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x[idx]), y[idx])
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        right = (model(x[192:]).argmax(1) == y[192:]).sum().item()
print("the end", flush=True)
"""


def check(folder: Path, script: str, *words: str) -> dict[str, Any]:
    write(folder, script)
    done = recipe("check", "train.py", "--once", "--format", "json", *words, cwd=folder)
    assert done.returncode in (0, 1), done.stderr
    return {**json.loads(done.stdout), "printed": done.stderr}


def test_an_end_that_is_near_is_seen(tmp_path: Path) -> None:
    report = check(tmp_path, SCRIPT.replace("EPOCHS", "20"))
    assert report["status"] == "finished"
    assert "the end" in report["printed"]


LONG = {
    "for": "for epoch in range(100_000):",
    "while": "epoch = 0\nwhile epoch < 100_000:\n    epoch += 1",
    "while True": "while True:",
    "progress bar": "import tqdm\nfor epoch in tqdm.trange(100_000, disable=True):",
    "generator": "for epoch in (e for e in range(100_000)):",
}


@pytest.mark.parametrize("loop", LONG.values(), ids=LONG)
def test_the_loops_of_a_long_training_are_left_and_its_end_is_seen(tmp_path: Path, loop: str) -> None:
    report = check(tmp_path, SCRIPT.replace("for epoch in range(EPOCHS):", loop))
    assert report["status"] == "rehearsed"
    assert "the end" in report["printed"]


def test_the_loops_of_a_module_that_the_script_imports_are_left(tmp_path: Path) -> None:
    loop = SCRIPT.replace("EPOCHS", "100_000").replace("\n", "\n    ")
    (tmp_path / "engine.py").write_text("def train():" + loop)
    report = check(tmp_path, "import engine\nengine.train()\nprint('behind it', flush=True)\n")
    assert report["status"] == "rehearsed"
    assert "behind it" in report["printed"]


def test_a_training_that_no_loop_of_the_script_drives_is_stopped(tmp_path: Path) -> None:
    head, _, _ = SCRIPT.partition("for epoch")
    step = """
def turn(number):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x[:192]), y[:192])
    loss.backward()
    optimizer.step()
    return loss.item()

list(map(turn, range(100_000)))
print("the end", flush=True)
"""
    report = check(tmp_path, head + step)
    assert report["status"] == "rehearsed"
    assert "the end" not in report["printed"]


def test_a_second_training_behind_a_long_one_is_left_as_well(tmp_path: Path) -> None:
    twice = SCRIPT.replace("EPOCHS", "100_000") + SCRIPT.replace("EPOCHS", "100_000").replace("the end", "the second end")
    report = check(tmp_path, twice)
    assert report["status"] == "rehearsed"
    assert "the second end" in report["printed"]


def test_a_number_of_steps_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    report = check(tmp_path, SCRIPT.replace("EPOCHS", "20"), "--steps", "70")
    assert report["status"] == "rehearsed"


@pytest.mark.parametrize(
    "last",
    [
        'import os; os.system("touch reached")',
        'import subprocess; subprocess.run(["touch", "reached"])',
        'input("go on? ")',
        'import socket; socket.create_connection(("192.0.2.1", 80), timeout=30)',
        'raise ValueError("shapes differ, since passes were shortened")',
        "import sys; sys.exit(3)",
    ],
)
def test_the_rehearsal_ends_where_a_script_reaches_out_or_fails(tmp_path: Path, last: str) -> None:
    report = check(tmp_path, SCRIPT.replace("EPOCHS", "20") + last + '\nprint("beyond", flush=True)\n')
    assert report["status"] == "rehearsed"
    assert "beyond" not in report["printed"]
    assert "Traceback" not in report["printed"]
    assert not (tmp_path / "reached").exists()


def test_an_end_that_takes_long_is_cut_off(tmp_path: Path) -> None:
    begun = time.monotonic()
    report = check(tmp_path, SCRIPT.replace("EPOCHS", "20") + "import time; time.sleep(300)\n")
    assert report["status"] == "rehearsed"
    assert time.monotonic() - begun < 120


def test_a_second_network_is_examined(tmp_path: Path) -> None:
    second = """
student = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(dim=1))
optimizer = torch.optim.Adam(student.parameters(), lr=5e-3)
for epoch in range(20):
    for idx in torch.randperm(192).split(16):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(student(x[idx]), y[idx])
        loss.backward()
        optimizer.step()
"""
    report = check(tmp_path, SCRIPT.replace("EPOCHS", "20") + second)
    assert report["status"] == "finished"
    assert "softmax-before-cross-entropy" in [f["check"] for f in report["findings"]]


def test_a_warm_up_by_a_counter_of_its_own_is_not_judged_in_shortened_passes(tmp_path: Path) -> None:
    script = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(640, 6)
y = (x[:, 0] > 0).long()
loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
step = 0
for epoch in range(5):  # 200 steps, of which a rehearsal takes 40
    for inputs, labels in loader:
        step += 1
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min(1.0, step / 60)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
"""
    report = check(tmp_path, script)
    assert report["status"] == "finished"
    assert not {f["check"] for f in report["findings"]} & {"warmup-never-ends", "learning-rate-starved"}
