"""The data checks on small real loops: the fault is found, look-alikes are not reported; and the comparison of two runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, SubsetRandomSampler, TensorDataset

from trainrecipe.capture import hashing, subjects
from trainrecipe.capture.fingerprint import fingerprint
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.listen.stream import is_series
from trainrecipe.checks.data.label_order import LabelOrder, rank_correlation
from trainrecipe.checks.data.same_batch import SameBatch
from trainrecipe.checks.data.train_val_overlap import TrainValOverlap
from trainrecipe.checks.run.irreproducible import Irreproducible
from trainrecipe.exam import ask
from trainrecipe.finding import Finding, Place, Severity, Verdict
from trainrecipe.subjects.data import Data
from trainrecipe.subjects.run import Run

N = 320


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def listened(loop: Callable[[], Any]) -> Listener:
    listener = Listener(detail_always=True)
    listener.install()
    try:
        loop()
    finally:
        listener.remove()
    subjects.fill_stream(listener)
    listener.run.rehearsal = True
    assert not listener.trouble
    return listener


def answer(check: Any, loop: Callable[[], Any]) -> Finding:
    data = subjects.data(listened(loop), may_read=True)
    (finding,) = ask(check, data)
    assert "itself failed" not in finding.ruling.says, finding.ruling.says
    return finding


def train(model: nn.Module, batches: Any, evaluate: Callable[[], Any] = lambda: None, epochs: int = 3) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for x, y, *_ in batches() if callable(batches) else batches:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        with torch.no_grad():
            evaluate()


def scores(model: nn.Module, loader: Any) -> Callable[[], None]:
    return lambda: [model(b[0]) for b in loader] and None  # type: ignore[func-returns-value]


def examples(n: int = N, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, 6), torch.randint(0, classes, (n,))


def warned(finding: Finding) -> bool:
    return finding.severity in (Severity.ERROR, Severity.WARNING)


# ---- same-batch


def fresh_iterators(loader: DataLoader[Any], steps: int) -> Callable[[], Iterator[Any]]:
    return lambda: (next(iter(loader)) for _ in range(steps))


def test_a_new_iterator_in_every_step_is_found() -> None:
    loader = DataLoader(TensorDataset(*examples()), 32)
    assert warned(answer(SameBatch(), lambda: train(nn.Linear(6, 5), fresh_iterators(loader, 6), epochs=1)))


class Noisy(Dataset[Any]):
    """Examples with fresh noise at every look."""

    def __init__(self) -> None:
        self.x, self.y = examples()

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        return self.x[i] + 0.1 * torch.randn(6), self.y[i]


def test_a_new_iterator_is_found_behind_augmentation() -> None:
    loader = DataLoader(Noisy(), 32)
    finding = answer(SameBatch(), lambda: train(nn.Linear(6, 5), fresh_iterators(loader, 6), epochs=1))
    assert warned(finding)
    assert finding.evidence["augmented"]


def test_a_dataset_that_ignores_its_index_is_found() -> None:
    class Stuck(Noisy):
        def __getitem__(self, i: int) -> Any:
            return self.x[0], self.y[0]

    assert warned(answer(SameBatch(), lambda: train(nn.Linear(6, 5), DataLoader(Stuck(), 32))))


def test_one_batch_on_purpose_before_the_training_is_a_note() -> None:
    loader = DataLoader(TensorDataset(*examples()), 32)

    def script() -> None:
        train(nn.Linear(6, 5), fresh_iterators(loader, 6), epochs=1)
        model = nn.Linear(6, 5)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for x, y in loader:
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    finding = answer(SameBatch(), script)
    assert finding.severity is Severity.NOTE
    assert "trains on all batches" in finding.ruling.observed


def test_one_batch_that_an_option_asks_for_is_a_note() -> None:
    loader = DataLoader(TensorDataset(*examples()), 32)

    def epoch(model: nn.Module, fast_dev_run: bool) -> None:
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for x, y in loader:
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            if fast_dev_run:
                break

    model = nn.Linear(6, 5)
    finding = answer(SameBatch(), lambda: [epoch(model, True) for _ in range(6)])
    assert finding.severity is Severity.NOTE
    assert "`fast_dev_run` asks for it" in finding.ruling.observed


@pytest.mark.parametrize("kind", ["shuffled restart", "one batch", "taken once", "xor", "autoencoder", "plain"])
def test_healthy_batches_are_not_reported(kind: str) -> None:
    x, y = examples()
    loader = DataLoader(TensorDataset(x, y), 32, shuffle=kind == "shuffled restart")
    batches: Any = loader
    if kind == "shuffled restart":
        batches = fresh_iterators(loader, 6)
    elif kind == "one batch":
        batches = DataLoader(TensorDataset(x[:32], y[:32]), 32)
    elif kind == "taken once":
        batch = next(iter(loader))
        batches = [batch] * 8
    elif kind == "xor":
        corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
        x = torch.cat([corners, torch.zeros(4, 4)], 1).repeat(20, 1)
        batches = DataLoader(TensorDataset(x, (x[:, 0] != x[:, 1]).long()), 4)
    elif kind == "autoencoder":
        batches = DataLoader(TensorDataset(x.softmax(1), x.softmax(1)), 32, shuffle=True)
    model = nn.Linear(6, 6)
    finding = answer(SameBatch(), lambda: train(model, batches, epochs=5 if kind == "one batch" else 2))
    assert not warned(finding)
    assert finding.verdict is not Verdict.UNSURE


# ---- label-order


def by_hand(x: torch.Tensor, y: torch.Tensor, size: int = 16) -> Callable[[], Iterator[Any]]:
    return lambda: ((x[i : i + size], y[i : i + size]) for i in range(0, len(x), size))


@pytest.mark.parametrize("kind", ["loader", "by hand", "one-hot", "single examples"])
def test_sorted_classes_are_found(kind: str) -> None:
    x, y = examples()
    y = y.sort().values
    batches: Any = DataLoader(TensorDataset(x, y), 16)
    if kind == "by hand":
        batches = by_hand(x, y)
    elif kind == "one-hot":
        batches = DataLoader(TensorDataset(x, F.one_hot(y, 5).float()), 16)
    elif kind == "single examples":
        batches = DataLoader(TensorDataset(x[::2], y[::2]), 1)
    finding = answer(LabelOrder(), lambda: train(nn.Linear(6, 5), batches, epochs=1))
    assert warned(finding)
    assert finding.place is not None
    assert finding.place.file == __file__


def test_sorted_numbers_are_found() -> None:
    x = torch.randn(N, 6)
    y = x[:, :1].sort(0).values

    def loop() -> None:
        model, loss = nn.Linear(6, 1), nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for i in range(0, N, 16):
            optimizer.zero_grad()
            loss(model(x[i : i + 16]), y[i : i + 16]).backward()
            optimizer.step()

    assert warned(answer(LabelOrder(), loop))


def drawn_by_class(y: torch.Tensor, classes: int) -> torch.Tensor:
    rows = []
    for _ in range(40):
        for c in torch.randperm(5)[:classes]:
            own = torch.where(y == c)[0]
            rows.append(own[torch.randint(len(own), (8,))])
    return torch.cat(rows)


@pytest.mark.parametrize("kind", ["shuffled", "mixed", "row number", "two classes a batch", "full batch", "sampler"])
def test_healthy_orders_are_not_reported(kind: str) -> None:
    x, y = examples()
    ordered = y.sort().values
    batches: Any = DataLoader(TensorDataset(x, y), 16)
    if kind == "shuffled":
        batches = DataLoader(TensorDataset(x, ordered), 16, shuffle=True)
    elif kind == "row number":
        batches = DataLoader(TensorDataset(x, y, torch.arange(N)), 16)
    elif kind == "two classes a batch":
        rows = drawn_by_class(y, 2)
        batches = by_hand(x[rows], y[rows])
    elif kind == "full batch":
        batches = [(x, ordered)] * 8
    elif kind == "sampler":
        batches = DataLoader(TensorDataset(x, ordered), 16, sampler=SubsetRandomSampler(range(N)))
    assert not warned(answer(LabelOrder(), lambda: train(nn.Linear(6, 5), batches, epochs=1)))


def test_a_time_series_read_in_order_is_not_reported() -> None:
    values = torch.linspace(0, 4, N + 9) + 0.01 * torch.randn(N + 9)
    x, y = values.unfold(0, 9, 1)[:-1], values[9:, None]
    assert is_series(x)
    assert not is_series(torch.randn(20, 9))

    def loop() -> None:
        model, loss = nn.Linear(9, 1), nn.MSELoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for a, b in DataLoader(TensorDataset(x, y), 16):
            optimizer.zero_grad()
            loss(model(a), b).backward()
            optimizer.step()

    assert not warned(answer(LabelOrder(), loop))


@pytest.mark.parametrize("where", ["argument", "attribute"])
def test_carried_state_is_seen(where: str) -> None:
    x, y = torch.randn(N, 6), torch.arange(N) * 5 // N

    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head, self.kept = nn.GRUCell(6, 5), nn.Linear(5, 5), torch.zeros(16, 5)

        def forward(self, x: torch.Tensor, state: torch.Tensor | None = None) -> Any:
            state = self.cell(x, self.kept if state is None else state)
            self.kept = state.detach() if where == "attribute" else self.kept
            return self.head(state), state

    def loop() -> None:
        model, state = Stateful(), torch.zeros(16, 5)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for a, b in DataLoader(TensorDataset(x, y), 16):
            optimizer.zero_grad()
            out, state = model(a, state.detach() if where == "argument" else None)
            F.cross_entropy(out, b).backward()
            optimizer.step()

    assert listened(loop).run.carries_state
    assert not warned(answer(LabelOrder(), loop))
    plain = DataLoader(TensorDataset(x, y), 16)
    assert not listened(lambda: train(nn.Linear(6, 5), plain)).run.carries_state


def test_rank_correlation_is_spearmans() -> None:
    scipy = pytest.importorskip("scipy.stats")
    values = torch.randint(0, 9, (50,)).double().tolist()
    assert rank_correlation(values) == pytest.approx(scipy.spearmanr(values, range(50)).statistic)


# ---- train-val-overlap


def test_overlapping_positions_are_found() -> None:
    data, order = TensorDataset(*examples()), torch.randperm(N).tolist()
    first, second = DataLoader(Subset(data, order[:250]), 25, shuffle=True), DataLoader(Subset(data, order[-120:]), 40)
    model = nn.Linear(6, 5)
    finding = answer(TrainValOverlap(), lambda: train(model, first, scores(model, second)))
    assert warned(finding)
    assert (finding.evidence["shared"], finding.evidence["total"]) == (50, 120)


def test_a_validation_loader_over_the_training_set_is_found() -> None:
    data = TensorDataset(*examples())
    first, second, model = DataLoader(data, 32, shuffle=True), DataLoader(data, 32), nn.Linear(6, 5)
    assert warned(answer(TrainValOverlap(), lambda: train(model, first, scores(model, second))))


def test_oversampling_before_the_split_is_found() -> None:
    x, y = examples()
    rows = torch.cat([torch.arange(N), *[torch.where(y == 2)[0]] * 6])
    rows = rows[torch.randperm(len(rows))]
    cut = int(0.8 * len(rows))
    first, second = (DataLoader(TensorDataset(x[r], y[r]), 32) for r in (rows[:cut], rows[cut:]))
    model = nn.Linear(6, 5)
    assert warned(answer(TrainValOverlap(), lambda: train(model, first, scores(model, second))))


def test_a_held_out_part_that_is_trained_on_is_found_without_loaders() -> None:
    x, y = examples()
    model = nn.Linear(6, 5)
    assert warned(answer(TrainValOverlap(), lambda: train(model, by_hand(x, y), lambda: model(x[:100]))))


@pytest.mark.parametrize(
    "kind",
    ["split", "samplers", "also training data", "iris", "categories", "same loader", "by hand, all", "statistics", "folds"],
)
def test_healthy_evaluations_are_not_reported(kind: str) -> None:
    x, y = examples()
    model = nn.Linear(6, 5)
    data, held = TensorDataset(x[:250], y[:250]), TensorDataset(x[250:], y[250:])
    loader, other = DataLoader(data, 25, shuffle=True), DataLoader(held, 25)
    evaluate: Callable[[], Any] = scores(model, other)
    batches: Any = loader
    if kind == "samplers":
        whole = TensorDataset(x, y)
        batches = DataLoader(whole, 25, sampler=SubsetRandomSampler(range(250)))
        evaluate = scores(model, DataLoader(whole, 25, sampler=SubsetRandomSampler(range(250, N))))
    elif kind == "also training data":
        own = DataLoader(data, 50)
        evaluate = lambda: (scores(model, own)(), scores(model, other)())  # noqa: E731
    elif kind == "iris":
        held.tensors[0][:1] = data.tensors[0][:1]
    elif kind == "categories":
        x = torch.randint(0, 3, (N, 6)).float()
        batches = DataLoader(TensorDataset(x[:250, :], y[:250]), 25)
        evaluate = scores(model, DataLoader(TensorDataset(x[250:], y[250:]), 25))
    elif kind == "same loader":
        evaluate = scores(model, loader)
    elif kind == "by hand, all":
        batches, evaluate = by_hand(x, y), lambda: model(x)
    elif kind == "statistics":
        own = DataLoader(data, 50)
        evaluate = lambda: sum(b[0].mean() for b in own)  # noqa: E731

    def loop() -> None:
        train(model, batches, evaluate)
        if kind == "folds":
            train(nn.Linear(6, 5), DataLoader(held, 25), scores(model, loader))

    assert not warned(answer(TrainValOverlap(), loop))


def test_reading_examples_keeps_to_its_time() -> None:
    import time

    class Slow(Noisy):
        def __getitem__(self, i: int) -> Any:
            time.sleep(0.01)
            return self.x[i], self.y[i]

    listener = listened(lambda: train(nn.Linear(6, 5), DataLoader(Slow(), 160), epochs=1))
    data: Data = subjects.data(listener, may_read=True)
    data.seconds = 0.3
    started = time.perf_counter()
    rows = data.rows(0)
    assert rows is not None
    assert not rows.complete
    assert time.perf_counter() - started < 1.5


def test_hashes_of_batches() -> None:
    x, y = examples(40)
    order = torch.randperm(40)
    assert hashing.batch_hash([x, y]) == hashing.batch_hash([x[order], y[order]])
    assert hashing.batch_hash([x, x]) != hashing.batch_hash([y.float()[:, None], y.float()[:, None]])
    assert hashing.batch_hash([]) == 0
    big = torch.zeros(5_000_000)
    assert hashing.batch_hash([big]) != hashing.batch_hash([big + 1])


# ---- irreproducible


def two_runs(loop: Callable[[], Any]) -> Finding:
    runs = []
    for _ in range(2):
        listener = listened(loop)
        listener.run.fingerprint = fingerprint(listener)
        runs.append(listener.run)
    runs[0].twin_run = runs[1]
    (finding,) = ask(Irreproducible(), runs[0])
    assert "itself failed" not in finding.ruling.says, finding.ruling.says
    return finding


def seeded(noise: Callable[[], Any], model: Callable[[], nn.Module] = lambda: nn.Linear(6, 5)) -> Callable[[], None]:
    def loop() -> None:
        torch.manual_seed(3)
        x, y = examples(64)
        rng = noise()
        shift = torch.as_tensor(rng.normal(size=(64, 6)), dtype=torch.float32)
        train(model(), by_hand(x + shift, y), epochs=1)

    return loop


def test_equal_runs_agree() -> None:
    finding = two_runs(seeded(lambda: np.random.default_rng(1)))
    assert finding.verdict is Verdict.PASS
    assert finding.evidence["compared"] > 10


def test_an_unseeded_generator_is_named_with_its_line() -> None:
    finding = two_runs(seeded(lambda: np.random.default_rng()))
    assert finding.severity is Severity.WARNING
    assert "input" in finding.evidence["first"]
    assert finding.evidence["kind"] == "example"
    assert finding.place is not None
    assert "default_rng()" in finding.place.source


def test_losses_that_differ_on_equal_data_are_a_note_on_a_gpu() -> None:
    runs = [Run(fingerprint=[("step 1: the input", "a"), ("step 1: the loss", loss)], on_gpu=True) for loss in "bc"]
    runs[0].twin_run, runs[0].seeded = runs[1], Place("train.py", 1)
    (finding,) = ask(Irreproducible(), runs[0])
    assert finding.severity is Severity.NOTE
    runs[0].on_gpu = False
    (finding,) = ask(Irreproducible(), runs[0])
    assert finding.severity is Severity.WARNING


def test_an_unseeded_parameter_is_named() -> None:
    generator = torch.Generator()
    generator.seed()

    def model() -> nn.Module:
        made = nn.Linear(6, 5)
        with torch.no_grad():
            made.bias.normal_(generator=generator)
        return made

    finding = two_runs(seeded(lambda: np.random.default_rng(1), model))
    assert finding.evidence["first"].startswith("the initial value of bias")


def test_a_run_without_its_twin_is_skipped() -> None:
    (finding,) = ask(Irreproducible(), Run())
    assert finding.verdict is Verdict.SKIP
