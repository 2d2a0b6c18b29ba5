"""Checks of parameters, optimisers' settings, schedules and norms: each on a real training, faulty and healthy.

The healthy ones are chosen to look like the fault: clamps, weight tying by assignment, perturbations that are taken back,
frozen backbones, shared heads, reference models, warm-ups of averages.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
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
from trainrecipe.checks.run.batch_norm_few_values import BatchNormFewValues
from trainrecipe.checks.run.batch_norm_momentum import BatchNormMomentum
from trainrecipe.checks.run.batch_norm_never_updated import BatchNormNeverUpdated
from trainrecipe.checks.run.decay_on_norms import DecayOnNorms
from trainrecipe.checks.run.decay_rounded_away import LOST, DecayRoundedAway
from trainrecipe.checks.run.epoch_left_early import EpochLeftEarly
from trainrecipe.checks.run.freeze_without_effect import FreezeWithoutEffect
from trainrecipe.checks.run.frozen_parameters_move import FrozenParametersMove
from trainrecipe.checks.run.model_frozen import ModelFrozen
from trainrecipe.checks.run.odd_optimizer_settings import OddOptimizerSettings
from trainrecipe.checks.run.parameters_overwritten import ParametersOverwritten
from trainrecipe.checks.run.parameters_recreated import ParametersRecreated
from trainrecipe.checks.run.plateau_mode import PlateauMode
from trainrecipe.checks.run.result_discarded import ResultDiscarded
from trainrecipe.checks.run.schedule_past_its_end import SchedulePastItsEnd
from trainrecipe.checks.run.scheduler_never_stepped import SchedulerNeverStepped
from trainrecipe.checks.run.scheduler_of_another_optimizer import SchedulerOfAnotherOptimizer
from trainrecipe.checks.run.shared_layer_instances import SharedLayerInstances
from trainrecipe.checks.run.target_network_not_synced import TargetNetworkNotSynced
from trainrecipe.checks.run.trains_on_evaluation_data import TrainsOnEvaluationData
from trainrecipe.checks.run.unused_parameters import UnusedParameters
from trainrecipe.checks.step.weight_decay_overwhelms import WeightDecayOverwhelms
from trainrecipe.exam import examine
from trainrecipe.finding import Place
from trainrecipe.subjects.better import better
from trainrecipe.subjects.run import Run
from trainrecipe.subjects.step import Step

GENERATOR = torch.Generator().manual_seed(0)
X, XV = torch.randn(320, 10, generator=GENERATOR), torch.randn(96, 10, generator=GENERATOR)
Y, YV = (X[:, :3].sum(1) > 0).long(), (XV[:, :3].sum(1) > 0).long()


def watch(train: Callable[[], Any], rehearse: bool = False) -> Run:
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


def severity(check: Any, subject: Any) -> str | None:
    """The gravest severity that a check finds; None when it finds nothing."""
    examination = examine(subject, checks=[check])
    assert not any("itself failed" in f.ruling.says for f in examination.answers), examination.answers
    found = [f.severity for f in examination.findings if f.severity]
    return min(found, key=lambda s: s.rank).value if found else None


def loader(size: int = 16) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), size, shuffle=True)


def held_out() -> DataLoader[Any]:
    return DataLoader(TensorDataset(XV, YV), 16)


def net(width: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def sgd(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def steps(
    model: Any,
    optimizer: torch.optim.Optimizer,
    number: int = 12,
    before: Callable[[int], Any] = lambda _: None,
    after: Callable[[int], Any] = lambda _: None,
    loss: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor] = lambda m, x, y: F.cross_entropy(m(x), y),
    clear: bool = True,
) -> None:
    """A loop without a loader."""
    for number_ in range(number):
        picked = torch.randint(len(X), (16,))
        before(number_)
        optimizer.zero_grad(set_to_none=clear)
        loss(model, X[picked], Y[picked]).backward()
        optimizer.step()
        after(number_)


def epochs(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    number: int = 3,
    each_step: Callable[[], Any] = lambda: None,
    each_epoch: Callable[[float], Any] = lambda _: None,
) -> None:
    """A loop over loaders, with an evaluation after each epoch."""
    train, val = loader(), held_out()
    for _ in range(number):
        model.train()
        for x, y in train:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            each_step()
        model.eval()
        with torch.no_grad():
            hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in val)
        each_epoch(hits / len(YV))


# ---- freezing


def test_an_attribute_on_a_module_freezes_nothing() -> None:
    def train() -> None:
        model = net()
        model[0].requires_grad = False  # type: ignore[assignment]
        steps(model, sgd(model))

    assert severity(FreezeWithoutEffect(), watch(train)) == "error"


@pytest.mark.parametrize("name", ["require_grad", "requires_grads", "required_grad"])
def test_a_misspelt_attribute_freezes_nothing(name: str) -> None:
    def train() -> None:
        model = net()
        for parameter in model[0].parameters():
            setattr(parameter, name, False)
        steps(model, sgd(model))

    assert severity(FreezeWithoutEffect(), watch(train)) == "error"


def test_parameters_that_are_frozen_are_not_reported() -> None:
    class Backbone(nn.Linear):
        def __init__(self) -> None:
            super().__init__(10, 16)
            self.requires_grad = False  # a note to itself; what counts follows
            for parameter in self.parameters():
                parameter.requires_grad = False

    def train() -> None:
        model = nn.Sequential(Backbone(), nn.ReLU(), nn.Linear(16, 2))
        model[2].weight.tensor_parallel = False  # type: ignore[union-attr]
        steps(model, sgd(model))

    run = watch(train)
    assert severity(FreezeWithoutEffect(), run) is None
    assert severity(ModelFrozen(), run) is None


def test_an_attribute_without_consequences_is_not_reported() -> None:
    def train() -> None:
        model = net()
        model[0].requires_grad = False  # type: ignore[assignment]
        steps(model, torch.optim.SGD(model[2:].parameters(), lr=0.1))

    assert severity(FreezeWithoutEffect(), watch(train)) is None


def freeze_at(model: nn.Sequential, at: int) -> Callable[[int], None]:
    def before(number: int) -> None:
        if number == at:
            model[0].requires_grad_(False)

    return before


def test_weight_decay_moves_what_is_frozen_while_its_gradient_is_zero() -> None:
    def train() -> None:
        model = net()
        steps(model, sgd(model, weight_decay=0.01), before=freeze_at(model, 4), clear=False)

    assert severity(FrozenParametersMove(), watch(train)) == "warning"


def test_a_gradient_left_over_moves_what_is_frozen() -> None:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        for number in range(10):
            if number == 4:
                model[0].requires_grad_(False)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.grad = None
            F.cross_entropy(model(X[:32]), Y[:32]).backward()
            optimizer.step()

    assert severity(FrozenParametersMove(), watch(train)) == "warning"


def test_freezing_with_gradients_of_none_is_healthy() -> None:
    def train() -> None:
        model = net()
        steps(model, sgd(model, momentum=0.9, weight_decay=0.01), before=freeze_at(model, 4))

    assert severity(FrozenParametersMove(), watch(train)) is None


def test_evolution_strategies_set_gradients_by_hand() -> None:
    def train() -> None:
        model = net().requires_grad_(False)
        model[4].requires_grad_(True)
        optimizer = sgd(model)
        for _ in range(10):
            F.cross_entropy(model(X), Y).backward()
            for parameter in model[:3].parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
            optimizer.zero_grad()

    assert severity(FrozenParametersMove(), watch(train)) is None


def test_an_optimizer_with_frozen_parameters_only_is_reported() -> None:
    def train() -> None:
        model = net()
        model[0].requires_grad_(False)
        idle = torch.optim.SGD(model[0].parameters(), lr=0.1)
        steps(model, torch.optim.SGD(model[2:].parameters(), lr=0.1), after=lambda _: idle.step())

    assert severity(ModelFrozen(), watch(train)) == "warning"


def test_a_discriminator_frozen_in_turns_is_healthy() -> None:
    def train() -> None:
        model = net()
        steps(model, sgd(model), after=lambda _: model.requires_grad_(False), before=lambda _: model.requires_grad_(True))

    assert severity(ModelFrozen(), watch(train)) is None


# ---- sharing and making anew


class Stack(nn.Module):
    def __init__(self, layers: Any) -> None:
        super().__init__()
        self.layers = layers
        self.out = nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.out(x)


def test_a_multiplied_list_is_one_layer() -> None:
    def train() -> None:
        model = Stack(nn.ModuleList([nn.Linear(10, 10)] * 3))
        steps(model, sgd(model))

    assert severity(SharedLayerInstances(), watch(train)) == "warning"


def test_a_list_of_one_variable_is_one_layer() -> None:
    def make(layer: nn.Module, count: int) -> nn.Sequential:
        return nn.Sequential(*copy.deepcopy([layer for _ in range(count)]))

    def train() -> None:
        model = Stack(make(nn.Linear(10, 10), 3))
        steps(model, sgd(model))

    assert severity(SharedLayerInstances(), watch(train)) == "warning"


def test_copies_and_loops_over_one_layer_are_healthy() -> None:
    def train() -> None:
        layer = nn.Linear(10, 10)
        model = Stack(nn.ModuleList(copy.deepcopy(layer) for _ in range(3)))
        steps(model, sgd(model))
        activation = nn.ReLU()
        shared = nn.Sequential(nn.Linear(10, 10), activation, nn.Linear(10, 2), activation)
        steps(shared, sgd(shared), loss=lambda m, x, y: (m(x).mean(1) - y).square().mean())

    assert severity(SharedLayerInstances(), watch(train)) is None


def test_one_head_for_the_outputs_of_several_layers_is_healthy() -> None:
    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.ModuleList([nn.Linear(10, 10) for _ in range(3)])
            head = nn.Linear(10, 2)
            self.heads = nn.ModuleList([head for _ in range(3)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = []
            for layer, head in zip(self.body, self.heads, strict=True):
                x = torch.relu(layer(x))
                found.append(head(x))
            return torch.stack(found).mean(0)

    def train() -> None:
        model = Detector()
        steps(model, sgd(model))

    assert severity(SharedLayerInstances(), watch(train)) is None


def test_a_layer_made_in_forward_is_reported() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(10, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.out = nn.Linear(10, 2)
            return self.out(self.inner(x))

    def train() -> None:
        model = Model()
        steps(model, sgd(model))

    assert severity(ParametersRecreated(), watch(train)) == "error"


def test_a_layer_made_in_the_loop_is_reported() -> None:
    def train() -> None:
        body = nn.Linear(10, 10)
        optimizer = sgd(body)
        for _ in range(8):
            head = nn.Linear(10, 2)
            optimizer.zero_grad()
            F.cross_entropy(head(body(X)), Y).backward()
            optimizer.step()

    assert severity(ParametersRecreated(), watch(train)) == "error"


def test_lazy_layers_first_states_and_inner_copies_are_healthy() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(5, 8, batch_first=True)
            self.out: Any = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first = nn.Parameter(torch.zeros(1, len(x), 8))
            h = self.rnn(x.view(len(x), 2, 5), first)[0][:, -1]
            if self.out is None:
                self.out = nn.Linear(8, 2)
            return self.out(h)

    def train() -> None:
        model = Lazy()
        steps(model, sgd(model))
        meta = net()
        outer = sgd(meta)
        for _ in range(6):
            inner = copy.deepcopy(meta)
            steps(inner, sgd(inner), number=2)
            outer.zero_grad()
            for mine, theirs in zip(meta.parameters(), inner.parameters(), strict=True):
                mine.grad = mine.detach() - theirs.detach()
            outer.step()

    assert severity(ParametersRecreated(), watch(train)) is None


# ---- overwriting


def test_weights_loaded_again_in_every_step_are_reported() -> None:
    def train() -> None:
        model = net()
        start = copy.deepcopy(model.state_dict())
        steps(model, sgd(model), before=lambda _: model.load_state_dict(start))

    assert severity(ParametersOverwritten(), watch(train)) == "warning"


def test_weights_made_anew_in_every_step_are_reported() -> None:
    def train() -> None:
        model = net()
        steps(model, sgd(model), before=lambda _: nn.init.xavier_uniform_(model[2].weight))  # type: ignore[arg-type]

    assert severity(ParametersOverwritten(), watch(train)) == "warning"


def clamp(model: nn.Module, limit: float) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.clamp_(-limit, limit)


def test_clipped_weights_are_healthy() -> None:
    def train() -> None:
        model = net()
        steps(model, sgd(model), after=lambda _: clamp(model, 0.01))

    assert severity(ParametersOverwritten(), watch(train)) is None


def test_a_scalar_at_its_bound_is_healthy() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.scale = net(), nn.Parameter(torch.tensor(4.0))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.scale.data.clamp_(1.0, 1.5)
            return self.net(x) * self.scale

    def train() -> None:
        model = Scaled()
        steps(model, sgd(model))

    assert severity(ParametersOverwritten(), watch(train)) is None


def test_normalised_masked_and_perturbed_weights_are_healthy() -> None:
    def train() -> None:
        model = net()
        masks = [(torch.rand_like(p) > 0.9).float() for p in model.parameters()]

        def after(number: int) -> None:
            with torch.no_grad():
                for parameter, mask in zip(model.parameters(), masks, strict=True):
                    parameter.mul_(mask)
                model[2].weight.div_(model[2].weight.norm(dim=1, keepdim=True) + 1e-6)  # type: ignore[union-attr, operator]

        steps(model, sgd(model), after=after)
        other = net()
        for _ in range(8):
            kept = [p.detach().clone() for p in other.parameters()]
            with torch.no_grad():
                for p in other.parameters():
                    p.add_(0.05 * torch.randn_like(p))
            optimizer = sgd(other)
            F.cross_entropy(other(X), Y).backward()
            with torch.no_grad():
                for p, value in zip(other.parameters(), kept, strict=True):
                    p.copy_(value)
            optimizer.step()

    assert severity(ParametersOverwritten(), watch(train)) is None


def test_inner_loops_that_start_over_are_healthy() -> None:
    def train() -> None:
        model = net()
        inner = sgd(model)
        for _ in range(5):
            start = copy.deepcopy(model.state_dict())
            steps(model, inner, number=3)
            end = model.state_dict()
            model.load_state_dict({k: start[k] + 0.5 * (end[k] - start[k]) for k in start})

    assert severity(ParametersOverwritten(), watch(train)) is None


# ---- results that are dropped


class Dropping(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.net, self.drop, self.norm, self.kind = net(), nn.Dropout(0.3), nn.BatchNorm1d(10), kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "method":
            x.clamp(-1, 1)
        elif self.kind == "function":
            F.relu(x)
        elif self.kind == "layer":
            self.drop(x)
        elif self.kind == "in place":
            x = x + 0
            x.clamp_(-1, 1)
            F.relu(x, inplace=True)
        elif self.kind == "state":
            self.norm(x)
            print(x.sum(), end="")
            torch.add(x, 1, out=x.detach().clone())
        return self.net(x)


@pytest.mark.parametrize("kind", ["method", "function", "layer"])
def test_a_result_that_is_dropped_is_reported(kind: str) -> None:
    def train() -> None:
        model = Dropping(kind)
        steps(model, sgd(model))

    assert severity(ResultDiscarded(), watch(train)) == "warning"


@pytest.mark.parametrize("kind", ["in place", "state", "none"])
def test_statements_that_act_are_healthy(kind: str) -> None:
    def train() -> None:
        model = Dropping(kind)
        model.to(torch.float32)
        steps(model, sgd(model), after=lambda _: model.to("cpu"))

    assert severity(ResultDiscarded(), watch(train)) is None


# ---- schedules


def cosine(length: int, number: int, per_step: bool = False) -> Callable[[], None]:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        schedule = lr_scheduler.CosineAnnealingLR(optimizer, length)
        done = schedule.step
        epochs(model, optimizer, number, done if per_step else lambda: None, lambda _: None if per_step else done())

    return train


def test_a_cosine_past_its_end_is_reported() -> None:
    assert severity(SchedulePastItsEnd(), watch(cosine(3, 6))) == "warning"
    assert severity(SchedulePastItsEnd(), watch(cosine(3, 5))) == "warning"


def test_cosines_that_fit_are_healthy() -> None:
    assert severity(SchedulePastItsEnd(), watch(cosine(6, 6))) is None
    assert severity(SchedulePastItsEnd(), watch(cosine(5, 6))) is None
    assert severity(SchedulePastItsEnd(), watch(cosine(60, 3, per_step=True))) is None
    assert severity(SchedulePastItsEnd(), watch(cosine(30, 3))) is None


def test_a_length_in_batches_counted_in_epochs_is_reported() -> None:
    assert severity(SchedulePastItsEnd(), watch(cosine(60, 3))) == "warning"


def by_hand(total: int, warmup: int = 5) -> Callable[[], None]:
    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))

    def train() -> None:
        model = net()
        optimizer = sgd(model)
        schedule = lr_scheduler.LambdaLR(optimizer, factor)
        epochs(model, optimizer, 3, each_step=schedule.step)

    return train


def test_a_cosine_by_hand_past_its_end_is_reported() -> None:
    assert severity(SchedulePastItsEnd(), watch(by_hand(40))) == "warning"
    assert severity(SchedulePastItsEnd(), watch(by_hand(60))) is None
    assert severity(SchedulePastItsEnd(), watch(by_hand(12))) is None  # several cycles are meant


def test_warm_restarts_are_healthy() -> None:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        schedule = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2)
        epochs(model, optimizer, 5, each_epoch=lambda _: schedule.step())

    assert severity(SchedulePastItsEnd(), watch(train)) is None


def test_a_negative_rate_is_reported() -> None:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        schedule = lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 30)
        epochs(model, optimizer, 3, each_step=schedule.step)

    run = watch(train)
    assert severity(SchedulePastItsEnd(), run) == "warning"
    assert severity(OddOptimizerSettings(), run) == "warning"


def test_a_scheduler_that_is_never_stepped_is_reported() -> None:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        schedule = lr_scheduler.StepLR(optimizer, 2)
        epochs(model, optimizer, each_epoch=lambda _: schedule.get_last_lr())

    assert severity(SchedulerNeverStepped(), watch(train)) == "warning"


def test_schedulers_inside_others_and_rates_by_hand_are_healthy() -> None:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        warmup = lr_scheduler.LinearLR(optimizer, 0.1, total_iters=5)
        decay = lr_scheduler.ExponentialLR(optimizer, 0.9)
        schedule = lr_scheduler.SequentialLR(optimizer, [warmup, decay], [5])
        epochs(model, optimizer, each_step=schedule.step)
        second = net()
        by_hand = sgd(second)
        plan = lr_scheduler.StepLR(by_hand, 2)

        def set_rate(_: float) -> None:
            for group in by_hand.param_groups:
                group["lr"] = plan.base_lrs[0] * 0.5

        epochs(second, by_hand, each_epoch=set_rate)

    assert severity(SchedulerNeverStepped(), watch(train)) is None


@pytest.mark.filterwarnings("ignore:Detected call")
def test_a_scheduler_of_a_replaced_optimizer_is_reported() -> None:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        schedule = lr_scheduler.StepLR(optimizer, 1)
        optimizer = sgd(model, momentum=0.9)
        epochs(model, optimizer, each_epoch=lambda _: schedule.step())

    assert severity(SchedulerOfAnotherOptimizer(), watch(train)) == "warning"


@pytest.mark.filterwarnings("ignore:Detected call")
def test_schedulers_of_several_models_and_of_a_stand_in_are_healthy() -> None:
    def train() -> None:
        one, two = net(), net()
        first, second = sgd(one), sgd(two)
        schedules = [lr_scheduler.StepLR(o, 1) for o in (first, second)]
        epochs(one, first, each_epoch=lambda _: schedules[0].step())
        epochs(two, second, each_epoch=lambda _: schedules[1].step())
        model = net()
        real, stand_in = sgd(model), sgd(model)
        schedule = lr_scheduler.ExponentialLR(stand_in, 0.9)

        def follow() -> None:
            schedule.step()
            real.param_groups[0]["lr"] = schedule.get_last_lr()[0]

        epochs(model, real, each_step=follow)

    assert severity(SchedulerOfAnotherOptimizer(), watch(train)) is None


def plateau(mode: str) -> Callable[[], None]:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        schedule = lr_scheduler.ReduceLROnPlateau(optimizer, mode)  # type: ignore[arg-type]

        def each(val_acc: float) -> None:
            schedule.step(val_acc)

        epochs(model, optimizer, each_epoch=each)

    return train


def test_an_accuracy_needs_the_mode_max() -> None:
    assert severity(PlateauMode(), watch(plateau("min"))) == "warning"
    assert severity(PlateauMode(), watch(plateau("max"))) is None


@pytest.mark.parametrize(
    ("made", "given", "expected"),
    [
        ("score = hits / len(y)", "score", 1),
        ("score = f1_score(y, p)", "score", 1),
        ("score = 1 - accuracy_score(y, p)", "score", -1),
        ("score = -criterion(p, y).item()", "score", 1),
        ("score = F.cross_entropy(p, y).item()", "score", -1),
        ("score = (p != y).float().mean()", "score", -1),
        ("score = (p == 0).float().mean()", "score", 0),
        ("score = judge(p, y)", "score", 1),
        ("other, score = both(p, y)", "score", 1),
        ("score, other = both(p, y)", "score", -1),
        ("score = unknown(p, y)", "score", 0),
        ("result = {}", "result['val_loss']", -1),
        ("vloss = sum(values)", "vloss / n", -1),
        ("val_acc = 0.5", "1 - val_acc", -1),
        ("acc_loss = 0.5", "acc_loss", 0),
    ],
)
def test_which_direction_of_a_quantity_is_better(tmp_path: Path, made: str, given: str, expected: int) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "def judge(p, y):\n    right = 0\n    right += (p == y).sum()\n    return right / len(y)\n\n"
        "def both(p, y):\n    return mse_loss(p, y), (p == y).float().mean().item()\n\n"
        f"hits = 0\nfor p, y in data:\n    hits += (p == y).sum().item()\n{made}\nplateau.step({given})\n"
    )
    assert better(given, Place(str(script), len(script.read_text().splitlines()))) == expected


def test_a_negated_accuracy_is_healthy() -> None:
    def train() -> None:
        model = net()
        optimizer = sgd(model)
        schedule = lr_scheduler.ReduceLROnPlateau(optimizer)
        epochs(model, optimizer, each_epoch=lambda acc: schedule.step(1 - acc))

    assert severity(PlateauMode(), watch(train)) is None


# ---- settings


@pytest.mark.parametrize(
    "build",
    [
        lambda p: torch.optim.SGD(p, 0.1, 0.9, 5e-4),
        lambda p: torch.optim.SGD(p, 0.001, 1.0),
        lambda p: torch.optim.AdamW(p, 1e-3, betas=(0.999, 0.9)),
        lambda p: torch.optim.Adam(p, 1e-3, eps=1e3),
    ],
)
def test_odd_settings_are_reported(build: Any) -> None:
    def train() -> None:
        model = net()
        steps(model, build(model.parameters()))

    assert severity(OddOptimizerSettings(), watch(train)) == "warning"


@pytest.mark.parametrize(
    "build",
    [
        lambda p: torch.optim.SGD(p, 0.1, 0.9, 0.5, nesterov=False),
        lambda p: torch.optim.Adam(p, 1e-3, betas=(0.0, 0.9)),
        lambda p: torch.optim.Adam(p, 1e-3, betas=(0.5, 0.999), eps=1e-5),
        lambda p: torch.optim.RMSprop(p, 1e-2, eps=1.0, momentum=0.9),
        lambda p: torch.optim.Adam(p, 1e-3, betas=(0.95, 0.95)),
        lambda p: torch.optim.SGD(p, 0.1, maximize=False),
    ],
)
def test_unusual_settings_are_healthy(build: Any) -> None:
    def train() -> None:
        model = net()
        steps(model, build(model.parameters()))

    assert severity(OddOptimizerSettings(), watch(train)) in (None, "note")


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda p: torch.optim.Adam(p, 1e-3, weight_decay=0.01), "note"),
        (lambda p: torch.optim.Adam(p, 1e-3, weight_decay=5e-4), None),
        (lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.01), None),
        (lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1), "note"),
    ],
)
def test_an_l2_term_is_noted_at_a_tenth_of_a_decoupled_decay(build: Any, expected: str | None) -> None:
    def train() -> None:
        model = net()
        steps(model, build(model.parameters()))

    assert severity(DecayOnNorms(), watch(train)) == expected


class Casting(nn.Linear):
    """A layer that computes in half precision, with a weight that is cast once per step."""

    cast: torch.Tensor | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if self.cast is None:
            self.cast = self.weight.to(torch.bfloat16)
        return (input.to(torch.bfloat16) @ self.cast.T).float() + self.bias


@pytest.mark.parametrize("looks", [False, True])
def test_a_weight_that_is_cast_without_gradients_and_kept_is_not_trained(looks: bool) -> None:
    def train() -> None:
        model = nn.Sequential(Casting(10, 16), nn.ReLU(), nn.Linear(16, 2))

        def look(_: int) -> None:
            model[0].cast = None
            with torch.no_grad() if looks else torch.enable_grad():
                model(X[:4])

        steps(model, sgd(model), before=look)

    assert severity(UnusedParameters(), watch(train)) == ("warning" if looks else None)


# ---- decay in half precision


@pytest.mark.parametrize(
    ("dtype", "rate", "decay", "expected"),
    [
        (torch.bfloat16, 1e-3, 0.5, "warning"),
        (torch.bfloat16, 1e-3, 0.01, "note"),  # AdamW's own
        (torch.bfloat16, 1e-2, 0.5, None),
        (torch.float32, 1e-3, 0.5, None),
    ],
)
def test_a_decay_that_half_precision_cannot_express(
    dtype: torch.dtype, rate: float, decay: float, expected: str | None
) -> None:
    def train() -> None:
        model = net().to(dtype)
        optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)
        steps(model, optimizer, loss=lambda m, x, y: F.cross_entropy(m(x.to(dtype)).float(), y))

    assert severity(DecayRoundedAway(), watch(train)) == expected


@pytest.mark.parametrize(("dtype", "digits"), [(torch.bfloat16, 8), (torch.float16, 11)])
def test_what_is_lost_in_half_precision_is_lost_by_every_number(dtype: torch.dtype, digits: int) -> None:
    numbers = 1 + torch.arange(2 ** (digits - 1), dtype=torch.double) / 2 ** (digits - 1)  # every mantissa
    numbers, lost = numbers.to(dtype), LOST[str(dtype)]
    assert torch.equal(numbers * (1 - 0.999 * lost), numbers)
    assert not torch.equal(numbers * (1 - 1.01 * lost), numbers)


# ---- norms


def normed(**options: Any) -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16, **options), nn.ReLU(), nn.Linear(16, 2))


def test_the_momentum_of_keras_is_reported() -> None:
    def train(momentum: float | None) -> None:
        model = normed(momentum=momentum)
        epochs(model, sgd(model))

    assert severity(BatchNormMomentum(), watch(lambda: train(0.99))) == "warning"
    assert severity(BatchNormMomentum(), watch(lambda: train(0.01))) is None
    assert severity(BatchNormMomentum(), watch(lambda: train(None))) is None


def test_a_large_momentum_on_all_of_the_data_is_a_note() -> None:
    def train() -> None:
        model = normed(momentum=0.9)
        optimizer = sgd(model)
        for _ in range(12):
            model.train()
            optimizer.zero_grad()
            F.cross_entropy(model(X), Y).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                model(XV)

    assert severity(BatchNormMomentum(), watch(train)) in (None, "note")


def copy_for_evaluation(buffers: bool) -> Callable[[], None]:
    def train() -> None:
        model, other = normed(), normed()
        optimizer = sgd(model)

        def evaluate(_: float) -> None:
            if buffers:
                other.load_state_dict(model.state_dict())
            else:
                for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
                    mine.data.copy_(theirs.data)
            other.eval()
            with torch.no_grad():
                for x, _y in held_out():
                    other(x)

        epochs(model, optimizer, each_epoch=evaluate)

    return train


def test_a_copy_without_statistics_is_reported() -> None:
    assert severity(BatchNormNeverUpdated(), watch(copy_for_evaluation(buffers=False))) == "warning"
    assert severity(BatchNormNeverUpdated(), watch(copy_for_evaluation(buffers=True))) is None


def test_an_average_without_statistics_is_reported() -> None:
    def train() -> None:
        model = normed()
        slow = copy.deepcopy(model)

        def evaluate(_: float) -> None:
            average(lambda _: 0.5)(slow, model, 0)
            slow.eval()
            with torch.no_grad():
                for x, _y in held_out():
                    slow(x)

        epochs(model, sgd(model), each_epoch=evaluate)

    assert severity(BatchNormNeverUpdated(), watch(train)) == "warning"


def test_an_evaluation_before_training_and_a_random_target_are_healthy() -> None:
    def train() -> None:
        model, target = normed(), normed().eval()
        model.eval()
        with torch.no_grad():
            model(XV)
        optimizer = sgd(model)
        for _ in range(10):
            model.train()
            with torch.no_grad():
                wanted = target(X[:32])
            optimizer.zero_grad()
            F.mse_loss(model(X[:32]), wanted).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                model(XV)

    assert severity(BatchNormNeverUpdated(), watch(train)) is None


def test_batch_norm_over_two_values_is_reported() -> None:
    def train(size: int) -> None:
        model = normed()
        optimizer = sgd(model)
        for _ in range(2):
            model.train()
            for x, y in DataLoader(TensorDataset(X[:33], Y[:33]), size, drop_last=True):
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                for x, _y in held_out():
                    model(x)

    assert severity(BatchNormFewValues(), watch(lambda: train(2))) == "warning"
    assert severity(BatchNormFewValues(), watch(lambda: train(4))) == "note"
    assert severity(BatchNormFewValues(), watch(lambda: train(8))) is None


# ---- networks that follow


def follow(update: Callable[[nn.Module, nn.Module, int], None], same: bool = False, number: int = 24) -> Callable[[], None]:
    def train() -> None:
        student = net()
        target = copy.deepcopy(student)
        optimizer = sgd(student)
        for step in range(number):
            picked, other = torch.randint(len(X), (2, 16))
            with torch.no_grad():
                wanted = target(X[picked if same else other])
            loss = F.cross_entropy(student(X[picked]), Y[picked]) + 0.1 * F.mse_loss(student(X[picked]), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            update(target, student, step)

    return train


def average(decay: Callable[[int], float]) -> Callable[[nn.Module, nn.Module, int], None]:
    def update(target: nn.Module, student: nn.Module, step: int) -> None:
        with torch.no_grad():
            for slow, fast in zip(target.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay(step))

    return update


def test_a_target_that_is_never_synced_is_reported() -> None:
    assert severity(TargetNetworkNotSynced(), watch(follow(lambda t, s, n: None))) == "warning"


def test_a_reference_on_the_same_inputs_is_healthy() -> None:
    assert severity(TargetNetworkNotSynced(), watch(follow(lambda t, s, n: None, same=True))) is None


def test_an_inverted_average_is_reported() -> None:
    assert severity(TargetNetworkNotSynced(), watch(follow(average(lambda _: 0.01)))) == "warning"


def test_averages_and_copies_now_and_then_are_healthy() -> None:
    for decay in (lambda _: 0.99, lambda n: min(0.999, (1 + n) / (10 + n)), lambda n: 0.0 if n == 0 else 0.9):
        assert severity(TargetNetworkNotSynced(), watch(follow(average(decay)))) is None

    def sync(target: nn.Module, student: nn.Module, step: int) -> None:
        if step % 10 == 9:
            target.load_state_dict(student.state_dict())

    assert severity(TargetNetworkNotSynced(), watch(follow(sync))) is None


# ---- weight decay


def step_of(build: Callable[[nn.Module], torch.optim.Optimizer], model: nn.Module | None = None) -> Step:
    torch.manual_seed(0)
    model = net(32) if model is None else model
    return Step(model, (X[:64], Y[:64]), lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]), build(model))


@pytest.mark.parametrize(
    "build",
    [
        lambda m: torch.optim.SGD(m.parameters(), 0.1, weight_decay=0.5),
        lambda m: torch.optim.Adam(m.parameters(), 1e-2, weight_decay=1.0),
        lambda m: torch.optim.AdamW(m.parameters(), 1e-2, weight_decay=50.0),
    ],
)
def test_a_decay_that_wins_is_reported(build: Any) -> None:
    assert severity(WeightDecayOverwhelms(), step_of(build)) == "warning"


@pytest.mark.parametrize(
    "build",
    [
        lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, weight_decay=1e-2),
        lambda m: torch.optim.AdamW(m.parameters(), 1e-3, weight_decay=1.0),
        lambda m: torch.optim.SGD(m.parameters(), 0.1),
    ],
)
def test_decays_that_do_not_hold_the_training_up_are_healthy(build: Any) -> None:
    assert severity(WeightDecayOverwhelms(), step_of(build)) is None


def test_decay_on_layers_before_a_norm_is_healthy() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 2))
    groups = [{"params": model[0].parameters(), "weight_decay": 0.05}, {"params": [*model[1:].parameters()]}]
    assert severity(WeightDecayOverwhelms(), step_of(lambda _: torch.optim.SGD(groups, 0.1), model)) is None


# ---- loops


def early(kind: str) -> Callable[[], None]:
    def one_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, batches: DataLoader[Any]) -> float:
        total = 0.0
        for x, y in batches:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
            return total / len(batches)
        return math.nan

    def limited(model: nn.Module, optimizer: torch.optim.Optimizer, batches: DataLoader[Any]) -> None:
        for number, (x, y) in enumerate(batches):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            if number >= 0:
                break

    def train() -> None:
        model = net()
        optimizer = sgd(model)
        batches = loader()
        for _ in range(4):
            one_epoch(model, optimizer, batches) if kind == "return" else limited(model, optimizer, batches)

    return train


def test_a_return_inside_the_loop_is_reported() -> None:
    assert severity(EpochLeftEarly(), watch(early("return"))) == "warning"


def test_a_limit_with_a_condition_is_healthy() -> None:
    assert severity(EpochLeftEarly(), watch(early("break"))) is None


def evaluate_with(steps_too: bool) -> Callable[[], None]:
    def train() -> None:
        model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
        optimizer = sgd(model)
        for _ in range(2):
            for batches, training in ((loader(), True), (held_out(), False)):
                model.train(training)
                for x, y in batches:
                    optimizer.zero_grad()
                    loss = F.cross_entropy(model(x), y)
                    if training or steps_too:
                        loss.backward()
                        optimizer.step()

    return train


def test_steps_in_the_evaluation_are_reported() -> None:
    assert severity(TrainsOnEvaluationData(), watch(evaluate_with(True))) == "error"
    assert severity(TrainsOnEvaluationData(), watch(evaluate_with(False))) is None


def turns_by_hand(judged: tuple[torch.Tensor, torch.Tensor], steps_too: bool = True) -> Callable[[], None]:
    def train() -> None:
        model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
        optimizer = sgd(model)
        for _ in range(3):
            for (x, y), training in (((X, Y), True), (judged, False)):
                model.train(training)
                for rows in torch.randperm(len(x)).split(32):
                    with torch.set_grad_enabled(training or steps_too):
                        loss = F.cross_entropy(model(x[rows]), y[rows])
                    if training or steps_too:
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()

    return train


def test_steps_in_the_evaluation_are_reported_without_loaders() -> None:
    assert severity(TrainsOnEvaluationData(), watch(turns_by_hand((XV, YV)))) == "error"
    assert severity(TrainsOnEvaluationData(), watch(turns_by_hand((XV, YV), steps_too=False))) is None
    assert severity(TrainsOnEvaluationData(), watch(turns_by_hand((X[:96], Y[:96])))) is None  # no rows of its own


def sum_of_two_lines(in_parentheses: bool) -> Callable[[], None]:
    def train() -> None:
        model, head = nn.Linear(10, 2), nn.Linear(10, 1)
        optimizer = torch.optim.SGD([*model.parameters(), *head.parameters()], lr=0.1)
        for _ in range(6):
            loss = F.cross_entropy(model(X), Y)
            other = F.mse_loss(head(X).squeeze(1), X[:, 0])
            if in_parentheses:
                loss = (loss
                    + 0.5 * other)  # fmt: skip
                loss == other  # noqa: B015
                loss  # noqa: B018
            else:
                +0.5 * other
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return train


def test_a_term_on_a_line_of_its_own_is_reported() -> None:
    assert severity(ResultDiscarded(), watch(sum_of_two_lines(in_parentheses=False))) == "error"
    assert severity(ResultDiscarded(), watch(sum_of_two_lines(in_parentheses=True))) is None
