"""Tapes, replays and twins on small explicit programs: loss bit-equal, gradients within 1e-6, nothing left behind."""

from __future__ import annotations

import dataclasses
import inspect
import random
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch._dynamo  # rebinds torch.manual_seed when it is first imported, which the first optimiser does
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from trainrecipe import Step, examine, watch
from trainrecipe.capture import memory, recorder
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.patch import Patches
from trainrecipe.capture.replay import GRADIENT_TOLERANCE, Twin, verify
from trainrecipe.capture.subjects import fill_parameters, steps
from trainrecipe.capture.tape import LANES, Gained

Program = Callable[[], tuple[list[nn.Module], Callable[[], Any]]]
PROGRAMS: dict[str, Program] = {}

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def program(build: Program) -> Program:
    """Register a function that returns its models and a function that does one training step."""
    PROGRAMS[build.__name__] = build
    return build


def mlp(inputs: int = 6, outputs: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs))


def supervised(model: nn.Module, loss: Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor], width: int = 6) -> Any:
    """Models and a step over random data with SGD."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step() -> None:
        x, y = torch.randn(8, width), torch.randint(0, 3, (8,))
        optimizer.zero_grad()
        loss(model, x, y).backward()
        optimizer.step()

    return [model], step


@program
def recomputed_inside_a_model() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = mlp(outputs=6), nn.Sequential(mlp(outputs=6), nn.Dropout(0.3))
            self.head = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.head.weight[0] * checkpoint(self.first, x, use_reentrant=True)  # gives `first` no gradient
            return self.head(checkpoint(self.second, x, use_reentrant=True))

    return supervised(Net(), lambda m, x, y: F.cross_entropy(m(x), y))


@program
def recomputed_outside_of_models() -> Any:
    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(checkpoint(model, x.requires_grad_(), use_reentrant=True), y)

    return supervised(mlp(), loss)


@program
def in_place_and_views() -> Any:
    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        out = model(x).clone()
        out[:, 0] += 1
        out[1].mul_(0.5)
        out.view(-1)[3:9].relu_()
        padded = torch.zeros(8, 4)
        padded[:, 1:] = out
        return F.cross_entropy(padded, y)

    return supervised(mlp(), loss)


@program
def tied_weights() -> Any:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(6, 5)
            self.out = nn.Linear(5, 6, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(self.embed(x.abs().long().clamp(max=5)).mean(1)))

    return supervised(Tied(), lambda m, x, y: F.cross_entropy(m(x), y))


@program
def lstm_with_dropout() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(2, 4, num_layers=2, dropout=0.3, batch_first=True)
            self.out = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.rnn(x.view(8, 3, 2))[0][:, -1])

    return supervised(Net(), lambda m, x, y: F.cross_entropy(m(x), y))


@program
def spectral_norm_old() -> Any:
    model = nn.Sequential(nn.utils.spectral_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))
    return supervised(model, lambda m, x, y: F.cross_entropy(m(x), y))


@program
def spectral_norm_new() -> Any:
    parametrized = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 8))
    return supervised(nn.Sequential(parametrized, nn.ReLU(), nn.Linear(8, 3)), lambda m, x, y: F.cross_entropy(m(x), y))


@program
def weight_norm_old() -> Any:
    model = nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))
    return supervised(model, lambda m, x, y: F.cross_entropy(m(x), y))


@program
def batch_norm_and_dropout() -> Any:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))
    return supervised(model, lambda m, x, y: F.cross_entropy(F.dropout(m(x), 0.2), y))


@program
def autocast_bfloat16() -> Any:
    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = model(x)
            return F.cross_entropy(out.float(), y) + 0.01 * (out @ out.T).float().mean()

    return supervised(mlp(), loss)


@program
def checkpointed() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = mlp(6, 6), mlp(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.b, checkpoint(self.a, x, use_reentrant=False), use_reentrant=False)  # type: ignore[no-any-return]

    return supervised(Net(), lambda m, x, y: F.cross_entropy(m(x), y))


class Half(torch.autograd.Function):
    """x, with half of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return grad * 0.5


@program
def custom_function() -> Any:
    return supervised(mlp(), lambda m, x, y: F.cross_entropy(Half.apply(m(x)), y))


@program
def functional_call() -> Any:
    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        scaled = {n: p * 1.5 for n, p in model.named_parameters()}
        return F.cross_entropy(torch.func.functional_call(model, scaled, (x,)), y)

    return supervised(mlp(), loss)


@program
def two_models() -> Any:
    generator, critic = mlp(4, 6), mlp(6, 1)
    first, second = torch.optim.Adam(generator.parameters()), torch.optim.Adam(critic.parameters())

    def step() -> None:
        real, noise = torch.randn(8, 6), torch.randn(8, 4)
        fake = generator(noise)
        second.zero_grad()
        (F.softplus(-critic(real)).mean() + F.softplus(critic(fake.detach())).mean()).backward()
        second.step()
        first.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        first.step()

    return [generator, critic], step


@program
def accumulation() -> Any:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        for _ in range(3):
            (F.cross_entropy(model(torch.randn(4, 6)), torch.randint(0, 3, (4,))) / 3).backward()
        optimizer.step()
        optimizer.zero_grad()

    return [model], step


@program
def generator_argument() -> Any:
    generator = torch.Generator().manual_seed(3)

    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        out = model(x)
        return F.cross_entropy(out * torch.bernoulli(torch.sigmoid(out), generator=generator), y)

    return supervised(mlp(), loss)


@program
def packed_sequence() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            packed = pack_padded_sequence(x.view(8, 3, 2), torch.tensor([3, 3, 2, 2, 2, 1, 1, 1]), batch_first=True)
            return self.out(pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0].sum(1))

    return supervised(Net(), lambda m, x, y: F.cross_entropy(m(x), y))


@program
def packed_outside() -> Any:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = nn.GRU(2, 4, batch_first=True), nn.Linear(4, 3)

    def loss(model: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x.view(8, 3, 2), torch.tensor([3, 3, 2, 2, 2, 1, 1, 1]), batch_first=True)
        hidden = pad_packed_sequence(model.rnn(packed)[0], batch_first=True)[0]
        return F.cross_entropy(model.out(hidden.sum(1)), y)

    return supervised(Both(), loss)


@dataclasses.dataclass
class Output:
    """What a model of today returns."""

    logits: torch.Tensor
    hidden: torch.Tensor


class Pair(NamedTuple):
    """The same as a named tuple."""

    logits: torch.Tensor
    hidden: torch.Tensor


@pytest.mark.parametrize("kind", ["dict", "dataclass", "named tuple"])
def test_structured_outputs(kind: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> Any:
            hidden = torch.tanh(self.a(x))
            parts = {"logits": self.b(hidden), "hidden": hidden}
            return parts if kind == "dict" else Output(**parts) if kind == "dataclass" else Pair(**parts)

    def loss(model: nn.Module, batch: Any) -> torch.Tensor:
        out = model(batch[0])
        logits, hidden = (out["logits"], out["hidden"]) if kind == "dict" else (out.logits, out.hidden)
        return F.cross_entropy(logits, batch[1]) + 0.1 * hidden.pow(2).mean()

    step = Step(Net(), (torch.randn(8, 6), torch.randint(0, 3, (8,))), loss)
    assert step.agreement.exact, step.agreement.why


@program
def auxiliary_loss_attribute() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)
            self.penalty = torch.zeros(())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.tanh(self.a(x))
            self.penalty = hidden.abs().mean()
            return self.b(hidden)

    return supervised(Net(), lambda m, x, y: F.cross_entropy(m(x), y) + 0.1 * m.penalty)  # type: ignore[arg-type]


@program
def counter_inside_the_model() -> Any:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.calls = mlp(), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.body(x) / self.calls

    return supervised(Net(), lambda m, x, y: F.cross_entropy(m(x), y))


@program
def annealed_weight() -> Any:
    weight = [1.0]

    def loss(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        weight[0] *= 0.5
        out = model(x)
        return F.cross_entropy(out, y) + weight[0] * out.pow(2).mean()

    return supervised(mlp(), loss)


@program
def frozen_part_and_second_order_free() -> Any:
    model = mlp()
    model[0].weight.requires_grad_(False)
    return supervised(model, lambda m, x, y: F.cross_entropy(m(x), y))


@program
def sparse_embedding() -> Any:
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(torch.randint(0, 9, (8, 2))), torch.randint(0, 3, (8,))).backward()
        optimizer.step()

    return [model], step


# ---- the laws


@dataclasses.dataclass
class State:
    """Everything of a program that an observation must leave alone."""

    tensors: list[torch.Tensor | None]
    random: tuple[Any, ...]
    modes: list[bool]
    hooks: list[int]

    @classmethod
    def of(cls, models: list[nn.Module]) -> State:
        """Copy it."""
        modules = [m for model in models for m in model.modules()]
        parameters = [p for model in models for p in model.parameters()]
        tensors = [*parameters, *(p.grad for p in parameters), *(b for model in models for b in model.buffers())]
        copies = [None if t is None else t.detach().to_dense().clone() if t.is_sparse else t.detach().clone() for t in tensors]
        streams = (torch.get_rng_state(), random.getstate(), str(np.random.get_state()[1].sum()))
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules]
        return cls(copies, streams, [m.training for m in modules], hooks)

    def same(self, other: State) -> bool:
        """Bit for bit."""
        equal = all(
            (a is None) == (b is None) and (a is None or b is None or torch.equal(a, b))
            for a, b in zip(self.tensors, other.tensors, strict=True)
        )
        streams = torch.equal(self.random[0], other.random[0]) and self.random[1:] == other.random[1:]
        return equal and streams and self.modes == other.modes and self.hooks == other.hooks


CLASS_ATTRIBUTES = [
    (nn.Module, "__call__"),
    (nn.Module, "__init__"),
    (torch.Tensor, "backward"),
    (torch.autograd, "backward"),
    (torch.autograd, "grad"),
    (torch.optim.Optimizer, "zero_grad"),
    (torch.utils.data.DataLoader, "__init__"),
    (torch, "manual_seed"),
    (np.random, "default_rng"),
    (np.random, "seed"),
    (random, "seed"),
    (random.Random, "__init__"),
    (nn.utils, "clip_grad_norm_"),
]


def run(build: Program, steps: int = 3, *, observed: bool) -> tuple[list[nn.Module], State, Listener | None]:
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    models, step = build()
    listener = Listener(detail_always=True) if observed else None
    if listener is not None:
        listener.install()
    try:
        for _ in range(steps):
            step()
    finally:
        if listener is not None:
            listener.remove()
    return models, State.of(models), listener


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_replayed_exactly_and_left_alone(name: str) -> None:
    before = [getattr(owner, attribute) for owner, attribute in CLASS_ATTRIBUTES]
    _, bare, _ = run(PROGRAMS[name], observed=False)
    models, state, listener = run(PROGRAMS[name], observed=True)
    assert listener is not None
    assert [getattr(owner, attribute) for owner, attribute in CLASS_ATTRIBUTES] == before
    assert not torch.overrides._get_current_function_mode_stack()
    assert state.same(bare), "the observation changed the result"
    assert not listener.trouble
    tapes = [t for kept in listener.backwards.tapes.values() for t in kept]
    assert len(tapes) >= 2
    for tape in tapes:
        agreement = verify(tape)
        assert agreement.exact, f"step {tape.step}: {agreement.why}"
    assert State.of(models).same(state), "a replay changed the original"


def test_training_a_twin_leaves_the_model_alone() -> None:
    models, state, listener = run(PROGRAMS["batch_norm_and_dropout"], observed=True)
    assert listener is not None
    tape = next(iter(listener.backwards.tapes.values()))[0]
    twin = Twin(tape)
    inner = torch.optim.SGD([w for _, w in twin.leaves], lr=0.5)
    losses = []
    for _ in range(20):
        inner.zero_grad()
        loss = twin.loss(rng=False)
        torch.autograd.backward(loss)
        inner.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    after = State.of(models)
    assert all(torch.equal(a, b) for a, b in zip(after.tensors, state.tensors, strict=True) if a is not None and b is not None)
    assert after.modes == state.modes


def test_a_penalty_before_the_forward_does_not_look_like_a_change_inside_the_step() -> None:
    model = mlp()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)
    x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        penalty = sum((p.square().sum() for p in model.parameters()), torch.zeros(()))
        loss = F.cross_entropy(model(x), y) + 1e-3 * penalty
        loss.backward()
        return loss

    listener = Listener(detail_always=True)
    listener.install()
    try:
        for _ in range(2):
            optimizer.step(closure)
    finally:
        listener.remove()
    for tape in next(iter(listener.backwards.tapes.values())):
        assert verify(tape).exact
        assert Twin(tape).single


def test_a_model_too_large_for_copies_is_left_alone_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bare, expected, _ = run(PROGRAMS["batch_norm_and_dropout"], observed=False)
    monkeypatch.setattr(memory, "_SMALL", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    models, state, listener = run(PROGRAMS["batch_norm_and_dropout"], observed=True)
    assert listener is not None
    assert state.same(expected), (models, bare)
    tape = next(iter(listener.backwards.tapes.values()))[0]
    assert len(tape.gradients) == sum(1 for m in models for _ in m.parameters())
    assert all(g.sums is None and not g.zero for _, g in tape.gradients)
    agreement = verify(tape)
    assert not agreement.exact
    assert "copies of it do not fit into half of the" in agreement.why
    fill_parameters(listener)
    examination = examine(*steps(listener), listener.run)
    assert not examination.findings, examination
    assert any("do not fit" in f.ruling.says for f in examination.skipped)


def test_what_is_released_takes_no_memory_and_still_tells_what_happened() -> None:
    models, _, listener = run(PROGRAMS["batch_norm_and_dropout"], observed=True)
    assert listener is not None
    tapes = listener.backwards.every()
    assert sum(t.nbytes for tape in tapes for t in tape.held()) > 0
    listener.release()
    assert not [t for tape in tapes for t in tape.held()]
    fill_parameters(listener)
    by_shape = {p.elements: p for p in listener.run.parameters}
    assert len(listener.run.parameters) == sum(1 for m in models for _ in m.parameters())
    assert all(p.gradient and p.moved for p in by_shape.values())
    assert not examine(listener.run).findings


def test_recording_keeps_nothing_alive() -> None:
    listener = Listener(detail_always=True)
    listener.install()
    try:
        layer = nn.Linear(4, 4)
        hidden = layer(torch.randn(3, 4)).relu()
        gone = weakref.ref(hidden)
        loss = (hidden * 2).sum()
        del hidden
        loss.backward()
        assert gone() is None
    finally:
        listener.remove()


def test_tied_weights_stay_tied_on_the_twin() -> None:
    models, _, listener = run(PROGRAMS["tied_weights"], observed=True)
    assert listener is not None
    tape = next(iter(listener.backwards.tapes.values()))[0]
    copied: Any = Twin(tape).module(tape.modules()[0])
    assert copied.out.weight is copied.embed.weight
    assert copied.out.weight is not models[0].get_parameter("embed.weight")


def test_state_outside_the_model_is_refused_and_never_replayed_wrongly() -> None:
    outside = {"factor": 1.0}

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            outside["factor"] *= 0.5
            return self.body(x) * outside["factor"]

    def build() -> Any:
        return supervised(Net(), lambda m, x, y: F.cross_entropy(m(x), y))

    _, _, listener = run(build, observed=True)
    assert listener is not None
    for tape in next(iter(listener.backwards.tapes.values())):
        agreement = verify(tape)
        assert not agreement.exact
        assert "differs" in agreement.why


def test_explicit_step_leaves_no_trace() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    batch = torch.randn(8, 6), torch.randint(0, 3, (8,))
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    before, call = State.of([model]), nn.Module.__call__
    step = Step(model, batch, lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    assert not step.distrust
    twin = step.twin()
    twin.evaluating = True
    twin.loss()
    assert State.of([model]).same(before)
    assert nn.Module.__call__ is call


def test_a_loss_without_the_model_is_refused() -> None:
    with pytest.raises(TypeError, match="depends on the model"):
        Step(mlp(), torch.randn(4, 6), lambda m, b: b.sum())


def test_every_element_of_a_gradient_takes_part_in_the_comparison() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(300, 50)
    kept = Gained.of(gradient)
    assert kept.sums is not None
    assert kept.sums.untyped_storage().nbytes() <= 4 * LANES
    assert kept.difference(Gained.of(gradient)) == 0
    assert 1e-3 < kept.difference(Gained.of(1.01 * gradient)) < 1e-1
    for at in torch.randint(gradient.numel(), (50,)).tolist():
        other = gradient.clone()
        other.view(-1)[at] += 1e-4 * gradient.abs().max()
        assert kept.difference(Gained.of(other)) > GRADIENT_TOLERANCE
    assert kept.difference(Gained.of(gradient.flip(1))) > 0.1
    rows = torch.zeros(5000, 128)
    rows[7] = torch.randn(128)
    assert Gained.of(rows).difference(Gained.of(rows.roll(32, 0))) > 0.1  # an embedding's gradient in a wrong row
    noisy = gradient * (1 + 1e-7 * torch.randn(300, 50))
    assert kept.difference(Gained.of(noisy)) < GRADIENT_TOLERANCE
    broken = gradient.clone()
    broken[0, 0] = float("nan")
    assert not Gained.of(broken).finite
    assert Gained.of(broken).difference(Gained.of(broken)) == 0
    assert kept.difference(Gained.of(broken)) == float("inf")
    assert Gained.of(torch.zeros(3)).zero
    assert Gained.of(torch.zeros(3)).difference(Gained.of(torch.ones(3))) == 1
    assert Gained.of(torch.eye(4).to_sparse()).largest == 1
    assert Gained.of(torch.full((9000,), 300.0, dtype=torch.float16)).difference(Gained.of(torch.zeros(9000).half())) > 1


def test_whatever_a_program_passes_by_name_reaches_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that calls its first argument `sampler` would take the `sampler=` meant for the original."""
    put, made = Patches.put, []

    def keep(self: Patches, owner: Any, name: str, make: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        put(self, owner, name, make)
        made.append((f"{getattr(owner, '__name__', type(owner).__name__)}.{name}", original, vars(owner)[name]))

    monkeypatch.setattr(Patches, "put", keep)
    with watch():
        pass
    assert len(made) > 50
    for name, original, new in made:
        mine = list(inspect.signature(getattr(new, "__func__", new), follow_wrapped=False).parameters.values())
        theirs = list(inspect.signature(original).parameters)
        takes_more = any(p.kind is p.VAR_KEYWORD for p in mine)
        for at, parameter in enumerate(mine):
            free = at == 0 and theirs[0] == "self" and not takes_more
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and not free:
                assert parameter.name == theirs[at], f"{name}: {parameter.name}"


def test_arguments_by_name_reach_samplers_models_and_functional_calls() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp()

        def forward(self, module: torch.Tensor) -> torch.Tensor:
            return self.inner(module)

    with watch():
        batches = BatchSampler(sampler=SequentialSampler(range(5)), batch_size=2, drop_last=False)
        assert len(list(DataLoader(dataset=list(range(5)), batch_sampler=batches))) == 3
        model = Wrapped()
        assert model(module=torch.ones(1, 6)).shape == (1, 3)
        out = torch.func.functional_call(
            module=model, parameter_and_buffer_dicts=dict(model.named_parameters()), args=(torch.ones(1, 6),)
        )
        assert out.shape == (1, 3)


def test_operations_that_no_backward_follows_are_kept_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MOST", 50)
    listener, model, state = Listener(), mlp(6, 6), torch.ones(2, 6)
    listener.install()
    try:
        with torch.no_grad():
            for _ in range(200):
                state = torch.tanh(model(state))
        longest = len(listener.recorder.ops)
        model(state).sum().backward()
    finally:
        listener.remove()
    assert longest <= 60
    assert not listener.trouble
    assert [t.gradients for kept in listener.backwards.tapes.values() for t in kept]


def test_a_suspended_listener_is_deaf_and_goes_on_afterwards() -> None:
    originals = nn.Module.__call__, torch.Tensor.backward, torch.cuda.CUDAGraph.replay
    listener, model, inputs = Listener(detail_always=True), mlp(6, 6), torch.ones(2, 6)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    listener.install()
    try:
        for step in range(3):
            if step == 1:
                listener.suspend()
                assert (nn.Module.__call__, torch.Tensor.backward) == originals[:2]
                operations = len(listener.recorder.ops)
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            optimizer.step()
            if step == 1:
                assert len(listener.recorder.ops) == operations
                listener.resume()
    finally:
        listener.remove()
    assert (nn.Module.__call__, torch.Tensor.backward, torch.cuda.CUDAGraph.replay) == originals
    assert not listener.trouble
    assert listener.run.steps == 2
    assert [len(kept) for kept in listener.backwards.tapes.values()] == [2]


def test_a_capture_that_fails_to_begin_leaves_the_listener_on() -> None:
    listener = Listener()
    listener.install()
    try:
        heard = nn.Module.__call__.__wrapped__
        with pytest.raises(AttributeError):
            torch.cuda.CUDAGraph.capture_begin(object())  # no graph
        assert nn.Module.__call__.__wrapped__ is heard
    finally:
        listener.remove()
