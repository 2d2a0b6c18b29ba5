"""The checks of initialisation and the experiments on a twin: faults are found, look-alikes are not reported."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainrecipe.check import built_in
from trainrecipe.exam import ask
from trainrecipe.finding import Finding, Severity, Verdict
from trainrecipe.picture import Picture
from trainrecipe.subjects.step import Step
from trainrecipe.subjects.theory import Theory, theory_of

CHECKS = {c.id: c for c in built_in()}


def answer(name: str, step: Step) -> Finding:
    (found,) = ask(CHECKS[name], step)
    assert "itself failed" not in found.ruling.says, found.ruling.says
    return found


def alarmed(name: str, step: Step) -> bool:
    found = answer(name, step)
    return found.severity in (Severity.ERROR, Severity.WARNING)


def rows(n: int = 32, features: int = 16, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    centres = 2 * torch.randn(classes, features)
    labels = torch.randint(0, classes, (n,))
    return centres[labels] + torch.randn(n, features), labels


def mlp(features: int = 16, width: int = 32, outputs: int = 4, seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


def classify(model: nn.Module, batch: Any, **options: Any) -> Step:
    def loss(m: nn.Module, b: Any) -> torch.Tensor:
        return F.cross_entropy(m(b[0]), b[1], **options)

    return Step(model, batch, loss, torch.optim.Adam(model.parameters(), 1e-3))


def regress(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer | None = None) -> Step:
    def loss(m: nn.Module, b: Any) -> torch.Tensor:
        return F.mse_loss(m(b[0]), b[1])

    return Step(model, batch, loss, optimizer or torch.optim.Adam(model.parameters(), 1e-3))


def theory(step: Step) -> Theory:
    found = theory_of(step)
    assert not isinstance(found, str), found
    return found[1]


# ---- theory


def test_theory_of_cross_entropy_is_ln_c_and_the_label_entropy() -> None:
    x, _ = rows(30)
    labels = torch.tensor([0] * 15 + [1] * 10 + [2] * 5)
    t = theory(classify(mlp(), (x, labels)))
    assert t.neutral == pytest.approx(math.log(4))
    entropy = -sum(p * math.log(p) for p in (1 / 2, 1 / 3, 1 / 6))
    assert t.prior == pytest.approx(entropy, abs=1e-6)
    assert t.floor == pytest.approx(0, abs=1e-6)


def test_theory_does_not_depend_on_reduction_or_a_factor() -> None:
    x, y = rows()
    model = mlp()
    plain = theory(classify(model, (x, y)))
    summed = theory(Step(model, (x, y), lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="sum") / 8))
    none = theory(Step(model, (x, y), lambda m, b: F.cross_entropy(m(b[0]), b[1], reduction="none").mean()))
    assert plain.measured == pytest.approx(summed.measured) == pytest.approx(none.measured)
    assert summed.factor == pytest.approx(4.0, rel=1e-4)


def test_floor_with_label_smoothing_is_the_entropy_of_the_smoothed_labels() -> None:
    t = theory(classify(mlp(), rows(), label_smoothing=0.1))
    high, low = 1 - 0.1 + 0.1 / 4, 0.1 / 4
    assert t.floor == pytest.approx(-high * math.log(high) - 3 * low * math.log(low), rel=1e-6)


def test_floor_with_contradictory_duplicates_is_their_entropy() -> None:
    x = torch.randn(4, 16).repeat(2, 1)
    t = theory(classify(mlp(), (x, torch.tensor([0, 1, 2, 3, 0, 1, 2, 0]))))
    assert t.floor == pytest.approx(2 * math.log(2) / 8, rel=1e-5)


def test_best_weighted_constant_beats_every_shift_of_it() -> None:
    x, y = rows(64)
    weight = torch.tensor([1.0, 5.0, 0.5, 2.0])
    step = classify(mlp(), (x, y), weight=weight, label_smoothing=0.05)
    best = theory(step).prior
    assert best is not None
    torch.manual_seed(0)
    for _ in range(50):
        logits = torch.randn(4, dtype=torch.double).expand(64, 4)
        assert best <= float(F.cross_entropy(logits, y, weight=weight.double(), label_smoothing=0.05)) + 1e-6


def test_best_constant_with_pos_weight_beats_its_neighbours() -> None:
    x, _ = rows(64)
    y = (torch.arange(64) % 8 == 0).float().unsqueeze(1)
    pos = torch.tensor([4.0])
    model = mlp(outputs=1)
    step = Step(model, (x, y), lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1], pos_weight=pos))
    best = theory(step).prior
    assert best is not None
    for logit in torch.linspace(-4, 4, 81, dtype=torch.double):
        value = F.binary_cross_entropy_with_logits(logit.expand(64, 1), y.double(), pos_weight=pos.double())
        assert best <= float(value) + 1e-9


@pytest.mark.parametrize("loss", [F.mse_loss, F.l1_loss])
def test_best_constant_of_a_regression_is_mean_or_median(loss: Any) -> None:
    x, _ = rows(31)
    y = torch.randn(31, 1).exp()
    t = theory(Step(mlp(outputs=1), (x, y), lambda m, b: loss(m(b[0]), b[1])))
    for level in torch.linspace(float(y.min()), float(y.max()), 60):
        assert t.prior is not None
        assert t.prior <= float(loss(level.expand_as(y), y)) + 1e-6


def test_no_theory_for_sums_and_hand_written_losses() -> None:
    x, y = rows()
    for loss in (
        lambda m, b: F.cross_entropy(m(b[0]), b[1]) + 1e-3 * m[0].weight.square().sum(),
        lambda m, b: (m(b[0]) ** 2).mean(),
    ):
        assert isinstance(theory_of(Step(mlp(), (x, y), loss)), str)


# ---- loss at init


def test_large_output_layer_is_named() -> None:
    model = mlp()
    nn.init.normal_(model[4].weight, std=20.0)
    found = answer("loss-at-init", classify(model, rows()))
    assert found.severity is Severity.WARNING
    assert "4.weight" in found.ruling.observed


def test_he_initialisation_is_no_alarm() -> None:
    model = mlp(width=128)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    assert not alarmed("loss-at-init", classify(model, rows()))


def test_scaled_cosines_with_margin_are_large_by_design() -> None:
    class Cosine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(16, 8)
            self.centres = nn.Parameter(torch.randn(50, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 64 * F.linear(F.normalize(self.body(x), dim=1), F.normalize(self.centres, dim=1))

    torch.manual_seed(0)
    found = answer("loss-at-init", classify(Cosine(), rows(classes=50)))
    assert found.evidence["measured"] > 4 * math.log(50)
    assert found.verdict is Verdict.PASS


def test_a_step_that_is_not_the_first_is_skipped() -> None:
    step = classify(mlp(), rows())
    step.first = False
    assert answer("loss-at-init", step).verdict is Verdict.SKIP


# ---- scale of the weights


def test_unit_normal_weights_are_found_and_explained_by_the_loss() -> None:
    model = mlp(width=64)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
    assert alarmed("init-scale", classify(model, rows()))


def test_unit_normal_weights_in_front_of_batch_norm_do_no_harm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    nn.init.normal_(model[0].weight)
    assert answer("init-scale", classify(model, rows())).verdict is Verdict.PASS


def test_embeddings_have_no_fan_in() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(50, 64), nn.Flatten(), nn.Linear(64 * 3, 4))
    batch = (torch.randint(0, 50, (32, 3)), torch.randint(0, 4, (32,)))
    assert answer("init-scale", classify(model, batch)).verdict is Verdict.PASS


# ---- symmetry


@pytest.mark.parametrize("value", [0.0, 0.05])
def test_constant_hidden_weights_are_locked(value: float) -> None:
    model = mlp()
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.weight, value)
            nn.init.zeros_(layer.bias)
    assert answer("symmetric-init", classify(model, rows())).severity is Severity.ERROR


def test_constant_convolutions_are_locked() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    nn.init.constant_(model[0].weight, 0.1)
    nn.init.zeros_(model[0].bias)
    nn.init.constant_(model[4].weight, 0.1)
    assert alarmed("symmetric-init", classify(model, (torch.randn(16, 1, 8, 8), torch.randint(0, 4, (16,)))))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 24), nn.Linear(24, 24)
        self.gate = nn.Linear(24, 24)
        self.head = nn.Linear(24, 4)
        for layer in (self.down, self.gate, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        h = h + self.down(torch.relu(self.up(h)))
        return self.head(h + self.gate(h) * torch.tanh(h))


class Lora(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(16, 4)
        self.base.requires_grad_(False)
        self.a, self.b = nn.Parameter(torch.randn(3, 16) / 4), nn.Parameter(torch.zeros(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


@pytest.mark.parametrize("model", [Residual, Lora])
def test_zeros_that_part_are_no_fault(model: Any) -> None:
    torch.manual_seed(0)
    assert answer("symmetric-init", classify(model(), rows())).verdict is Verdict.PASS


# ---- input-independent baseline


class Blind(nn.Module):
    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = keep
        self.body, self.head = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(x * self.keep)))


def test_a_net_that_does_not_see_its_input() -> None:
    torch.manual_seed(0)
    assert answer("input-independent-baseline", classify(Blind(0.0), rows())).severity is Severity.ERROR
    assert answer("input-independent-baseline", classify(Blind(1.0), rows())).verdict is Verdict.PASS


def test_a_dead_bottleneck_does_not_see_its_input() -> None:
    model = mlp()
    nn.init.constant_(model[2].bias, -100.0)
    assert alarmed("input-independent-baseline", classify(model, rows()))


def test_zero_initialised_head_sees_its_input_after_a_step() -> None:
    torch.manual_seed(0)
    assert answer("input-independent-baseline", classify(Residual(), rows())).verdict is Verdict.PASS


# ---- overfitting one batch


class Bounded(nn.Module):
    def __init__(self, bound: Any) -> None:
        super().__init__()
        self.body, self.bound = mlp(width=64), bound

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bound(self.body(x))


@pytest.mark.parametrize("bound", [torch.tanh, torch.sigmoid, lambda z: F.normalize(z, dim=1)])
def test_bounded_logits_are_named(bound: Any) -> None:
    found = answer("overfit-one-batch", classify(Bounded(bound), rows()))
    assert found.severity is Severity.WARNING
    assert "confined" in found.ruling.says


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"weight": torch.tensor([1.0, 5.0, 1.0, 1.0])}])
def test_healthy_nets_reach_their_floor(options: Any) -> None:
    assert answer("overfit-one-batch", classify(mlp(), rows(), **options)).verdict is Verdict.PASS


def test_labels_stand_next_to_what_is_predicted_at_the_end() -> None:
    batch = rows()
    found = answer("overfit-one-batch", classify(mlp(), batch))
    assert found.evidence["labels"] == batch[1].tolist() == found.evidence["predicted"]
    assert found.picture is not None
    assert found.picture.beside is not None
    cells = found.picture.beside.content["data"]["values"]
    assert sum(c["value"] for c in cells) == len(batch[1]) == sum(c["value"] for c in cells if c["x"] == c["y"])
    assert Picture.from_json(found.picture.to_json()) == found.picture
    found = answer("overfit-one-batch", regress(mlp(outputs=1), (batch[0], batch[0][:, :1])))
    assert found.picture is not None
    assert found.picture.beside is not None
    assert found.picture.beside.title == "Label and prediction"


def test_contradictory_labels_and_dropout_are_no_fault() -> None:
    x, y = rows(16)
    batch = (x.repeat(2, 1), torch.cat([y, (y + 1) % 4]))
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 4))
    assert answer("overfit-one-batch", classify(mlp(), batch)).verdict is Verdict.PASS
    assert not alarmed("overfit-one-batch", classify(model, batch))


def test_temperature_of_a_contrastive_loss_is_no_fault() -> None:
    torch.manual_seed(0)
    model = nn.Linear(16, 8)

    def loss(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        a, b = F.normalize(m(x), dim=1), F.normalize(m(x + 0.1), dim=1)
        return F.cross_entropy(a @ b.T / 0.5, torch.arange(len(x)))

    assert not alarmed("overfit-one-batch", Step(model, torch.randn(32, 16), loss))


def test_a_small_linear_model_need_not_fit() -> None:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    assert not alarmed("overfit-one-batch", regress(model, (torch.randn(64, 2), torch.randn(64, 1))))


# ---- learning rate


def at_rate(optimizer: str, rate: float, **options: Any) -> Step:
    step = classify(mlp(), rows())
    model, batch, loss = step.given
    return Step(model, batch, loss, getattr(torch.optim, optimizer)(model.parameters(), lr=rate, **options))


@pytest.mark.parametrize(("optimizer", "rate"), [("SGD", 1e-7), ("Adam", 1e-9)])
def test_a_rate_far_too_low(optimizer: str, rate: float) -> None:
    found = answer("learning-rate-range", at_rate(optimizer, rate))
    assert found.severity is Severity.WARNING
    assert "below" in found.ruling.says


def test_a_rate_far_too_high() -> None:
    found = answer("learning-rate-range", at_rate("SGD", 1e3))
    assert found.severity is Severity.WARNING
    assert "above" in found.ruling.says


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("SGD", 0.1), ("SGD", 1e-3), ("Adam", 3e-4), ("AdamW", 2e-5), ("RMSprop", 1e-3)]
)
def test_usual_rates_pass(optimizer: str, rate: float) -> None:
    assert not alarmed("learning-rate-range", at_rate(optimizer, rate))


def test_warm_up_from_zero_is_no_fault() -> None:
    step = at_rate("SGD", 0.5)
    assert step.optimizer is not None
    torch.optim.lr_scheduler.LambdaLR(step.optimizer, lambda t: t / 1000)
    step.rates = [0.0, 0.0005, 0.001]
    assert step.peak_rate == 0.5
    assert not alarmed("learning-rate-range", step)


def test_clipping_is_taken_into_account() -> None:
    step = at_rate("SGD", 20.0)
    step.clip = ("norm", 0.01, 2.0)
    assert not alarmed("learning-rate-range", step)


# ---- bias of the output


def targets(level: float) -> tuple[torch.Tensor, torch.Tensor]:
    x, _ = rows(64)
    return x, level + 0.5 * torch.randn(64, 1)


def test_targets_far_from_zero() -> None:
    model = mlp(outputs=1)
    small = torch.optim.Adam(model.parameters(), 1e-4)
    assert answer("output-bias-at-init", regress(model, targets(50.0), small)).severity is Severity.WARNING
    assert answer("output-bias-at-init", regress(model, targets(0.0), small)).verdict is Verdict.PASS
    nn.init.constant_(model[4].bias, 50.0)
    assert answer("output-bias-at-init", regress(model, targets(50.0), small)).verdict is Verdict.PASS


def test_imbalance_is_a_note_and_balance_is_nothing() -> None:
    def step(positives: int) -> Step:
        x, _ = rows(200)
        y = (torch.arange(200) < positives).float().unsqueeze(1)
        model = mlp(outputs=1)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        return Step(model, (x, y), lambda m, b: F.binary_cross_entropy_with_logits(m(b[0]), b[1]), optimizer)

    assert answer("output-bias-at-init", step(6)).severity is Severity.NOTE
    assert answer("output-bias-at-init", step(90)).verdict is Verdict.PASS


def test_few_labels_of_many_classes_say_nothing_about_the_prior() -> None:
    step = classify(mlp(outputs=100), rows())
    assert answer("output-bias-at-init", step).verdict is Verdict.PASS


# ---- scale of the inputs


def test_raw_features_in_front_of_a_linear_layer() -> None:
    x, y = rows()
    x[:, 0] = 500 + 200 * torch.randn(32)
    assert alarmed("input-scale", classify(mlp(), (x, y)))


def test_raw_features_in_front_of_batch_norm() -> None:
    x, y = rows()
    x[:, 0] = 500 + 200 * torch.randn(32)
    model = nn.Sequential(nn.BatchNorm1d(16), *mlp())
    assert not alarmed("input-scale", classify(model, (x, y)))


def test_normalised_features_are_no_matter() -> None:
    assert answer("input-scale", classify(mlp(), rows())).verdict is Verdict.PASS
