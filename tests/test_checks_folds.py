"""Folds that share one model are found in several styles of cross-validation; what only looks like them is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, SubsetRandomSampler, TensorDataset, random_split

from trainrecipe.capture import hashing, subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.checks.data.folds_share_weights import FoldsShareWeights
from trainrecipe.exam import ask
from trainrecipe.finding import Finding, Severity

N, K = 240, 4
X, Y = torch.randn(N, 6, generator=torch.Generator().manual_seed(1)), torch.arange(N) % 3
ALL = TensorDataset(X, Y)
Pair = tuple[DataLoader[Any], DataLoader[Any]]


class Table(Dataset[Any]):
    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        return X[i], Y[i]


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def answer(loop: Callable[[], Any], *, detail: bool = True) -> Finding:
    torch.manual_seed(0)
    listener = Listener(detail_always=detail)
    listener.install()
    try:
        loop()
    finally:
        listener.remove()
    subjects.fill_stream(listener)
    assert not listener.trouble
    (finding,) = ask(FoldsShareWeights(), subjects.data(listener, may_read=detail))
    assert "itself failed" not in finding.ruling.says, finding.ruling.says
    return finding


def warned(finding: Finding) -> bool:
    return finding.counts(Severity.WARNING)


def fit(model: nn.Module, train: Any, held_out: Any, epochs: int = 2, first: Any = None) -> None:
    """Train and evaluate in turn; `first` is evaluated before the training."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    if first is not None:
        evaluate(model, first)
    for _ in range(epochs):
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        if held_out is not None:
            evaluate(model, held_out)


def evaluate(model: nn.Module, loader: Any) -> float:
    model.eval()
    with torch.no_grad():
        return sum((model(x).argmax(1) == y).float().mean().item() for x, y in loader)


def ids(k: int, folds: int = K) -> tuple[list[int], list[int]]:
    held = list(range(k, N, folds))
    return [i for i in range(N) if i % folds != k], held


def subsets(k: int, folds: int = K) -> Pair:
    train, held = ids(k, folds)
    return DataLoader(Subset(ALL, train), 30, shuffle=True), DataLoader(Subset(ALL, held), 30)


def samplers(k: int) -> Pair:
    data = Table()
    train, held = ids(k)
    return DataLoader(data, 30, sampler=SubsetRandomSampler(train)), DataLoader(data, 30, sampler=SubsetRandomSampler(held))


def copies(k: int) -> Pair:
    train, held = (torch.tensor(i) for i in ids(k))
    return (
        DataLoader(TensorDataset(X[train], Y[train]), 30, shuffle=True),
        DataLoader(TensorDataset(X[held], Y[held]), 30),
    )


@pytest.mark.parametrize("detail", [True, False])
@pytest.mark.parametrize("style", [subsets, copies])
def test_one_model_for_all_folds_is_found(style: Callable[[int], Pair], detail: bool) -> None:
    def loop() -> None:
        model = net()
        for k in range(K):
            fit(model, *style(k))

    finding = answer(loop, detail=detail)
    assert warned(finding), finding.ruling.says
    assert "60 of 60" in finding.ruling.says


def test_it_is_found_with_samplers_and_one_score_at_the_end_of_each_fold() -> None:
    data = Table()

    def loop() -> None:
        model = net()
        for k in range(K):
            train, held = ids(k)
            fit(model, DataLoader(data, 30, sampler=SubsetRandomSampler(train)), None)
            evaluate(model, DataLoader(data, 30, sampler=SubsetRandomSampler(held)))

    assert warned(answer(loop))


def test_a_split_made_anew_in_each_epoch_is_found() -> None:
    def loop() -> None:
        model = net()
        for _ in range(4):
            train, held = random_split(ALL, [160, 80])
            fit(model, DataLoader(train, 32, shuffle=True), DataLoader(held, 40), epochs=1)

    assert not warned(answer(lambda: fit(net(), *subsets(0))))
    assert warned(answer(loop))


@pytest.mark.parametrize("style", [subsets, samplers, copies])
@pytest.mark.parametrize("kind", ["new model", "first weights loaded", "layers reset", "new head on a frozen body"])
def test_folds_that_begin_anew_are_healthy(style: Callable[[int], Pair], kind: str) -> None:
    def loop() -> None:
        model: Any = net()
        first = copy.deepcopy(model.state_dict())
        for k in range(K):
            if kind == "new model":
                model = net()
            elif kind == "first weights loaded":
                model.load_state_dict(first)
            elif kind == "layers reset":
                for layer in model:
                    if isinstance(layer, nn.Linear):
                        layer.reset_parameters()
            else:
                model[0].requires_grad_(False)
                model[2] = nn.Linear(8, 3)
            fit(model, *style(k))

    finding = answer(loop)
    assert not warned(finding), finding.ruling.says


def part(chosen: Any, shuffle: bool = True) -> DataLoader[Any]:
    return DataLoader(Subset(ALL, list(chosen)), 30, shuffle=shuffle)


STAGES: dict[str, list[tuple[Any, Any]]] = {
    "two tasks, each judged on the other": [(range(120), range(120, 240)), (range(120, 240), range(120))],
    "unlearning": [(range(180), range(180, 240)), (range(120), range(120, 180))],
    "active learning": [(range(60), range(60, 240)), (range(120), range(120, 240)), (range(180), range(180, 240))],
    "walking forward": [(range(60), range(60, 120)), (range(60, 120), range(120, 180)), (range(180), range(180, 240))],
    "fixed held-out part": [(range(100), range(200, 240)), (range(50, 200), range(200, 240))],
    "then trained on everything": [(range(180), range(180, 240)), (range(240), range(180, 240))],
    "clients": [(range(k, 160, 4), range(160 + k, 240, 4)) for k in range(4)],
    "replay of old examples": [(range(90), range(90, 110)), ([*range(40), *range(120, 200)], range(200, 240))],
}


@pytest.mark.parametrize("kind", STAGES)
def test_one_model_in_stages_is_healthy(kind: str) -> None:
    def loop() -> None:
        model = net()
        for train, held in STAGES[kind]:
            fit(model, part(train), part(held, shuffle=False), first=part(held, shuffle=False))

    finding = answer(loop)
    assert not warned(finding), finding.ruling.says


def test_folds_of_few_categories_are_not_told_by_contents() -> None:
    rows = torch.randint(0, 2, (N, 6)).float()

    def loop() -> None:
        model = net()
        for k in range(K):
            train, held = (torch.tensor(i) for i in ids(k))
            fit(model, DataLoader(TensorDataset(rows[train], Y[train]), 30), DataLoader(TensorDataset(rows[held], Y[held]), 30))

    assert not warned(answer(loop))


def test_hashes_of_weights() -> None:
    model = net()
    before = hashing.weights_hash(model)
    assert before == hashing.weights_hash(copy.deepcopy(model))
    with torch.no_grad():
        model[2].weight[0, 0] += 1
    assert hashing.weights_hash(model) != before
    assert hashing.weights_hash(model.requires_grad_(False)) is None
    assert hashing.weights_hash(nn.ReLU()) is None
