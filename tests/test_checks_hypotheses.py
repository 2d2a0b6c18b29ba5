"""The experiments on a twin that test hypotheses about model, labels and gradients: faults are found, look-alikes are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function

from trainrecipe.check import built_in
from trainrecipe.exam import ask
from trainrecipe.finding import Finding, Severity, Verdict
from trainrecipe.subjects.step import Step

CHECKS = {c.id: c for c in built_in()}


def answers(name: str, step: Step) -> list[Finding]:
    found = list(ask(CHECKS[name], step))
    assert not [f.ruling.says for f in found if "itself failed" in f.ruling.says]
    return found


def alarms(name: str, step: Step) -> list[Finding]:
    return [f for f in answers(name, step) if f.severity in (Severity.ERROR, Severity.WARNING)]


def rows(n: int = 32, features: int = 16, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    centres = 2 * torch.randn(classes, features)
    labels = torch.randint(0, classes, (n,))
    return centres[labels] + torch.randn(n, features), labels


# ---- gradient-check


class Middle(nn.Module):
    """A classifier with a hand-written function in the middle."""

    def __init__(self, function: Any, *more: Any, outputs: int = 4) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(16, 24), nn.Linear(24, outputs)
        self.function, self.more = function, more
        self.gain = nn.Parameter(torch.full((24,), 1.5))

    def forward(self, x: torch.Tensor) -> Any:
        more = [self.gain if m == "gain" else m for m in self.more]
        return self.last(self.function(self.first(x), *more))


def step_with(function: Any, *more: Any) -> Step:
    model = Middle(function, *more)
    return Step(model, rows(), lambda m, b: F.cross_entropy(m(b[0]), b[1]), torch.optim.Adam(model.parameters(), 1e-3))


class Square(Function):
    factor = 2.0

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @classmethod
    def backward(cls, ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return cls.factor * x * grad


class SquareWithoutTwo(Square):
    factor = 1.0


class NegatedSquare(Square):
    factor = -2.0


class Scale(Function):
    """Written in the new style, with a wrong gradient for its second argument."""

    @staticmethod
    def forward(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        return x * gain.exp()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        x, gain = ctx.saved_tensors
        return grad * gain.exp(), (grad * x).sum(0)


class Forgetful(Scale):
    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        _, gain = ctx.saved_tensors
        return grad * gain.exp(), None


class LogCosh(Function):
    """A hand-written loss with the gradient of another one."""

    @staticmethod
    def forward(ctx: Any, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(prediction - target)
        return (prediction - target).cosh().log().mean()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (gap,) = ctx.saved_tensors
        return grad * gap / gap.numel(), None


def test_a_right_backward_passes_and_so_does_the_whole_step() -> None:
    (function, whole) = answers("gradient-check", step_with(Square.apply))
    assert function.verdict is whole.verdict is Verdict.PASS
    assert "by differences" in whole.ruling.says


@pytest.mark.parametrize("function", [SquareWithoutTwo, Scale])
def test_a_wrong_backward_is_a_warning_at_its_line(function: Any) -> None:
    (found,) = alarms("gradient-check", step_with(function.apply, *(["gain"] if function is Scale else [])))
    assert function.__name__ in found.ruling.says
    assert found.place is not None
    assert found.place.source.startswith("return")
    assert found.picture is not None
    assert ("0.5 times" in found.ruling.says) == (function is SquareWithoutTwo)
    assert ("argument 2" in found.ruling.says) == (function is Scale)


def test_a_wrong_backward_of_a_hand_written_loss_is_found() -> None:
    model = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1))
    x, y = rows()
    (found,) = alarms("gradient-check", Step(model, (x, y[:, None].float()), lambda m, b: LogCosh.apply(m(b[0]), b[1])))
    assert "LogCosh" in found.ruling.says


def test_a_wrong_sign_and_a_forgotten_argument_are_notes() -> None:
    for step in (step_with(NegatedSquare.apply), step_with(Forgetful.apply, "gain")):
        assert not alarms("gradient-check", step)
        assert Severity.NOTE in [f.severity for f in answers("gradient-check", step)]


class Lookalike(Function):
    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        return grad


class Reversal(Lookalike):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        return -0.3 * grad


class ClippedGradient(Reversal):
    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        return grad.clamp(-0.01, 0.01)


class Rounded(Lookalike):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return (x * 4).round() / 4


class Spike(Function):
    """A spiking unit with a surrogate gradient; its results are float32 whatever comes in."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return (grad / (1 + 10 * x.abs()) ** 2).to(grad.dtype)


class LowerBound(Function):
    """A bound that lets gradients through that lead back into the range, as in learnt compression."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=-0.2)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad * ((x >= -0.2) | (grad < 0))


class GuidedReLU(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad.clamp(min=0) * (x > 0)


class LeakyBackward(GuidedReLU):
    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return grad * torch.where(x > 0, 1.0, 0.1)


class NearlyGELU(Function):
    """The derivative of another approximation of the same function."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(F.gelu(x, approximate="tanh").sum(), x)
        return grad * slope


class NoisyBackward(Square):
    @classmethod
    def backward(cls, ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return 2 * x * grad + grad.norm() * torch.rand_like(grad)


class InPlace(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(x)
        x.exp_()
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:  # type: ignore[override]
        return grad * ctx.saved_tensors[0]


class SingleOnly(Square):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        if x.dtype is not torch.float32:
            raise RuntimeError("the kernel takes float32 only")
        ctx.save_for_backward(x)
        return x * x


@pytest.mark.parametrize(
    "function",
    [
        *(Reversal, ClippedGradient, Rounded, Spike, LowerBound, GuidedReLU, LeakyBackward, NearlyGELU, NoisyBackward),
        *(InPlace, SingleOnly),
    ],
)
def test_gradients_that_are_meant_to_be_others_are_no_alarm(function: Any) -> None:
    step = step_with(function.apply)
    assert not alarms("gradient-check", step)
    assert not [f for f in answers("gradient-check", step) if f.verdict is Verdict.FINDING]


def test_functions_are_left_as_they_were() -> None:
    before = {c: dict(vars(c)) for c in (Square, SquareWithoutTwo, Scale)}
    for function in (Square, SquareWithoutTwo):
        answers("gradient-check", step_with(function.apply))
    answers("gradient-check", step_with(Scale.apply, "gain"))
    assert {c: dict(vars(c)) for c in before} == before


def test_kinks_norms_and_dropout_do_not_disturb_the_whole_step() -> None:
    torch.manual_seed(0)
    conv = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.3), nn.Flatten(), nn.Linear(36, 4))
    )
    norm = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(16, 8)), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 4))
    x, y = rows()
    for model, given in ((conv, torch.randn(32, 1, 8, 8)), (norm, x)):
        (found,) = answers("gradient-check", Step(model, (given, y), lambda m, b: F.cross_entropy(m(b[0]), b[1])))
        assert found.verdict is Verdict.PASS, found.ruling.says


def test_a_stopped_gradient_inside_the_model_is_never_more_than_unsure() -> None:
    step = step_with(lambda x: x * x.norm(dim=-1, keepdim=True).detach())
    (found,) = answers("gradient-check", step)
    assert found.verdict is Verdict.UNSURE
    assert "detach" in found.ruling.says


# ---- lessons: shuffled labels, dumb baselines, labels as input, two examples


class Fourier(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("directions", torch.randn(16, 64, generator=torch.Generator().manual_seed(3)) * scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        phases = x @ self.directions
        return torch.cat([phases.sin(), phases.cos()], 1)


class Sorting(nn.Module):
    """Sorts rows by their first feature, as nets that pack sequences do, and puts them back or not."""

    def __init__(self, inner: nn.Module, back: bool) -> None:
        super().__init__()
        self.inner, self.back = inner, back

    def forward(self, x: torch.Tensor) -> Any:
        order = x[:, 0].argsort()
        out = self.inner(x[order])
        return out[order.argsort()] if self.back else out


def mlp(inputs: int = 16, outputs: int = 4) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(inputs, 48), nn.ReLU(), nn.Linear(48, outputs))


def seen(model: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]], loss: Any = F.cross_entropy) -> Step:
    """A step as it is captured from a script: several batches were seen, and the step is known to move between them."""
    steps = [Step(model, b, lambda m, b: loss(m(b[0]), b[1]), torch.optim.Adam(model.parameters(), 1e-3)) for b in batches]
    steps[0].later = [s.tape for s in steps[1:]]
    return steps[0]


def batches(count: int = 8, noise: float = 1.0, classes: int = 4, size: int = 32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    centres = 2 * torch.randn(classes, 16)
    made = []
    for _ in range(count):
        labels = torch.randint(0, classes, (size,))
        made.append((centres[labels] + noise * torch.randn(size, 16), labels))
    return made


LESSONS = ("shuffled-labels", "dumb-baselines", "label-as-input", "two-examples")


def only(name: str, step: Step) -> Finding:
    (found,) = answers(name, step)
    return found


def test_a_healthy_classifier_passes_all_of_them_with_pictures() -> None:
    step = seen(mlp(), batches())
    for name in LESSONS:
        found = only(name, step)
        assert found.verdict is Verdict.PASS, found.ruling.says
        assert found.picture is not None
    assert "with shuffled labels" in only("shuffled-labels", step).ruling.says
    assert "linear model" in only("dumb-baselines", step).ruling.says


def test_a_regression_and_a_binary_task_pass() -> None:
    torch.manual_seed(0)
    weights = torch.randn(16, 1)
    given = [(x, x @ weights) for x, _ in batches()]
    for step in (
        seen(mlp(outputs=1), given, F.mse_loss),
        seen(mlp(outputs=1), [(x, (y > 0).float()) for x, y in given], F.binary_cross_entropy_with_logits),
    ):
        for name in LESSONS:
            assert only(name, step).verdict in (Verdict.PASS, Verdict.UNSURE)
    assert only("shuffled-labels", seen(mlp(outputs=1), given, F.mse_loss)).verdict is Verdict.PASS


def test_targets_far_from_zero_do_not_make_an_untaught_net_look_fitted() -> None:
    torch.manual_seed(0)
    weights = torch.randn(16, 1)
    model = mlp(outputs=1)
    nn.init.constant_(model[2].bias, 50.0)
    step = seen(model, [(x, 50 + 0.2 * x @ weights) for x, _ in batches()], F.mse_loss)
    found = only("shuffled-labels", step)
    assert found.verdict in (Verdict.PASS, Verdict.UNSURE), found.ruling.says
    assert found.evidence["steps"] > 10


def test_features_that_only_allow_learning_by_heart_are_found() -> None:
    wide = nn.Sequential(Fourier(30.0), mlp(128))
    found = only("shuffled-labels", seen(wide, batches()))
    assert found.severity is Severity.NOTE
    assert "by heart" in found.ruling.says
    assert only("shuffled-labels", seen(nn.Sequential(Fourier(0.1), mlp(128)), batches())).verdict is Verdict.PASS


def test_random_labels_and_an_untrainable_net_are_unsure() -> None:
    torch.manual_seed(5)
    random = [(x, torch.randint(0, 4, (32,))) for x, _ in batches()]
    assert only("shuffled-labels", seen(mlp(), random)).verdict is Verdict.UNSURE
    dead = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    nn.init.constant_(dead[0].bias, -1e3)
    assert only("shuffled-labels", seen(dead, batches())).verdict is Verdict.UNSURE


def test_rows_that_change_places_in_the_model_are_an_error_where_they_do() -> None:
    found = only("label-as-input", seen(Sorting(mlp(), back=False), batches()))
    assert found.severity is Severity.ERROR
    assert found.place is not None
    assert found.place.function == "forward"
    assert "order" in found.place.source
    assert only("label-as-input", seen(Sorting(mlp(), back=True), batches())).verdict is Verdict.PASS


def test_labels_that_were_put_into_the_same_order_are_no_fault() -> None:
    reordered = [(x, y[x[:, 0].argsort()]) for x, y in batches()]
    assert only("label-as-input", seen(Sorting(mlp(), back=False), reordered)).verdict is Verdict.PASS


def test_the_order_of_rows_cannot_be_told_for_random_labels() -> None:
    torch.manual_seed(5)
    random = [(x, torch.randint(0, 4, (32,))) for x, _ in batches(4)]
    assert only("label-as-input", seen(Sorting(mlp(), back=False), random)).verdict is Verdict.UNSURE


def test_tokens_convolutions_and_recurrent_nets_can_be_asked() -> None:
    torch.manual_seed(2)

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(30, 16), nn.Linear(16, 3)

        def forward(self, tokens: torch.Tensor) -> Any:
            return self.head(self.embedding(tokens).mean(1))

    words = [(torch.randint(0, 10, (32, 6)) + 10 * y[:, None], y) for y in (torch.randint(0, 3, (32,)) for _ in range(6))]
    assert only("shuffled-labels", seen(Words(), words)).verdict in (Verdict.PASS, Verdict.UNSURE)
    assert "real numbers" in only("label-as-input", seen(Words(), words)).ruling.says
    apart = [(tokens // (1 + k % 3), y) for k, (tokens, y) in enumerate(words)]  # other words in other batches
    assert "nearest neighbour" in only("dumb-baselines", seen(Words(), apart)).ruling.says
    conv = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
    pictures = [(x.reshape(-1, 1, 4, 4), y) for x, y in batches()]
    assert only("label-as-input", seen(conv, pictures)).verdict is Verdict.PASS


def test_odd_steps_are_skipped_with_a_reason() -> None:
    x, y = rows()
    model = mlp()
    odd = [
        seen(model, [(x, y)]),
        Step(model, (x, y), lambda m, b: F.cross_entropy(m(b[0]), b[1]) + m[0].weight.square().sum()),
        Step(model, (x, F.one_hot(y, 4).float()), lambda m, b: F.cross_entropy(m(b[0]), b[1])),
        Step(mlp(outputs=16), (x, x), lambda m, b: F.mse_loss(m(b[0]), b[0])),
        Step(model, (x[:1], y[:1]), lambda m, b: F.cross_entropy(m(b[0]), b[1])),
    ]
    for step in odd:
        for name in ("shuffled-labels", "dumb-baselines"):
            found = only(name, step)
            assert found.verdict is Verdict.SKIP, (name, found.ruling.says)
            assert found.ruling.says
        only("label-as-input", step)
        only("two-examples", step)


def test_the_end_of_a_run_is_judged_against_baselines() -> None:
    def trained(scale: float, flat: bool = True, finished: bool = True, copies: int = 0) -> Finding:
        model = mlp()
        with torch.no_grad():
            model[2].weight.mul_(scale)
        step = seen(model, batches())
        step.copies = copies
        step.finished, step.values_seen = finished, [(i, 1.0 if flat else 1 / (i + 1)) for i in range(40)]
        return only("dumb-baselines", step)

    bad = trained(1.0)
    assert bad.severity is Severity.WARNING
    assert "beaten by" in bad.ruling.says
    assert trained(1.0, flat=False).severity is Severity.NOTE
    assert trained(1.0, finished=False).verdict is Verdict.PASS
    one_of_many = trained(1.0, copies=4)
    assert one_of_many.verdict is Verdict.UNSURE
    assert "4 others of the same shapes" in one_of_many.ruling.says
    good = mlp()
    optimizer = torch.optim.Adam(good.parameters(), 1e-2)
    step = seen(good, batches())
    for _ in range(20):
        for x, y in batches():
            optimizer.zero_grad()
            F.cross_entropy(good(x), y).backward()
            optimizer.step()
    step.finished = True
    assert only("dumb-baselines", step).verdict is Verdict.PASS  # the weights as they are now count, not the recorded ones


def test_a_class_that_was_never_shown_but_is_known_is_a_note() -> None:
    class Chooser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> Any:
            return self.net(x).squeeze(-1)

    def options(flag: float) -> tuple[torch.Tensor, torch.Tensor]:
        torch.manual_seed(1)
        y = torch.randint(0, 8, (64,))
        x = torch.randn(64, 8, 3)
        x[:, :, 0] = flag * F.one_hot(y, 8) - flag / 2
        return x, y

    assert only("two-examples", seen(Chooser(), [options(16.0)])).severity is Severity.NOTE
    assert only("two-examples", seen(Chooser(), [options(0.1)])).verdict is not Verdict.FINDING


# ---- range tests


def test_a_workable_rate_comes_with_a_range_test_and_a_suggestion() -> None:
    x, y = rows()
    model = mlp()
    step = Step(model, (x, y), lambda m, b: F.cross_entropy(m(b[0]), b[1]), torch.optim.Adam(model.parameters(), 1e-2))
    found = only("learning-rate-range", step)
    assert "falls fastest at about" in found.ruling.says
    assert found.picture is not None
    assert "range test" in found.picture.title


@pytest.mark.parametrize(
    ("optimizer", "alarmed"),
    [
        (lambda p: torch.optim.SGD(p, 0.3, momentum=0.9999), True),
        (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9), False),
        (lambda p: torch.optim.SGD(p, 0.01, momentum=0.99, nesterov=True), False),
        (lambda p: torch.optim.Adam(p, 1e-2), False),
    ],
)
def test_a_momentum_that_never_forgets_is_found(optimizer: Any, alarmed: bool) -> None:
    model = mlp()
    given = batches()
    steps = [Step(model, b, lambda m, b: F.cross_entropy(m(b[0]), b[1]), optimizer(model.parameters())) for b in given]
    steps[0].later = [s.tape for s in steps[1:]]
    found = only("momentum-range", steps[0])
    assert (found.severity is Severity.WARNING) == alarmed, found.ruling.says
    assert found.picture is not None
    assert "no optimiser with momentum" in only("momentum-range", Step(model, given[0], lambda m, b: m(b[0]).sum())).ruling.says


def test_labels_that_are_all_equal_teach_nothing() -> None:
    given = [(x, torch.ones(len(x), 1)) for x, _ in batches()]
    for name in LESSONS:
        found = only(name, seen(mlp(outputs=1), given, F.mse_loss))
        assert found.verdict is not Verdict.FINDING
        assert "itself failed" not in found.ruling.says, found.ruling.says
