"""The checks of loss and head: variants of each fault are found, their look-alikes are not, on real steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainrecipe.check import built_in
from trainrecipe.exam import ask
from trainrecipe.finding import Severity, Verdict
from trainrecipe.subjects import origins
from trainrecipe.subjects.step import Step

N = 32
LOUD = (Severity.ERROR, Severity.WARNING)
CHECKS = {check.id: check for check in built_in()}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def net(outputs=4, *after):
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, outputs), *after)


def data():
    g = torch.Generator().manual_seed(1)
    return {
        "x": torch.randn(N, 6, generator=g),
        "y": torch.randint(0, 4, (N,), generator=g),
        "r": 3 * torch.randn(N, generator=g),
        "p": torch.randn(N, 4, generator=g).softmax(1),
        "xs": torch.randn(8, 4, 6, generator=g),
        "ys": torch.randint(0, 4, (8, 4), generator=g),
    }


def findings(check, model, loss):
    step = Step(model, data(), loss)
    answers = list(ask(CHECKS[check], step))
    assert answers
    assert not any("the check itself failed" in f.ruling.says for f in answers), [f.ruling.says for f in answers]
    return [f for f in answers if f.verdict is Verdict.FINDING and f.severity in LOUD]


def ce(m, b):
    return F.cross_entropy(m(b["x"]), b["y"])


def nll(m, b):
    return F.nll_loss(m(b["x"]), b["y"])


def bce(m, b):
    return F.binary_cross_entropy_with_logits(m(b["x"]).squeeze(1), (b["r"] > 0).float())


def mse(m, b):
    return F.mse_loss(m(b["x"]).squeeze(1), b["r"])


def kl(first, second, **options):
    return lambda m, b: F.kl_div(first(m(b["x"]), b["p"]), second(m(b["x"]), b["p"]), reduction="batchmean", **options)


def softmax_by_hand(m, b):
    e = m(b["x"]).exp()
    return F.cross_entropy(e / e.sum(1, keepdim=True), b["y"])


def sequence(change):
    return lambda m, b: F.cross_entropy(change(m(b["xs"])), b["ys"])


def pick(axis, how):
    def loss(m, b):
        logp = m(b["x"]).log_softmax(axis)
        if how == "gather":
            return -logp.gather(1, b["y"][:, None]).mean()
        if how == "index":
            return -logp[torch.arange(N), b["y"]].mean()
        return -(F.one_hot(b["y"], 4).float() * logp).sum(1).mean()

    return loss


def both_directions(m, b):
    z = F.normalize(m(b["x"]))
    scores, own = z @ z.flip(1).T, torch.arange(N)
    by_hand = scores.log_softmax(0)[own, own].mean() + scores.log_softmax(1).diag().mean()
    return F.cross_entropy(scores.T, own) - by_hand


def density(m, b):
    means = torch.arange(4.0)
    return F.nll_loss(-((m(b["x"]) - means) ** 2) / 0.02 - torch.log(torch.tensor(0.1)), b["y"])


def masked(m, b):
    target = torch.where(b["r"] > 0, torch.sigmoid(b["r"]), torch.tensor(-1.0))
    return (F.mse_loss(m(b["x"]).squeeze(1), target, reduction="none") * (b["r"] > 0)).mean()


def energy_distance(m, b):
    p, t = m(b["x"]).squeeze(1), b["r"]
    return 2 * (p[:, None] - t).abs().mean() - (p[:, None] - p).abs().mean() - (t[:, None] - t).abs().mean()


def distances_by_hand(m, b):
    z = m(b["x"])
    return (-((z**2).sum(1, keepdim=True) + (z**2).sum(1) - 2 * z @ z.T)).exp().mean()


def cox(m, b):
    h = m(b["x"]).squeeze(1)
    return -(h - ((b["r"][:, None] <= b["r"]).float() * h.exp()).sum(1).log()).mean()


def ppo(m, b):
    ratio = m(b["x"]).squeeze(1).exp()
    return -torch.min(ratio * b["r"], ratio.clamp(0.8, 1.2) * b["r"]).mean()


def ppo_value(m, b):
    v, old = m(b["x"]).squeeze(1), b["r"] + 1
    return torch.max((v - b["r"]) ** 2, (old + (v - old).clamp(-0.2, 0.2) - b["r"]) ** 2).mean()


class Scaled(nn.Module):
    """Logits with a learned scale that is clamped from above."""

    def __init__(self):
        super().__init__()
        self.body, self.scale = net(), nn.Parameter(torch.tensor(5.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) * self.scale.exp().clamp(max=100)


class Bag(nn.Module):
    """Attention pooling over the examples of one bag."""

    def __init__(self):
        super().__init__()
        self.weigh, self.out = nn.Linear(6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.out((self.weigh(x).softmax(0) * x).sum(0, keepdim=True))


class Inside(nn.Module):
    """A model that computes its own loss, in the way of Transformers."""

    def __init__(self):
        super().__init__()
        self.body, self.criterion = net(), nn.CrossEntropyLoss()

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        p = F.softmax(self.body(x), -1)
        return {"loss": self.criterion(p.view(-1, 4), y.view(-1)), "probabilities": p}


FAULTS = {
    "softmax-before-cross-entropy": [
        (net(4, nn.Softmax(1)), ce),
        (net(4, nn.Sigmoid()), ce),
        (net(), softmax_by_hand),
        (net(), lambda m, b: F.cross_entropy(1 / (1 + torch.exp(-m(b["x"]))), b["y"])),
        (net(), lambda m, b: F.cross_entropy(m(b["x"]).softmax(1).clamp(1e-6, 1), b["y"])),
        (net(), lambda m, b: F.cross_entropy(m(b["x"]).sigmoid_(), b["y"])),
        (Inside(), lambda m, b: m(b["x"], b["y"])["loss"]),
    ],
    "sigmoid-before-bce-logits": [
        (net(1, nn.Sigmoid()), bce),
        (net(1), lambda m, b: F.binary_cross_entropy_with_logits(1 / (1 + (-m(b["x"])).exp()), torch.ones(N, 1))),
        (net(4, nn.Softmax(1)), lambda m, b: F.binary_cross_entropy_with_logits(m(b["x"]), b["p"].round())),
    ],
    "log-probabilities-expected": [
        (net(), nll),
        (net(4, nn.Softmax(1)), nll),
        (net(), kl(lambda z, p: z.softmax(1), lambda z, p: p)),
        (net(), kl(lambda z, p: z, lambda z, p: p)),
        (net(), kl(lambda z, p: p, lambda z, p: z.log_softmax(1))),
        (net(), kl(lambda z, p: z.log_softmax(1), lambda z, p: p.log())),
        (net(), kl(lambda z, p: z.log_softmax(1), lambda z, p: p, log_target=True)),
    ],
    "clipped-logits": [
        (net(4, nn.ReLU()), ce),
        (net(4, nn.ReLU(inplace=True)), ce),
        (net(4, nn.ReLU(), nn.Dropout(0.2)), ce),
        (net(4, nn.Tanh()), ce),
        (net(), lambda m, b: F.cross_entropy(m(b["x"]).clamp(min=0), b["y"])),
        (net(1, nn.ReLU()), bce),
        (net(1, nn.Softplus()), bce),
    ],
    "bounded-head": [
        (net(1, nn.Tanh()), mse),
        (net(1, nn.ReLU()), mse),
        (net(1, nn.Sigmoid()), lambda m, b: ((b["r"] - m(b["x"]).squeeze(1)) ** 2).mean()),
        (net(1, nn.Tanh()), lambda m, b: F.smooth_l1_loss(m(b["x"]).squeeze(1) * 10 + 50, 10 * b["r"] + 50)),
        (net(4, nn.Softmax(1)), lambda m, b: F.l1_loss(m(b["x"]), b["x"][:, :4])),
    ],
    "wrong-class-dimension": [
        (net(4, nn.LogSoftmax(0)), nll),
        (net(4, nn.LogSoftmax(0)), ce),
        (net(), sequence(lambda z: z)),
        (net(), lambda m, b: F.cross_entropy(m(b["xs"]), m(b["xs"]).detach().softmax(2))),
        (net(), kl(lambda z, p: z.log_softmax(0), lambda z, p: p)),
        (net(), lambda m, b: F.mse_loss(m(b["x"]).softmax(0), F.one_hot(b["y"], 4).float())),
        *((net(), pick(0, how)) for how in ("gather", "index", "one-hot")),
    ],
    "one-unit-softmax": [
        (net(1, nn.Softmax(1)), lambda m, b: F.binary_cross_entropy(m(b["x"]).squeeze(1), (b["r"] > 0).float())),
        (net(1), lambda m, b: F.cross_entropy(m(b["x"]), (b["r"] > 0).float()[:, None])),
        (net(1, nn.Softmax(-1)), lambda m, b: ((m(b["x"]) - b["r"][:, None]) ** 2).mean()),
    ],
    "broadcast-loss": [
        (net(1), lambda m, b: F.mse_loss(m(b["x"]), b["r"])),
        (net(1), lambda m, b: ((m(b["x"]) - b["r"]) ** 2).mean()),
        (net(1), lambda m, b: (b["r"].view(-1, 1) - m(b["x"]).squeeze(1)).abs().mean()),
        (net(1), lambda m, b: F.gaussian_nll_loss(m(b["x"]), b["r"], torch.ones(N))),
        (net(), lambda m, b: (F.cross_entropy(m(b["x"]), b["y"], reduction="none") * b["x"][:, :1].abs()).mean()),
    ],
    "clip-loss": [
        (net(1), lambda m, b: mse(m, b).clamp(max=1)),
        (net(1), lambda m, b: torch.minimum(torch.tensor(1.0), mse(m, b)) / 4),
        (net(1), lambda m, b: ((m(b["x"]).squeeze(1) - b["r"]) ** 2).mean().clamp_(0, 1)),
        (net(1), lambda m, b: m(b["x"]).mean() + 0.5 * mse(m, b).clamp(max=1)),
        (net(1), lambda m, b: (m(b["x"]).squeeze(1) - b["r"]).clamp(-1, 1).pow(2).mean()),
    ],
}
LOOK_ALIKES = {
    "softmax-before-cross-entropy": [
        (net(), ce),
        (net(4, nn.LogSoftmax(1)), ce),
        (net(), lambda m, b: F.cross_entropy(m(b["x"]).softmax(1).log(), b["y"])),
        (net(), lambda m, b: F.cross_entropy(m(b["x"]).softmax(1) / 0.07, b["y"])),
        (net(), lambda m, b: F.cross_entropy(m(b["x"]), b["p"])),
        (net(), both_directions),
    ],
    "sigmoid-before-bce-logits": [
        (net(1), bce),
        (net(1), lambda m, b: F.binary_cross_entropy_with_logits(20 * (m(b["x"]).sigmoid() - 0.5), torch.ones(N, 1))),
        (net(1), lambda m, b: bce(m, b) * m(b["x"]).sigmoid().mean()),
    ],
    "log-probabilities-expected": [
        (net(4, nn.LogSoftmax(1)), nll),
        (net(), density),
        (net(8), lambda m, b: F.nll_loss(m(b["x"]).log_softmax(1)[:, :4], b["y"])),
        (net(), kl(lambda z, p: z.log_softmax(1), lambda z, p: p)),
        (net(), kl(lambda z, p: p.log(), lambda z, p: z.softmax(1))),
    ],
    "clipped-logits": [
        (net(), ce),
        (net(4, nn.LeakyReLU()), ce),
        (net(), lambda m, b: F.cross_entropy(30 * torch.tanh(m(b["x"]) / 30), b["y"])),
        (net(), lambda m, b: F.cross_entropy(m(b["x"]).clamp(-20, 20), b["y"])),
        (net(1), bce),
    ],
    "bounded-head": [
        (net(1), mse),
        (net(1, nn.Softplus()), lambda m, b: F.mse_loss(m(b["x"]).squeeze(1), b["r"].abs())),
        (net(1, nn.Tanh()), lambda m, b: F.mse_loss(m(b["x"]).squeeze(1) * 12, b["r"])),
        (net(1, nn.Tanh()), lambda m, b: F.mse_loss(b["r"] + m(b["x"]).squeeze(1), b["r"] * 2)),
        (net(4, nn.Softmax(1)), lambda m, b: F.mse_loss(m(b["x"]), F.one_hot(b["y"], 4).float())),
        (net(1, nn.Sigmoid()), masked),
    ],
    "wrong-class-dimension": [
        (net(4, nn.LogSoftmax(1)), nll),
        (net(), sequence(lambda z: z.transpose(1, 2))),
        (net(), lambda m, b: F.cross_entropy(m(b["xs"]).view(-1, 4), b["ys"].view(-1))),
        (net(2), lambda m, b: F.cross_entropy(m(b["xs"]), b["ys"][:, :2])),
        (net(), lambda m, b: F.cross_entropy(m(b["xs"]), torch.rand(8, 4).argsort(1))),
        (net(), both_directions),
        (Bag(), lambda m, b: F.cross_entropy(m(b["x"]), b["y"][:1])),
        (net(1), lambda m, b: F.kl_div(m(b["x"]).squeeze(1).log_softmax(0), b["r"].softmax(0), reduction="sum")),
        *((net(), pick(1, how)) for how in ("gather", "index", "one-hot")),
    ],
    "one-unit-softmax": [
        (net(2, nn.Softmax(1)), lambda m, b: F.binary_cross_entropy(m(b["x"])[:, 0], (b["r"] > 0).float())),
        (Bag(), lambda m, b: F.cross_entropy(m(b["x"][:1]), b["y"][:1])),
        (net(), lambda m, b: F.cross_entropy(m(b["x"][:1]) @ m(b["x"][:1]).T, torch.zeros(1).long())),
    ],
    "broadcast-loss": [
        (net(1), mse),
        (net(1), energy_distance),
        (net(8), distances_by_hand),
        (net(1), cox),
        (net(1), lambda m, b: ((m(b["x"]) - torch.linspace(-1, 1, N)) ** 2).mean()),
        (net(4), lambda m, b: (b["x"][:, None, :4] - m(b["x"])[:, :, None]).abs().mean()),
        (net(), both_directions),
    ],
    "clip-loss": [
        (net(1), mse),
        (net(1), lambda m, b: mse(m, b).clamp(max=1e4)),
        (net(1), lambda m, b: mse(m, b).clamp(min=1)),
        (net(1), lambda m, b: -(m(b["x"]) - 1).clamp(max=0).mean()),
        (net(1), lambda m, b: (m(b["x"]).squeeze(1) * b["r"] - 1).clamp(max=0).pow(2).mean()),
        (net(1), ppo),
        (net(1), ppo_value),
        (Scaled(), ce),
    ],
}


def cases(table):
    return [pytest.param(c, *case, id=f"{c}-{i}") for c, listed in table.items() for i, case in enumerate(listed)]


@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.parametrize(("check", "model", "loss"), cases(FAULTS))
def test_each_variant_of_a_fault_is_found_with_its_line(check, model, loss):
    found = findings(check, model, loss)
    assert found
    assert found[0].place is not None
    assert found[0].ruling.observed


@pytest.mark.parametrize(("check", "model", "loss"), cases(LOOK_ALIKES))
def test_look_alikes_are_silent(check, model, loss):
    assert not findings(check, model, loss)


@pytest.mark.parametrize(
    ("after", "low", "high"),
    [
        (torch.sigmoid, 0, 1),
        (lambda z: 1 / (1 + torch.exp(-z)), 0, 1),
        (lambda z: 5 * torch.tanh(z) - 2, -7, 3),
        (lambda z: torch.relu(z).clamp(max=4), 0, 4),
        (lambda z: F.softplus(z) + 1, 1, float("inf")),
        (lambda z: z * torch.sigmoid(z), float("-inf"), float("inf")),
        (lambda z: torch.cat([torch.tanh(z), torch.sigmoid(z)]), -1, 1),
    ],
)
def test_bounds_hold_for_all_inputs_and_are_tight(after, low, high):
    step = Step(net(1), data(), lambda m, b: after(m(b["x"])).mean())
    mean = step.tape.ops[-1]
    assert origins.bounds(step, mean.inputs[0], mean.index) == pytest.approx((low, high))
    wide = after(torch.linspace(-30, 30, 101))
    assert low - 1e-6 <= float(wide.min())
    assert float(wide.max()) <= high + 1e-6
