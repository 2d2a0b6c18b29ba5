"""Checks of evaluation: each on a real training that is listened to, faulty and healthy, with what looks alike."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainrecipe.capture import subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.listen.outputs import properly
from trainrecipe.checks.run.buffers_left_behind import BuffersLeftBehind
from trainrecipe.checks.run.evaluates_one_batch import EvaluatesOneBatch
from trainrecipe.checks.run.imbalance_hidden import ImbalanceHidden
from trainrecipe.checks.run.metric_broadcast import MetricBroadcast
from trainrecipe.checks.run.metric_on_wrong_axis import MetricOnWrongAxis
from trainrecipe.checks.run.metric_threshold import MetricThreshold
from trainrecipe.checks.run.metric_wrong_batch import MetricWrongBatch
from trainrecipe.checks.run.metric_wrong_count import MetricWrongCount
from trainrecipe.checks.run.ragged_batch_mean import RaggedBatchMean
from trainrecipe.exam import examine
from trainrecipe.subjects.evaluation import Predictions, score_of, wilson
from trainrecipe.subjects.run import Run

_G = torch.Generator().manual_seed(0)
X, XV = torch.randn(160, 10, generator=_G), torch.randn(97, 10, generator=_G)
Y, YV = (X[:, :4].sum(1) > 0).long() + (X[:, 0] > 1), (XV[:, :4].sum(1) > 0).long() + (XV[:, 0] > 1)

Score = Callable[[Any, Any], Any]


def listen(train: Callable[[], Any]) -> tuple[Run, Listener]:
    """The run that `train` makes, with the listener that heard it."""
    torch.manual_seed(0)
    listener = Listener(detail_always=True)
    listener.install()
    listener.run.ended = "finished"
    try:
        train()
    finally:
        listener.remove()
    listener.fill_plan()
    subjects.fill_parameters(listener)
    subjects.fill_stream(listener)
    assert not listener.trouble, listener.trouble
    assert not listener.recorder.trouble
    return listener.run, listener


def severity(check: Any, subject: Any) -> str | None:
    """The gravest severity that a check finds; None when it finds nothing."""
    examination = examine(subject, checks=[check])
    assert not any("itself failed" in f.ruling.says for f in examination.answers), examination.answers
    found = [f.severity for f in examination.findings if f.severity]
    return min(found, key=lambda s: s.rank).value if found else None


def classify(
    per_batch: Score,
    final: Callable[[list[Any], Any], float] = lambda values, loader: sum(values) / len(loader.dataset),
    *,
    size: int = 32,
    epochs: int = 2,
    binary: bool = False,
    last: nn.Module | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
) -> Run:
    """A training with an evaluation after each epoch: `per_batch(outputs, labels)`, then `final` of all of these."""
    labels, labels_v = (Y.clamp(max=1).float(), YV.clamp(max=1).float()) if binary else (Y, YV)

    def train() -> None:
        model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1 if binary else 3), *([last] if last else []))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        criterion = loss or (
            lambda out, y: F.binary_cross_entropy_with_logits(out.squeeze(1), y) if binary else F.cross_entropy(out, y)
        )
        train_loader = DataLoader(TensorDataset(X, labels), 32, shuffle=True)
        loader = DataLoader(TensorDataset(XV, labels_v), size)
        for _ in range(epochs):
            model.train()
            for x, y in train_loader:
                optimizer.zero_grad()
                criterion(model(x), y).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                values = [per_batch(model(x), y) for x, y in loader]
            score = final(values, loader)
            print("score", score)

    return listen(train)[0]


def right(out: Any, y: Any) -> int:
    return int((out.argmax(1) == y).sum().item())


def mean_over_batches(values: list[Any], loader: Any) -> float:
    return float(sum(values)) / len(values)


# ---- what the tape sees


def test_predictions_and_scores_equal_those_worked_out_by_hand() -> None:
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []

    def per_batch(out: Any, y: Any) -> float:
        kept.append((out.clone(), y.clone()))
        return F.cross_entropy(out, y).item() + 0 * right(out, y)

    run = classify(per_batch, lambda values, loader: sum(values))
    last = run.evaluated[-1]
    half = kept[len(kept) // 2 :]
    by_hand = sum(int((o.argmax(1) == y).sum()) for o, y in half)
    assert last.predictions.right == by_hand
    assert last.sizes == [32, 32, 32, 1]
    assert last.complete
    losses = next(s for s in last.scores if s.name == "cross_entropy")
    assert losses.values == [F.cross_entropy(o, y).item() for o, y in half]


def test_every_second_evaluation_of_many_is_left_alone() -> None:
    run = classify(right, epochs=9)
    assert [e.in_pass for e in run.evaluated] == [1, 3, 7, 15]


def test_no_mode_is_left_behind_and_none_is_there_in_module_calls() -> None:
    from torch.overrides import _get_current_function_mode_stack as stack

    seen: list[bool] = []

    class Looks(nn.Module):
        def forward(self, x: Any) -> Any:
            seen.append(any(type(m).__module__.endswith("outputs") for m in stack()))  # type: ignore[no-untyped-call]
            return x

    classify(right, last=Looks())
    assert seen
    assert not any(seen)
    assert not stack()  # type: ignore[no-untyped-call]


def test_proper_decisions() -> None:
    assert properly(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).tolist() == [True, False]  # type: ignore[union-attr]
    assert properly(torch.tensor([[2.0], [-1.0]]), torch.tensor([1.0, 1.0])).tolist() == [True, False]  # type: ignore[union-attr]
    assert properly(torch.tensor([0.4, 0.6]), torch.tensor([0, 1])).tolist() == [True, True]  # type: ignore[union-attr]
    assert properly(torch.randn(4, 3), torch.tensor([0.5, 1.0, 2.0, 0.0])) is None


def test_intervals() -> None:
    low, high = wilson(98, 100)
    assert 0.92 < low < 0.98 < high < 1
    assert wilson(0, 0) == (0.0, 1.0)
    low, middle, high, what = score_of(Predictions("numbers", errors=[1.0, 2.0, 3.0]))
    assert (middle, what) == (2.0, "mean absolute error")
    assert math.isclose(high - middle, middle - low)


# ---- averages


def test_a_mean_of_batch_means_is_told_from_the_mean_over_examples() -> None:
    check = RaggedBatchMean()
    assert severity(check, classify(lambda o, y: (o.argmax(1) == y).float().mean().item(), mean_over_batches)) == "warning"
    assert severity(check, classify(lambda o, y: F.cross_entropy(o, y).item(), mean_over_batches)) == "warning"
    assert severity(check, classify(lambda o, y: right(o, y) / len(y), lambda v, _: float(np.mean(v)) * 100)) == "warning"
    assert (
        severity(check, classify(lambda o, y: (o.argmax(1) == y).float().mean().item(), mean_over_batches, size=50)) == "note"
    )
    assert severity(check, classify(right)) is None
    assert severity(check, classify(lambda o, y: F.cross_entropy(o, y).item() * len(y))) is None
    assert severity(check, classify(lambda o, y: (o.argmax(1) == y).float().mean().item(), mean_over_batches, size=97)) is None
    assert severity(check, classify(lambda o, y: F.cross_entropy(o, y, reduction="sum").item(), mean_over_batches)) is None


@pytest.mark.parametrize(
    "final",
    [
        lambda values, loader: sum(values) / len(loader),
        lambda values, loader: sum(values) / (len(loader) * loader.batch_size),
        lambda values, loader: sum(values) / 160,
    ],
)
def test_wrong_divisors_of_a_count_are_found(final: Any) -> None:
    assert severity(MetricWrongCount(), classify(right, final)) == "warning"


def test_the_size_of_the_whole_data_set_is_not_that_of_a_sampled_part() -> None:
    sampler = torch.utils.data.SubsetRandomSampler(range(60))
    for divisor, expected in ((97, "warning"), (60, None)):
        run = evaluate_with(lambda m, loader, n=divisor: report(all_of(m, loader) / n), sampler=sampler)
        assert severity(MetricWrongCount(), run) == expected


def report(value: float) -> None:
    print("score", value)
    assert value >= 0


def test_a_loss_divided_twice_is_found_and_right_divisors_are_not() -> None:
    check = MetricWrongCount()
    assert severity(check, classify(lambda o, y: F.cross_entropy(o, y).item())) == "warning"
    assert severity(check, classify(right)) is None
    assert severity(check, classify(right, lambda v, loader: 100.0 * sum(v) / len(loader.dataset))) is None
    assert severity(check, classify(lambda o, y: F.cross_entropy(o, y).item() * len(y))) is None
    assert severity(check, classify(lambda o, y: F.cross_entropy(o, y).item(), lambda v, loader: sum(v))) is None


# ---- classes


def test_the_argmax_of_one_logit_is_found_in_every_style() -> None:
    check = MetricOnWrongAxis()

    def one(o: Any, y: Any) -> Any:
        return (o.argmax(1) == y).sum().item()

    assert severity(check, classify(one, binary=True)) == "error"
    assert severity(check, classify(lambda o, y: torch.max(o.data, 1)[1].eq(y).sum().item(), binary=True)) == "error"
    assert severity(check, classify(lambda o, y: (torch.sigmoid(o).argmax(-1) == y).sum().item(), binary=True)) == "error"
    arrays = classify(lambda o, y: int((o.argmax(1).numpy() == y.numpy()).sum()), binary=True)
    assert severity(check, arrays) == "warning"
    assert severity(check, classify(right)) is None


def test_decisions_over_the_examples_are_found() -> None:
    check = MetricOnWrongAxis()
    assert severity(check, classify(lambda o, y: (o.argmax() == y).sum().item())) == "error"
    assert severity(check, classify(lambda o, y: (o.softmax(0).argmax(1) == y).sum().item())) == "error"
    assert severity(check, classify(lambda o, y: (o.softmax(1).argmax(1) == y).sum().item())) is None


def test_an_argmax_that_meets_no_labels_is_not_reported() -> None:
    actions = classify(lambda o, y: o.argmax().item(), lambda v, _: float(len(v)))
    assert severity(MetricOnWrongAxis(), actions) is None


def test_similarities_of_a_batch_with_itself_are_not_reported() -> None:
    def retrieval(o: Any, y: Any) -> float:
        similar = o @ o.T
        positions = torch.arange(len(o))
        return ((similar.argmax(0) == positions).float().mean() + (similar.argmax(1) == positions).float().mean()).item()

    assert severity(MetricOnWrongAxis(), classify(retrieval, mean_over_batches)) is None


def test_all_pairs_are_found() -> None:
    check = MetricBroadcast()
    assert (
        severity(check, classify(lambda o, y: ((o > 0) == y.bool()).float().mean().item(), mean_over_batches, binary=True))
        == "error"
    )
    assert severity(check, classify(lambda o, y: (o - y).abs().mean().item(), mean_over_batches, binary=True)) == "error"
    assert severity(check, classify(lambda o, y: ((o.squeeze(1) > 0) == y.bool()).sum().item(), binary=True)) is None
    assert severity(check, classify(lambda o, y: ((o > 0) == y[:, None].bool()).sum().item(), binary=True)) is None
    pairs = classify(lambda o, y: ((o[:, None] - o[None]).abs().sum(-1).lt(1) == (y[:, None] == y[None])).float().mean().item())
    assert severity(check, pairs) is None


@pytest.mark.parametrize(
    ("per_batch", "expected"),
    [
        (lambda o, y: ((o.squeeze(1) > 0.5) == y.bool()).sum().item(), "warning"),
        (lambda o, y: (o.squeeze(1).round() == y).sum().item(), "warning"),
        (lambda o, y: ((torch.sigmoid(o).squeeze(1) > 0) == y.bool()).sum().item(), "error"),
        (lambda o, y: (torch.sigmoid(o).squeeze(1) == y).sum().item(), "error"),
        (lambda o, y: ((o.squeeze(1) > 0) == y.bool()).sum().item(), None),
        (lambda o, y: ((torch.sigmoid(o).squeeze(1) > 0.5) == y.bool()).sum().item(), None),
        (lambda o, y: ((o.squeeze(1) > 0.3) == y.bool()).sum().item(), None),
        (lambda o, y: (o[o > 0.5].sum() / len(y)).item(), None),
    ],
)
def test_thresholds(per_batch: Any, expected: str | None) -> None:
    assert severity(MetricThreshold(), classify(per_batch, binary=True)) == expected


def test_small_positive_logits_are_not_taken_for_probabilities() -> None:
    def positive(o: Any, y: Any) -> Any:
        return ((o.squeeze(1) > 0) == y.bool()).sum().item()

    class Shrunk(nn.Module):
        def forward(self, x: Any) -> Any:
            return 0.5 + 0.1 * torch.tanh(x)

    assert severity(MetricThreshold(), classify(positive, binary=True, last=Shrunk())) is None


def test_half_is_the_threshold_of_a_regression_on_zero_and_one() -> None:
    run = classify(
        lambda o, y: ((o.squeeze(1) > 0.5) == y.bool()).sum().item(),
        binary=True,
        loss=lambda o, y: F.mse_loss(o.squeeze(1), y),
    )
    assert severity(MetricThreshold(), run) is None


def test_labels_of_the_training_batch_are_told_from_those_of_the_batch() -> None:
    def train(stale: bool) -> Callable[[], None]:
        def body() -> None:
            model = nn.Linear(10, 3)
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            train_loader = DataLoader(TensorDataset(X, Y), 32, shuffle=True)
            loader = DataLoader(TensorDataset(XV[:96], YV[:96]), 32)
            for _ in range(2):
                for x, y in train_loader:
                    optimizer.zero_grad()
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
                with torch.no_grad():
                    print(sum((model(xv).argmax(1) == (y if stale else yv)).sum().item() for xv, yv in loader))

        return body

    assert severity(MetricWrongBatch(), listen(train(True))[0]) == "error"
    assert severity(MetricWrongBatch(), listen(train(False))[0]) is None


# ---- how much is evaluated


def evaluate_with(body: Callable[[nn.Module, Any], Any], **options: Any) -> Run:
    def train() -> None:
        model = nn.Linear(10, 3)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        train_loader = DataLoader(TensorDataset(X, Y), 32, shuffle=True)
        loader = DataLoader(TensorDataset(XV, YV), **{"batch_size": 16, **options})
        for _ in range(2):
            for x, y in train_loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            with torch.no_grad():
                body(model, loader)

    return listen(train)[0]


def first_only(model: nn.Module, loader: Any) -> Any:
    for x, y in loader:
        return (model(x).argmax(1) == y).float().mean().item()
    return 0.0


def all_of(model: nn.Module, loader: Any) -> Any:
    return sum((model(x).argmax(1) == y).sum().item() for x, y in loader)


def look_only(model: nn.Module, loader: Any) -> Any:
    x, _ = next(iter(loader))
    return model(x)[0].tolist()


def test_evaluations_of_one_batch_are_told_from_whole_ones() -> None:
    check = EvaluatesOneBatch()
    assert severity(check, evaluate_with(first_only)) == "warning"
    assert severity(check, evaluate_with(first_only, shuffle=True)) == "note"
    assert severity(check, evaluate_with(first_only, batch_size=97)) is None
    assert severity(check, evaluate_with(look_only)) is None
    assert severity(check, evaluate_with(lambda m, loader: (all_of(m, loader), first_only(m, loader)))) is None
    assert severity(check, evaluate_with(all_of)) is None
    assert severity(check, evaluate_with(all_of, batch_size=40, drop_last=True)) == "warning"
    assert severity(check, evaluate_with(all_of, batch_size=16, drop_last=True)) == "note"


# ---- batch norm and majorities


def with_average(make: Callable[[nn.Module], nn.Module], update: Callable[[nn.Module, nn.Module], None]) -> Run:
    def train() -> None:
        model = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        average = make(model)
        loader = DataLoader(TensorDataset(X, Y), 32, shuffle=True)
        held_out = DataLoader(TensorDataset(XV, YV), 97)
        for _ in range(2):
            for x, y in loader:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                with torch.no_grad():
                    update(average, model)
            with torch.no_grad():
                for net in (model.eval(), average.eval()):
                    print(all_of(net, held_out))
            model.train()

    return listen(train)[0]


def lerp(average: nn.Module, model: nn.Module) -> None:
    for a, p in zip(average.parameters(), model.parameters(), strict=True):
        a.lerp_(p, 0.2)


def copy_parameters(average: nn.Module, model: nn.Module) -> None:
    for a, p in zip(average.parameters(), model.parameters(), strict=True):
        a.copy_(p)


def lerp_and_buffers(average: nn.Module, model: nn.Module) -> None:
    lerp(average, model)
    for a, p in zip(average.buffers(), model.buffers(), strict=True):
        a.copy_(p)


def test_statistics_that_are_left_behind_are_found() -> None:
    check = BuffersLeftBehind()
    assert severity(check, with_average(copy.deepcopy, copy_parameters)) == "error"
    assert severity(check, with_average(copy.deepcopy, lerp)) == "warning"
    assert severity(check, with_average(copy.deepcopy, lerp_and_buffers)) is None
    assert severity(check, with_average(copy.deepcopy, lambda a, m: None)) is None  # a baseline that is never trained
    assert severity(check, with_average(torch.optim.swa_utils.AveragedModel, lambda a, m: a.update_parameters(m))) is None  # type: ignore[operator]


def test_a_model_that_predicts_the_majority_only_is_found_in_a_whole_run() -> None:
    def train(weight: float) -> Callable[[], None]:
        def body() -> None:
            x = torch.randn(800, 6)
            y = (x[:, 0] > 1.5).float()
            model = nn.Linear(6, 1)
            nn.init.zeros_(model.weight)
            nn.init.constant_(model.bias, -2.0)
            optimizer = torch.optim.SGD(model.parameters(), 0.01)
            loader = DataLoader(TensorDataset(x, y), 20, shuffle=True)
            held_out = DataLoader(TensorDataset(x[:300], y[:300]), 100)
            criterion = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight))
            for _ in range(3):
                for xb, yb in loader:
                    optimizer.zero_grad()
                    criterion(model(xb).squeeze(1), yb).backward()
                    optimizer.step()
                with torch.no_grad():
                    print(sum(((model(a).squeeze(1) > 0) == b.bool()).sum().item() for a, b in held_out))

        return body

    assert severity(ImbalanceHidden(), listen(train(1.0))[0]) == "warning"
    assert severity(ImbalanceHidden(), listen(train(14.0))[0]) is None
