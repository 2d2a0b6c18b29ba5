"""Ranks with unequal numbers of targets: what weighs them rightly is silent, however it does so."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainrecipe.checks.ranks.uneven_shards import UnevenShards
from trainrecipe.finding import Place, Severity, Verdict
from trainrecipe.subjects.ranks import LocalMean, RankFacts, Ranks, Wrapper
from trainrecipe.subjects.reductions import weight_of
from trainrecipe.subjects.step import Step
from trainrecipe.subjects.targets import averaged

PROGRAM = """
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
rng = torch.Generator().manual_seed(rank)


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Embedding(20, 16), nn.Linear(16, 4))

    def forward(self, ids, tags=None):
        logits = self.layers(ids)
        return logits if tags is None else mean_loss(logits, tags)


def mean_loss(logits, tags):
    return F.cross_entropy(logits.reshape(-1, 4), tags.reshape(-1))


def batch(rows, length):
    ids = torch.randint(1, 20, (rows, length + 3), generator=rng)
    tags = (ids + rank) % 4
    tags[:, length:] = -100
    return ids, tags


net = Tagger()
model = WRAP
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
for step in range(18):
    ids, tags = batch(ROWS, LENGTH)
    optimizer.zero_grad()
    LOSS
    loss.backward()
    EXCHANGE
    optimizer.step()
"""
OWN = "loss = mean_loss(model(ids), tags)"
COUNT = "n = (tags != -100).sum(); total = n.clone(); dist.all_reduce(total); "
FLAT = """
    flat = torch.cat([p.grad.flatten() for p in net.parameters()])SCALE
    dist.all_reduce(flat)
    for p, part in zip(net.parameters(), flat.split([p.numel() for p in net.parameters()])):
        p.grad.copy_(part.view_as(p))
"""
WARNED, NOTED = {"uneven-shards": "warning"}, {"uneven-shards": "note"}
CASES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "a mean over unequal numbers": ({}, WARNED),
    "taken inside the model": ({"LOSS": "loss = model(ids, tags)"}, WARNED),
    "with a penalty": ({"LOSS": OWN + " + 1e-4 * sum((p**2).sum() for p in net.parameters())"}, WARNED),
    "clipped": ({"EXCHANGE": "nn.utils.clip_grad_norm_(net.parameters(), 0.1)"}, WARNED),
    "averaged by hand, in one piece": ({"WRAP": "net", "EXCHANGE": FLAT.replace("SCALE", " / world")}, WARNED),
    "weighed by hand, in one piece": ({"WRAP": "net", "EXCHANGE": COUNT + FLAT.replace("SCALE", " * n / total")}, {}),
    "weighed by a number": ({"LOSS": COUNT + OWN + " * (n * world / total).item()"}, {}),
    "weighed by tensors": ({"LOSS": COUNT + OWN + " * n * world / total"}, {}),
    "weighed beside a penalty": (
        {"LOSS": COUNT + OWN + " * (n * world / total).item() + sum((p**2).sum() for p in net.parameters())"},
        {},
    ),
    "one sequence in each rank": ({"ROWS": "1", "LENGTH": "[5, 40][rank]"}, NOTED),
    "equal numbers": ({"LENGTH": "20"}, {}),
    "smaller last batches": ({"LENGTH": "20", "ROWS": "[8, 2][rank] if step % 6 == 5 else 8"}, {}),
    "ranks that train apart": ({"WRAP": "net"}, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_what_weighs_targets_alike_is_silent(ask: Any, tmp_path: Path, name: str) -> None:
    given, expected = CASES[name]
    text = PROGRAM
    own = {"WRAP": "DDP(net)", "ROWS": "8", "LENGTH": "[4, 40][rank]", "LOSS": OWN, "EXCHANGE": "pass", **given}
    for word, code in own.items():
        text = text.replace(word, code)
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(text))
    answer = ask(str(script), processes=2, only=["uneven-shards"])
    assert answer["status"] in ("rehearsed", "finished"), answer["errors"] + str(answer["messages"])
    assert not answer["failed"]
    assert {f["check"]: f["severity"] for f in answer["findings"]} == expected


# ---- judgement on plain facts

HERE = Place("train.py", 1)


def rank(number: int, counts: list[int], *, factor: float = 1.0, local: list[float] | None = None, **options: Any) -> RankFacts:
    own = {"local": local or [], "used": [1.0, 1.0] if local else []}
    means = [LocalMean(i, n, 8, [], factor, HERE, **own) for i, n in enumerate(counts)]
    return RankFacts(number, 2, initialized=HERE, wrappers=[Wrapper(HERE)], means=means, **options)


def verdict(*ranks: RankFacts, world: int = 2) -> Any:
    evidence = UnevenShards().measure(Ranks(world, list(ranks)))
    return Verdict.SKIP if evidence.missing else UnevenShards().judge(evidence)


def test_the_gradient_that_was_used_decides_between_a_warning_and_a_note() -> None:
    few, many = [10] * 6, [40] * 6
    assert verdict(rank(0, few), rank(1, many)).severity is Severity.NOTE
    assert verdict(rank(0, few, local=[2.0, 0.0]), rank(1, many, local=[0.0, 2.0])).severity is Severity.WARNING
    weighed = rank(0, few, local=[4.0, 0.0]), rank(1, many, local=[0.0, 1.0])
    assert verdict(*weighed).verdict is Verdict.PASS
    other = rank(0, few, local=[2.0, -1.0]), rank(1, many, local=[3.0, -2.0])
    assert verdict(*other).severity is Severity.NOTE


def test_factors_of_the_means_count() -> None:
    assert verdict(rank(0, [10] * 6, factor=0.4), rank(1, [40] * 6, factor=1.6)).verdict is Verdict.PASS


def test_a_few_uneven_steps_are_chance_and_half_of_them_are_batches_by_length() -> None:
    mixed = [10, 40, 10, 40, 10, 40]
    local = {"local": [2.0, 0.0]}, {"local": [0.0, 2.0]}
    assert verdict(rank(0, mixed, **local[0]), rank(1, [10] * 6, **local[1])).severity is Severity.WARNING
    assert verdict(rank(0, mixed[:1] * 4 + [40, 10]), rank(1, [10] * 6)).verdict is Verdict.PASS
    assert verdict(rank(0, [10] * 6), rank(1, [14] * 6)).verdict is Verdict.PASS


def test_steps_are_compared_only_where_all_ranks_count() -> None:
    assert verdict(rank(0, [10] * 6), rank(1, [40] * 2)) is Verdict.SKIP
    assert verdict(rank(0, [10] * 6), rank(1, [40] * 6), world=3) is Verdict.SKIP
    elsewhere = rank(1, [40] * 6)
    for mean in elsewhere.means:
        mean.place = Place("other.py", 9)
    assert verdict(rank(0, [10] * 6), elsewhere) is Verdict.SKIP


# ---- what is counted


def step_of(loss: Any, targets: torch.Tensor) -> Step:
    torch.manual_seed(0)
    return Step(nn.Linear(3, 4), (torch.randn(len(targets), 3), targets), lambda model, batch: loss(model(batch[0]), batch[1]))


def test_targets_and_the_weight_of_their_mean_equal_what_autograd_says() -> None:
    targets = torch.tensor([0, 1, -100, 2, -100, 3])

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return 3 * nn.functional.cross_entropy(logits, labels) / 2 + 5 * (logits**2).mean()

    step = step_of(loss, targets)
    found = averaged(step)
    assert found is not None
    assert found.number == 4
    assert weight_of(step, found.call.op) == 1.5
    logits = torch.zeros(6, 4, requires_grad=True)
    loss(logits, targets).backward()
    assert logits.grad is not None
    assert torch.isclose(logits.grad[0, 0], torch.tensor(1.5 / 4 * (0.25 - 1)))  # softmax minus one-hot, times the weight


def test_sums_and_weighted_means_are_no_plain_means() -> None:
    targets = torch.tensor([0, 1, 2, 3])
    ce = nn.functional.cross_entropy
    for options in ({"reduction": "sum"}, {"weight": torch.ones(4)}):
        assert averaged(step_of(lambda logits, labels, options=options: ce(logits, labels, **options), targets)) is None
    two = step_of(lambda logits, labels: ce(logits, labels) + ce(-logits, labels), targets)
    assert averaged(two) is None
