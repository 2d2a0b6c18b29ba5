"""Several ranks: look-alikes are silent, faults are named, and nobody waits for ever."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from trainrecipe.checks.ranks.evaluates_own_shard import EvaluatesOwnShard
from trainrecipe.checks.ranks.replicas_differ import ReplicasDiffer
from trainrecipe.checks.ranks.shards_overlap import ShardsOverlap
from trainrecipe.checks.ranks.split_differs_between_ranks import SplitDiffersBetweenRanks
from trainrecipe.finding import Place, Severity, Verdict
from trainrecipe.subjects.ranks import Collective, RankFacts, Ranks, Reading, Snapshot, Weight, Wrapper
from trainrecipe.subjects.stored import first_and_last
from trainrecipe.testing import PROCESSES

OWN = sorted(PROCESSES)
START = """
import os, time
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
x = torch.randn(192, 6)
y = (x[:, 0] > 0).long()
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
"""
LOOP = """
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(3):
    for a, b in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(a), b)
        loss.backward()
        CHANGE
        optimizer.step()
dist.barrier()
print("done", rank)
"""


def program(before: str, change: str = "pass") -> str:
    return START + textwrap.dedent(before) + LOOP.replace("CHANGE", change)


SHARDED = """
sampler = DistributedSampler(TensorDataset(x, y))
loader = DataLoader(TensorDataset(x, y), batch_size=16, sampler=sampler)
net = DDP(model)
"""
STREAM = """
class Stream(IterableDataset):
    def __iter__(self):
        for i in range(rank, len(x), world):
            yield x[i], y[i]
loader = DataLoader(Stream(), batch_size=16)
net = DDP(model)
"""
OWN_SHUFFLE = """
loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(rank))
net = DDP(model)
"""
LOCAL_SGD = SHARDED.replace("DDP(model)", "model")
AVERAGED = "for p in net.parameters(): dist.all_reduce(p.data); p.data /= world"
CASES = {
    "healthy": (program(SHARDED), {}),
    "a stream sharded by rank": (program(STREAM), {}),
    "each rank shuffles on its own": (program(OWN_SHUFFLE), {"shards-overlap": "note"}),
    "an update that one rank makes alone": (
        program(SHARDED, "model[0].weight.grad.mul_(1 + rank)"),
        {"replicas-differ": "error"},
    ),
    "not wrapped at all": (program(LOCAL_SGD), {"replicas-differ": "error"}),
    "weights averaged by hand every other step": (program(LOCAL_SGD, f"\n        {AVERAGED.replace(': ', ':', 1)}"), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_ranks_do_is_told(ask: Any, tmp_path: Path, name: str) -> None:
    text, expected = CASES[name]
    script = tmp_path / "train.py"
    script.write_text(text)
    answer = ask(str(script), processes=2, only=OWN)
    assert answer["status"] in ("rehearsed", "finished"), answer["errors"] + str(answer["messages"])
    assert {f["check"]: f["severity"] for f in answer["findings"]} == expected


def recipe(*words: str, cwd: Path, start: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *start, "-m", "trainrecipe", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", **env}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_the_command_starts_the_ranks_and_makes_one_report(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(program(LOCAL_SGD))
    words = ("check", "train.py", "--processes", "2", "--only", "replicas-differ", "--format", "json")
    done = recipe(*words, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert [f["check"] for f in report["findings"]] == ["replicas-differ"]
    assert report["findings"][0]["place"]["source"] == "loss.backward()"


def test_under_torchrun_rank_0_makes_the_report(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(program(LOCAL_SGD))
    start = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python", sys.executable)
    words = ("check", "train.py", "--only", "replicas-differ", "--format", "json", "-o", "found.json")
    done = recipe(*words, cwd=tmp_path, start=start)
    assert [f["check"] for f in json.loads((tmp_path / "found.json").read_text())["findings"]] == ["replicas-differ"], (
        done.stderr
    )
    assert len(list(tmp_path.rglob("events.jsonl"))) == 1


def test_ranks_that_wait_for_each_other_are_ended_and_named(tmp_path: Path) -> None:
    text = program(SHARDED).replace('print("done", rank)', "if rank == 0:\n    dist.barrier()\nelse:\n    dist.recv(x, 0)")
    (tmp_path / "train.py").write_text(text.replace("range(3)", "range(1)"))
    done = recipe("check", "train.py", "--processes", "2", "--format", "json", cwd=tmp_path, TRAINRECIPE_STALLED="3")
    text = str(json.loads(done.stdout)["messages"])
    assert "the ranks wait for each other" in text
    assert "rank 0 waits at train.py:" in text
    assert done.returncode == 1


def test_a_script_for_several_processes_is_told_of_them(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(program(SHARDED))
    done = recipe("check", "train.py", "--once", cwd=tmp_path)
    assert done.returncode != 0
    assert "--processes 2" in " ".join(done.stdout.split())


# ---- judgement on plain facts

HERE = Place("train.py", 1)


def facts(rank: int, *, value: str = "a", **options: Any) -> RankFacts:
    weights = [Weight("w", [2], value, "", [1.0, 2.0 + len(value)], [])]
    return RankFacts(rank, 2, initialized=HERE, snapshots=[Snapshot(0, 1, weights)], **options)


def verdict(check: Any, *ranks: RankFacts) -> Any:
    evidence = check.measure(Ranks(2, list(ranks)))
    return Verdict.SKIP if evidence.missing else check.judge(evidence)


def test_facts_survive_json() -> None:
    mine = facts(0, wrappers=[Wrapper(HERE)], collectives=[Collective("all_reduce", HERE, 2, 5, 1)])
    assert RankFacts.from_json(json.loads(json.dumps(mine.to_json()))) == mine


def test_one_rank_or_no_group_is_a_skip() -> None:
    assert ReplicasDiffer().measure(Ranks(2, [facts(0)], "rank 1 is gone")).missing == "rank 1 is gone"
    apart = [RankFacts(0, 2), RankFacts(1, 2)]
    assert "not initialised" in ReplicasDiffer().measure(Ranks(2, apart)).missing
    split = [facts(0, sharded=["FSDP"]), facts(1, value="bb")]
    assert "split over the ranks" in ReplicasDiffer().measure(Ranks(2, split)).missing


def test_ranks_that_exchange_activations_or_may_exchange_later_are_no_finding() -> None:
    large = [Collective("all_reduce", HERE, 4096, 5, 1)]
    assert verdict(ReplicasDiffer(), facts(0, collectives=large), facts(1, value="bb")).verdict is Verdict.UNSURE
    assert verdict(ReplicasDiffer(), facts(0, unseen=[HERE]), facts(1, value="bb")).verdict is Verdict.UNSURE
    wrapped = facts(0, wrappers=[Wrapper(HERE)], unseen=[HERE])
    assert verdict(ReplicasDiffer(), wrapped, facts(1, value="bb")).severity is Severity.ERROR


def reading(number: int, indices: list[int], *, trains: bool, examples: int = 100, **options: Any) -> Reading:
    own = {"complete": True, "closed": True, "reported": True, **options}
    return Reading(
        HERE,
        None,
        "Digits of 100",
        examples,
        True,
        trains,
        not trains,
        10 * number,
        indices,
        **own,
    )


def test_full_batches_and_short_common_stretches_are_no_overlap() -> None:
    same = [facts(r, batches=[7, 7, 7]) for r in range(2)]
    assert verdict(ShardsOverlap(), *same).verdict is Verdict.UNSURE
    assert verdict(ShardsOverlap(), *(facts(r, batches=[7, 8]) for r in range(2))).verdict is Verdict.PASS
    assert verdict(ShardsOverlap(), *(facts(r, batches=[7, 8, 9]) for r in range(2))).severity is Severity.WARNING


def test_evaluating_all_or_in_one_rank_or_with_an_exchange_is_healthy() -> None:
    def ranks(first: list[int], second: list[int], **options: Any) -> tuple[RankFacts, RankFacts]:
        return (
            facts(0, readings=[reading(0, first, trains=False)], **options),
            facts(1, readings=[reading(0, second, trains=False)]),
        )

    every, half = list(range(100)), list(range(50))
    rest = list(range(50, 100))
    assert verdict(EvaluatesOwnShard(), *ranks(every, every)) is Verdict.SKIP
    assert verdict(EvaluatesOwnShard(), *ranks(half, half)) is Verdict.SKIP
    assert verdict(EvaluatesOwnShard(), *ranks(half, rest)).severity is Severity.WARNING
    summed = [Collective("all_reduce", HERE, 2, 9, 0)]
    assert verdict(EvaluatesOwnShard(), *ranks(half, rest, collectives=summed)).verdict is Verdict.PASS


def test_folds_of_a_cross_validation_are_no_leak() -> None:
    def fold(rank: int, **options: Any) -> RankFacts:
        held = list(range(20 * rank, 20 * rank + 20))
        kept = [i for i in range(100) if i not in held]
        return facts(rank, readings=[reading(0, kept, trains=True), reading(1, held, trains=False)], **options)

    assert verdict(SplitDiffersBetweenRanks(), fold(0), fold(1)) is Verdict.SKIP
    wrappers = [Wrapper(HERE)]
    assert verdict(SplitDiffersBetweenRanks(), fold(0, wrappers=wrappers), fold(1)).severity is Severity.ERROR


def test_ranks_with_files_of_their_own_share_no_data_set() -> None:
    common = [TensorDataset(torch.arange(40.0), torch.zeros(40)) for _ in range(2)]
    own = TensorDataset(torch.arange(40.0) + 40, torch.zeros(40))
    assert first_and_last(common[0]) == first_and_last(common[1]) != first_and_last(own)

    def rank(number: int, name: str, kept: list[int], held: list[int]) -> RankFacts:
        passes = [reading(0, kept, trains=True), reading(1, held, trains=False)]
        return facts(number, wrappers=[Wrapper(HERE)], readings=[dataclasses.replace(p, dataset=name) for p in passes])

    low, high = list(range(50)), list(range(50, 100))
    assert verdict(SplitDiffersBetweenRanks(), rank(0, "a", low, high), rank(1, "a", high, low)).severity is Severity.ERROR
    assert verdict(SplitDiffersBetweenRanks(), rank(0, "a", low, high), rank(1, "b", high, low)) is Verdict.SKIP
