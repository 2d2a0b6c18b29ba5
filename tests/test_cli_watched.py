"""`recipe check` and `recipe run` as a person meets them: exit codes, bad input, interruption, and nothing of theirs lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

HEALTHY = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(256, 6)
y = (x[:, 0] + x[:, 1] * x[:, 2] > 0).long()
train = DataLoader(TensorDataset(x[:192], y[:192]), batch_size=16, shuffle=True)
valid = DataLoader(TensorDataset(x[192:], y[192:]), batch_size=16)
model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
for epoch in range(4):
    model.train()
    for inputs, labels in train:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = sum((model(inputs).argmax(1) == labels).sum().item() for inputs, labels in valid)
    print(f"epoch {epoch}: {right / 64:.3f}", flush=True)
    torch.save(model.state_dict(), "model.pt")
"""
FAULTY = HEALTHY.replace("nn.Linear(32, 2))", "nn.Linear(32, 2), nn.Softmax(dim=1))")


def recipe(*words: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, single-threaded."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **options.pop("env", {})}
    command = [sys.executable, "-m", "trainrecipe", *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, **options)


def write(folder: Path, text: str, name: str = "train.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_fault_is_found_named_and_placed(tmp_path: Path) -> None:
    write(tmp_path, FAULTY)
    done = recipe("check", "train.py", "--once", "--format", "json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == "finished"
    first = report["findings"][0]
    assert first["check"] == "softmax-before-cross-entropy"
    assert first["place"]["line"] == FAULTY.splitlines().index(first["place"]["source"]) + 1
    assert "nn.Softmax" in first["place"]["source"]
    assert not (tmp_path / "model.pt").exists(), "the rehearsal wrote a file of the user's"
    assert "epoch 0" in done.stderr, "the script's output is passed on"


def test_a_healthy_script_gives_0_and_a_report(tmp_path: Path) -> None:
    write(tmp_path, HEALTHY)
    (tmp_path / "model.pt").write_bytes(b"precious")
    done = recipe("check", "train.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "model.pt").read_bytes() == b"precious"
    reports = list(tmp_path.glob(".trainrecipe/runs/*/report.html"))
    assert len(reports) == 1
    shown = recipe("show", "last", cwd=tmp_path)
    assert shown.returncode == 0
    assert "train.py" in shown.stdout


def test_a_waiver_silences_with_its_reason(tmp_path: Path) -> None:
    text = FAULTY.replace(
        "nn.Softmax(dim=1))", "nn.Softmax(dim=1))  # recipe: allow[softmax-before-cross-entropy] for the tests"
    )
    write(tmp_path, text)
    done = recipe("check", "train.py", "--once", "--format", "json", "--fail-on", "error", cwd=tmp_path)
    waived = [f for f in json.loads(done.stdout)["findings"] if f["waived"]]
    assert [(f["check"], f["waived"]) for f in waived] == [("softmax-before-cross-entropy", "for the tests")]
    assert done.returncode == 0


def test_run_passes_output_files_and_exit_status_through(tmp_path: Path) -> None:
    bare, seen = tmp_path / "bare", tmp_path / "seen"
    bare.mkdir()
    seen.mkdir()
    text = HEALTHY + "\nsys.exit(7)\n"
    for folder in (bare, seen):
        write(folder, text)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    plain = subprocess.run([sys.executable, "train.py"], cwd=bare, env=env, capture_output=True, text=True, timeout=300)
    done = recipe("run", "train.py", cwd=seen)
    assert plain.returncode == done.returncode == 7
    assert done.stdout.startswith(plain.stdout)
    assert (bare / "model.pt").read_bytes() == (seen / "model.pt").read_bytes()
    assert list(seen.glob(".trainrecipe/runs/*/report.html"))


def test_an_exception_looks_as_without_us(tmp_path: Path) -> None:
    write(tmp_path, HEALTHY.replace("    model.train()", "    assert epoch < 1, 'on purpose'\n    model.train()"))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "train.py"]
    plain = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    done = recipe("run", "train.py", "--no-experiments", cwd=tmp_path)
    assert done.returncode == plain.returncode == 1
    assert plain.stderr in done.stderr
    assert "AssertionError: on purpose" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("absent.py", None, "no such script"),
        ("broken.py", "for x in\n", "not valid Python"),
    ],
)
def test_wrong_use_gives_2_and_says_why(tmp_path: Path, name: str, text: str | None, expected: str) -> None:
    if text is not None:
        write(tmp_path, text, name)
    done = recipe("check", name, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert name in done.stderr


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("print('no torch here')\n", 0, "never imported PyTorch"),
        ("import torch\nprint(torch.ones(3).sum())\n", 0, "no training was found"),
        ("import torch\nraise ValueError('no data')\n", 1, "before its first training step"),
        (
            "import torch\nm = torch.nn.Linear(2, 1)\nwith torch.no_grad():\n    for _ in range(9):\n"
            "        m.weight -= 0.1 * m(torch.ones(4, 2)).mean()\n",
            0,
            "never backward",
        ),
    ],
)
def test_scripts_without_training_are_told_so(tmp_path: Path, text: str, code: int, expected: str) -> None:
    write(tmp_path, text)
    done = recipe("check", "train.py", "--once", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert expected in " ".join((done.stdout + done.stderr).split())


def test_ctrl_c_is_the_scripts_and_the_report_is_written(tmp_path: Path) -> None:
    slow = HEALTHY.replace("range(4)", "range(100000)")
    write(tmp_path, slow)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "trainrecipe", "run", "train.py", "--no-experiments"]
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to Ctrl-C
    try:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, ignored)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 1"):
            break
    os.killpg(process.pid, signal.SIGINT)
    _out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "KeyboardInterrupt" in err
    assert list(tmp_path.glob(".trainrecipe/runs/*/report.html"))
    record = recipe("show", "last", "--format", "json", cwd=tmp_path)
    assert json.loads(record.stdout)["status"] == "interrupted"


def test_two_runs_at_once_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path, HEALTHY)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "trainrecipe", "check", "train.py", "--once", "--budget", "2"]
    pair = [subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [p.wait(timeout=300) for p in pair] == [0, 0]
    listed = json.loads(recipe("log", "--json", cwd=tmp_path).stdout)
    assert len(listed) == 2


def test_a_hostile_script_name_is_harmless(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.py"
    write(tmp_path, FAULTY, name)
    done = recipe("check", name, "--once", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    html = next(tmp_path.glob(".trainrecipe/runs/*/report.html")).read_text()
    assert "<img src=x" not in html


def test_a_killed_script_is_reported(tmp_path: Path) -> None:
    write(tmp_path, "import os, torch\nos._exit(5)\n")
    done = recipe("run", "train.py", cwd=tmp_path)
    assert done.returncode == 5
    assert "left its process" in " ".join(done.stdout.split())


def test_environment_set_by_the_script_before_torch_counts(tmp_path: Path) -> None:
    write(tmp_path, "import os\nos.environ['OMP_NUM_THREADS'] = '2'\nimport torch\nprint('threads', torch.get_num_threads())\n")
    done = recipe("run", "train.py", cwd=tmp_path)
    assert "threads 2" in done.stdout


def test_the_scripts_arguments_arrive(tmp_path: Path) -> None:
    write(tmp_path, "import sys\nprint('given', sys.argv)\n")
    done = recipe("check", "train.py", "--once", "--", "--lr", "0.1", cwd=tmp_path)
    assert "given ['train.py', '--lr', '0.1']" in done.stdout


def test_startup_is_not_slow(tmp_path: Path) -> None:
    began = time.perf_counter()
    recipe("--version", cwd=tmp_path)
    assert time.perf_counter() - began < 10
