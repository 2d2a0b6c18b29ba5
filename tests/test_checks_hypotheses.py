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
