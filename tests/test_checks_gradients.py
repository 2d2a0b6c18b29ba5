"""Checks of what becomes of gradients: real trainings that are listened to, faulty ones and healthy ones that look alike."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from trainrecipe.capture import subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.checks.run.clip_by_foreign_gradients import ClipByForeignGradients
from trainrecipe.checks.run.clip_scaled_gradients import ClipScaledGradients
from trainrecipe.checks.run.gradient_scale_mismatch import GradientScaleMismatch
from trainrecipe.checks.run.gradients_from_another_optimizer import GradientsFromAnotherOptimizer
from trainrecipe.checks.run.loss_never_backpropagated import LossNeverBackpropagated
from trainrecipe.checks.run.missing_zero_grad import MissingZeroGrad
from trainrecipe.checks.run.optimizer_recreated import OptimizerRecreated
from trainrecipe.checks.run.parameter_in_two_optimizers import ParameterInTwoOptimizers
from trainrecipe.checks.run.partial_accumulation_window import PartialAccumulationWindow
from trainrecipe.checks.run.scaler_skips_steps import ScalerSkipsSteps
from trainrecipe.checks.run.seed_reset_in_loop import SeedResetInLoop
from trainrecipe.checks.step.accumulation_unscaled import AccumulationUnscaled
from trainrecipe.checks.step.gradient_underflow import GradientUnderflow
from trainrecipe.exam import examine

X = torch.randn(320, 10, generator=torch.Generator().manual_seed(0))
Y = (X[:, :3].sum(1) > 0).long()
ONE = torch.ones(16, 1)

Train = Callable[[], Any]


def found(check: Any, train: Train) -> str | None:
    """The gravest severity of what a check finds in a training that is listened to; None when it finds nothing."""
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
    assert not listener.trouble
    assert not listener.recorder.trouble
    answers = examine(listener.run, *subjects.steps(listener), checks=[check])
    assert not any("itself failed" in f.ruling.says for f in answers.answers), answers.answers
    severities = [f.severity for f in answers.findings if f.severity]
    return min(severities, key=lambda s: s.rank).value if severities else None


def loader(size: int = 16) -> DataLoader[Any]:
    return DataLoader(TensorDataset(X, Y), size, shuffle=True)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2))


# ---- the ledger itself


def test_the_ledger_names_every_backward_a_step_used() -> None:
    listener = Listener(detail_always=True)
    listener.install()
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    try:
        for i in range(4):
            for _ in range(1 + i % 2):
                F.cross_entropy(model(X[:8]), Y[:8]).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
            optimizer.step()
            optimizer.zero_grad(set_to_none=i % 2 == 0)
    finally:
        listener.remove()
    uses = listener.run.gradients
    assert [len(u.contributions) for u in uses] == [1, 2, 1, 2]
    assert all(u.known and not u.modified and u.clipped is not None and u.clipped < 0.1 for u in uses)
    assert all(c.share == 1.0 and c.reached == [0] and not c.used for u in uses for c in u.contributions)
    assert uses[1].contributions[1].cosine == pytest.approx(1.0, abs=1e-4)


def test_the_ledger_measures_what_a_further_backward_adds() -> None:
    listener = Listener(detail_always=True)
    listener.install()
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    norms = []
    try:
        for rows in (slice(0, 8), slice(8, 24)):
            loss = F.cross_entropy(model(X[rows]), Y[rows])
            grads = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            norms.append(float(torch.stack([g.norm() for g in grads]).norm()))
            loss.backward()
        optimizer.step()
    finally:
        listener.remove()
    seen = [c.norm for c in listener.run.gradients[0].contributions]
    assert seen == pytest.approx(norms, rel=1e-4)


# ---- two networks


def gan(*, zero_d_first: bool = True, zero_d_after: bool = False, order: str = "dg", joint: bool = False) -> Train:
    def train() -> None:
        g, d = nn.Linear(3, 10), nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1))
        opt_g, opt_d = torch.optim.Adam(g.parameters(), 1e-3), torch.optim.Adam(d.parameters(), 1e-3)

        def step_d(x: torch.Tensor, fake: torch.Tensor) -> None:
            if zero_d_first:
                opt_d.zero_grad()
            (F.softplus(-d(x)).mean() + F.softplus(d(fake.detach())).mean()).backward()
            opt_d.step()
            if zero_d_after:
                opt_d.zero_grad()

        def step_g(fake: torch.Tensor) -> None:
            opt_g.zero_grad()
            F.softplus(-d(fake)).mean().backward()
            opt_g.step()

        for x, _ in loader():
            fake = g(torch.randn(len(x), 3))
            if joint:
                opt_d.zero_grad()
                opt_g.zero_grad()
                (F.softplus(-d(x)).mean() + F.softplus(d(fake)).mean()).backward()
                opt_d.step()
                opt_g.step()
                continue
            for turn in order:
                step_d(x, fake) if turn == "d" else step_g(fake)

    return train


def shared_encoder(*, own_loss: bool = False) -> Train:
    """An encoder with an optimiser of its own that is meant to follow the losses of two heads."""

    def train() -> None:
        encoder, a, b = nn.Linear(10, 8), nn.Linear(8, 2), nn.Linear(8, 10)
        opts = [torch.optim.SGD(m.parameters(), 0.1) for m in (a, b, encoder)]
        for x, y in loader():
            for opt in opts:
                opt.zero_grad()
            F.cross_entropy(a(encoder(x)), y).backward()
            opts[0].step()
            F.mse_loss(b(encoder(x)), x).backward()
            opts[1].step()
            if own_loss:
                (1e-3 * encoder(x).pow(2).mean()).backward()
            opts[2].step()

    return train


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (gan(), None),
        (gan(zero_d_first=False, zero_d_after=True), "error"),
        (gan(zero_d_first=False, zero_d_after=True, order="gd"), "warning"),
        (gan(order="gd"), None),
        (gan(order="dddg"), None),
        (gan(joint=True), None),
        (shared_encoder(), None),
        (shared_encoder(own_loss=True), None),
    ],
)
def test_gradients_from_another_optimizer(train: Train, expected: str | None) -> None:
    assert found(GradientsFromAnotherOptimizer(), train) == expected


def two_optimizers(kind: str) -> Train:
    def train() -> None:
        body, head = nn.Linear(10, 8), nn.Linear(8, 2)
        both = [*body.parameters(), *head.parameters()]
        first = torch.optim.SGD(body.parameters(), 0.01)
        second = torch.optim.SGD(head.parameters() if kind == "apart" else both, 0.1)
        for i, (x, y) in enumerate(loader()):
            if kind == "turns":
                opt = first if i % 2 else second
                opt.zero_grad()
                F.cross_entropy(head(body(x)), y).backward()
                opt.step()
                continue
            for opt in (first, second):
                if kind == "own":
                    opt.zero_grad()
                    F.cross_entropy(head(body(x)), y).backward()
                    opt.step()
            if kind != "own":
                first.zero_grad()
                second.zero_grad()
                F.cross_entropy(head(body(x)), y).backward()
                first.step()
                second.step()

    return train


class Lookahead(torch.optim.Optimizer):
    """A wrapper that holds the same tensors and steps the wrapped optimiser inside its own step."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        super().__init__(base.param_groups, {})
        self.base = base

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.base.step()


def wrapped() -> None:
    model = net()
    optimizer = Lookahead(torch.optim.SGD(model.parameters(), 0.1))
    for x, y in loader():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (two_optimizers("joint"), "warning"),
        (two_optimizers("apart"), None),
        (two_optimizers("own"), None),
        (two_optimizers("turns"), None),
        (wrapped, None),
    ],
)
def test_parameter_in_two_optimizers(train: Train, expected: str | None) -> None:
    assert found(ParameterInTwoOptimizers(), train) == expected


# ---- clearing


def cleared(kind: str) -> Train:
    def train() -> None:
        model, weights = net(), nn.Parameter(torch.zeros(2))
        optimizer = torch.optim.SGD([*model.parameters(), weights], 0.01)
        for x, y in loader():
            if kind == "module":
                model.zero_grad()
            elif kind == "decay":
                for p in (*model.parameters(), weights):
                    if p.grad is not None:
                        p.grad.mul_(0.5)
            elif kind == "optimizer":
                optimizer.zero_grad()
            out = model(x)
            (F.cross_entropy(out, y) * (-weights[0]).exp() + out.pow(2).mean() * weights[1] + weights.sum()).backward()
            optimizer.step()

    return train


@pytest.mark.parametrize(("kind", "expected"), [("optimizer", None), ("module", "error"), ("none", "error"), ("decay", None)])
def test_missing_zero_grad(kind: str, expected: str | None) -> None:
    assert found(MissingZeroGrad(), cleared(kind)) == expected


# ---- accumulation


def accumulate(
    loss: Callable[[Any, Any], torch.Tensor], *, adam: bool = False, before: Callable[[Any], Any] | None = None
) -> Train:
    def train() -> None:
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), 0.01) if adam else torch.optim.SGD(model.parameters(), 0.05)
        for i, (x, y) in enumerate(loader()):
            loss(model(x), y).backward()
            if (i + 1) % 4 == 0:
                if before is not None:
                    before(model)
                optimizer.step()
                optimizer.zero_grad()

    return train


def divide(model: Any) -> None:
    for p in model.parameters():
        p.grad /= 4


def in_chunks(*, shares: bool) -> Train:
    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        for x, y in loader():
            optimizer.zero_grad()
            for a, b in zip(x.chunk(2), y.chunk(2), strict=True):
                (F.cross_entropy(model(a), b) / (2 if shares else 1)).backward()
            optimizer.step()

    return train


def several_losses() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for x, y in loader():
        optimizer.zero_grad()
        out = model(x)
        for loss in (F.cross_entropy(out, y), out.pow(2).mean()):
            loss.backward(retain_graph=True)
        optimizer.step()


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (accumulate(F.cross_entropy), "warning"),
        (accumulate(lambda p, y: ((p[:, 0] - y) ** 2).mean()), "warning"),
        (accumulate(lambda p, y: F.cross_entropy(p, y) + 0.01 * p.pow(2).sum(1).mean()), "warning"),
        (accumulate(F.cross_entropy, adam=True), "note"),
        (accumulate(F.cross_entropy, before=lambda m: nn.utils.clip_grad_norm_(m.parameters(), 0.01)), "note"),
        (accumulate(lambda p, y: F.cross_entropy(p, y) / 4), None),
        (accumulate(lambda p, y: 0.25 * F.cross_entropy(p, y)), None),
        (accumulate(lambda p, y: F.cross_entropy(p, y, reduction="sum") / 64), None),
        (accumulate(lambda p, y: F.cross_entropy(p, y, reduction="sum")), None),
        (accumulate(lambda p, y: F.cross_entropy(p, y, reduction="none").sum() / 64), None),
        (accumulate(F.cross_entropy, before=divide), None),
        (in_chunks(shares=False), "note"),
        (in_chunks(shares=True), None),
        (several_losses, None),
    ],
)
def test_accumulation_unscaled(train: Train, expected: str | None) -> None:
    assert found(AccumulationUnscaled(), train) == expected


def windows(kind: str) -> Train:
    """Windows of four batches in passes over ten (or eight)."""

    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        size = 40 if kind == "fits" else 32
        data = DataLoader(TensorDataset(X, Y), size, shuffle=kind != "dropped, in order")
        turn = 0
        for _ in range(4):
            if kind.startswith("dropped"):
                optimizer.zero_grad()
            for i, (x, y) in enumerate(data):
                (F.cross_entropy(model(x), y) / 4).backward()
                turn += 1
                if (turn if kind == "counter" else i + 1) % 4 == 0 or (kind == "last" and i + 1 == len(data)):
                    optimizer.step()
                    optimizer.zero_grad()

    return train


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("leak", "warning"),
        ("dropped", "note"),
        ("dropped, in order", "warning"),
        ("fits", None),
        ("counter", None),
        ("last", None),
    ],
)
def test_partial_accumulation_window(kind: str, expected: str | None) -> None:
    assert found(PartialAccumulationWindow(), windows(kind)) == expected


# ---- gradients in nobody's optimiser


def head_only(*, freeze: bool = False, clear_all: bool = False, own: bool = False) -> Train:
    def train() -> None:
        body, head = nn.Sequential(nn.Linear(10, 64), nn.Tanh()), nn.Linear(64, 2)
        nn.init.normal_(head.weight, std=1.0)
        body.requires_grad_(not freeze)
        model = nn.Sequential(body, head)
        optimizer = torch.optim.SGD(head.parameters(), 0.1)
        for x, y in loader():
            (model if clear_all else optimizer).zero_grad()
            F.cross_entropy(5 * model(x), y).backward()
            nn.utils.clip_grad_norm_(head.parameters() if own else model.parameters(), 0.01)
            optimizer.step()

    return train


@pytest.mark.parametrize(
    ("train", "expected"),
    [(head_only(), "warning"), (head_only(freeze=True), None), (head_only(own=True), None), (gan(), None)],
)
def test_clip_by_foreign_gradients(train: Train, expected: str | None) -> None:
    assert found(ClipByForeignGradients(), train) == expected


def test_foreign_gradients_that_are_cleared_are_no_more_than_a_note() -> None:
    assert found(ClipByForeignGradients(), head_only(clear_all=True)) in (None, "note")


# ---- loss scaling


def amp(kind: str) -> Train:
    def train() -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=kind != "off")
        for x, y in loader():
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                out = model(x)
            loss = F.cross_entropy(out.float(), y)
            if kind == "nan":
                loss = loss + (out.float() * 0).sqrt().mean()
            second = out.float().pow(2).mean()
            if kind == "summed":
                (scaler.scale(loss) + scaler.scale(second)).backward()
            else:
                scaler.scale(loss).backward(retain_graph=True)
                (second if kind == "unscaled second" else scaler.scale(second)).backward()
            if kind in ("unscale", "bypass unscaled"):
                scaler.unscale_(optimizer)
            limit = 0.1 * (scaler.get_scale() if kind == "scaled limit" else 1)
            if kind != "no clip" and not kind.startswith(("bypass", "nan")):
                nn.utils.clip_grad_norm_(model.parameters(), limit)
            if kind.startswith("bypass"):
                optimizer.step()
            else:
                scaler.step(optimizer)
            scaler.update(1024.0 if kind.startswith("bypass") else None)

    return train


@pytest.mark.parametrize(
    ("kind", "expected"), [("clip", "error"), ("unscale", None), ("scaled limit", None), ("off", None), ("no clip", None)]
)
def test_clip_scaled_gradients(kind: str, expected: str | None) -> None:
    assert found(ClipScaledGradients(), amp(kind)) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("no clip", None),
        ("summed", None),
        ("unscale", None),
        ("off", None),
        ("unscaled second", "error"),
        ("bypass", "error"),
        ("bypass unscaled", None),
    ],
)
def test_gradient_scale_mismatch(kind: str, expected: str | None) -> None:
    assert found(GradientScaleMismatch(), amp(kind)) == expected


@pytest.mark.parametrize(("kind", "expected"), [("no clip", None), ("nan", "error"), ("off", None)])
def test_scaler_skips_steps(kind: str, expected: str | None) -> None:
    assert found(ScalerSkipsSteps(), amp(kind)) == expected


def small(*, dtype: torch.dtype = torch.float16, scale: float = 1.0, size: float = 1e-6) -> Train:
    def train() -> None:
        model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        for x, _ in loader():
            with torch.autocast("cpu", dtype=dtype):
                out = model(x)
            optimizer.zero_grad()
            (scale * size * out.float().pow(2).mean()).backward()
            optimizer.step()

    return train


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (small(), "warning"),
        (small(scale=65536.0), None),
        (small(size=1.0), None),
        (small(dtype=torch.bfloat16), None),
    ],
)
def test_gradient_underflow(train: Train, expected: str | None) -> None:
    assert found(GradientUnderflow(), train) == expected


# ---- optimisers that are built anew


def rebuilt(kind: str) -> Train:
    def train() -> None:
        model = net()
        start, state = copy.deepcopy(model.state_dict()), None
        data = loader(64)
        for i in range(5):
            if kind == "fold":
                model.load_state_dict(start)
            if kind == "fresh":
                model = net()
            if kind == "tasks":
                data = DataLoader(TensorDataset(X + i, Y), 64)
            cls = torch.optim.SGD if kind == "sgd" else torch.optim.Adam
            optimizer = cls(model.parameters(), 0.01)
            if state is not None:
                optimizer.load_state_dict(state)
            for _ in range(2 if kind == "phases" else 1):
                for x, y in data:
                    if kind == "step":
                        optimizer = torch.optim.Adam(model.parameters(), 0.01)
                    optimizer.zero_grad()
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
            state = optimizer.state_dict() if kind == "resumed" else None

    return train


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("epoch", "warning"),
        ("step", "warning"),
        ("sgd", None),
        ("fold", None),
        ("fresh", None),
        ("phases", None),
        ("resumed", None),
        ("tasks", "note"),
    ],
)
def test_optimizer_recreated(kind: str, expected: str | None) -> None:
    assert found(OptimizerRecreated(), rebuilt(kind)) == expected


# ---- seeds


def seeded(kind: str) -> Train:
    def train() -> None:
        for _ in range(2 if kind == "trials" else 1):
            torch.manual_seed(0)
            drop: list[nn.Module] = [nn.Dropout(0.2)] if kind != "draws nothing" else []
            model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), *drop, nn.Linear(16, 2))
            optimizer = torch.optim.Adam(model.parameters(), 0.01)
            data = DataLoader(TensorDataset(X, Y), 64, shuffle=kind != "draws nothing")
            for epoch in range(3):
                if kind in ("epoch", "draws nothing", "by epoch"):
                    torch.manual_seed(epoch if kind == "by epoch" else 1)
                for x, y in data:
                    if kind == "step":
                        torch.manual_seed(1)
                    optimizer.zero_grad()
                    F.cross_entropy(model(x), y).backward()
                    optimizer.step()
                evaluate(model, kind)

    return train


def evaluate(model: nn.Module, kind: str) -> None:
    model.eval()
    with torch.no_grad(), torch.random.fork_rng(enabled=kind == "forked"):
        if kind in ("evaluation", "forked"):
            torch.manual_seed(5)
        model(X[:32] + torch.randn(32, 10))
    model.train()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("once", None),
        ("epoch", "warning"),
        ("step", "warning"),
        ("evaluation", "warning"),
        ("forked", None),
        ("by epoch", None),
        ("draws nothing", None),
        ("trials", None),
    ],
)
def test_seed_reset_in_loop(kind: str, expected: str | None) -> None:
    assert found(SeedResetInLoop(), seeded(kind)) == expected


# ---- losses without a backward


def losses(kind: str) -> Train:
    def train() -> None:
        body, a, b = nn.Linear(10, 8), nn.Linear(8, 2), nn.Linear(8, 10)
        optimizer = torch.optim.Adam([*body.parameters(), *a.parameters(), *b.parameters()], 0.01)
        running: Any = 0.0
        for x, y in loader():
            z = body(x)
            task = F.cross_entropy(a(z), y)
            rebuilt = F.mse_loss(b(z), x)
            optimizer.zero_grad()
            if kind == "each":
                task.backward(retain_graph=True)
                rebuilt.backward()
            total = task + 0.5 * rebuilt
            if kind == "part":
                task.backward()
            elif kind == "monitored":
                F.cross_entropy(a(z), y).backward()
                rebuilt.item()
            elif kind in ("sum", "running"):
                total.backward()
            optimizer.step()
            if kind == "running":
                running = running + total

    return train


@pytest.mark.parametrize(("kind", "expected"), [("sum", None), ("part", "warning"), ("each", None), ("running", None)])
def test_loss_never_backpropagated(kind: str, expected: str | None) -> None:
    assert found(LossNeverBackpropagated(), losses(kind)) == expected


def test_a_loss_that_is_only_looked_at_is_no_more_than_a_note() -> None:
    def train() -> None:
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for x, y in loader():
            out = model(x)
            monitored = F.mse_loss(out[:, 1], y.float())
            optimizer.zero_grad()
            F.cross_entropy(out, y).backward()
            optimizer.step()
            monitored.item()

    assert found(LossNeverBackpropagated(), train) == "note"
