"""Groups on both sides of a split by rows are found however they are held; columns that only look like groups are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from trainrecipe.capture import subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.checks.data.group_leakage import GroupLeakage
from trainrecipe.exam import ask
from trainrecipe.finding import Finding, Severity, Verdict
from trainrecipe.subjects.fed import Held

PERSONS, WIDTH, CLASSES = 40, 12, 4
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
Split = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def persons(strength: float = 1.5, *, by_person: bool = False, regression: bool = False, seed: int = 0) -> Arrays:
    """Rows of persons who each have a way of their own, labels, and the person: (n, WIDTH), (n,), (n,)."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(PERSONS), rng.integers(15, 40, PERSONS))
    label = rng.integers(0, CLASSES, PERSONS)[person] if by_person else rng.integers(0, CLASSES, len(person))
    shape = rng.normal(0, 1, (CLASSES, WIDTH))
    x = shape[label] + strength * rng.normal(0, 1, (PERSONS, WIDTH))[person] + rng.normal(0, 1, (len(person), WIDTH))
    return x.astype(np.float32), x[:, 0] + rng.normal(0, 1, len(x)) if regression else label, person


def by_rows(n: int, share: float = 0.2) -> Split:
    held = torch.rand(n, generator=torch.Generator().manual_seed(1)) < share
    return torch.where(~held)[0], torch.where(held)[0]


def net(out: int = CLASSES, width: int = WIDTH) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 16), nn.ReLU(), nn.Linear(16, out))


def fit(x: Any, y: Any, key: Any, split: Split, *, model: nn.Module | None = None, loss: Any = F.cross_entropy) -> None:
    """A training that cuts its batches by hand, with `key` held beside."""
    x, y, (train, held_out) = torch.as_tensor(x), torch.as_tensor(y), split
    model = model or net(int(y.max()) + 1, x.shape[1])
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(2):
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            loss(model(x[held_out]), y[held_out])


def answers(loop: Callable[[], Any]) -> list[Finding]:
    listener = Listener(detail_always=True)
    listener.install()
    try:
        loop()
    finally:
        listener.remove()
    assert not listener.trouble
    found = list(ask(GroupLeakage(), subjects.data(listener, may_read=True)))
    assert not any("itself failed" in f.ruling.says for f in found), [f.ruling.says for f in found]
    return found


def told(loop: Callable[[], Any]) -> bool:
    """Whether there is a note, and never more than that."""
    found = answers(loop)
    assert not any(f.counts(Severity.WARNING) for f in found)
    return any(f.counts(Severity.NOTE) for f in found)


# ---- found


HOLDERS: dict[str, Callable[[np.ndarray], Any]] = {
    "array": lambda p: p,
    "tensor": torch.from_numpy,
    "whole floats": lambda p: p.astype(np.float64),
    "list of numbers": lambda p: p.tolist(),
    "list of texts": lambda p: [f"patient {k}" for k in p],
    "array of texts": lambda p: np.array([f"P{k:03d}" for k in p]),
    "array of objects": lambda p: np.array([f"P{k:03d}" for k in p], dtype=object),
    "one column": lambda p: p[:, None],
    "in a dictionary": lambda p: {"meta": {"speaker": p}},
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_split_by_rows_is_found_however_the_key_is_held(holder: str) -> None:
    x, y, person = persons()
    assert told(lambda: fit(x, y, HOLDERS[holder](person), by_rows(len(x))))


@pytest.mark.parametrize("kind", ["regression", "by_person"])
def test_it_is_found_for_measured_targets_and_one_label_per_person(kind: str) -> None:
    x, y, person = persons(**{kind: True})  # type: ignore[arg-type]
    if kind == "regression":
        y = y.astype(np.float32)[:, None]
        assert told(lambda: fit(x, y, person, by_rows(len(x)), model=net(1), loss=F.mse_loss))
    else:
        assert told(lambda: fit(x, y, person, by_rows(len(x))))


@pytest.mark.parametrize("shape", [(WIDTH,), (3, 4)])
def test_rows_are_known_again_after_a_scaler_that_was_fitted_to_the_training_rows(shape: tuple[int, ...]) -> None:
    raw, y, person = persons()
    raw = 100 + raw.astype(np.float64).reshape(-1, *shape) * np.exp(np.random.default_rng(0).normal(0, 1, shape))

    def loop(split: Split) -> bool:
        train, test = (rows.numpy() for rows in split)
        mean, std = raw[train].mean(0), raw[train].std(0)
        parts = [((raw[rows] - mean) / std).astype(np.float32) for rows in (train, test)]
        n, labels = len(train), np.concatenate([y[train], y[test]])
        halves = torch.arange(n), torch.arange(n, len(raw))
        fit(np.concatenate(parts), labels, person, halves, model=nn.Sequential(nn.Flatten(), net()))
        return True

    assert told(lambda: loop(by_rows(len(raw))))
    held = torch.from_numpy(person % 5 == 0)
    assert not told(lambda: loop((torch.where(~held)[0], torch.where(held)[0])))


def test_labels_that_evaluation_does_not_meet_are_taken_from_the_array_that_holds_them() -> None:
    x, y, person = persons()
    split = by_rows(len(x))

    def score(out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if not out.requires_grad:
            return torch.tensor(np.mean(out.numpy().argmax(1) == target.numpy()))
        return F.cross_entropy(out, target)

    assert told(lambda: fit(x, y, person, split, loss=score))


class Windows(Dataset[Any]):
    def __init__(self, x: np.ndarray, y: np.ndarray, person: list[str], rows: torch.Tensor) -> None:
        self.x, self.y, self.person, self.rows = x, y, person, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Any:
        row = int(self.rows[i])
        return torch.tensor(self.x[row], dtype=torch.float32), int(self.y[row])


def test_it_is_found_in_data_sets_that_hold_all_rows_and_read_some() -> None:
    x, y, person = persons()
    parts = [Windows(x.astype(np.float64), y, [f"P{k}" for k in person], rows) for rows in by_rows(len(x))]

    def loop() -> None:
        train, valid = parts
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        for _ in range(2):
            for a, b in DataLoader(train, 64, shuffle=True):
                optimizer.zero_grad()
                F.cross_entropy(model(a), b).backward()
                optimizer.step()
            with torch.no_grad():
                for a, b in DataLoader(valid, 64):
                    F.cross_entropy(model(a), b)

    assert told(loop)


def test_the_finding_names_the_key_and_what_neighbours_show() -> None:
    x, y, person = persons()
    (finding,) = answers(lambda: fit(x, y, person, by_rows(len(x))))
    assert finding.evidence["key"] in ("person", "key")
    assert finding.evidence["keys"] == PERSONS
    assert finding.evidence["chance"] == pytest.approx(1 / PERSONS, abs=0.02)
    assert finding.evidence["nearest"] > 0.6


# ---- not found


def test_a_split_by_person_is_healthy() -> None:
    x, y, person = persons()
    held = torch.from_numpy(person % 5 == 0)
    assert not told(lambda: fit(x, y, person, (torch.where(~held)[0], torch.where(held)[0])))


@pytest.mark.parametrize("seed", range(8))
def test_keys_that_mean_nothing_are_passed(seed: int) -> None:
    x, y, person = persons(0.0, seed=seed)
    found = answers(lambda: fit(x, y, person, by_rows(len(x))))
    assert [f.verdict for f in found] == [Verdict.PASS]


def test_weak_likeness_is_not_enough() -> None:
    x, y, person = persons(0.3)
    assert not told(lambda: fit(x, y, person, by_rows(len(x))))


def test_splits_in_time_or_by_a_share_of_each_person_are_meant() -> None:
    x, y, person = persons()
    place = np.concatenate([np.arange(n) for n in np.bincount(person)])
    size = np.bincount(person)[person]
    late = torch.from_numpy(place >= 0.8 * size)
    assert not told(lambda: fit(x, y, person, (torch.where(~late)[0], torch.where(late)[0])))
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.permutation(n) < round(0.2 * n) for n in np.bincount(person)])
    each = torch.from_numpy(drawn)
    assert not told(lambda: fit(x, y, person, (torch.where(~each)[0], torch.where(each)[0])))


def test_finer_classes_beside_coarser_labels_are_no_groups() -> None:
    digits = load_digits()
    order = np.argsort(digits.target, kind="stable")
    x, digit = (digits.data[order] / 16).astype(np.float32), digits.target[order]
    for y in (digit % 2, digit // 5, digit):
        assert not told(lambda y=y: fit(x, y, digit, by_rows(len(x))))
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(len(digit)) < 0.3, rng.integers(0, 10, len(digit)), digit)
    assert not told(lambda: fit(x, noisy, digit, by_rows(len(x))))
    fine = np.repeat(np.arange(60), 60)
    z = (rng.normal(0, 1, (60, WIDTH))[fine] + rng.normal(0, 0.5, (len(fine), WIDTH))).astype(np.float32)
    assert not told(lambda: fit(z, fine // 10, fine, by_rows(len(z))))


def test_days_rows_and_batches_of_one_series_are_no_groups() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((1200, WIDTH), dtype=np.float32)
    for t in range(1, len(x)):
        x[t] = 0.95 * x[t - 1] + rng.normal(0, 0.3, WIDTH)
    y = (rng.random(len(x)) < 0.5).astype(np.int64)
    for key in (np.arange(len(x)) // 24, np.arange(len(x)) % 24, np.arange(len(x)), np.arange(len(x)) // 64):
        assert not told(lambda key=key: fit(x, y, key, by_rows(len(x))))


def test_sorted_ages_and_lengths_are_no_groups() -> None:
    rng = np.random.default_rng(0)
    length = np.sort(rng.integers(10, 50, 1000))
    x = (np.arange(50) < length[:, None]).astype(np.float32) * rng.normal(1, 0.5, (1000, 50)).astype(np.float32)
    y = rng.integers(0, 3, 1000)
    assert not told(lambda: fit(x, y, length, by_rows(1000)))
    age = np.sort(rng.integers(20, 80, 1000))
    risk = (age[:, None] / 20 * rng.normal(0, 1, WIDTH) + rng.normal(0, 1, (1000, WIDTH))).astype(np.float32)
    assert not told(lambda: fit(risk, y, age, by_rows(1000)))


def test_clusters_of_the_rows_are_no_groups() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (1000, WIDTH)).astype(np.float32)
    cluster = KMeans(20, n_init=1, random_state=0).fit_predict(x)
    y = (x[:, 0] > 0).astype(np.int64)
    assert not told(lambda: fit(x, y, cluster, by_rows(1000)))


class Personal(nn.Module):
    """Knows its users by an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.net = nn.Embedding(PERSONS, 4), net(CLASSES, WIDTH + 4)

    def forward(self, x: torch.Tensor, user: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([x, self.user(user)], 1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("style", ["number", "one-hot", "embedding"])
def test_users_that_the_model_is_told_are_meant_to_be_known(style: str) -> None:
    x, y, user = persons()

    def loop() -> None:
        a, b, key = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(user)
        if style == "number":
            a = torch.cat([a, key[:, None] / PERSONS], 1)
        elif style == "one-hot":
            a = torch.cat([a, F.one_hot(key)], 1)
        if style != "embedding":
            return fit(a, b, user, by_rows(len(x)))
        model, (train, valid) = Personal(), by_rows(len(x))
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(a[rows], key[rows]), b[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            F.cross_entropy(model(a[valid], key[valid]), b[valid])
        return None

    assert not told(loop)


def test_folds_by_person_are_healthy() -> None:
    x, y, person = persons()

    def loop() -> None:
        for fold in range(4):
            held = torch.from_numpy(person % 4 == fold)
            fit(x, y, person, (torch.where(~held)[0], torch.where(held)[0]))

    def loaders() -> None:
        for fold in range(4):
            held, model = torch.from_numpy(person % 4 == fold), net()
            a, b = torch.from_numpy(x), torch.from_numpy(y)
            optimizer = torch.optim.SGD(model.parameters(), 0.05)
            for u, v in DataLoader(TensorDataset(a[~held], b[~held]), 64, shuffle=True):
                optimizer.zero_grad()
                F.cross_entropy(model(u), v).backward()
                optimizer.step()
            with torch.no_grad():
                for u, v in DataLoader(TensorDataset(a[held], b[held]), 64):
                    F.cross_entropy(model(u), v)

    assert not told(loop)
    assert not told(loaders)


# ---- columns that are held


def test_columns_are_whole_numbers_or_texts() -> None:
    good = [[1, 2, 2], ["a", "b", "b"], torch.tensor([[1], [2]]), np.array([1.0, 2.0]), np.array(["a", None], dtype=object)[:1]]
    assert all(len(list(Held("a", v).columns())) == 1 for v in good)
    bad = [[1, None], [0.5, 1.0], torch.rand(3), np.array([0.5, 1]), torch.zeros(3, 2), np.array(["a", None], dtype=object)]
    assert not any(list(Held("a", v).columns()) for v in bad)
