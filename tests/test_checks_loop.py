"""Checks of the training loop: each on a real training that is listened to, faulty and healthy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from trainrecipe.capture import subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.rehearsal import Rehearsal, RehearsalOver
from trainrecipe.checks.run.clip_after_step import ClipAfterStep
from trainrecipe.checks.run.clip_to_nothing import ClipToNothing
from trainrecipe.checks.run.eval_in_train_mode import EvalInTrainMode
from trainrecipe.checks.run.gradients_in_evaluation import GradientsInEvaluation
from trainrecipe.checks.run.graph_retained import GraphRetained
from trainrecipe.checks.run.learning_rate_starved import LearningRateStarved
from trainrecipe.checks.run.loss_accumulated_with_graph import LossAccumulatedWithGraph
from trainrecipe.checks.run.missing_zero_grad import MissingZeroGrad
from trainrecipe.checks.run.parameters_missing_from_optimizer import ParametersMissingFromOptimizer
from trainrecipe.checks.run.parameters_never_updated import ParametersNeverUpdated
from trainrecipe.checks.run.scheduler_before_optimizer import SchedulerBeforeOptimizer
from trainrecipe.checks.run.stale_optimizer import StaleOptimizer
from trainrecipe.checks.run.step_missing import StepMissing
from trainrecipe.checks.run.too_few_steps import TooFewSteps
from trainrecipe.checks.run.train_in_eval_mode import TrainInEvalMode
from trainrecipe.checks.run.unregistered_parameters import UnregisteredParameters
from trainrecipe.checks.run.warmup_never_ends import WarmupNeverEnds
from trainrecipe.checks.run.zero_grad_before_step import ZeroGradBeforeStep
from trainrecipe.exam import examine
from trainrecipe.subjects.run import Run

X, XV = torch.randn(320, 10, generator=torch.Generator().manual_seed(0)), torch.randn(64, 10)
Y, YV = (X[:, :3].sum(1) > 0).long(), (XV[:, :3].sum(1) > 0).long()

Train = Callable[[], Any]


def watch(train: Train, rehearse: bool = False) -> Run:
    """The run that `train` makes, whole or rehearsed."""
    torch.manual_seed(0)
    listener = Listener(detail_always=True)
    if rehearse:
        rehearsal = Rehearsal(listener.run, seconds=600.0)  # however slow the machine is
        listener.on_event, listener.limit_batches = rehearsal.event, rehearsal.cut
        listener.run.rehearsal = True
    listener.install()
    listener.run.ended = "finished"
    try:
        train()
    except RehearsalOver:
        listener.run.ended = "rehearsed"
    finally:
        listener.remove()
    listener.fill_plan()
    subjects.fill_parameters(listener)
    assert not listener.trouble
    return listener.run


def severity(check: Any, run: Run) -> str | None:
    """The gravest severity that a check finds; None when it finds nothing."""
    examination = examine(run, checks=[check])
    assert not any("itself failed" in f.ruling.says for f in examination.answers), examination.answers
    found = [f.severity for f in examination.findings if f.severity]
    return min(found, key=lambda s: s.rank).value if found else None


def loader(size: int = 16) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), size, shuffle=True)


def net(*extra: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 16), *extra, nn.ReLU(), nn.Linear(16, 2))


def loop(
    model: nn.Module | None = None,
    *,
    make: Callable[[Any], torch.optim.Optimizer] | None = None,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    order: str = "zero forward backward step",
    epochs: int = 2,
    per_epoch: str = "",
) -> Train:
    """A training whose step does what `order` says."""

    def train() -> None:
        own = model if model is not None else net()
        optimizer = make(own.parameters()) if make else torch.optim.Adam(own.parameters(), 1e-2)
        scheduler = schedule(optimizer) if schedule else None
        data = loader()
        for _epoch in range(epochs):
            for x, y in data:
                for word in order.split():
                    if word == "zero":
                        optimizer.zero_grad()
                    elif word == "forward":
                        loss = F.cross_entropy(own(x), y)
                    elif word == "backward":
                        loss.backward()
                    elif word == "clip":
                        nn.utils.clip_grad_norm_(own.parameters(), 1.0)
                    elif word == "step":
                        optimizer.step()
                    elif word == "schedule":
                        assert scheduler is not None
                        scheduler.step()
            if per_epoch == "schedule":
                assert scheduler is not None
                scheduler.step()

    return train


# ---- gradients and steps


def test_gradients_that_are_never_cleared_are_found_and_cleared_ones_are_not() -> None:
    assert severity(MissingZeroGrad(), watch(loop(order="forward backward step"))) == "error"
    assert severity(MissingZeroGrad(), watch(loop())) is None
    assert severity(MissingZeroGrad(), watch(loop(order="forward backward step zero"))) is None


def test_accumulation_and_decaying_sums_are_not_missing_zero_grad() -> None:
    def accumulate() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for i, (x, y) in enumerate(loader()):
            (F.cross_entropy(model(x), y) / 4).backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()

    def decay() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        for x, y in loader():
            for p in model.parameters():
                if p.grad is not None:
                    p.grad.mul_(0.9)
            F.cross_entropy(model(x), y).backward()
            optimizer.step()

    assert severity(MissingZeroGrad(), watch(accumulate)) is None
    assert severity(MissingZeroGrad(), watch(decay)) is None


def test_adversarial_pairs_that_clear_by_hand_are_not_missing_zero_grad() -> None:
    def gan() -> None:
        one, other = nn.Linear(4, 10), nn.Linear(10, 1)
        first, second = torch.optim.Adam(one.parameters(), 1e-3), torch.optim.Adam(other.parameters(), 1e-3)
        for x, _ in loader():
            fake = one(torch.randn(len(x), 4))
            for p in other.parameters():
                p.grad = None
            (other(fake.detach()).mean() - other(x).mean()).backward()
            second.step()
            for p in one.parameters():
                p.grad = None
            (-other(fake).mean()).backward()
            first.step()

    run = watch(gan)
    for check in (MissingZeroGrad(), ZeroGradBeforeStep(), StepMissing(), ParametersMissingFromOptimizer()):
        assert severity(check, run) is None


def test_gradients_cleared_before_the_step_are_found() -> None:
    assert severity(ZeroGradBeforeStep(), watch(loop(order="forward backward zero step"))) == "error"
    assert severity(ZeroGradBeforeStep(), watch(loop())) is None


def test_gradients_wiped_by_hand_before_the_step_are_found() -> None:
    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for x, y in loader():
            F.cross_entropy(model(x), y).backward()
            for p in model.parameters():
                assert p.grad is not None
                p.grad.zero_()
            optimizer.step()

    assert severity(ZeroGradBeforeStep(), watch(train)) == "error"


def test_closures_of_lbfgs_are_in_order() -> None:
    def train() -> None:
        model = net()
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4)
        for _ in range(8):

            def closure() -> Any:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(X), Y)
                loss.backward()
                return loss

            optimizer.step(closure)

    run = watch(train)
    for check in (MissingZeroGrad(), ZeroGradBeforeStep(), StepMissing(), GraphRetained(), LossAccumulatedWithGraph()):
        assert severity(check, run) is None


def test_a_step_that_is_never_taken_is_found() -> None:
    assert severity(StepMissing(), watch(loop(order="zero forward backward"))) == "error"
    assert severity(StepMissing(), watch(loop())) is None


def test_manual_updates_and_saliency_do_not_miss_a_step() -> None:
    def manual() -> None:
        model = net()
        torch.optim.SGD(model.parameters(), 0.1)
        for x, y in loader():
            model.zero_grad()
            F.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    assert p.grad is not None
                    p -= 0.1 * p.grad

    def saliency() -> None:
        model = net()
        image = torch.randn(1, 10, requires_grad=True)
        optimizer = torch.optim.Adam([image], 0.1)
        for _ in range(12):
            optimizer.zero_grad()
            model(image)[0, 1].backward()
            optimizer.step()

    assert severity(StepMissing(), watch(manual)) is None
    run = watch(saliency)
    for check in (StepMissing(), StaleOptimizer(), UnregisteredParameters()):
        assert severity(check, run) is None


def test_a_step_that_the_rehearsal_did_not_reach_is_not_missing() -> None:
    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        data = loader(4)
        for _ in range(9):
            for i, (x, y) in enumerate(data):
                (F.cross_entropy(model(x), y) / 40).backward()
                if i % 40 == 39:
                    optimizer.step()
                    optimizer.zero_grad()

    assert severity(StepMissing(), watch(train, rehearse=True)) is None


# ---- clipping


def test_clipping_at_the_wrong_time_is_found() -> None:
    assert severity(ClipAfterStep(), watch(loop(order="zero forward backward step clip"))) == "error"
    assert severity(ClipAfterStep(), watch(loop(order="zero clip forward backward step"))) == "error"
    assert severity(ClipAfterStep(), watch(loop(order="zero forward backward clip step"))) is None


@pytest.mark.parametrize(
    ("limit", "make", "found"),
    [
        (1e-5, lambda p: torch.optim.SGD(p, 0.05), "warning"),
        (1.0, lambda p: torch.optim.SGD(p, 0.05), None),
        (1e-5, lambda p: torch.optim.Adam(p, 1e-3), None),
        (1e-5, lambda p: torch.optim.SGD(p, 500.0), None),
    ],
)
def test_clipping_to_nothing_needs_an_optimiser_that_depends_on_scale(limit: float, make: Any, found: str | None) -> None:
    def train() -> None:
        model = net()
        optimizer = make(model.parameters())
        for x, y in loader():
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), limit)
            optimizer.step()

    assert severity(ClipToNothing(), watch(train)) == found


# ---- parameters


def test_parameters_left_out_of_the_optimiser_are_found_and_frozen_ones_are_not() -> None:
    model = net()
    left_out = watch(loop(model, make=lambda _: torch.optim.Adam(model[2].parameters())))
    assert severity(ParametersMissingFromOptimizer(), left_out) == "error"
    model = net().requires_grad_(False)
    model[2].requires_grad_(True)
    frozen = watch(loop(model, make=lambda _: torch.optim.Adam(model[2].parameters())))
    assert severity(ParametersMissingFromOptimizer(), frozen) is None


def test_a_later_phase_that_was_not_reached_keeps_the_check_unsure() -> None:
    model = net()

    def fit(parameters: Any) -> None:
        optimizer = torch.optim.Adam(parameters, 1e-3)
        data = loader()
        for _ in range(9):
            for x, y in data:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            with torch.no_grad():
                for x, _y in DataLoader(TensorDataset(XV, YV), 32):
                    model(x)

    def train() -> None:
        fit(model[2].parameters())
        fit(model.parameters())

    assert severity(ParametersMissingFromOptimizer(), watch(train, rehearse=True)) is None


def test_an_optimiser_that_died_with_its_function_still_held_its_parameters() -> None:
    def train() -> None:
        for _ in range(2):
            loop(net(), epochs=1)()

    assert severity(ParametersMissingFromOptimizer(), watch(train)) is None


def test_an_optimiser_over_replaced_layers_is_found() -> None:
    model = net()

    def make(_: Any) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        model[2] = nn.Linear(16, 2)
        return optimizer

    assert severity(StaleOptimizer(), watch(loop(model, make=make))) == "error"
    assert severity(StaleOptimizer(), watch(loop())) is None


class Stack(nn.Module):
    """A model with layers in a list of the given kind."""

    def __init__(self, keep: Callable[[list[nn.Module]], Any]) -> None:
        super().__init__()
        self.stem = nn.Linear(10, 16)
        self.layers = keep([nn.Linear(16, 16), nn.Linear(16, 16)])
        self.head = nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return self.head(x)


def test_layers_in_a_plain_list_are_found() -> None:
    assert severity(UnregisteredParameters(), watch(loop(Stack(list)))) == "error"
    assert severity(UnregisteredParameters(), watch(loop(Stack(nn.ModuleList)))) is None
    held = Stack(list)
    every = [*held.parameters(), *(p for layer in held.layers for p in layer.parameters())]
    assert severity(UnregisteredParameters(), watch(loop(held, make=lambda _: torch.optim.Adam(every)))) == "note"


def test_a_group_with_a_rate_of_zero_is_found_unless_its_schedule_switches_it_on() -> None:
    def groups(model: nn.Sequential) -> torch.optim.Optimizer:
        return torch.optim.Adam([{"params": model[0].parameters(), "lr": 0.0}, {"params": model[2].parameters()}], 1e-2)

    model = net()
    assert severity(ParametersNeverUpdated(), watch(loop(model, make=lambda _: groups(model)))) == "warning"

    def unfreeze(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.LambdaLR(optimizer, [lambda e: float(e >= 6), lambda e: 1.0])

    def later(model: nn.Sequential) -> torch.optim.Optimizer:
        return torch.optim.Adam([{"params": model[0].parameters()}, {"params": model[2].parameters()}], 1e-2)

    other = net()
    train = loop(other, make=lambda _: later(other), schedule=unfreeze, per_epoch="schedule", epochs=8)
    assert severity(ParametersNeverUpdated(), watch(train, rehearse=True)) is None


def test_updates_lost_in_low_precision_are_found() -> None:
    def train(dtype: torch.dtype, rate: float) -> Train:
        def run() -> None:
            model = net().to(dtype)
            optimizer = torch.optim.AdamW(model.parameters(), rate)
            for x, y in loader():
                optimizer.zero_grad()
                F.cross_entropy(model(x.to(dtype)).float(), y).backward()
                optimizer.step()

        return run

    assert severity(ParametersNeverUpdated(), watch(train(torch.bfloat16, 1e-5))) == "warning"
    assert severity(ParametersNeverUpdated(), watch(train(torch.bfloat16, 1e-2))) is None
    assert severity(ParametersNeverUpdated(), watch(train(torch.float32, 1e-5))) is None


# ---- modes


def evaluated(model: nn.Module, before: str, after: str, epochs: int = 3) -> Train:
    """Training with an evaluation after each epoch; the modes are set as given."""

    def train() -> None:
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        data, held = loader(), DataLoader(TensorDataset(XV, YV), 32)
        for _ in range(epochs):
            if before:
                getattr(model, before)()
            for x, y in data:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            if after:
                getattr(model, after)()
            with torch.no_grad():
                for x, _y in held:
                    model(x)

    return train


def test_modes_of_training_and_evaluation() -> None:
    healthy = watch(evaluated(net(nn.Dropout(0.3)), "train", "eval"))
    assert severity(EvalInTrainMode(), healthy) is None
    assert severity(TrainInEvalMode(), healthy) is None
    assert severity(EvalInTrainMode(), watch(evaluated(net(nn.Dropout(0.3)), "train", ""))) == "error"
    assert severity(TrainInEvalMode(), watch(evaluated(net(nn.BatchNorm1d(16)), "", "eval"))) == "error"
    assert severity(TrainInEvalMode(), watch(evaluated(net(nn.BatchNorm1d(16)), "eval", "eval"))) == "error"
    assert severity(EvalInTrainMode(), watch(evaluated(net(), "train", ""))) is None


def test_evaluation_on_tensors_after_a_loader_is_seen() -> None:
    model = net(nn.Dropout(0.3))

    def train() -> None:
        for _ in range(3):
            loop(model, epochs=1)()
            with torch.no_grad():
                model(XV)

    assert severity(EvalInTrainMode(), watch(train)) == "warning"


def test_dropout_that_samples_on_purpose_and_refreshed_statistics_are_not_found() -> None:
    sampling, fresh = net(nn.Dropout(0.3)), net(nn.BatchNorm1d(16))

    def sample() -> None:
        loop(sampling, epochs=1)()
        with torch.no_grad():
            for x, _ in DataLoader(TensorDataset(XV, YV), 32):
                torch.stack([sampling(x) for _ in range(5)]).mean(0)

    def refresh() -> None:
        data = loader()
        loop(fresh, epochs=1)()
        fresh.train()
        with torch.no_grad():
            for x, _ in data:
                fresh(x)
        fresh.eval()
        with torch.no_grad():
            for x, _ in DataLoader(TensorDataset(XV, YV), 32):
                fresh(x)

    assert severity(EvalInTrainMode(), watch(sample)) is None
    assert severity(EvalInTrainMode(), watch(refresh)) is None


def test_attacks_in_eval_mode_are_not_training() -> None:
    model = net(nn.Dropout(0.3))

    def train() -> None:
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for x, y in loader():
            model.eval()
            moved = x.clone().requires_grad_()
            F.cross_entropy(model(moved), y).backward()
            assert moved.grad is not None
            moved = (moved + 0.1 * moved.grad.sign()).detach()
            model.train()
            optimizer.zero_grad()
            F.cross_entropy(model(moved), y).backward()
            optimizer.step()

    assert severity(TrainInEvalMode(), watch(train)) is None


def test_graphs_in_evaluation_are_a_note() -> None:
    def train(grad: bool) -> Train:
        def run() -> None:
            model = net()
            loop(model, epochs=1)()
            with torch.set_grad_enabled(grad):
                for x, _ in DataLoader(TensorDataset(XV, YV), 32):
                    model(x)

        return run

    assert severity(GradientsInEvaluation(), watch(train(True))) == "note"
    assert severity(GradientsInEvaluation(), watch(train(False))) is None


# ---- graphs


def recurrent(detach: bool) -> Train:
    def train() -> None:
        cell, head = nn.GRUCell(4, 8), nn.Linear(8, 1)
        torch.optim.Adam([*cell.parameters(), *head.parameters()], 1e-3)
        state = torch.zeros(3, 8)
        for _ in range(12):
            state = cell(torch.randn(3, 4), state)
            head(state).pow(2).mean().backward(retain_graph=not detach)
            if detach:
                state = state.detach()

    return train


def test_a_graph_that_grows_through_a_state_is_found() -> None:
    assert severity(GraphRetained(), watch(recurrent(detach=False))) == "error"
    assert severity(GraphRetained(), watch(recurrent(detach=True))) is None


def test_longer_sequences_do_not_retain_graphs() -> None:
    def train() -> None:
        cell, head = nn.GRUCell(4, 8), nn.Linear(8, 1)
        optimizer = torch.optim.Adam([*cell.parameters(), *head.parameters()], 1e-3)
        for length in range(2, 20):
            state = torch.zeros(3, 8)
            for _ in range(length):
                state = cell(torch.randn(3, 4), state)
            optimizer.zero_grad()
            head(state).pow(2).mean().backward()
            optimizer.step()

    assert severity(GraphRetained(), watch(train)) is None


@pytest.mark.parametrize(("keep", "found"), [("graph", "warning"), ("item", None), ("last", None)])
def test_losses_kept_with_their_graphs_are_found(keep: str, found: str | None) -> None:
    def train() -> None:
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        total: Any = 0.0
        for x, y in loader():
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total = loss if keep == "last" else total + (loss if keep == "graph" else loss.item())

    assert severity(LossAccumulatedWithGraph(), watch(train)) == found


# ---- schedules


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1)


EACH_BATCH = "zero forward backward step schedule"


def test_a_scheduler_that_steps_before_the_optimiser_is_found() -> None:
    def step_lr(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.StepLR(optimizer, 100)

    with pytest.warns(UserWarning, match="lr_scheduler.step"):
        early = watch(loop(schedule=step_lr, order="zero forward backward schedule step"))
    assert severity(SchedulerBeforeOptimizer(), early) == "warning"
    assert severity(SchedulerBeforeOptimizer(), watch(loop(schedule=step_lr, order=EACH_BATCH))) is None
    assert severity(SchedulerBeforeOptimizer(), watch(loop(schedule=step_lr, per_epoch="schedule"))) is None


@pytest.mark.parametrize(
    ("schedule", "found"),
    [
        (lambda o: lr_scheduler.StepLR(o, 4, 0.3), "warning"),
        (lambda o: lr_scheduler.MultiStepLR(o, [4, 8, 12]), "warning"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 12), "warning"),
        (lambda o: lr_scheduler.LambdaLR(o, lambda i: max(0.0, 1 - i / 120)), "warning"),
        (lambda o: lr_scheduler.LambdaLR(o, lambda i: 0.01 * min(1.0, (i + 1) / 20)), "warning"),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 240), None),
        (lambda o: lr_scheduler.OneCycleLR(o, 0.5, total_steps=240), None),
        (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 40), None),
        (lambda o: lr_scheduler.LambdaLR(o, lambda i: max(0.0, 1 - i / 240)), None),
    ],
    ids=["steps", "milestones", "cosine", "half", "squared", "whole cosine", "one cycle", "restarts", "linear"],
)
def test_schedules_are_judged_over_the_real_length_of_the_run(schedule: Any, found: str | None) -> None:
    train = loop(make=sgd, schedule=schedule, order=EACH_BATCH, epochs=12)  # 20 batches per epoch
    run = watch(train, rehearse=True)
    assert run.optimizers[0].planned_steps == 240
    assert run.planned_epochs == 12
    assert severity(LearningRateStarved(), run) == found


def test_a_schedule_of_small_factors_on_a_rate_of_one_sets_the_rate_itself() -> None:
    def noam(optimizer: torch.optim.Optimizer) -> Any:
        return lr_scheduler.LambdaLR(optimizer, lambda i: 1e-3 * min(1.0, (i + 1) / 20))

    train = loop(make=lambda p: torch.optim.Adam(p, 1.0), schedule=noam, order=EACH_BATCH, epochs=6)
    assert severity(LearningRateStarved(), watch(train, rehearse=True)) is None


def test_a_warm_up_longer_than_the_run_is_found() -> None:
    def warm(length: int) -> Callable[[Any], Any]:
        return lambda o: lr_scheduler.LinearLR(o, 0.01, total_iters=length)

    too_long = loop(make=sgd, schedule=warm(2000), order=EACH_BATCH, epochs=6)
    assert severity(WarmupNeverEnds(), watch(too_long, rehearse=True)) == "warning"
    for train in (
        loop(make=sgd, schedule=warm(30), order=EACH_BATCH, epochs=6),
        loop(make=sgd, schedule=lambda o: lr_scheduler.ExponentialLR(o, 1.05), order=EACH_BATCH, epochs=6),
    ):
        assert severity(WarmupNeverEnds(), watch(train, rehearse=True)) is None


def test_the_length_of_loops_over_steps_is_read_off_their_conditions() -> None:
    def train() -> None:
        model = net()
        optimizer = sgd(model.parameters())
        scheduler = lr_scheduler.LambdaLR(optimizer, lambda i: max(0.0, 1 - i / 100))
        step, most, data = 0, 100, loader()
        for _epoch in range(10**6):
            for x, y in data:
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                scheduler.step()
                step += 1
                if step >= most:
                    return

    run = watch(train, rehearse=True)
    assert run.optimizers[0].planned_steps == 100
    assert severity(LearningRateStarved(), run) is None


def test_folds_do_not_multiply_the_length_of_a_training() -> None:
    def train() -> None:
        for _fold in range(5):
            model = net()
            optimizer = sgd(model.parameters())
            scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 4)
            data = loader()
            for _epoch in range(4):
                for x, y in data:
                    optimizer.zero_grad()
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
                scheduler.step()

    run = watch(train, rehearse=True)
    assert run.planned_epochs == 4
    assert severity(LearningRateStarved(), run) is None


def test_looking_at_schedules_leaves_them_as_they_are() -> None:
    model = net()
    optimizer = sgd(model.parameters())
    kept: list[Any] = []

    def schedule(_: Any) -> Any:
        kept.append(lr_scheduler.StepLR(optimizer, 4, 0.3))
        return kept[0]

    torch.manual_seed(0)
    watch(loop(model, make=lambda _: optimizer, schedule=schedule, order=EACH_BATCH))
    state, rate = copy.deepcopy(kept[0].state_dict()), optimizer.param_groups[0]["lr"]
    assert state["last_epoch"] == 40
    assert rate == pytest.approx(0.1 * 0.3**10)


# ---- the length of the training


def descend(steps: int, rate: float, noise: float = 0.0, loaded: bool = False) -> Train:
    """Full batches of a regression by gradient descent, for a number of steps."""

    def train() -> None:
        model = nn.Linear(10, 1)
        if loaded:
            model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()})
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for _ in range(steps):
            loss = F.mse_loss(model(X).squeeze(1), X[:, :3].sum(1) + 0.5) + 1
            loss = loss * (noise * torch.randn(())).exp()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def test_a_short_training_whose_loss_still_falls_is_a_note() -> None:
    check = TooFewSteps()
    assert severity(check, watch(descend(20, 0.012))) == "note"
    assert severity(check, watch(descend(30, 0.008, noise=0.01))) == "note"
    assert severity(check, watch(descend(20, 0.2))) is None, "it has levelled off"
    assert severity(check, watch(descend(60, 0.01))) is None, "it is long enough"
    assert severity(check, watch(descend(30, 0.008, noise=0.4))) is None, "the noise hides the end"
    assert severity(check, watch(descend(20, 0.012, loaded=True))) is None, "it goes on from an earlier training"


def test_few_steps_of_a_second_order_method_are_enough() -> None:
    def train() -> None:
        model = nn.Linear(10, 1)
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=2, lr=0.1)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.mse_loss(model(X).squeeze(1), X[:, :3].sum(1)) + 1
            loss.backward()
            return loss

        for _ in range(10):
            optimizer.step(closure)

    assert severity(TooFewSteps(), watch(train)) is None
