"""Losses taken apart and known by what they compute; their checks on variants of each fault and on its look-alikes."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainrecipe.capture import criteria
from trainrecipe.check import built_in
from trainrecipe.exam import ask
from trainrecipe.finding import Severity, Verdict
from trainrecipe.subjects.criteria import Criterion, LossUse
from trainrecipe.subjects.loss_calls import live_calls
from trainrecipe.subjects.run import Run
from trainrecipe.subjects.step import Step
from trainrecipe.subjects.terms import parts
from trainrecipe.subjects.theory import theory_of

N = 32
CHECKS = {check.id: check for check in built_in()}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def net(outputs=4, *after):
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs), *after)


def data():
    g = torch.Generator().manual_seed(1)
    y = torch.randint(0, 4, (N,), generator=g)
    return {
        "x": torch.randn(N, 6, generator=g),
        "y": y,
        "r": 3 * torch.randn(N, generator=g),
        "m": (torch.rand(N, 4, generator=g) > 0.6).float(),
        "o": F.one_hot(y, 4).float(),
        "a": torch.randn(N, generator=g),
    }


def known(model, loss):
    whole = parts(Step(model, data(), loss))
    assert not whole.why
    return [(t.known.name, t.known.factor) if t.known is not None else None for t in whole.terms]


# ---- what a term computes


def by_index(m, b):
    return -m(b["x"]).log_softmax(1)[torch.arange(N), b["y"]].mean()


def by_gather(m, b):
    return -m(b["x"]).softmax(1).log().gather(1, b["y"][:, None]).sum()


def by_one_hot(m, b):
    return -(b["o"] * F.log_softmax(m(b["x"]), dim=-1)).sum(1).mean()


def by_logsumexp(m, b):
    z = m(b["x"])
    return (z.logsumexp(1) - z.gather(1, b["y"][:, None]).squeeze(1)).mean()


def by_distribution(m, b):
    return -torch.distributions.Categorical(logits=m(b["x"])).log_prob(b["y"]).mean()


def squared(m, b):
    return ((m(b["x"]).squeeze(1) - b["r"]) ** 2).mean()


def gaussian(m, b):
    return -torch.distributions.Normal(m(b["x"]).squeeze(1), 2.0).log_prob(b["r"]).sum()


def huge(m, b):
    return (m(b["x"]).squeeze(1) - 1e4 * b["r"]).pow(2).mean()


def logistic(m, b):
    p = m(b["x"]).sigmoid()
    return -(b["m"] * p.log() + (1 - b["m"]) * (1 - p).log()).mean()


@pytest.mark.parametrize(
    ("outputs", "loss", "name", "factor"),
    [
        (4, lambda m, b: 3 * F.cross_entropy(m(b["x"]), b["y"]), "cross_entropy", 3),
        (4, by_index, "cross_entropy", 1),
        (4, by_gather, "cross_entropy", N),
        (4, by_one_hot, "cross_entropy", 1),
        (4, by_logsumexp, "cross_entropy", 1),
        (4, by_distribution, "cross_entropy", 1),
        (1, squared, "mse_loss", 1),
        (1, gaussian, "mse_loss", N / 8),
        (1, huge, "mse_loss", 1),
        (1, lambda m, b: (m(b["x"]).flatten() - b["r"]).abs().sum() / N, "l1_loss", 1),
        (4, logistic, "binary_cross_entropy_with_logits", 1),
        (4, lambda m, b: by_index(nn.Sequential(m, nn.Softmax(1)), b), "softmax, cross_entropy", 1),
        (4, lambda m, b: F.binary_cross_entropy(m(b["x"]).softmax(1), b["m"]), "softmax, binary_cross_entropy", 1),
    ],
)
def test_a_loss_is_known_by_what_it_computes(outputs, loss, name, factor):
    [(found, weight)] = known(net(outputs), loss)
    assert (found, weight) == (name, pytest.approx(factor, rel=1e-3))


def focal(m, b):
    loss = F.cross_entropy(m(b["x"]), b["y"], reduction="none")
    return ((1 - (-loss).exp()) ** 2 * loss).mean()


def weighted(m, b):
    return -(m(b["x"]).log_softmax(1)[torch.arange(N), b["y"]] * b["a"]).mean()


@pytest.mark.parametrize("loss", [focal, weighted, lambda m, b: m(b["x"]).pow(4).mean(), lambda m, b: m(b["x"]).mean()])
def test_other_losses_are_not_taken_for_known_ones(loss):
    assert known(net(), loss) == [None]


def test_a_sum_is_taken_apart_and_its_gradients_add_up():
    model = net(5)

    def loss(m, b):
        z = m(b["x"])
        penalty = sum(p.pow(2).sum() for p in m.parameters())
        return F.cross_entropy(z[:, :4], b["y"]) + 0.5 * F.mse_loss(z[:, 4], b["r"]) + 1e-2 * penalty

    whole = parts(Step(model, data(), loss))
    assert {t.name: (t.factor, t.weights_only, t.meets_target) for t in whole.terms} == {
        "cross_entropy": (1.0, False, True),
        "mse_loss": (0.5, False, True),
        "sum": (pytest.approx(0.01), True, False),
    }
    assert sum(t.value for t in whole.terms) == pytest.approx(whole.total, rel=1e-5)
    z = model(data()["x"])
    alone = torch.autograd.grad(0.5 * F.mse_loss(z[:, 4], data()["r"]), list(model.parameters()))
    expected = math.sqrt(sum(float(g.double().square().sum()) for g in alone))
    assert next(t.norm for t in whole.terms if t.name == "mse_loss") == pytest.approx(expected, rel=1e-4)


def test_terms_per_example_inside_one_mean_are_told_apart():
    def loss(m, b):
        z = m(b["x"])
        kl = -0.5 * (1 + z[:, 1:] - z[:, 1:].exp()).sum(1)
        return (F.mse_loss(z[:, 0], b["r"], reduction="none") + kl).mean()

    assert {t.name for t in parts(Step(net(), data(), loss)).terms} == {"mse_loss", "sum"}


def test_a_residual_model_is_not_taken_apart():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 1), nn.Linear(6, 1)

        def forward(self, x):
            return self.a(x) + self.b(x)

    assert len(parts(Step(Residual(), data(), lambda m, b: m(b["x"]).mean())).terms) == 1


def test_the_gradient_of_each_element_is_seen_through_masks():
    def loss(m, b):
        return (F.binary_cross_entropy_with_logits(m(b["x"]), b["m"], reduction="none") * (b["m"] > 0)).mean()

    [call] = live_calls(Step(net(), data(), loss))
    assert call.gradient is not None
    assert bool(((call.gradient != 0) == (data()["m"] > 0)).all())


# ---- faults and look-alikes


def findings(check, model, loss, optimizer=None, **more):
    step = Step(model, {**data(), **more}, loss, optimizer)
    answers = list(ask(CHECKS[check], step))
    assert answers
    assert not any("the check itself failed" in f.ruling.says for f in answers), [f.ruling.says for f in answers]
    return [f.severity for f in answers if f.verdict is Verdict.FINDING and f.severity is not Severity.NOTE]


def adam(model, **options):
    return torch.optim.Adam(model.parameters(), **options)


@pytest.mark.parametrize(
    ("outputs", "loss"),
    [
        (4, lambda m, b: -F.cross_entropy(m(b["x"]), b["y"])),
        (4, lambda m, b: -by_index(m, b)),
        (4, lambda m, b: by_one_hot(m, b) * -0.1),
        (1, lambda m, b: -gaussian(m, b)),
        (4, lambda m, b: 1.0 - logistic(m, b)),
        (4, lambda m, b: -sum(F.cross_entropy(m(b["x"][i : i + 8]), b["y"][i : i + 8]) for i in range(0, N, 8)) / 4),
        (4, lambda m, b: -F.cross_entropy(m(b["x"]), b["y"], reduction="none").mean()),
        (4, lambda m, b: 1e-4 * sum(p.pow(2).sum() for p in m.parameters()) - by_gather(m, b)),
    ],
)
def test_loss_sign_finds_a_loss_that_is_driven_up(outputs, loss):
    model = net(outputs)
    assert findings("loss-sign", model, loss, adam(model)) == [Severity.ERROR]


def test_loss_sign_knows_maximize():
    model = net()
    up = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
    assert findings("loss-sign", model, by_index, up) == [Severity.ERROR]
    assert findings("loss-sign", model, lambda m, b: -by_index(m, b), up) == []


def fooled(m, b):
    return -F.binary_cross_entropy_with_logits(m(b["x"]), torch.zeros(N, 1))


def costs(m, b):
    paid = -(b["a"] > 0).float()
    return (F.cross_entropy(m(b["x"]), b["y"], reduction="none") * paid).mean()


def unlearn(m, b):
    z = m(b["x"])
    return F.cross_entropy(z[:16], b["y"][:16]) - 0.5 * F.cross_entropy(z[16:], b["y"][16:])


@pytest.mark.parametrize(
    ("outputs", "loss"),
    [
        (4, by_index),
        (4, weighted),
        (1, fooled),
        (4, costs),
        (4, unlearn),
        (4, lambda m, b: -focal(m, b)),
        (4, lambda m, b: F.cross_entropy(m(b["x"]), b["y"]) - 0.1 * m(b["x"]).softmax(1).pow(2).mean()),
    ],
)
def test_loss_sign_leaves_descent_and_adversaries_alone(outputs, loss):
    model = net(outputs)
    assert findings("loss-sign", model, loss, adam(model)) == []


def overlap(z, b):
    """Soft F1 over classes: a score."""
    p = z.softmax(1)
    return (2 * (p * b["o"]).sum(0) / (p.sum(0) + b["o"].sum(0))).mean()


def pearson(p, b):
    p, r = p - p.mean(), b["r"] - b["r"].mean()
    return (p * r).sum() / (p.norm() * r.norm())


def summed(first, second, sign):
    def loss(m, b):
        z = m(b["x"])
        total = first(z, b)
        total += sign * second(z, b)  # in place
        return total

    return loss


def entropy(z, b):
    return -(z.softmax(1) * z.log_softmax(1)).sum(1).mean()


def mixed(z, b):
    return focal_of(z, b["y"].flip(0))


def focal_of(z, y):
    p = z.softmax(1)[torch.arange(N), y]
    return -((1 - p) ** 2 * p.log()).mean()


def crossed(z, b):
    return F.cross_entropy(z, b["y"])


def squared_error(z, b):
    return F.mse_loss(z[:, 0], b["r"])


def multi(z, b):
    return F.binary_cross_entropy_with_logits(z, b["m"])


def dice_loss(z, b):
    p = z.sigmoid()
    return 1 - 2 * (p * b["m"]).sum() / (p.sum() + b["m"].sum())


@pytest.mark.parametrize(
    ("outputs", "first", "second", "sign", "expected"),
    [
        (4, crossed, overlap, 0.5, [Severity.WARNING]),
        (4, crossed, overlap, -0.5, []),
        (4, multi, dice_loss, -1.0, [Severity.WARNING]),
        (4, multi, dice_loss, 1.0, []),
        (1, squared_error, lambda z, b: pearson(z[:, 0], b), 1.0, [Severity.WARNING]),
        (1, squared_error, lambda z, b: pearson(z[:, 0], b), -1.0, []),
        (4, crossed, entropy, -0.1, []),
        (4, crossed, entropy, 0.1, []),
        (4, crossed, mixed, 0.5, []),
        (4, crossed, lambda z, b: focal_of(z, b["y"]), 0.5, []),
        (4, crossed, lambda z, b: focal_of(z, b["y"]), -0.5, [Severity.WARNING]),
        (4, crossed, lambda z, b: z.logsumexp(1).pow(2).mean(), 1e-3, []),
    ],
)
def test_loss_sign_follows_every_term_to_the_targets(outputs, first, second, sign, expected):
    model = net(outputs)
    assert findings("loss-sign", model, summed(first, second, sign), adam(model)) == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_terms_added_in_place_are_told_apart(sign):
    assert ("cross_entropy", pytest.approx(1.0, rel=1e-4)) in known(net(), summed(crossed, overlap, sign))


def test_loss_sign_leaves_an_adversary_of_a_fixed_classifier_alone():
    attack, classifier = nn.Linear(6, 6), net()
    both = nn.ModuleList([attack, classifier])
    optimizer = torch.optim.Adam(attack.parameters())
    loss = lambda m, b: -F.cross_entropy(m[1](b["x"] + 0.1 * m[0](b["x"]).tanh()), b["y"])  # noqa: E731
    assert findings("loss-sign", both, loss, optimizer) == []


def constant(loss, value):
    model = net(5)
    step = Step(model, data(), loss)
    step.values_seen = [(i, value) for i in range(8)]
    other = {**data(), "x": data()["x"].flip(0), "a": data()["a"].flip(0)}
    step.later = [Step(model, other, loss).tape]
    [answer] = ask(CHECKS["loss-constant"], step)
    assert "itself failed" not in answer.ruling.says
    return answer.severity if answer.verdict is Verdict.FINDING else None


def ce5(m, b):
    return F.cross_entropy(m(b["x"])[:, :4], b["y"])


def policy(m, b):
    logp = m(b["x"])[:, :4].log_softmax(1)[torch.arange(N), b["y"]]
    return -((logp - logp.detach()).exp() * (b["a"] - b["a"].mean())).mean()


@pytest.mark.parametrize(
    ("loss", "value", "expected"),
    [
        (lambda m, b: (lambda v: v / v.detach())(ce5(m, b)), 1.0, Severity.ERROR),
        (lambda m, b: (lambda v: 3 * v / v.item())(ce5(m, b)), 3.0, Severity.ERROR),
        (
            lambda m, b: sum(v / v.detach() for v in (ce5(m, b), F.mse_loss(m(b["x"])[:, 4], b["r"]))),
            2.0,
            Severity.NOTE,  # a known way to balance tasks
        ),
        (ce5, 1.38, None),
        (policy, 0.0, None),
    ],
)
def test_loss_constant(loss, value, expected):
    assert constant(loss, value) is expected


def sgd(model, lr):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def learnable(b):
    return (b["x"][:, :4] + 0.0).argmax(1)


@pytest.mark.parametrize(
    ("loss", "lr", "expected"),
    [
        (lambda m, b: F.cross_entropy(m(b["x"]), learnable(b), reduction="sum"), 0.5, [Severity.WARNING]),
        (lambda m, b: -m(b["x"]).log_softmax(1).gather(1, learnable(b)[:, None]).sum(), 0.5, [Severity.WARNING]),
        (lambda m, b: F.cross_entropy(m(b["x"]), learnable(b)), 0.5, []),
        (lambda m, b: F.cross_entropy(m(b["x"]), learnable(b), reduction="sum") / len(b["y"]), 0.5, []),
        (lambda m, b: F.cross_entropy(m(b["x"]), learnable(b), reduction="sum"), 0.005, []),
    ],
)
def test_loss_scales_with_batch_where_it_does_harm(loss, lr, expected):
    model = net()
    assert findings("loss-scales-with-batch", model, loss, sgd(model, lr)) == expected


def test_a_summed_variational_bound_with_adam_is_not_even_noted():
    class Vae(nn.Module):
        def __init__(self):
            super().__init__()
            self.encode, self.decode = nn.Linear(6, 4), nn.Linear(2, 6)

        def forward(self, x):
            mean, log_variance = self.encode(x).chunk(2, 1)
            return self.decode(mean + torch.randn_like(mean) * (0.5 * log_variance).exp()), mean, log_variance

    def loss(m, b):
        out, mean, log_variance = m(b["x"])
        kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        return F.mse_loss(out, b["x"], reduction="sum") + kl

    model = Vae()
    [answer] = ask(CHECKS["loss-scales-with-batch"], Step(model, data(), loss, adam(model)))
    assert answer.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda m, b: F.binary_cross_entropy_with_logits(m(b["x"]), 255 * b["m"]), [Severity.ERROR]),
        (lambda m, b: F.binary_cross_entropy_with_logits(m(b["x"]), 2 * b["m"] - 1), [Severity.ERROR]),
        (lambda m, b: (F.softplus(m(b["x"])) - (b["m"] + 1) * m(b["x"])).mean(), []),  # two calls: not seen through
        (lambda m, b: (lambda z: (F.softplus(z) - (b["m"] + 1) * z).mean())(m(b["x"])), [Severity.ERROR]),
        (lambda m, b: F.soft_margin_loss(m(b["x"]), b["m"]), [Severity.ERROR]),
        (lambda m, b: F.soft_margin_loss(m(b["x"]), 2 * b["m"] - 1), []),
        (lambda m, b: F.binary_cross_entropy_with_logits(m(b["x"]), 0.9 * b["m"] + 0.05), []),
        (lambda m, b: F.binary_cross_entropy_with_logits(m(b["x"]), 1.2 * b["m"]), []),
        (lambda m, b: F.binary_cross_entropy(m(b["x"]).sigmoid(), b["m"]), []),
    ],
)
def test_targets_out_of_range(loss, expected):
    assert findings("targets-out-of-range", net(), loss) == expected


def test_masked_targets_may_be_anything():
    def loss(m, b):
        target = torch.where(b["m"] > 0, 1.0, -1.0)
        return (F.binary_cross_entropy_with_logits(m(b["x"]), target, reduction="none") * (target >= 0)).sum()

    assert findings("targets-out-of-range", net(), loss) == []


def uneven(classes=4, rows=200):
    g = torch.Generator().manual_seed(3)
    share = torch.tensor([0.6, 0.25, 0.1, 0.05])[:classes]
    return {"x": torch.randn(rows, 6, generator=g), "y": torch.multinomial(share, rows, True, generator=g)}


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (lambda n: n / n.sum(), [Severity.WARNING]),
        (lambda n: n.sort().values.flip(0).reciprocal(), []),  # counts happen to fall already: the right order
        (lambda n: n.reciprocal().sort(descending=True).values, [Severity.WARNING]),
        (lambda n: n.sum() / n, []),
        (lambda n: n.rsqrt(), []),
        (lambda n: torch.ones(4), []),
        (lambda n: torch.tensor([0.1, 1.0, 1.0, 1.0]), []),
        (lambda n: torch.tensor([2.0, 1.0, 1.0, 1.0]), []),
    ],
)
def test_class_weights(weight, expected):
    batch = uneven()
    counts = torch.bincount(batch["y"], minlength=4).float()
    loss = lambda m, b: F.cross_entropy(m(b["x"]), b["y"], weight=weight(counts))  # noqa: E731
    assert findings("class-weights", net(), loss, **batch) == expected


@pytest.mark.parametrize(("power", "expected"), [(1, [Severity.WARNING]), (-1, []), (-0.5, [])])
def test_pos_weight(power, expected):
    batch = uneven()
    y = (batch["y"] == 1).float()[:, None]
    odds = y.mean() / (1 - y.mean())
    loss = lambda m, b: F.binary_cross_entropy_with_logits(m(b["x"]), y, pos_weight=odds**power)  # noqa: E731
    assert findings("class-weights", net(1), loss, **batch) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda m, b: F.binary_cross_entropy(m(b["x"]).softmax(1), b["m"]), [Severity.ERROR]),
        (lambda m, b: F.binary_cross_entropy(m(b["x"]).softmax(1), b["o"]), []),
        (lambda m, b: F.binary_cross_entropy(m(b["x"]).sigmoid(), b["m"]), []),
        (lambda m, b: F.binary_cross_entropy(m(b["x"]).softmax(1), 0.9 * b["o"] + 0.025), []),
        (
            lambda m, b: (lambda p: -(b["m"] * p.log() + (1 - b["m"]) * (1 - p).log()).sum(1).mean())(m(b["x"]).softmax(1)),
            [Severity.ERROR],
        ),
    ],
)
def test_competing_labels(loss, expected):
    assert findings("competing-labels", net(), loss) == expected


@pytest.mark.parametrize(
    ("ignored", "reduction", "expected"),
    [(N, "mean", [Severity.ERROR]), (N, "sum", []), (N // 2, "mean", []), (0, "mean", []), (N - 1, "mean", [Severity.WARNING])],
)
def test_all_targets_ignored(ignored, reduction, expected):
    def loss(m, b):
        target = torch.where(torch.arange(N) < ignored, -100, b["y"])
        out = m(b["x"])
        return F.cross_entropy(out, target, reduction=reduction) + 0 * out.sum()

    assert findings("all-targets-ignored", net(), loss) == expected


class Language(nn.Module):
    def __init__(self, padding_idx=0, packed=False):
        super().__init__()
        self.embed = nn.Embedding(9, 8, padding_idx=padding_idx)
        self.mix = nn.Linear(8, 8)
        self.out = nn.Linear(8, 9)

    def forward(self, tokens):
        return self.out(self.mix(self.embed(tokens)).cumsum(1).tanh())


def sentences():
    g = torch.Generator().manual_seed(5)
    rows = torch.randint(2, 9, (16, 12), generator=g)
    lengths = torch.randint(3, 12, (16,), generator=g)
    rows[torch.arange(12) >= lengths[:, None]] = 0
    return {"t": rows}


def language(**options):
    def loss(m, b):
        logits, target = m(b["t"][:, :-1]), b["t"][:, 1:]
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), **options)

    return loss


def masked_language(m, b):
    logits, target = m(b["t"][:, :-1]), b["t"][:, 1:]
    mask = (target != 0).float()
    loss = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
    return (loss * mask).sum() / mask.sum()


def counted_by_hand(m, b):
    logits, target = m(b["t"][:, :-1]), b["t"][:, 1:]
    return -logits.log_softmax(-1).gather(2, target[..., None]).mean()


@pytest.mark.parametrize(
    ("padding", "loss", "expected"),
    [
        (0, language(), [Severity.WARNING]),
        (0, counted_by_hand, [Severity.WARNING]),
        (0, language(ignore_index=0), []),
        (0, masked_language, []),
        (0, language(weight=torch.tensor([0.0] + [1.0] * 8)), []),
        (None, language(), []),  # it may be a real symbol: a note
    ],
)
def test_padding_in_loss(padding, loss, expected):
    step = Step(Language(padding), sentences(), loss)
    answers = list(ask(CHECKS["padding-in-loss"], step))
    assert not any("itself failed" in f.ruling.says for f in answers)
    assert [f.severity for f in answers if f.severity in (Severity.ERROR, Severity.WARNING)] == expected


def straight_through(m, b):
    p = m(b["x"]).squeeze(1)
    return ((p + (p.round() - p).detach() - b["r"]) ** 2).mean()


def plus_accuracy(m, b):
    z = m(b["x"])
    return F.cross_entropy(z, b["y"]) + (z.argmax(1) != b["y"]).float().mean()


def baseline(m, b):
    z = m(b["x"])
    return F.cross_entropy(z, b["y"]) - z.detach().mean()


def quantised(m, b):
    z = m(b["x"])
    book = torch.eye(4)
    nearest = book[torch.cdist(z, book).argmin(1)]
    return F.mse_loss(z, nearest) + F.mse_loss(z + (nearest - z).detach(), b["o"])


@pytest.mark.parametrize(
    ("outputs", "loss", "expected"),
    [
        (4, plus_accuracy, [Severity.WARNING]),
        (1, lambda m, b: ((m(b["x"]).squeeze(1).round() - b["r"]) ** 2).mean(), [Severity.ERROR]),
        (1, lambda m, b: F.mse_loss(m(b["x"]).squeeze(1).sign(), b["r"].sign()), [Severity.ERROR]),
        (1, straight_through, []),
        (4, baseline, []),
        (4, quantised, []),
        (4, lambda m, b: (lambda z: (F.relu(1 - z) * (z > -1)).mean())(m(b["x"])), []),
    ],
)
def test_non_differentiable_loss(outputs, loss, expected):
    assert findings("non-differentiable-loss", net(outputs), loss) == expected


def penalised(factor):
    return lambda m, b: F.cross_entropy(m(b["x"]), learnable(b)) + factor * sum(p.pow(2).sum() for p in m.parameters())


def two_tasks(scale, weight=1.0):
    def loss(m, b):
        z = m(b["x"])
        return F.mse_loss(z[:, 3], scale * b["r"]) + weight * F.cross_entropy(z[:, :3], b["y"] % 3)

    return loss


class Narrow(nn.Module):
    """Two heads on one narrow trunk, so that a task that does not get the trunk cannot be learnt."""

    def __init__(self):
        super().__init__()
        self.trunk, self.heads = nn.Sequential(nn.Linear(6, 2), nn.Tanh()), nn.Linear(2, 4)

    def forward(self, x):
        return self.heads(self.trunk(x))


@pytest.mark.parametrize(
    ("model", "loss", "expected"),
    [
        (net, penalised(1.0), [Severity.WARNING]),
        (net, penalised(1e-4), []),
        (net, penalised(1e-2), []),
        (Narrow, two_tasks(1.0), []),
        (Narrow, two_tasks(1e4, 0.01), []),  # a small factor of its own: on purpose
    ],
)
def test_loss_term_dwarfed(model, loss, expected):
    assert findings("loss-term-dwarfed", model(), loss) == expected


# ---- theory for losses written by hand, and for sums


@pytest.mark.parametrize(
    ("outputs", "loss", "kind", "neutral"),
    [
        (4, by_gather, "softmax", math.log(4)),
        (4, by_logsumexp, "softmax", math.log(4)),
        (4, logistic, "sigmoid", math.log(2)),
        (1, squared, "squared", float(data()["r"].square().mean())),
    ],
)
def test_theory_holds_for_losses_written_by_hand(outputs, loss, kind, neutral):
    found = theory_of(Step(net(outputs), data(), loss))
    assert not isinstance(found, str)
    _, theory = found
    assert (theory.kind, theory.neutral) == (kind, pytest.approx(neutral, rel=1e-4))


def test_a_wild_start_is_found_in_a_sum_and_by_hand():
    model, wide = net(4), net(5)
    for made in (model, wide):
        nn.init.normal_(made[2].weight, std=20)
    assert findings("loss-at-init", model, by_index) == [Severity.WARNING]

    def both(m, b):
        z = m(b["x"])
        return F.cross_entropy(z[:, :4], b["y"]) + 1e-3 * F.mse_loss(z[:, 4], b["r"])

    assert Severity.WARNING in findings("loss-at-init", wide, both)
    assert findings("loss-at-init", net(5), both) == []


def test_a_loss_written_by_hand_is_learnt_down_to_its_floor():
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 4))
    [answer] = ask(CHECKS["overfit-one-batch"], Step(model, data(), by_one_hot, adam(model)))
    assert answer.verdict is Verdict.PASS
    assert "near its floor" in answer.ruling.says


# ---- loss objects that were built and forgotten


@pytest.mark.parametrize(
    ("source", "bound"),
    [
        ("a = CrossEntropyLoss(w)\nloss = cross_entropy(x, y)\n", "never read"),
        ("a = CrossEntropyLoss(w)\na = CrossEntropyLoss()\nloss = a(x, y)\n", "overwritten"),
        ("a = CrossEntropyLoss(w)\nloss = a(x, y)\n", "read"),
        ("self.a = CrossEntropyLoss(w)\nprint(other.b)\n", "never read"),
        ("self.a = CrossEntropyLoss(w)\nmodel.a(x, y)\n", "read"),
        ("use(CrossEntropyLoss(w))\n", ""),
        ("a = b = CrossEntropyLoss(w)\n", ""),
    ],
)
def test_what_becomes_of_a_name(tmp_path, source, bound):
    file = tmp_path / "train.py"
    file.write_text(source)
    assert criteria._bound(str(file), 1) == bound


def test_settings_of_a_loss_object():
    even, uneven_ = torch.ones(3), torch.tensor([1.0, 2.0, 3.0])
    assert criteria._settings(nn.CrossEntropyLoss()) == {}
    assert criteria._settings(nn.CrossEntropyLoss(weight=even)) == {}
    assert set(criteria._settings(nn.CrossEntropyLoss(weight=uneven_, ignore_index=0))) == {"weight", "ignore_index"}
    assert set(criteria._settings(nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0)))) == {"pos_weight"}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, Verdict.FINDING),
        ({"bound": "overwritten"}, Verdict.FINDING),
        ({"called": True}, Verdict.PASS),
        ({"bound": "read"}, Verdict.UNSURE),  # it may be for a later phase
        ({"steps_since": 2}, Verdict.UNSURE),
        ({"function": "nll_loss"}, Verdict.UNSURE),  # no such loss is used instead
    ],
)
def test_unused_criterion(change, verdict):
    made = Criterion("CrossEntropyLoss", "cross_entropy", {"weight": "[1.0, 2.0]"}, None, False, "never read", 30)
    run = Run(criteria=[dataclasses.replace(made, **change)], loss_uses=[LossUse("cross_entropy", [], None)])
    [answer] = ask(CHECKS["unused-criterion"], run)
    assert answer.verdict is verdict


def test_a_weighted_loss_used_elsewhere_is_no_forgotten_one():
    made = Criterion("CrossEntropyLoss", "cross_entropy", {"weight": "[1.0, 2.0]"}, None, False, "never read", 30)
    run = Run(criteria=[made], loss_uses=[LossUse("cross_entropy", ["weight"], None)])
    [answer] = ask(CHECKS["unused-criterion"], run)
    assert answer.verdict is Verdict.UNSURE


# ---- advantage-attached


class TwoHeads(nn.Module):
    """A shared trunk with a head for the policy and one for the values."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.policy, self.value = nn.Linear(4, 16), nn.Linear(16, 3), nn.Linear(16, 1)

    def forward(self, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.tanh(self.trunk(state))
        return F.log_softmax(self.policy(hidden), -1), self.value(hidden)[:, 0]


def played(kind: str) -> Step:
    torch.manual_seed(1)
    batch = torch.randn(32, 4), torch.randint(0, 3, (32,)), torch.randn(32)

    def loss(model: nn.Module, given: Any) -> torch.Tensor:
        state, action, pay = given
        chances, values = model(state)
        chance = chances.gather(1, action[:, None])[:, 0]
        advantage = pay - (values.detach() if kind == "detached" else values)
        if kind == "standardised":
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        fit = F.mse_loss(values, pay) if kind != "squared" else (pay - values).pow(2).mean()
        gain = chance * advantage
        if kind == "clipped":
            ratio = (chance - chance.detach()).exp()
            gain = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        if kind == "uncertainty":  # the second factor is an error, not an advantage
            gain = chance * (pay - values).abs()
        if kind == "climbs the critic":
            gain = values - chance
        return -gain.mean() + (0.0 if kind == "climbs the critic" else 0.5) * fit

    model = TwoHeads()
    return Step(model, batch, loss, torch.optim.Adam(model.parameters()))


@pytest.mark.parametrize("kind", ["plain", "standardised", "squared", "clipped"])
def test_an_advantage_that_is_not_detached_is_found(kind: str) -> None:
    found = list(ask(CHECKS["advantage-attached"], played(kind)))
    assert {f.severity for f in found} == {Severity.WARNING}


@pytest.mark.parametrize("kind", ["detached", "uncertainty", "climbs the critic"])
def test_other_products_of_heads_are_left_alone(kind: str) -> None:
    assert {f.verdict for f in ask(CHECKS["advantage-attached"], played(kind))} == {Verdict.SKIP}
