"""The checks on the stream of examples, on small real loops: the fault is found, look-alikes are not reported."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_checks_data import listened, warned
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)
from torch.utils.data.distributed import DistributedSampler

from trainrecipe.capture import subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.rehearsal import Rehearsal, RehearsalOver
from trainrecipe.checks.data.augmentation_in_evaluation import AugmentationInEvaluation
from trainrecipe.checks.data.augmentation_repeats import AugmentationRepeats
from trainrecipe.checks.data.batch_collapse import BatchCollapse
from trainrecipe.checks.data.cached_example_mutated import CachedExampleMutated
from trainrecipe.checks.data.data_dropped import DataDropped
from trainrecipe.checks.data.epoch_order_repeats import EpochOrderRepeats, is_shuffled
from trainrecipe.checks.data.examples_repeat_within_epoch import ExamplesRepeatWithinEpoch
from trainrecipe.checks.data.hidden_state_across_sequences import HiddenStateAcrossSequences
from trainrecipe.checks.data.iterable_not_sharded import IterableNotSharded
from trainrecipe.checks.data.loader_rebuilt_each_step import LoaderRebuiltEachStep
from trainrecipe.checks.data.loop_left_early import LoopLeftEarly
from trainrecipe.checks.data.one_class_batches import OneClassBatches
from trainrecipe.checks.data.sampler_weights import SamplerWeights
from trainrecipe.checks.data.worker_random_state import WorkerRandomState
from trainrecipe.exam import ask
from trainrecipe.finding import Finding, Severity, Verdict

N = 160
CLASSES = 4


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


def answers(check: Any, loop: Callable[[], Any]) -> list[Finding]:
    found = list(ask(check, subjects.data(listened(loop), may_read=True)))
    for finding in found:
        assert "itself failed" not in finding.ruling.says, finding.ruling.says
    return found


def gravest(check: Any, loop: Callable[[], Any]) -> Finding:
    """The finding of a check, or any other answer of it."""
    return min(answers(check, loop), key=lambda f: f.severity.rank if f.severity else 9)


def train(batches: Any, epochs: int = 3, evaluate: Any = None, width: int = 6, loss: Any = F.cross_entropy) -> None:
    model = nn.Linear(width, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(epochs):
        for x, y in batches() if callable(batches) else batches:
            optimizer.zero_grad()
            loss(model(x.float()), y).backward()
            optimizer.step()
        if evaluate is not None:
            with torch.no_grad():
                for x, _ in evaluate:
                    model(x.float())


def examples(n: int = N) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(n, 6), torch.randint(0, CLASSES, (n,))


class Kept(Dataset[Any]):
    """Examples kept in an array and a list."""

    def __init__(self, n: int = N) -> None:
        x, y = examples(n)
        self.x, self.y = x.numpy().copy(), y.tolist()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Any:
        return torch.from_numpy(self.x[i].copy()), self.y[i]


# ---- what is seen of the samplers


def test_indices_are_those_that_were_read() -> None:
    x, y = torch.arange(N).float()[:, None].expand(N, 6), torch.zeros(N).long()
    read: list[list[int]] = []

    def loop() -> None:
        def batches() -> Iterator[Any]:
            for a, b in DataLoader(TensorDataset(x, y), 16, shuffle=True):
                read.append(a[:, 0].int().tolist())
                yield a, b

        train(batches, epochs=2)

    draws = listened(loop).run.draws
    assert [batch for d in draws for batch in d.batches()] == read
    assert all(d.complete and d.readable and len(d.indices) == N for d in draws)


def test_a_rehearsal_sees_the_indices_that_it_leaves_out() -> None:
    listener = Listener(detail_always=True)
    rehearsal = Rehearsal(listener.run, seconds=600.0)  # however slow the machine is
    listener.on_event, listener.limit_batches = rehearsal.event, rehearsal.cut
    listener.install()
    try:
        loader = DataLoader(TensorDataset(*examples()), 4, shuffle=True)
        train(loader, epochs=6)
    except RehearsalOver:
        pass
    finally:
        listener.remove()
    assert not listener.trouble
    assert listener.run.passes[0].batches == 8
    first = listener.run.draws[0]
    assert (len(first.indices), len(set(first.indices)), len(first.sizes)) == (N, N, 40)


@pytest.mark.parametrize("kind", ["strings", "tensors", "arrays", "pairs", "single"])
def test_samplers_of_any_kind_are_left_as_they_are(kind: str) -> None:
    x, y = examples()
    rows: Any = {
        "strings": [[str(i)] for i in range(8)],
        "tensors": [torch.arange(4), torch.arange(4, 8)],
        "arrays": [np.arange(4), np.arange(4, 8)],
        "pairs": [[(0, 1), (2, 3)]],
        "single": [[3]],
    }[kind]

    class Any_(Dataset[Any]):
        def __getitem__(self, i: Any) -> Any:
            return x[int(i[0] if kind == "pairs" else i)], y[0]

        def __len__(self) -> int:
            return N

    listener = listened(lambda: train(DataLoader(Any_(), batch_sampler=rows), epochs=1))
    assert [d.readable for d in listener.run.draws] == [kind not in ("strings", "pairs")]


# ---- epoch-order-repeats


@pytest.mark.parametrize("kind", ["reseeded", "global seed", "rebuilt", "distributed", "subset"])
def test_an_order_that_repeats_is_found(kind: str) -> None:
    data = TensorDataset(*examples())
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(data, 16, shuffle=True, generator=generator)
    spread = DataLoader(data, 16, sampler=DistributedSampler(data, num_replicas=2, rank=0))

    def batches() -> Any:
        if kind == "reseeded":
            generator.manual_seed(1)
        elif kind == "global seed":
            torch.manual_seed(7)
            return DataLoader(data, 16, shuffle=True)
        elif kind == "rebuilt":
            return DataLoader(data, 16, shuffle=True, generator=torch.Generator().manual_seed(3))
        elif kind == "distributed":
            return spread
        elif kind == "subset":
            torch.manual_seed(7)
            return DataLoader(data, 16, sampler=SubsetRandomSampler(range(0, N, 2)))
        return loader

    assert gravest(EpochOrderRepeats(), lambda: train(batches)).severity is Severity.WARNING


class Fixed(Sampler[int]):
    """One permutation for ever."""

    def __init__(self, order: list[int]) -> None:
        self.order = order

    def __iter__(self) -> Iterator[int]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)


def test_an_order_of_ones_own_that_repeats_is_a_note() -> None:
    loader = DataLoader(TensorDataset(*examples()), 16, sampler=Fixed(torch.randperm(N).tolist()))
    assert gravest(EpochOrderRepeats(), lambda: train(loader)).severity is Severity.NOTE


@pytest.mark.parametrize("kind", ["shuffled", "in order", "lanes", "full batch", "two trainings", "set_epoch"])
def test_healthy_orders_of_epochs_are_not_reported(kind: str) -> None:
    data = TensorDataset(*examples())
    sampler = DistributedSampler(data, num_replicas=2, rank=1)
    loader = DataLoader(data, 16, shuffle=kind == "shuffled")
    if kind == "lanes":
        loader = DataLoader(data, batch_sampler=[[lane * 20 + t for lane in range(8)] for t in range(20)])
    elif kind == "full batch":
        loader = DataLoader(data, N, sampler=Fixed(torch.randperm(N).tolist()))
    elif kind == "set_epoch":
        loader = DataLoader(data, 16, sampler=sampler)
    epochs = itertools.count()

    def batches() -> Any:
        sampler.set_epoch(next(epochs))
        return loader

    def loop() -> None:
        if kind != "two trainings":
            train(batches)
        for _ in range(3 if kind == "two trainings" else 0):
            torch.manual_seed(0)
            train(DataLoader(data, 16, shuffle=True), epochs=1)

    assert gravest(EpochOrderRepeats(), loop).severity is None


def test_shuffled_means_without_a_pattern() -> None:
    assert is_shuffled(torch.randperm(100).tolist())
    assert not any(is_shuffled(o) for o in ([*range(50)], [*range(0, 50, 2), *range(1, 50, 2)], [*range(49, -1, -1)]))


# ---- sampler-weights


def imbalanced() -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.tensor([0] * 100 + [1] * 40 + [2] * 15 + [3] * 5)[torch.randperm(N)]
    return torch.randn(N, 6), y


@pytest.mark.parametrize("kind", ["per class", "sizes", "another order", "no replacement", "before the split"])
def test_wrong_weights_are_found(kind: str) -> None:
    x, y = imbalanced()
    counts = torch.bincount(y).double()
    weights, data, replacement = (1 / counts)[y], TensorDataset(x, y), True
    if kind == "per class":
        weights = 1 / counts
    elif kind == "sizes":
        weights = counts[y]
    elif kind == "another order":
        weights = (1 / counts)[y.sort().values]
    elif kind == "no replacement":
        replacement = False
    rows: Any = Subset(data, range(20, 120)) if kind == "before the split" else data
    sampler = WeightedRandomSampler(weights[:20] if kind == "before the split" else weights, 64, replacement)
    if kind == "no replacement":
        sampler = WeightedRandomSampler(weights, N, replacement)
    finding = gravest(SamplerWeights(), lambda: train(DataLoader(rows, 16, sampler=sampler), epochs=1))
    assert warned(finding)
    assert (finding.severity is Severity.ERROR) == (kind in ("per class", "before the split"))


@pytest.mark.parametrize("kind", ["inverse", "root", "quality", "random", "some zero", "equal", "own data set", "subset"])
def test_healthy_weights_are_not_reported(kind: str) -> None:
    x, y = imbalanced()
    counts = torch.bincount(y).double()
    weights, data, number = (1 / counts)[y], TensorDataset(x, y), N
    if kind == "root":
        weights = (1 / counts.sqrt())[y]
    elif kind == "quality":
        weights = torch.where(torch.rand(N) < 0.9, 1.0, 0.1)
    elif kind == "random":
        weights = torch.rand(N)
    elif kind == "some zero":
        weights, number = (y > 0).double(), 60
    elif kind == "equal":
        weights = torch.ones(N)
    rows: Any = data
    if kind == "own data set":
        rows = Kept()
        own = torch.tensor(rows.y)
        weights = (1 / torch.bincount(own).double())[own]
    elif kind == "subset":
        order = torch.randperm(N)[:100]
        rows, weights = Subset(data, order.tolist()), weights[order]
    loader = DataLoader(rows, 16, sampler=WeightedRandomSampler(weights, number, kind != "some zero"))
    assert not warned(gravest(SamplerWeights(), lambda: train(loader, epochs=1)))


# ---- one-class-batches


def grouped(y: torch.Tensor, per_batch: int, size: int = 8) -> list[list[int]]:
    """Batches of a few classes each, in random order."""
    pools = [torch.where(y == c)[0] for c in range(int(y.max()) + 1)]
    batches = []
    for _ in range(24):
        chosen = torch.randperm(len(pools))[:per_batch].tolist()
        batches.append([int(i) for c in chosen for i in pools[c][torch.randint(len(pools[c]), (size // per_batch,))]])
    return batches


def test_batches_of_one_class_are_found() -> None:
    x, y = examples()
    loader = DataLoader(TensorDataset(x, y), batch_sampler=grouped(y, 1))
    assert warned(gravest(OneClassBatches(), lambda: train(loader, epochs=1)))


def test_whole_groups_given_as_examples_are_found() -> None:
    x, y = examples()

    class Folder(Dataset[Any]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, i: int) -> Any:
            own = torch.where(y == i % CLASSES)[0][:10]
            return x[own], y[own]

    loader = DataLoader(Folder(), batch_size=None, shuffle=True)
    assert warned(gravest(OneClassBatches(), lambda: train(loader, epochs=1)))


@pytest.mark.parametrize("kind", ["mixed", "two classes", "rare class", "sorted", "one label", "domains", "tiny batches"])
def test_healthy_mixtures_are_not_reported(kind: str) -> None:
    x, y = examples()
    loss: Any = F.cross_entropy
    sampler: Any = torch.randperm(N).view(-1, 8).tolist()
    if kind == "two classes":
        sampler = grouped(y, 2)
    elif kind == "rare class":
        y = (torch.arange(N) % 100 == 50).long()
    elif kind == "sorted":
        y = y.sort().values
    elif kind == "one label":
        y = torch.zeros(N).long()
    elif kind == "tiny batches":
        sampler = torch.randperm(N).view(-1, 2).tolist()
    loader = DataLoader(TensorDataset(x, y), 8) if kind == "sorted" else DataLoader(TensorDataset(x, y), batch_sampler=sampler)
    if kind == "domains":  # batches by domain, each with all classes, and a domain classifier beside
        domain = torch.arange(N) // 80
        sampler = [b for d in (0, 1) for b in (torch.randperm(80) + 80 * d).view(-1, 8).tolist()]
        random.shuffle(sampler)
        three = DataLoader(TensorDataset(x, y, domain), batch_sampler=sampler)

        def loop() -> None:
            model, critic = nn.Linear(6, CLASSES), nn.Linear(6, 2)
            optimizer = torch.optim.SGD([*model.parameters(), *critic.parameters()], lr=0.01)
            for a, b, d in three:
                optimizer.zero_grad()
                (F.cross_entropy(model(a), b) + F.cross_entropy(critic(a), d)).backward()
                optimizer.step()

        assert not warned(gravest(OneClassBatches(), loop))
        return
    assert not warned(gravest(OneClassBatches(), lambda: train(loader, epochs=1, loss=loss)))


# ---- data-dropped and examples-repeat-within-epoch


class TooShort(Kept):
    def __len__(self) -> int:
        return len(self.x) // 4


@pytest.mark.parametrize("kind", ["no batch", "unshuffled", "tiny epoch", "too short"])
def test_dropped_examples_are_found(kind: str) -> None:
    data = TensorDataset(*examples())
    loader, evaluate = DataLoader(data, 16, shuffle=True), None
    if kind == "no batch":
        evaluate = DataLoader(Subset(data, range(12)), 16, drop_last=True)
    elif kind == "unshuffled":
        loader = DataLoader(data, 60, drop_last=True)
    elif kind == "tiny epoch":
        loader = DataLoader(data, 16, sampler=RandomSampler(data, replacement=True, num_samples=4))
    elif kind == "too short":
        loader = DataLoader(TooShort(), 16, shuffle=True)
    finding = gravest(DataDropped(), lambda: train(loader, evaluate=evaluate))
    assert warned(finding)
    assert (finding.severity is Severity.ERROR) == (kind == "no batch")


class Windows(Kept):
    def __len__(self) -> int:
        return len(self.x) - 8

    def __getitem__(self, i: int) -> Any:
        return torch.from_numpy(self.x[i : i + 8]).mean(0), self.y[i + 8]


class Split(Kept):
    """Training and held-out part of the same arrays."""

    def __init__(self, whole: Kept, part: str) -> None:
        self.x, self.y, self.part = whole.x, whole.y, part

    def __len__(self) -> int:
        return 100 if self.part == "train" else 60

    def __getitem__(self, i: int) -> Any:
        return super().__getitem__(i if self.part == "train" else i + 100)


class Endless(Dataset[Any]):
    """Examples made from their number."""

    def __init__(self) -> None:
        self.scale = np.linspace(1, 2, 64)

    def __len__(self) -> int:
        return 32

    def __getitem__(self, i: int) -> Any:
        rng = np.random.default_rng(i)
        return torch.tensor(rng.normal(size=6) * self.scale[i % 64]), i % CLASSES


class Limited(Kept):
    def __init__(self) -> None:
        super().__init__()
        self.limit = 40

    def __len__(self) -> int:
        return self.limit


@pytest.mark.parametrize(
    "kind", ["shuffled", "windows", "split", "endless", "limited", "samplers", "small rest", "one batch", "few shots"]
)
def test_healthy_lengths_are_not_reported(kind: str) -> None:
    data = TensorDataset(*examples())
    whole = Kept()
    loader, evaluate = DataLoader(data, 60, shuffle=True, drop_last=True), None
    if kind == "windows":
        loader = DataLoader(Windows(), 16)
    elif kind == "split":
        loader, evaluate = DataLoader(Split(whole, "train"), 16, shuffle=True), DataLoader(Split(whole, "test"), 16)
    elif kind == "endless":
        loader = DataLoader(Endless(), 16)
    elif kind == "limited":
        loader = DataLoader(Limited(), 16)
    elif kind == "samplers":
        loader = DataLoader(data, 16, sampler=SubsetRandomSampler(range(100)))
        evaluate = DataLoader(data, 16, sampler=SubsetRandomSampler(range(100, N)))
    elif kind == "few shots":
        loader = DataLoader(data, 16, sampler=SubsetRandomSampler(range(8)))
    elif kind == "small rest":
        evaluate = DataLoader(Subset(data, range(51)), 10, drop_last=True)
    elif kind == "one batch":
        loader = DataLoader(data, 16, sampler=RandomSampler(data, replacement=True, num_samples=16))
    assert not warned(gravest(DataDropped(), lambda: train(loader, evaluate=evaluate)))
    assert not warned(gravest(ExamplesRepeatWithinEpoch(), lambda: train(loader, epochs=1)))


def test_a_part_that_is_never_drawn_is_a_note() -> None:
    loader = DataLoader(TensorDataset(*examples()), 16, sampler=SubsetRandomSampler(range(20)))
    assert gravest(DataDropped(), lambda: train(loader)).severity is Severity.NOTE


@pytest.mark.parametrize("how", [lambda i: 0, lambda i: i // 8, lambda i: i % 10])
def test_indices_that_give_the_same_example_are_found(how: Callable[[int], int]) -> None:
    class Wrong(Kept):
        def __getitem__(self, i: int) -> Any:
            return super().__getitem__(how(i))

    finding = gravest(ExamplesRepeatWithinEpoch(), lambda: train(DataLoader(Wrong(), 16, shuffle=True), epochs=1))
    assert warned(finding)
    assert finding.place is not None
    assert "def __getitem__" in finding.place.source


@pytest.mark.parametrize("kind", ["virtual length", "random pairs", "random rows", "reordered", "files", "bootstrap"])
def test_healthy_indices_are_not_reported(kind: str) -> None:
    class Odd(Kept):
        order = torch.randperm(N).tolist()

        def __init__(self) -> None:
            super().__init__()
            self.chosen = [i // 3 for i in range(N)]

        names: tuple[str, ...] = tuple(f"{i}.png" for i in range(N))

        def __len__(self) -> int:
            return 2 * N if kind == "virtual length" else N

        def __getitem__(self, i: int) -> Any:
            if kind == "virtual length":
                i %= N
            elif kind == "random pairs":
                other = random.randrange(N)
                return torch.from_numpy(self.x[i] - self.x[other]), self.y[i]
            elif kind == "random rows":
                i = random.randrange(N)
            elif kind == "reordered":
                i = self.order[i]
            elif kind == "bootstrap":
                i = self.chosen[i]
            return super().__getitem__(i)

    loader = DataLoader(Odd(), 16)
    assert not warned(gravest(ExamplesRepeatWithinEpoch(), lambda: train(loader, epochs=1)))
    assert not warned(gravest(DataDropped(), lambda: train(loader, epochs=1)))


# ---- reading again: mutation, seeds, augmentation in evaluation


class Noisy(Kept):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.rng = np.random.default_rng(5)
        self.images = [torch.from_numpy(row.copy()) for row in self.x]
        self.reads = np.zeros(N)
        self.cache = np.zeros((N, 6), dtype=np.float32)
        self.filled: set[int] = set()

    def __getitem__(self, i: int) -> Any:
        return getattr(self, self.kind)(i), self.y[i]

    def noise(self, i: int) -> Any:
        return self.images[i] + 0.1 * torch.randn(6)

    def numpy_noise(self, i: int) -> Any:
        return torch.from_numpy(self.x[i] + 0.1 * np.random.randn(6).astype("float32"))

    def own_generator(self, i: int) -> Any:
        return torch.from_numpy(self.x[i] + 0.1 * self.rng.standard_normal(6).astype("float32"))

    def piled_up(self, i: int) -> Any:
        image = self.images[i]
        image += 0.1 * torch.randn(6)
        return image.clone()

    def scaled_again(self, i: int) -> Any:
        self.x[i] /= 2.0
        return torch.from_numpy(self.x[i].copy())

    def erased(self, i: int) -> Any:
        row = self.x[i]
        row[random.randrange(6)] = 0.0
        return torch.from_numpy(row.copy())

    def scaled_in_place(self, i: int) -> Any:
        return self.images[i].clamp_(-1.0, 1.0)

    def filled_lazily(self, i: int) -> Any:
        if i not in self.filled:
            self.cache[i] = self.x[i] * 2
            self.filled.add(i)
        return torch.from_numpy(self.cache[i].copy())

    def counted(self, i: int) -> Any:
        self.reads[i] += 1
        return self.noise(i)

    def seeded(self, i: int) -> Any:
        torch.manual_seed(1)
        return self.noise(i)

    def numpy_seeded(self, i: int) -> Any:
        np.random.seed(1)
        return self.numpy_noise(i)

    def seeded_by_index(self, i: int) -> Any:
        torch.manual_seed(i)
        return self.noise(i)

    def seeded_aside(self, i: int) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return self.noise(i)

    def seeded_twice(self, i: int) -> Any:
        seed = random.randrange(2**31)
        torch.manual_seed(seed)
        first = self.noise(i)
        torch.manual_seed(seed)
        return (first + self.noise(i)) / 2

    def generated(self, i: int) -> Any:
        return torch.from_numpy(np.random.default_rng(i).normal(size=6).astype("float32"))

    def plain(self, i: int) -> Any:
        return self.images[i]


@pytest.mark.parametrize("kind", ["piled_up", "scaled_again", "erased"])
def test_stored_examples_that_are_changed_are_found(kind: str) -> None:
    data = Noisy(kind)
    finding = gravest(CachedExampleMutated(), lambda: train(DataLoader(data, 16), epochs=1))
    assert finding.severity is Severity.ERROR


@pytest.mark.parametrize(
    "kind", ["noise", "numpy_noise", "own_generator", "scaled_in_place", "filled_lazily", "counted", "seeded_twice", "plain"]
)
def test_reading_that_changes_nothing_is_not_reported(kind: str) -> None:
    assert gravest(CachedExampleMutated(), lambda: train(DataLoader(Noisy(kind), 16), epochs=1)).severity is None
    assert gravest(AugmentationRepeats(), lambda: train(DataLoader(Noisy(kind), 16), epochs=1)).severity is None


@pytest.mark.parametrize("kind", ["seeded", "numpy_seeded"])
def test_a_seed_that_is_set_for_each_example_is_found(kind: str) -> None:
    assert warned(gravest(AugmentationRepeats(), lambda: train(DataLoader(Noisy(kind), 16), epochs=1)))


@pytest.mark.parametrize("kind", ["seeded_by_index", "seeded_aside", "generated"])
def test_seeds_of_an_examples_own_are_no_more_than_a_note(kind: str) -> None:
    assert not warned(gravest(AugmentationRepeats(), lambda: train(DataLoader(Noisy(kind), 16), epochs=1)))


def test_experiments_leave_the_data_set_and_the_random_streams_alone() -> None:
    data = Noisy("piled_up")
    made = subjects.data(listened(lambda: train(DataLoader(data, 16), epochs=1)), may_read=True)
    before = (
        [image.clone() for image in data.images],
        torch.get_rng_state(),
        np.random.get_state()[1].copy(),
        data.rng.bit_generator.state,
    )
    for check in (CachedExampleMutated(), AugmentationRepeats(), ExamplesRepeatWithinEpoch(), DataDropped()):
        list(ask(check, made))
    assert all(torch.equal(a, b) for a, b in zip(before[0], data.images, strict=True))
    assert torch.equal(before[1], torch.get_rng_state())
    assert (before[2] == np.random.get_state()[1]).all()
    assert before[3] == data.rng.bit_generator.state


@pytest.mark.parametrize("kind", ["shared", "another of its class"])
def test_augmented_evaluation_is_found(kind: str) -> None:
    data = Noisy("noise")
    held = data if kind == "shared" else Noisy("noise")
    loader, evaluate = DataLoader(Subset(data, range(100)), 16, shuffle=True), DataLoader(Subset(held, range(100, N)), 16)
    finding = gravest(AugmentationInEvaluation(), lambda: train(loader, evaluate=evaluate))
    assert finding.severity is Severity.WARNING


class Masked(Kept):
    """Predicts what is hidden: the targets change with the inputs."""

    def __getitem__(self, i: int) -> Any:
        hidden = random.randrange(6)
        row = torch.from_numpy(self.x[i].copy())
        row[hidden] = 0.0
        return row, min(hidden, CLASSES - 1)


class Drawn(Dataset[Any]):
    """A new example at each look."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, i: int) -> Any:
        return torch.randn(6) + i % CLASSES, i % CLASSES


@pytest.mark.parametrize("kind", ["plain", "masked", "drawn", "test-time augmentation", "training data"])
def test_healthy_evaluation_data_are_not_reported(kind: str) -> None:
    train_set: Any = Noisy("noise")
    held: Any = {"plain": Noisy("plain"), "masked": Masked(), "drawn": Drawn()}.get(kind, Noisy("noise"))
    if kind in ("masked", "drawn"):
        train_set = held
    loader = DataLoader(Subset(train_set, range(100)), 16, shuffle=True)
    evaluate: Any = loader if kind == "training data" else DataLoader(Subset(held, range(100, N)), 16)
    if kind == "test-time augmentation":
        looks = evaluate

        class Thrice:
            def __iter__(self) -> Iterator[Any]:
                return itertools.chain(looks, looks, looks)

        evaluate = Thrice()
    assert not warned(gravest(AugmentationInEvaluation(), lambda: train(loader, evaluate=evaluate)))


# ---- workers


class Stream(IterableDataset[Any]):
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.x, self.y = examples()

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        rows = zip(self.x, self.y, strict=True)
        if self.kind == "sharded" and info is not None:
            return itertools.islice(rows, info.id, None, info.num_workers)
        if self.kind == "augmented":
            return ((x + torch.randn(6), y) for x, y in rows)
        if self.kind == "own noise":
            return ((torch.randn(6), torch.randint(0, CLASSES, ())) for _ in range(N))
        return iter(rows)


@pytest.mark.parametrize(("kind", "severity"), [("whole", Severity.ERROR), ("augmented", Severity.WARNING)])
def test_workers_that_give_everything_are_found(kind: str, severity: Severity) -> None:
    finding = gravest(IterableNotSharded(), lambda: train(DataLoader(Stream(kind), 16, num_workers=2), epochs=1))
    assert finding.severity is severity
    assert finding.place is not None
    assert "def __iter__" in finding.place.source


@pytest.mark.parametrize(("kind", "workers"), [("sharded", 2), ("own noise", 2), ("whole", 0), ("whole", 1)])
def test_healthy_streams_are_not_reported(kind: str, workers: int) -> None:
    loader = DataLoader(Stream(kind), 16, num_workers=workers)
    assert gravest(IterableNotSharded(), lambda: train(loader, epochs=1)).severity is None


class OwnOrder(IterableDataset[Any]):
    """Each worker gives rows in an order of its own: all of them, its share, any of them, or all without end."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.x, self.y = examples(640)
        if kind == "coarse":
            self.x = (self.x[:, :1] > 0).float().expand(640, 6)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        generator = torch.Generator().manual_seed(info.id if info is not None else 0)
        while True:
            if self.kind in ("replacement", "coarse"):
                order = torch.randint(0, 640, (320,), generator=generator)
            elif self.kind == "share" and info is not None:
                order = torch.arange(info.id, 640, info.num_workers)
            else:
                order = torch.randperm(640, generator=generator)
            yield from ((self.x[i], self.y[i]) for i in order)
            if self.kind != "endless":
                return


def test_workers_that_give_everything_in_another_order_are_found() -> None:
    finding = gravest(IterableNotSharded(), lambda: train(DataLoader(OwnOrder("all"), 64, num_workers=2), epochs=1))
    assert finding.severity is Severity.WARNING
    assert "in its own order" in finding.ruling.says


def test_an_endless_stream_in_an_own_order_is_a_note() -> None:
    loader = DataLoader(OwnOrder("endless"), 64, num_workers=2)
    finding = gravest(IterableNotSharded(), lambda: train(lambda: itertools.islice(loader, 16), epochs=1))
    assert finding.severity is Severity.NOTE


@pytest.mark.parametrize("kind", ["share", "replacement", "coarse"])
def test_workers_that_give_equal_rows_by_chance_are_not_reported(kind: str) -> None:
    loader = DataLoader(OwnOrder(kind), 64, num_workers=2)
    assert gravest(IterableNotSharded(), lambda: train(loader, epochs=1)).severity is None


@pytest.mark.parametrize(
    ("kind", "severity"), [("all", Severity.WARNING), ("endless", Severity.NOTE), ("share", None), ("replacement", None)]
)
def test_a_cut_stream_is_read_again_to_its_end(kind: str, severity: Severity | None) -> None:
    listener = Listener(detail_always=True)
    listener.limit_batches = Rehearsal(listener.run).cut
    listener.install()
    try:
        train(DataLoader(OwnOrder(kind), 64, num_workers=2), epochs=1)
    finally:
        listener.remove()
    subjects.fill_stream(listener)
    data = subjects.data(listener, may_read=True)
    assert data.run.passes[0].cut
    assert [f.severity for f in ask(IterableNotSharded(), data)] == [severity]


def constant(worker: int) -> None:
    np.random.seed(1)


def per_worker(worker: int) -> None:
    np.random.seed(worker)


def own_seed(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    info.dataset.rng = np.random.default_rng(info.seed)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "init", "severity"),
    [
        ("own_generator", None, Severity.WARNING),
        ("numpy_noise", constant, Severity.WARNING),
        ("numpy_noise", per_worker, Severity.NOTE),
        ("own_generator", own_seed, None),
        ("numpy_noise", None, None),
        ("noise", None, None),
        ("generated", None, None),
    ],
)
def test_random_states_of_workers(kind: str, init: Any, severity: Severity | None) -> None:
    loader = DataLoader(Noisy(kind), 40, shuffle=True, num_workers=2, worker_init_fn=init)
    assert gravest(WorkerRandomState(), lambda: train(loader, epochs=1)).severity is severity


# ---- collation


def keeps_first(items: list[Any]) -> Any:
    return torch.stack([x for x, _ in items])[:1], torch.tensor([items[0][1]])


def inputs_of_first(items: list[Any]) -> Any:
    return items[0][0][None].expand(len(items), 6), torch.tensor([y for _, y in items])


def padded(items: list[Any]) -> Any:
    longest = max(len(x) for x, _ in items)
    return torch.stack([F.pad(x, (0, longest - len(x))) for x, _ in items]), torch.tensor([y for _, y in items])


def packed(items: list[Any]) -> Any:
    return torch.cat([x for x, _ in items]).view(-1, 6), torch.tensor([y for _, y in items])


def as_lists(items: list[Any]) -> Any:
    return torch.stack([x for x, _ in items]), torch.tensor([y for _, y in items]), [x[:2] for x, _ in items]


@pytest.mark.parametrize("collate", [keeps_first, inputs_of_first])
def test_batches_of_one_example_are_found(collate: Any) -> None:
    loader = DataLoader(TensorDataset(*examples()), 16, collate_fn=collate)
    finding = gravest(BatchCollapse(), lambda: train(loader, epochs=1))
    assert finding.severity is (Severity.ERROR if collate is keeps_first else Severity.WARNING)


@pytest.mark.parametrize("collate", [None, padded, packed, as_lists])
def test_healthy_collation_is_not_reported(collate: Any) -> None:
    loader = DataLoader(TensorDataset(*examples()), 16, collate_fn=collate)
    batches = lambda: ((b[0], b[1]) for b in loader)  # noqa: E731
    assert gravest(BatchCollapse(), lambda: train(batches, epochs=1)).severity is None


# ---- hidden state


class Recurrent(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.rnn = nn.GRU(6, 8, batch_first=True)
        self.head = nn.Linear(8, CLASSES)
        self.kept: torch.Tensor | None = None

    def forward(self, x: torch.Tensor, state: torch.Tensor | None = None) -> Any:
        out, new = self.rnn(x, self.kept if self.kind == "attribute" else state)
        self.kept = new.detach()
        return self.head(out[:, -1]), new


@pytest.mark.parametrize(
    ("kind", "found"),
    [("carried", True), ("attribute", True), ("fresh", False), ("chunks", False), ("in order", False), ("lanes", False)],
)
def test_state_that_is_carried_over_shuffled_batches(kind: str, found: bool) -> None:
    x, y = torch.randn(N, 10, 6), torch.randint(0, CLASSES, (N,))
    data = TensorDataset(x, y)
    loader = DataLoader(data, 16, shuffle=kind != "in order")
    if kind == "lanes":
        loader = DataLoader(data, batch_sampler=[[lane * 10 + t for lane in range(16)] for t in range(10)])

    def loop() -> None:
        model, state = Recurrent(kind), None
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for a, b in loader:
            state = None if kind in ("fresh", "chunks") else state
            for part in a.chunk(2, 1) if kind == "chunks" else [a]:
                optimizer.zero_grad()
                logits, state = model(part, state)
                state = state.detach()
                F.cross_entropy(logits, b).backward()
                optimizer.step()

    assert (gravest(HiddenStateAcrossSequences(), loop).severity is Severity.WARNING) == found


# ---- loops


def returns(step: Callable[[Any], Any], loader: Any) -> Any:
    for batch in loader:
        return step(batch)
    return None


def breaks(step: Callable[[Any], Any], loader: Any) -> None:
    for batch in loader:
        step(batch)
        break


def limited(step: Callable[[Any], Any], loader: Any) -> None:
    for i, batch in enumerate(loader):
        step(batch)
        if i == 2:
            break


def first_of(step: Callable[[Any], Any], loader: Any) -> None:
    for batch in loader:  # noqa: B007
        break
    step(batch)


def get_batch(loader: Any) -> Any:
    for x, y in loader:
        x = x.float()
        return x, y
    return None


def from_outside(step: Callable[[Any], Any], loader: Any) -> None:
    step(get_batch(loader))


def whole(step: Callable[[Any], Any], loader: Any) -> None:
    for batch in loader:
        step(batch)


@pytest.mark.parametrize(
    ("epoch", "shuffle", "found"),
    [
        (returns, True, None),
        (breaks, False, None),
        (limited, False, Severity.WARNING),
        (limited, True, None),
        (first_of, True, None),
        (first_of, False, None),
        (from_outside, True, None),
        (whole, True, None),
    ],
)
def test_loops_that_are_left(epoch: Any, shuffle: bool, found: Severity | None) -> None:
    loader = DataLoader(TensorDataset(*examples()), 16, shuffle=shuffle)

    def loop() -> None:
        model = nn.Linear(6, CLASSES)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

        def step(batch: Any) -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(batch[0]), batch[1]).backward()
            optimizer.step()

        for _ in range(4):
            epoch(step, loader)

    finding = gravest(LoopLeftEarly(), loop)
    assert finding.severity is found
    if found is not None:
        assert finding.place is not None
        assert finding.place.source == "break"


def test_workers_started_for_each_step_are_a_note() -> None:
    data = TensorDataset(*examples())

    def fresh(workers: int) -> Callable[[], None]:
        loader = DataLoader(data, 16, shuffle=True, num_workers=workers)
        return lambda: train(lambda: (next(iter(loader)) for _ in range(6)), epochs=1)

    assert gravest(LoaderRebuiltEachStep(), fresh(1)).severity is Severity.NOTE
    assert gravest(LoaderRebuiltEachStep(), fresh(0)).verdict is Verdict.SKIP
