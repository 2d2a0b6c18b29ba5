"""The checks of a model's structure: faults are found, look-alikes are not reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainrecipe.check import built_in
from trainrecipe.exam import ask
from trainrecipe.finding import Finding
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

    def __init__(self, call: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *given: torch.Tensor) -> Any:
        return self.call(self, *given)


def classify(model: nn.Module, batch: Any) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def step_of(model: nn.Module, batch: Any, loss: Any = classify, lr: float = 1e-3) -> Step:
    trained = [p for p in model.parameters() if p.requires_grad]
    return Step(model, batch, loss, torch.optim.Adam(trained, lr=lr))


def batch_of(*shape: int, classes: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(shape), torch.arange(shape[0]) % classes


# ---- missing-nonlinearity


class Attention(nn.Module):
    """Self-attention with a projection, in a residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return x + self.out(F.scaled_dot_product_attention(q, k, v))  # type: ignore[no-any-return]


class Separable(nn.Sequential):
    """A depthwise and a pointwise convolution, as in MobileNet."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(nn.Conv2d(a, a, 3, padding=1, groups=a), nn.BatchNorm2d(a), nn.Conv2d(a, b, 1), nn.ReLU())


class Block(nn.Sequential):
    """A linear layer with its normalisation; the activation was forgotten."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(nn.Linear(a, b), nn.BatchNorm1d(b))


def linear_models() -> dict[str, tuple[str, nn.Module, Any]]:
    torch.manual_seed(0)
    table, images, series = batch_of(24, 8), batch_of(24, 1, 8, 8), batch_of(24, 6, 16)
    frozen = nn.Linear(8, 16).requires_grad_(False)
    tied = nn.Linear(8, 8)
    conv = nn.Conv2d
    unet = {"a": conv(1, 8, 3, padding=1), "b": conv(8, 8, 3, stride=2, padding=1), "up": nn.ConvTranspose2d(8, 8, 2, 2)}
    return {
        "no activation at all": (
            "warning",
            nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 16), nn.Linear(16, 3)),
            table,
        ),
        "one is missing, behind batch norm and dropout": (
            "warning",
            nn.Sequential(
                nn.Linear(8, 32), nn.BatchNorm1d(32), nn.Dropout(0.2), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)
            ),
            table,
        ),
        "functional": (
            "warning",
            Of(
                lambda m, x: F.linear(x @ m.w + m.b, m.v),
                w=nn.Parameter(torch.randn(8, 20)),
                b=nn.Parameter(torch.zeros(20)),
                v=nn.Parameter(torch.randn(3, 20)),
            ),
            table,
        ),
        "convolutions": (
            "warning",
            nn.Sequential(conv(1, 8, 3, padding=1), nn.BatchNorm2d(8), conv(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)),
            images,
        ),
        "blocks": ("warning", nn.Sequential(Block(8, 16), Block(16, 16), Block(16, 16), nn.Linear(16, 3)), table),
        "weight norm": (
            "warning",
            nn.Sequential(
                nn.utils.parametrizations.weight_norm(nn.Linear(8, 16)), nn.utils.parametrizations.weight_norm(nn.Linear(16, 3))
            ),
            table,
        ),
        "relu": ("pass", nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3)), table),
        "a product is a nonlinearity": (
            "pass",
            Of(lambda m, x: m.c(m.a(x) * m.b(x)), a=nn.Linear(8, 32), b=nn.Linear(8, 32), c=nn.Linear(32, 3)),
            table,
        ),
        "bottleneck": ("pass", nn.Sequential(nn.Linear(8, 2, bias=False), nn.Linear(2, 3)), table),
        "lora": (
            "pass",
            Of(lambda m, x: m.c(m.w(x) + m.b(m.a(x))), w=frozen, a=nn.Linear(8, 2), b=nn.Linear(2, 16), c=nn.Linear(16, 3)),
            table,
        ),
        "a frozen encoder's head": ("pass", nn.Sequential(frozen, nn.Linear(16, 3)), table),
        "encoder and head": (
            "note",
            Of(
                lambda m, x: m.head(m.encoder(x)),
                encoder=Of(lambda m, x: m.b(F.relu(m.a(x))), a=nn.Linear(8, 32), b=nn.Linear(32, 16)),
                head=nn.Linear(16, 3),
            ),
            table,
        ),
        "linear recurrence": ("pass", Of(lambda m, x: m.out(m.a(m.a(x))), a=tied, out=nn.Linear(8, 9)), table),
        "attention": (
            "pass",
            Of(lambda m, x: m.out(m.a(m.inp(x)).mean(1)), inp=nn.Linear(16, 16), a=Attention(16), out=nn.Linear(16, 3)),
            series,
        ),
        "transformer layer": (
            "pass",
            Of(
                lambda m, x: m.out(m.a(x).mean(1)),
                a=nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
                out=nn.Linear(16, 3),
            ),
            series,
        ),
        "lstm": ("pass", Of(lambda m, x: m.out(m.a(x)[0][:, -1]), a=nn.LSTM(16, 16), out=nn.Linear(16, 3)), series),
        "separable": ("pass", nn.Sequential(Separable(1, 8), Separable(8, 8), nn.Flatten(), nn.Linear(512, 3)), images),
        "u-net": (
            "pass",
            Of(
                lambda m, x: m.out(F.relu(m.c(torch.cat([m.up(F.relu(m.b(h := F.relu(m.a(x))))), h], 1))).mean((2, 3))),
                **unet,
                c=conv(16, 8, 3, padding=1),
                out=nn.Linear(8, 3),
            ),
            images,
        ),
        "sub-pixel": (
            "pass",
            nn.Sequential(conv(1, 4, 3, padding=1), nn.PixelShuffle(2), conv(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3)),
            images,
        ),
        "pre-activation residual": (
            "pass",
            Of(
                lambda m, x: m.out((h := m.stem(x)) + m.b(F.relu(m.a(h)))),
                stem=nn.Linear(8, 16),
                a=nn.Linear(16, 16),
                b=nn.Linear(16, 16),
                out=nn.Linear(16, 17),
            ),
            table,
        ),
    }


@pytest.mark.parametrize("name", linear_models())
def test_missing_nonlinearity(name: str) -> None:
    expected, model, batch = linear_models()[name]
    found = grade("missing-nonlinearity", step_of(model, batch))
    assert found in ({"pass", "skip"} if expected == "pass" else {expected})


def test_a_linear_autoencoder_is_meant() -> None:
    model = nn.Sequential(nn.Linear(16, 4), nn.Linear(4, 16))
    step = step_of(model, batch_of(24, 16), lambda m, b: F.mse_loss(m(b[0]), b[0]))
    assert grade("missing-nonlinearity", step) == "pass"


# ---- scrambled-axes


class Heads(nn.Module):
    """Self-attention over several heads; `join` puts them together again."""

    def __init__(self, join: Callable[[torch.Tensor], torch.Tensor], width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.join, self.heads = join, heads
        self.qkv, self.out, self.head = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t, c = x.shape
        q, k, v = (z.view(b, t, self.heads, c // self.heads).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))
        mixed = torch.softmax(q @ k.transpose(-2, -1) / (c // self.heads) ** 0.5, -1) @ v
        return self.head((x + self.out(self.join(mixed).reshape(b, t, c))).mean(1))  # type: ignore[no-any-return]


def _merge(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(1, 2)


def reshaping_models() -> dict[str, tuple[str, nn.Module, Any]]:
    torch.manual_seed(0)
    series, images, odd = batch_of(8, 12, 16), batch_of(8, 3, 6, 9), batch_of(8, 32, 16)
    lstm = nn.LSTM(16, 10, batch_first=True)
    both = nn.LSTM(16, 10, batch_first=True, bidirectional=True)
    time_first = nn.LSTM(16, 10)
    out, wide, head = nn.Linear(10, 3), nn.Linear(20, 3), nn.Linear(32, 3)
    conv = nn.Conv2d(3, 5, 3, padding=1)
    rows = nn.GRU(30, 10, batch_first=True)
    pyramid = nn.LSTM(32, 10, batch_first=True)
    return {
        "heads joined without a transposition": ("warning", Heads(lambda x: x), series),
        "heads joined": ("pass", Heads(_merge), series),
        "time first by view": (
            "error",
            Of(lambda m, x: m.o(m.r(x.view(x.shape[1], x.shape[0], -1))[0][-1]), r=time_first, o=out),
            series,
        ),
        "time first": ("pass", Of(lambda m, x: m.o(m.r(x.transpose(0, 1))[0][-1]), r=time_first, o=out), series),
        "both directions by view": (
            "error",
            Of(lambda m, x: m.o(m.r(x)[1][0].view(x.shape[0], -1)), r=both, o=wide),
            series,
        ),
        "both directions": ("pass", Of(lambda m, x: m.o(m.r(x)[1][0].transpose(0, 1).flatten(1)), r=both, o=wide), series),
        "columns by view": (
            "warning",
            Of(lambda m, x: m.o(m.r(m.c(x).relu().view(len(x), 9, -1))[0][:, -1]), c=conv, r=rows, o=out),
            images,
        ),
        "columns": (
            "pass",
            Of(lambda m, x: m.o(m.r(m.c(x).relu().permute(0, 3, 1, 2).flatten(2))[0][:, -1]), c=conv, r=rows, o=out),
            images,
        ),
        "channels last by view": (
            "warning",
            Of(lambda m, x: m.o(m.c(x).view(len(x), 6, 9, 5)).mean((1, 2)), c=conv, o=nn.Linear(5, 3)),
            images,
        ),
        "there and back": (
            "pass",
            Of(lambda m, x: m.o(m.r(x.view(16, 12, -1).tanh().view_as(x))[0][:, -1]), r=lstm, o=out),
            series,
        ),
        "every position on its own": (
            "pass",
            Of(lambda m, x: m.o(m.r(x)[0].reshape(-1, 10)).view(len(x), -1, 3).mean(1), r=lstm, o=out),
            series,
        ),
        "pyramid": ("pass", Of(lambda m, x: m.o(m.r(x.reshape(len(x), x.shape[1] // 2, -1))[0][:, -1]), r=pyramid, o=out), odd),
        "shifted rows": (
            "pass",
            Of(
                lambda m, x: m.o((F.pad(x @ x.mT, (1, 0)).view(8, 13, 12)[:, 1:].view(8, 12, 12).softmax(-1) @ m.r(x)[0]).mean(1)),
                r=lstm,
                o=out,
            ),
            series,
        ),
        "unflattened": (
            "pass",
            Of(lambda m, x: m.h(m.c(m.i(x.flatten(1)).view(-1, 3, 6, 9)).flatten(1)), i=nn.Linear(192, 162), c=conv, h=nn.Linear(270, 3)),
            series,
        ),
        "channels transposed by view": (
            "warning",
            Of(lambda m, x: m.o(F.conv1d(x.view(len(x), x.shape[2], -1), m.w).mean(2)), w=nn.Parameter(torch.randn(10, 16, 3)), o=out),
            odd,
        ),
        "norm over merged axes": ("pass", Of(lambda m, x: m.o(m.c(x).view(len(x), 5, -1).mean(2)), c=conv, o=nn.Linear(5, 3)), images),
        "head of all": ("pass", Of(lambda m, x: m.o(x.mean(1).repeat(1, 2)), o=head), series),
    }


@pytest.mark.parametrize("name", reshaping_models())
def test_scrambled_axes(name: str) -> None:
    expected, model, batch = reshaping_models()[name]
    assert grade("scrambled-axes", step_of(model, batch)) == expected
