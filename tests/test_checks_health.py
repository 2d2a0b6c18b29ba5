"""The checks of dependencies and of the health of optimisation: faults are found, look-alikes are not reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainrecipe.check import built_in
from trainrecipe.exam import ask
from trainrecipe.finding import Evidence, Finding, Severity, Verdict
from trainrecipe.subjects.run import Optimizer, Parameter, Run
from trainrecipe.subjects.step import Step

CHECKS = {c.id: c for c in built_in()}


def answers(name: str, subject: Any) -> list[Finding]:
    found = list(ask(CHECKS[name], subject))
    assert all("itself failed" not in f.ruling.says for f in found), [f.ruling.says for f in found]
    return found


def grade(name: str, subject: Any) -> str:
    """The gravest answer: error, warning, note, or the verdict where nothing was found."""
    found = answers(name, subject)
    severities = [f.severity for f in found if f.severity is not None]
    return min(severities, key=lambda s: s.rank).value if severities else found[0].verdict.value


class Of(nn.Module):
    """A model made of layers and a function over them."""

    def __init__(self, call: Callable[..., torch.Tensor], **layers: Any) -> None:
        super().__init__()
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        return self.call(self, *given)


def classify(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def step_of(model: nn.Module, batch: Any, loss: Any = classify, lr: float = 1e-3) -> Step:
    trained = [p for p in model.parameters() if p.requires_grad]
    return Step(model, batch, loss, torch.optim.Adam(trained, lr=lr))


def batch_of(*shape: int, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(shape), torch.arange(shape[0]) % classes


# ---- batch-mixing


def mixing_models() -> dict[str, tuple[str, nn.Module, Any]]:
    torch.manual_seed(0)
    images, series, table = batch_of(12, 1, 4, 4), batch_of(12, 7, 5), batch_of(12, 6)
    attention = nn.TransformerEncoderLayer(5, 1, 16, dropout=0.0)
    batched = nn.TransformerEncoderLayer(5, 1, 16, dropout=0.0, batch_first=True)
    adjacency = (torch.rand(12, 12) < 0.3).float()
    return {
        "halves joined": (
            "error",
            Of(lambda m, x: m.out(torch.cat(m.enc(x.reshape(-1, 8)).chunk(2), 1)), enc=nn.Linear(8, 4), out=nn.Linear(8, 3)),
            images,
        ),
        "halves kept": (
            "pass",
            Of(lambda m, x: m.out(m.enc(x.reshape(12, 2, 8)).flatten(1)), enc=nn.Linear(8, 4), out=nn.Linear(8, 3)),
            images,
        ),
        "softmax over the batch": (
            "error",
            Of(lambda m, x: m.out(F.softmax(m.a(x), 0)), a=nn.Linear(6, 8), out=nn.Linear(8, 3)),
            table,
        ),
        "lstm reads the batch as time": (
            "error",
            Of(lambda m, x: m.out(m.r(x)[0][:, -1]), r=nn.LSTM(5, 8), out=nn.Linear(8, 3)),
            series,
        ),
        "lstm batch first": (
            "pass",
            Of(lambda m, x: m.out(m.r(x)[0][:, -1]), r=nn.LSTM(5, 8, batch_first=True), out=nn.Linear(8, 3)),
            series,
        ),
        "attention reads the batch as time": (
            "error",
            Of(lambda m, x: m.out(m.t(x).mean(1)), t=attention, out=nn.Linear(5, 3)),
            series,
        ),
        "attention batch first": ("pass", Of(lambda m, x: m.out(m.t(x).mean(1)), t=batched, out=nn.Linear(5, 3)), series),
        "batch norm": ("pass", nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)), table),
        "batch statistics in evaluation": (
            "unsure",
            nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3)),
            table,
        ),
        "minibatch deviation": (
            "note",
            Of(lambda m, x: m.out(torch.cat([x.flatten(1), x.std(0).mean().expand(len(x), 1)], 1)), out=nn.Linear(17, 3)),
            images,
        ),
        "graph": ("unsure", Of(lambda m, x: m.out(adjacency @ m.a(x)), a=nn.Linear(6, 8), out=nn.Linear(8, 3)), table),
        "set": (
            "unsure",
            Of(lambda m, x: m.out(F.softmax(m.a(x) @ m.a(x).T, 1) @ m.a(x)), a=nn.Linear(6, 8), out=nn.Linear(8, 3)),
            table,
        ),
        "similarity matrix": (
            "skip",
            Of(lambda m, x: m.a(x) @ m.b(x).T, a=nn.Linear(6, 8), b=nn.Linear(6, 8)),
            (table[0], torch.arange(12)),
        ),
        "tagger of one sentence": ("unsure", Of(lambda m, x: m.out(m.r(x)[0]), r=nn.LSTM(6, 8), out=nn.Linear(8, 3)), table),
    }


@pytest.mark.parametrize("name", mixing_models())
def test_batch_mixing(name: str) -> None:
    expected, model, batch = mixing_models()[name]
    assert grade("batch-mixing", step_of(model, batch)) == expected


def test_batch_mixing_knows_time_first() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 9, (10, 8))  # time first: 10 steps of 8 sequences
    model = Of(lambda m, x: m.out(m.r(m.e(x))[0]), e=nn.Embedding(9, 6), r=nn.LSTM(6, 8), out=nn.Linear(8, 9))
    step = step_of(model, (tokens[:-1], tokens[1:]), lambda m, b: F.cross_entropy(m(b[0]).flatten(0, 1), b[1].flatten()))
    assert grade("batch-mixing", step) in ("unsure", "pass", "skip")


# ---- peeking-ahead


def language(call: Callable[..., torch.Tensor], **layers: Any) -> Step:
    torch.manual_seed(0)
    tokens = torch.randint(0, 11, (6, 13))
    model = Of(call, embed=nn.Embedding(11, 10), head=nn.Linear(10, 11), **layers)
    return step_of(model, tokens, lambda m, b: F.cross_entropy(m(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten()))


def attend(m: Any, x: torch.Tensor, causal: bool) -> torch.Tensor:
    h = m.embed(x)
    return m.head(h + F.scaled_dot_product_attention(h, h, h, is_causal=causal))


def autoencoder(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.embed(x)
    code = m.enc(h)[1][-1]
    return m.head(m.dec(h)[0] + code[:, None])


def layers_for(kind: str) -> dict[str, Any]:
    torch.manual_seed(1)
    if kind == "both directions":
        return {"r": nn.LSTM(10, 5, batch_first=True, bidirectional=True)}
    if kind == "one direction":
        return {"r": nn.LSTM(10, 10, batch_first=True)}
    if kind == "autoencoder":
        return {"enc": nn.GRU(10, 10, batch_first=True), "dec": nn.GRU(10, 10, batch_first=True)}
    return {"c": nn.Conv1d(10, 10, 3, padding=1 if kind == "centred convolution" else 0)}


def convolve(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.embed(x).transpose(1, 2)
    padded = h if m.c.padding[0] else F.pad(h, (2, 0))
    return m.head(m.c(padded).transpose(1, 2))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("no mask", "error"),
        ("mask", "pass"),
        ("both directions", "error"),
        ("one direction", "pass"),
        ("centred convolution", "error"),
        ("left convolution", "pass"),
        ("autoencoder", "unsure"),
    ],
)
def test_peeking_ahead(kind: str, expected: str) -> None:
    if kind in ("no mask", "mask"):
        step = language(lambda m, x: attend(m, x, kind == "mask"))
    elif kind == "autoencoder":
        step = language(autoencoder, **layers_for(kind))
    elif "direction" in kind:
        step = language(lambda m, x: m.head(m.r(m.embed(x))[0]), **layers_for(kind))
    else:
        step = language(convolve, **layers_for(kind))
    assert grade("peeking-ahead", step) == expected


def test_peeking_ahead_leaves_other_targets_alone() -> None:
    torch.manual_seed(0)
    tokens, tags = torch.randint(0, 11, (6, 12)), torch.randint(0, 11, (6, 12))
    model = Of(lambda m, x: attend(m, x, False), embed=nn.Embedding(11, 10), head=nn.Linear(10, 11))
    step = step_of(model, (tokens, tags), lambda m, b: F.cross_entropy(m(b[0]).flatten(0, 1), b[1].flatten()))
    assert grade("peeking-ahead", step) == "skip"


# ---- targets-not-next


def counting(rows: int = 12, length: int = 14) -> torch.Tensor:
    """Sequences with an order: each goes on in steps of one, with a jump now and then."""
    torch.manual_seed(3)
    steps = torch.where(torch.rand(rows, length) < 0.2, torch.randint(0, 11, (rows, length)), torch.ones(rows, length).long())
    return steps.cumsum(1) % 11


def modelled(kind: str, call: Callable[..., torch.Tensor], tokens: torch.Tensor, **layers: Any) -> Step:
    """A step on tokens whose targets stand where `kind` says."""
    torch.manual_seed(0)
    model = Of(call, embed=nn.Embedding(12, 10), head=nn.Linear(10, 12), **layers)

    def loss(m: nn.Module, b: torch.Tensor) -> torch.Tensor:
        start = torch.full((len(b), 1), 11)
        given, wanted = {
            "next": (b[:, :-1], b[:, 1:]),
            "same": (b, b),
            "before": (b[:, 1:], b[:, :-1]),
            "cut": (b, b[:, :-1]),
            "twice": (b[:, :-2], b[:, 2:]),
            "start token": (torch.cat([start, b[:, :-1]], 1), b),
        }[kind]
        return F.cross_entropy(m(given)[:, : wanted.shape[1]].flatten(0, 1), wanted.flatten())

    return step_of(model, tokens, loss)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("next", "skip"), ("same", "error"), ("before", "error"), ("cut", "error"), ("twice", "warning"), ("start token", "skip")],
)
def test_targets_of_masked_attention(kind: str, expected: str) -> None:
    assert grade("targets-not-next", modelled(kind, lambda m, x: attend(m, x, True), counting())) == expected


@pytest.mark.parametrize(("kind", "expected"), [("one direction", "warning"), ("both directions", "pass")])
def test_targets_of_recurrent_models(kind: str, expected: str) -> None:
    step = modelled("same", lambda m, x: m.head(m.r(m.embed(x))[0]), counting(), **layers_for(kind))
    assert grade("targets-not-next", step) == expected


def test_reproducing_the_input_on_purpose_is_left_alone() -> None:
    def shifted_inside(m: Any, x: torch.Tensor) -> torch.Tensor:
        h = F.pad(m.embed(x), (0, 0, 1, 0))[:, :-1]
        return m.head(m.r(h)[0])

    one = layers_for("one direction")
    assert grade("targets-not-next", modelled("same", shifted_inside, counting(), **one)) == "pass"
    assert grade("targets-not-next", modelled("same", autoencoder, counting(), **layers_for("autoencoder"))) == "pass"
    torch.manual_seed(0)
    random = torch.randint(0, 11, (12, 14))
    assert grade("targets-not-next", modelled("same", lambda m, x: m.head(m.r(m.embed(x))[0]), random, **one)) == "note"
    assert grade("targets-not-next", modelled("same", lambda m, x: m.head(m.embed(x)), counting())) == "note"


def test_a_sequence_that_repeats_every_second_element_is_shifted_rightly() -> None:
    tokens = (torch.arange(14)[None] % 2) + torch.arange(10)[:, None]
    assert grade("targets-not-next", modelled("next", lambda m, x: attend(m, x, True), tokens)) == "skip"


# ---- dropout-in-eval


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda m, x: m.out(F.dropout(m.a(x))), "error"),
        (lambda m, x: m.out(nn.Dropout(0.3)(m.a(x))), "error"),
        (lambda m, x: m.out(F.dropout(m.a(x), 0.3, training=m.training)), "pass"),
        (lambda m, x: m.out(m.drop(m.a(x))), "pass"),
        (lambda m, x: m.out(F.dropout(m.a(x), 0.3, training=True)), "pass"),
        (lambda m, x: m.out(m.a(x) + torch.randn(8)), "pass"),
    ],
)
def test_dropout_in_eval(call: Any, expected: str) -> None:
    model = Of(call, a=nn.Linear(6, 8), out=nn.Linear(8, 3), drop=nn.Dropout(0.2))
    assert grade("dropout-in-eval", step_of(model, batch_of(12, 6))) == expected


# ---- unused-inputs


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda m, x: m.out(torch.cat([m.a(x[:, :3]), m.b(x[:, :3])], 1)), "warning"),
        (lambda m, x: m.out(torch.cat([m.a(x[:, :3]), m.b(x[:, 3:])], 1)), "pass"),
        (lambda m, x: m.out(torch.cat([m.a(x[:, :3]), m.b((x[:, 3:] > 0).float())], 1)), "pass"),
        (lambda m, x: m.zero(m.a(x[:, :3]) + m.b(x[:, 3:])), "pass"),
    ],
)
def test_unused_inputs(call: Any, expected: str) -> None:
    zero = nn.Linear(4, 3)
    nn.init.zeros_(zero.weight)
    model = Of(call, a=nn.Linear(3, 4), b=nn.Linear(3, 4), out=nn.Linear(8, 3), zero=zero)
    assert grade("unused-inputs", step_of(model, batch_of(12, 6))) == expected


# ---- graph-cut


def no_grad(m: Any, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        h = m.enc(x)
    return m.out(h)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda m, x: m.out(m.enc(x).detach()), "error"),
        (lambda m, x: m.out(m.enc(x).data), "error"),
        (no_grad, "error"),
        (lambda m, x: m.out(torch.tensor(m.enc(x).tolist())), "error"),
        (lambda m, x: m.out(F.one_hot(m.enc(x).argmax(1), 8).float()), "error"),
        (lambda m, x: m.out(m.enc(x)), "pass"),
        (lambda m, x: m.out(m.enc(x) + (m.enc(x).round() - m.enc(x)).detach()), "pass"),
    ],
)
def test_graph_cut(call: Any, expected: str) -> None:
    model = Of(call, enc=nn.Linear(6, 8), out=nn.Linear(8, 3))
    assert grade("graph-cut", step_of(model, batch_of(12, 6))) == expected


def test_graph_cut_leaves_frozen_layers_alone() -> None:
    model = Of(no_grad, enc=nn.Linear(6, 8), out=nn.Linear(8, 3))
    model.enc.requires_grad_(False)  # type: ignore[union-attr]
    assert grade("graph-cut", step_of(model, batch_of(12, 6))) == "pass"


# ---- non-finite


def wrong_log(m: nn.Module, b: Any) -> torch.Tensor:
    p = torch.sigmoid(m(b[0])[:, 0])
    return -(b[1] * torch.log(p) + (1 - b[1]) * torch.log(1 - p)).mean()


def clamped_log(m: nn.Module, b: Any) -> torch.Tensor:
    p = torch.sigmoid(m(b[0])[:, 0]).clamp(1e-6, 1 - 1e-6)
    return -(b[1] * torch.log(p) + (1 - b[1]) * torch.log(1 - p)).mean()


@pytest.mark.parametrize(("loss", "expected"), [(wrong_log, "warning"), (clamped_log, "pass"), (classify, "pass")])
def test_non_finite_before_it_happens(loss: Any, expected: str) -> None:
    x, y = batch_of(24, 6, classes=2)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
    assert grade("non-finite", step_of(model, (x, y), loss, lr=1e-2)) == expected


def test_non_finite_names_the_operation_whose_derivative_broke() -> None:
    def loss(m: nn.Module, b: Any) -> torch.Tensor:
        out = m(b[0])
        return F.cross_entropy(out, b[1]) + (out - out.detach()).pow(2).sum(1).sqrt().mean()

    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    step = step_of(model, batch_of(12, 6), loss)
    step.broken = step.tape
    (found,) = answers("non-finite", step)
    assert found.severity is Severity.ERROR
    assert found.evidence["operation"] == "sqrt"
    assert found.evidence["what"] == "gradient"


# ---- dead units, saturation, profiles


@pytest.mark.parametrize(("bias", "expected"), [(-9.0, "warning"), (0.0, "pass")])
def test_dead_units(bias: float, expected: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    nn.init.constant_(model[0].bias, bias)  # type: ignore[arg-type]
    assert grade("dead-units", step_of(model, batch_of(256, 6))) == expected


def test_dead_units_needs_many_examples() -> None:
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    assert grade("dead-units", step_of(model, batch_of(16, 6))) == "unsure"


def saturating(std: float, gate: bool = False) -> nn.Module:
    torch.manual_seed(0)
    first = nn.Linear(6, 32)
    nn.init.normal_(first.weight, std=std)

    def call(m: Any, x: torch.Tensor) -> torch.Tensor:
        return m.out(torch.sigmoid(m.a(x)) * m.b(x)) if gate else m.out(torch.tanh(m.a(x)))

    return Of(call, a=first, b=nn.Linear(6, 32), out=nn.Linear(32, 3))


@pytest.mark.parametrize(
    ("model", "expected"), [(saturating(6.0), "warning"), (saturating(0.4), "pass"), (saturating(9.0, True), "skip")]
)
def test_saturation(model: nn.Module, expected: str) -> None:
    step = step_of(model, batch_of(128, 6))
    step.inputs_seen = [(id(model), ((batch_of(128, 6, seed=1)[0],), {}))]
    assert grade("saturation", step) == expected


def deep(depth: int, activation: type[nn.Module], std: float | None, norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(depth):
        linear = nn.Linear(32, 32)
        if std is not None:
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)
        layers += [linear, *([nn.BatchNorm1d(32)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(32, 4))


@pytest.mark.parametrize(
    ("model", "vanishing", "exploding"),
    [
        (deep(9, nn.Sigmoid, None), "warning", "pass"),
        (deep(8, nn.ReLU, 0.25), "pass", "pass"),
        (deep(8, nn.ReLU, None), "pass", "pass"),
        (deep(12, nn.ReLU, None), "note", "pass"),  # PyTorch's defaults lose a factor of 0.4 per layer, and it learns
        (deep(8, nn.ReLU, 0.5), "pass", "warning"),
        (deep(20, nn.ReLU, None, norm=True), "pass", "pass"),
        (deep(8, nn.Tanh, 0.18), "pass", "pass"),
    ],
)
def test_profiles(model: nn.Module, vanishing: str, exploding: str) -> None:
    step = step_of(model, batch_of(64, 32, classes=4))
    assert grade("vanishing-gradients", step) == vanishing
    assert grade("exploding-gradients", step) == exploding


@pytest.mark.parametrize(("gain", "expected"), [(3.0, "warning"), (1.0, "pass"), (None, "pass")])
def test_exploding_through_time(gain: float | None, expected: str) -> None:
    torch.manual_seed(0)
    rnn = nn.RNN(5, 32, batch_first=True)
    if gain is not None:
        nn.init.orthogonal_(rnn.weight_hh_l0, gain=gain)
    model = Of(lambda m, x: m.out(m.r(x)[0][:, -1]), r=rnn, out=nn.Linear(32, 3))
    assert grade("exploding-gradients", step_of(model, batch_of(16, 20, 5))) == expected


# ---- the run


def run_with(*parameters: Parameter, optimizer: str = "Adam") -> Run:
    record = Optimizer(0, optimizer, None, [], len(parameters), steps=20)
    return Run(steps=20, optimizers=[record], parameters=list(parameters))


def parameter(**changes: Any) -> Parameter:
    given: dict[str, Any] = {
        "name": "layer.weight",
        "model": 0,
        "elements": 1024,
        "dtype": "torch.float32",
        "trainable": True,
        "registered": True,
        "optimizers": [0],
        "reached": True,
        "gradient": True,
        "moved": True,
        "rate": 1e-3,
        "norm": 3.2,
        "dimensions": 2,
        "ratios": [1e-3] * 20,
    }
    return Parameter(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "pass"),
        ({"ratios": [9.0, 0.4, 0.2] + [0.1] * 17}, "warning"),
        ({"ratios": [0.5] * 20}, "warning"),
        ({"ratios": [1.0 / k for k in range(1, 25)]}, "pass"),
        ({"ratios": [9.0] * 20, "norm": 0.001}, "skip"),
        ({"ratios": [9.0] * 20, "elements": 4, "norm": 2.0}, "skip"),
        ({"ratios": [1e-9] * 20}, "note"),
    ],
)
def test_update_ratio(changes: dict[str, Any], expected: str) -> None:
    assert grade("update-ratio", run_with(parameter(**changes))) == expected


@pytest.mark.parametrize(("name", "expected"), [("RMSprop", "pass"), ("Adagrad", "pass"), ("Adam", "warning")])
def test_an_average_that_starts_at_0_makes_the_first_updates_long(name: str, expected: str) -> None:
    long = [2.5 / k**0.5 for k in range(1, 21)]
    assert grade("update-ratio", run_with(parameter(ratios=long), optimizer=name)) == expected
    assert grade("update-ratio", run_with(parameter(ratios=[10 * r for r in long]), optimizer=name)) == "warning"


def test_an_optimizer_of_the_scripts_own_may_have_no_bias_correction() -> None:
    adam = [0.1, 0.5, 0.6, 0.7, 0.7, 0.6, 0.6, 0.5, 0.4, 0.4, 0.3, 0.3]
    run = run_with(parameter(ratios=adam), optimizer="PlainAdam")
    run.optimizers[0].standard = False
    assert grade("update-ratio", run) == "pass"
    assert grade("update-ratio", run_with(parameter(ratios=adam))) == "warning"


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        ("", "pass"),
        ("unread", "warning"),
        ("passed over", "warning"),
        ("dropped", "warning"),
        ("skipped", "note"),
        ("library", "pass"),
    ],
)
def test_unused_parameters(fate: str, expected: str) -> None:
    idle = parameter(name="block.weight", reached=False, gradient=False, fate=fate, part="block", ratios=[])
    assert grade("unused-parameters", run_with(parameter(), idle)) == expected


def test_evidence_is_the_same_twice_and_leaves_no_trace() -> None:
    model = Of(lambda m, x: m.out(m.r(x)[0][:, -1]), r=nn.LSTM(5, 8), out=nn.Linear(8, 3))
    before = [p.detach().clone() for p in model.parameters()]
    step = step_of(model, batch_of(12, 9, 5))
    for name in ("batch-mixing", "exploding-gradients", "dead-units", "non-finite", "unused-inputs", "vanishing-gradients"):
        state = torch.get_rng_state()
        first, second = answers(name, step), answers(name, step)
        assert [dict(f.evidence.data) for f in first] == [dict(f.evidence.data) for f in second]
        assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_judging_needs_no_torch() -> None:
    evidence = Evidence({"mixes": False, "tested": 4})
    assert CHECKS["batch-mixing"].judge(evidence).verdict is Verdict.PASS
