"""Scripts that start their ranks by torch.multiprocessing.spawn: every rank is observed, and the training stays what it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def work(rank, world, meeting):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=world)
    drawn = torch.rand(())
    torch.manual_seed(0)
    x = torch.randn(192, 6)
    data = TensorDataset(x, (x[:, 0] > 0).long())
    sampler = DistributedSampler(data)
    loader = DataLoader(data, batch_size=16, sampler=sampler)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    wrapped = DDP(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        for a, b in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(CALLED(a), b)
            loss.backward()
            optimizer.step()
    if rank == 0:
        print("norm", sum(p.double().norm().item() for p in model.parameters()), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, args=(2, sys.argv[1]), nprocs=2)
    print("joined", flush=True)
"""


def started(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=120, env=environment, check=False
    )


def findings(folder: Path) -> list[str]:
    record = started(["-m", "trainrecipe", "show", "last", "--format", "json"], folder)
    return [f["check"] for f in json.loads(record.stdout)["findings"]]


@pytest.mark.parametrize(("called", "expected"), [("wrapped", []), ("model", ["replicas-differ"])])
def test_spawned_ranks_are_compared(tmp_path: Path, called: str, expected: list[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("CALLED", called))
    done = started(["-m", "trainrecipe", "check", str(script), "--", str(tmp_path / "meeting")], tmp_path)
    assert done.returncode == (1 if expected else 0), done.stdout + done.stderr
    assert [f for f in findings(tmp_path) if f == "replicas-differ"] == expected


FORKED = SCRIPT.replace("mp.spawn(work,", 'mp.start_processes(work, start_method="fork",')


def test_forked_ranks_are_compared(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(FORKED.replace("CALLED", "model"))
    done = started(["-m", "trainrecipe", "check", str(script), "--", str(tmp_path / "meeting")], tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "replicas-differ" in findings(tmp_path)


@pytest.mark.parametrize("source", [SCRIPT, FORKED], ids=["spawned", "forked"])
def test_a_whole_run_of_ranks_trains_as_without_us(tmp_path: Path, source: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(source.replace("CALLED", "wrapped"))
    bare = started([str(script), str(tmp_path / "first")], tmp_path)
    seen = started(["-m", "trainrecipe", "run", str(script), "--", str(tmp_path / "second")], tmp_path)
    assert "joined" in bare.stdout
    assert bare.stdout.splitlines()[0] in seen.stdout, seen.stdout + seen.stderr
    assert "joined" in seen.stdout
    assert seen.returncode == 0


def test_a_rank_that_fails_ends_the_run(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("CALLED", "wrapped").replace("    drawn =", "    assert rank == 0, 'no'\n    drawn ="))
    done = started(["-m", "trainrecipe", "check", str(script), "--", str(tmp_path / "meeting")], tmp_path)
    assert done.returncode not in (0, None)
    assert "AssertionError: no" in done.stderr
