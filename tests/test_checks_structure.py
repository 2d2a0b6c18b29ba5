"""The checks of a model's structure: faults are found, look-alikes are not reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from trainrecipe.capture.listen.listener import Listener
from trainrecipe.check import built_in
from trainrecipe.exam import ask
from trainrecipe.finding import Finding
from trainrecipe.subjects.kernels import kernels
from trainrecipe.subjects.run import Run
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
            nn.Sequential(
                conv(1, 8, 3, padding=1), nn.BatchNorm2d(8), conv(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 3)
            ),
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
            nn.Sequential(
                conv(1, 4, 3, padding=1), nn.PixelShuffle(2), conv(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 3)
            ),
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
                lambda m, x: m.o(
                    (F.pad(x @ x.mT, (1, 0)).view(8, 13, 12)[:, 1:].view(8, 12, 12).softmax(-1) @ m.r(x)[0]).mean(1)
                ),
                r=lstm,
                o=out,
            ),
            series,
        ),
        "unflattened": (
            "pass",
            Of(
                lambda m, x: m.h(m.c(m.i(x.flatten(1)).view(-1, 3, 6, 9)).flatten(1)),
                i=nn.Linear(192, 162),
                c=conv,
                h=nn.Linear(270, 3),
            ),
            series,
        ),
        "channels transposed by view": (
            "warning",
            Of(
                lambda m, x: m.o(F.conv1d(x.view(len(x), x.shape[2], -1), m.w).mean(2)),
                w=nn.Parameter(torch.randn(10, 16, 3)),
                o=out,
            ),
            odd,
        ),
        "norm over merged axes": (
            "pass",
            Of(lambda m, x: m.o(m.c(x).view(len(x), 5, -1).mean(2)), c=conv, o=nn.Linear(5, 3)),
            images,
        ),
        "head of all": ("pass", Of(lambda m, x: m.o(x.mean(1).repeat(1, 2)), o=head), series),
    }


@pytest.mark.parametrize("name", reshaping_models())
def test_scrambled_axes(name: str) -> None:
    expected, model, batch = reshaping_models()[name]
    assert grade("scrambled-axes", step_of(model, batch)) == expected


# ---- attention-mask, padding-pooled


def padded_tokens(width: int = 12, count: int = 10) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens 1…19, padded with 0, their lengths and labels."""
    torch.manual_seed(0)
    lengths = torch.randint(3, width - 3, (count,))
    lengths[0] = width
    tokens = torch.randint(1, 20, (count, width)) * (torch.arange(width) < lengths[:, None])
    return tokens, lengths, torch.arange(count) % 3


class Reader(nn.Module):
    """Tokens to classes by attention; `mask` makes the mask of padded keys, `pool` the summary."""

    def __init__(self, mask: Any, pool: Any, padding_idx: int | None = 0) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16, padding_idx=padding_idx)
        self.position = nn.Parameter(torch.randn(12, 16) * 0.1)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.out = nn.Linear(16, 3)
        self.mask, self.pool = mask, pool

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.position[: tokens.shape[1]]
        mask = self.mask(tokens)
        y, _ = self.attention(x, x, x, key_padding_mask=mask, need_weights=False)
        return self.out(self.pool(x + y, tokens != 0))  # type: ignore[no-any-return]


def _masked_mean(x: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    return (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)


def padded_models() -> dict[str, tuple[str, str, nn.Module]]:
    def scores(m: Any, x: torch.Tensor, mask: bool) -> torch.Tensor:
        e = m.e(x)
        s = m.q(e) @ m.k(e).mT / 4
        s = s.masked_fill((x == 0)[:, None], -1e9) if mask else s
        return m.o(_masked_mean(s.softmax(-1) @ e, x != 0))  # type: ignore[no-any-return]

    def packed(m: Any, x: torch.Tensor) -> torch.Tensor:
        given = nn.utils.rnn.pack_padded_sequence(m.e(x), (x != 0).sum(1), batch_first=True, enforce_sorted=False)
        return m.o(m.r(given)[1][0][-1])  # type: ignore[no-any-return]

    torch.manual_seed(0)
    parts = {"e": nn.Embedding(20, 16, padding_idx=0), "o": nn.Linear(16, 3)}
    attention = {**parts, "q": nn.Linear(16, 16), "k": nn.Linear(16, 16)}
    lstm = {**parts, "r": nn.LSTM(16, 16, batch_first=True)}
    both = {**parts, "r": nn.LSTM(16, 8, batch_first=True, bidirectional=True)}
    conv = {**parts, "c": nn.Conv1d(16, 16, 3, padding=1)}
    return {
        "masked": ("pass", "pass", Reader(lambda t: t == 0, _masked_mean)),
        "no mask": ("note", "pass", Reader(lambda t: None, _masked_mean)),
        "inverted": ("warning", "pass", Reader(lambda t: t != 0, _masked_mean)),
        "mean over all": ("pass", "note", Reader(lambda t: t == 0, lambda x, real: x.mean(1))),
        "first token": ("pass", "pass", Reader(lambda t: t == 0, lambda x, real: x[:, 0])),
        "maximum": ("pass", "pass", Reader(lambda t: t == 0, lambda x, real: x.masked_fill(~real[..., None], -9).amax(1))),
        "by hand": ("pass", "pass", Of(lambda m, x: scores(m, x, True), **attention)),
        "by hand without a mask": ("note", "pass", Of(lambda m, x: scores(m, x, False), **attention)),
        "last step": ("pass", "note", Of(lambda m, x: m.o(m.r(m.e(x))[0][:, -1]), **lstm)),
        "last state": ("pass", "note", Of(lambda m, x: m.o(m.r(m.e(x))[1][0][-1]), **lstm)),
        "packed": ("pass", "pass", Of(packed, **lstm)),
        "own last step": (
            "pass",
            "pass",
            Of(lambda m, x: m.o(m.r(m.e(x))[0][torch.arange(len(x)), (x != 0).sum(1) - 1]), **lstm),
        ),
        "both directions": (
            "pass",
            "note",
            Of(lambda m, x: m.o(_masked_mean(m.r(m.e(x))[0], x != 0)), **both),
        ),
        "text cnn": ("pass", "pass", Of(lambda m, x: m.o(m.c(m.e(x).mT).relu().amax(2)), **conv)),
    }


@pytest.mark.parametrize("name", padded_models())
def test_padding(name: str) -> None:
    attention, pooled, model = padded_models()[name]
    tokens, _, labels = padded_tokens()
    step = step_of(model, (tokens, labels))
    assert (grade("attention-mask", step), grade("padding-pooled", step)) == (attention, pooled)


def test_padding_told_by_a_mask_or_lengths() -> None:
    tokens, lengths, labels = padded_tokens()
    real = tokens != 0
    mean = Of(lambda m, x, mask: m.o(m.e(x).mean(1)), e=nn.Embedding(20, 16), o=nn.Linear(16, 3))
    step = step_of(mean, (tokens, real, labels), lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]))
    assert grade("padding-pooled", step) == "warning"
    own = Of(
        lambda m, x, n: m.o((m.e(x) * (torch.arange(x.shape[1]) < n[:, None])[..., None]).sum(1) / n[:, None]),
        e=nn.Embedding(20, 16),
        o=nn.Linear(16, 3),
    )
    step = step_of(own, (tokens, lengths, labels), lambda m, b: F.cross_entropy(m(b[0], b[1]), b[2]))
    assert grade("padding-pooled", step) == "pass"


def test_a_causal_model_cannot_see_padding() -> None:
    tokens, _, _ = padded_tokens()
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        return m.o(m.t(m.e(x), src_mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]), is_causal=True))  # type: ignore[no-any-return]

    model = Of(forward, e=nn.Embedding(20, 16, padding_idx=0), t=layer, o=nn.Linear(16, 20))
    step = step_of(model, tokens, lambda m, b: F.cross_entropy(m(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten(), ignore_index=0))
    assert grade("attention-mask", step) == "pass"


@pytest.mark.parametrize(("masked", "expected"), [(True, "pass"), (False, "warning")])
def test_full_sequences_have_no_padding_to_be_longer_by(masked: bool, expected: str) -> None:
    tokens = torch.randint(1, 20, (16, 6))
    tokens[:2, 4:] = 0  # so few are shorter that the batch can only be made longer
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)

    def forward(m: Any, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        return m.o(m.t(m.e(x), src_key_padding_mask=padding if masked else None))  # type: ignore[no-any-return]

    model = Of(forward, e=nn.Embedding(20, 16), t=layer, o=nn.Linear(16, 20))
    step = step_of(
        model,
        (tokens, tokens == 0),
        lambda m, b: F.cross_entropy(m(*b).flatten(0, 1), b[0].flatten(), ignore_index=0) + 0 * b[1].sum(),
    )
    assert grade("attention-mask", step) == expected


@pytest.mark.parametrize("batch", [(torch.zeros(8, 6),), (torch.randint(0, 9, (8, 6)),), (torch.randn(8, 6, 4),)])
def test_what_is_not_known_to_be_padding_is_skipped(batch: Any) -> None:
    layer = nn.Embedding(9, 4) if not batch[0].is_floating_point() else nn.Linear(batch[0].shape[-1], 4)
    step = step_of(Of(lambda m, x: m.o(m.e(x)).flatten(1), e=layer, o=nn.Linear(4, 3)), (*batch, torch.arange(8) % 3))
    assert grade("attention-mask", step) == "skip"


# ---- position-blind


def text_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows that repeat pairs of neighbours, as language does."""
    torch.manual_seed(0)
    following = torch.randint(0, 30, (30, 2))
    rows = [torch.randint(0, 30, (24,))]
    for _ in range(11):
        pick = torch.randint(0, 3, (24,))
        rows.append(torch.where(pick < 2, following[rows[-1], pick.clamp(max=1)], torch.randint(0, 30, (24,))))
    return torch.stack(rows, 1), torch.arange(24) % 3


def sequence_models() -> dict[str, tuple[str, Callable[[Any, torch.Tensor], torch.Tensor]]]:
    def heads(m: Any, x: torch.Tensor) -> torch.Tensor:
        return m.o(m.t(x).mean(1))  # type: ignore[no-any-return]

    return {
        "no positions": ("warning", lambda m, x: heads(m, m.e(x))),
        "positions": ("pass", lambda m, x: heads(m, m.e(x) + m.p[: x.shape[1]])),
        "class token": ("warning", lambda m, x: m.o(m.t(m.e(x))[:, 0])),
        "last token": ("warning", lambda m, x: m.o(m.t(m.e(x))[:, -1])),
        "bag": ("pass", lambda m, x: m.o(m.e(x).mean(1))),
        "recurrent": ("pass", lambda m, x: heads(m, m.r(m.e(x))[0])),
        "convolution": ("pass", lambda m, x: heads(m, m.c(m.e(x).mT).mT)),
    }


@pytest.mark.parametrize("name", sequence_models())
def test_position_blind(name: str) -> None:
    expected, call = sequence_models()[name]
    torch.manual_seed(1)
    layers = {
        "t": nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True),
        "e": nn.Embedding(30, 16),
        "p": nn.Parameter(torch.randn(12, 16)),
        "r": nn.GRU(16, 16, batch_first=True),
        "c": nn.Conv1d(16, 16, 3, padding=1),
        "o": nn.Linear(16, 3),
    }
    assert grade("position-blind", step_of(Of(call, **layers), text_batch())) == expected


@pytest.mark.parametrize(
    ("layers", "positions", "expected"), [(1, False, "warning"), (2, False, "pass"), (1, True, "pass"), (0, False, "skip")]
)
def test_position_blind_where_the_next_token_is_predicted(layers: int, positions: bool, expected: str) -> None:
    tokens, _ = text_batch()
    torch.manual_seed(1)

    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        h = m.e(x) + (m.p[: x.shape[1]] if positions else 0)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        for layer in m.t:
            h = layer(h, src_mask=mask)
        return m.o(h)  # type: ignore[no-any-return]

    blocks = nn.ModuleList(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True) for _ in range(layers))
    model = Of(forward, e=nn.Embedding(30, 16), p=nn.Parameter(torch.randn(12, 16)), t=blocks, o=nn.Linear(16, 30))
    step = step_of(model, tokens, lambda m, b: F.cross_entropy(m(b[:, :-1]).flatten(0, 1), b[:, 1:].flatten()))
    assert grade("position-blind", step) == expected


def test_a_model_of_sets_is_meant_to_be_blind() -> None:
    torch.manual_seed(0)
    tokens, labels = torch.stack([torch.randperm(30)[:12] for _ in range(24)]), torch.arange(24) % 3
    layers = {"t": nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), "e": nn.Embedding(30, 16), "o": nn.Linear(16, 3)}
    model = Of(lambda m, x: m.o(m.t(m.e(x)).mean(1)), **layers)
    assert grade("position-blind", step_of(model, (tokens, labels))) == "unsure"
    assert grade("position-blind", step_of(model, (tokens.sort(1).values, labels))) == "unsure"


# ---- attention-scale


def _attend(m: Any, x: torch.Tensor, scale: float, mask: bool = False) -> torch.Tensor:
    scores = m.q(x) @ m.k(x).mT * scale
    if mask:
        scores = scores.masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1).bool(), float("-inf"))
    return m.o((F.dropout(scores.softmax(-1), 0.1, m.training) @ m.v(x)).mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("width", "scale", "mask", "expected"),
    [
        (128, 1.0, False, "warning"),
        (128, 128**-0.5, False, "pass"),
        (128, 1.0, True, "warning"),
        (128, 128**-0.5, True, "pass"),
        (16, 1.0, False, "pass"),
    ],
)
def test_attention_scale(width: int, scale: float, mask: bool, expected: str) -> None:
    torch.manual_seed(0)
    layers = {n: nn.Linear(width, width) for n in "qkv"}
    model = Of(lambda m, x: _attend(m, x, scale, mask), **layers, o=nn.Linear(width, 3))
    assert grade("attention-scale", step_of(model, batch_of(12, 16, width))) == expected


@pytest.mark.parametrize(("scale", "expected"), [(1.0, "warning"), (128**-0.5, "pass")])
def test_attention_scale_of_a_fused_call(scale: float, expected: str) -> None:
    torch.manual_seed(0)
    layers = {n: nn.Linear(128, 128) for n in "qkv"}
    model = Of(
        lambda m, x: m.o(F.scaled_dot_product_attention(m.q(x), m.k(x), m.v(x), scale=scale).mean(1)),
        **layers,
        o=nn.Linear(128, 3),
    )
    assert grade("attention-scale", step_of(model, batch_of(12, 16, 128))) == expected


def test_attention_scale_where_there_are_no_queries() -> None:
    experts = Of(
        lambda m, x: m.o((m.g(x * 50).softmax(-1)[..., None] * torch.stack([m.a(x), m.b(x)], 1)).sum(1)),
        g=nn.Linear(8, 2),
        a=nn.Linear(8, 8),
        b=nn.Linear(8, 8),
        o=nn.Linear(8, 3),
    )
    assert grade("attention-scale", step_of(experts, batch_of(12, 8))) == "skip"


# ---- dropout-placement


def _head() -> tuple[nn.Module, nn.Module]:
    return nn.ReLU(), nn.Linear(16, 3)


def dropout_models() -> dict[str, tuple[str, nn.Module]]:
    torch.manual_seed(0)

    def mlp(p: float, width: int = 32, last: float = 0.0, norm: bool = False) -> nn.Module:
        hidden = [nn.Linear(8, width), nn.ReLU(), nn.Dropout(p), *([nn.BatchNorm1d(width)] if norm else [])]
        return nn.Sequential(*hidden, nn.Linear(width, 3), *([nn.Dropout(last)] if last else []))

    return {
        "usual": ("pass", mlp(0.5)),
        "on logits": ("warning", mlp(0.2, last=0.3)),
        "on logits, functional": (
            "warning",
            Of(lambda m, x: F.dropout(m.a(x), 0.3, m.training).view(len(x), 3), a=nn.Linear(8, 3)),
        ),
        "keep probability": ("warning", mlp(0.95)),
        "strong but wide": ("note", mlp(0.8, width=1024)),
        "before batch norm": ("note", mlp(0.3, norm=True)),
        "a layer before batch norm": ("note", nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 16), nn.BatchNorm1d(16), *_head())),
        "two layers before batch norm": (
            "pass",
            nn.Sequential(nn.Dropout(0.3), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.BatchNorm1d(16), *_head()),
        ),
        "switched off": ("skip", mlp(0.0)),
        "on the input": ("pass", nn.Sequential(nn.Dropout(0.1), nn.Linear(8, 3))),
    }


@pytest.mark.parametrize("name", dropout_models())
def test_dropout_placement(name: str) -> None:
    expected, model = dropout_models()[name]
    x, _ = batch_of(64, 8)
    labels = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    assert grade("dropout-placement", step_of(model, (x, labels), lr=2e-3)) == expected


def test_dropout_on_predictions_of_a_written_out_loss() -> None:
    model = nn.Sequential(nn.Linear(8, 1), nn.Dropout(0.2))
    batch = (torch.randn(24, 8), torch.randn(24, 1))
    assert grade("dropout-placement", step_of(model, batch, lambda m, b: ((m(b[0]) - b[1]) ** 2).mean())) == "warning"


def test_two_dropped_views_may_be_compared() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.2))
    x = torch.randn(24, 8)
    assert grade("dropout-placement", step_of(model, x, lambda m, b: F.mse_loss(m(b), m(b)))) == "pass"
    contrast = step_of(
        model,
        x,
        lambda m, b: F.cross_entropy(F.normalize(m(b), dim=1) @ F.normalize(m(b), dim=1).T, torch.arange(24)),
    )
    assert grade("dropout-placement", contrast) == "pass"


# ---- dropout-in-eval: dropout written by hand


def _written(guarded: bool) -> Callable[[Any, torch.Tensor], torch.Tensor]:
    def forward(m: Any, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(m.a(x))
        if m.training or not guarded:
            h = h * (torch.rand_like(h) > 0.3) / 0.7
        return m.o(h)  # type: ignore[no-any-return]

    return forward


def random_models() -> dict[str, tuple[str, Callable[[Any, torch.Tensor], torch.Tensor]]]:
    def bernoulli(m: Any, x: torch.Tensor) -> torch.Tensor:
        h = m.a(x)
        return m.o(h * torch.bernoulli(torch.full_like(h, 0.8)) / 0.8)  # type: ignore[no-any-return]

    def tokens_masked(m: Any, x: torch.Tensor) -> torch.Tensor:
        mask = (torch.rand(x.shape) < 0.2).float()
        return m.o(m.a(x) * (1 - mask) + m.t * mask)  # type: ignore[no-any-return]

    def kept(m: Any, x: torch.Tensor) -> torch.Tensor:
        keep = torch.rand(x.shape).argsort(1) < 4
        return m.o(m.a(x) * keep)  # type: ignore[no-any-return]

    def gate(m: Any, x: torch.Tensor) -> torch.Tensor:
        h = m.a(x)
        return m.o(h * torch.bernoulli(h.sigmoid()))  # type: ignore[no-any-return]

    return {
        "always": ("warning", _written(False)),
        "in training only": ("pass", _written(True)),
        "bernoulli": ("warning", bernoulli),
        "of the input": ("pass", lambda m, x: m.o(m.a(x * (torch.rand_like(x) > 0.3)))),
        "noise": ("pass", lambda m, x: m.o(m.a(x) * (1 + 0.1 * torch.rand_like(x)))),
        "masked tokens": ("pass", tokens_masked),
        "masked autoencoder": ("pass", kept),
        "stochastic units": ("pass", gate),
        "guidance": ("pass", lambda m, x: m.o(m.a(x) * (torch.rand(len(x), 1) > 0.1))),
    }


@pytest.mark.parametrize("name", random_models())
def test_dropout_written_by_hand(name: str) -> None:
    expected, call = random_models()[name]
    torch.manual_seed(0)
    model = Of(call, a=nn.Linear(8, 8), t=nn.Parameter(torch.randn(8)), o=nn.Linear(8, 3))
    assert grade("dropout-in-eval", step_of(model, batch_of(24, 8))) == expected


# ---- init-not-applied


def run_of(train: Callable[[], Any]) -> Run:
    """The run that `train` makes."""
    torch.manual_seed(0)
    listener = Listener(detail_always=True)
    listener.install()
    try:
        train()
    finally:
        listener.remove()
    assert not listener.trouble
    return listener.run


def fit(model: nn.Module, steps: int = 2) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        classify(model, batch_of(24, 8)).backward()
        optimizer.step()


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))


def _for(kind: type[nn.Module]) -> Callable[[nn.Module], None]:
    def init(module: nn.Module) -> None:
        if isinstance(module, kind):
            nn.init.xavier_uniform_(module.weight)

    return init


def _by_hand(module: nn.Module) -> None:
    if type(module).__name__.startswith("Lin"):
        module.weight.data.normal_(0, 0.1)


def _freeze(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm1d):
        module.eval()


def _of_zeros(module: nn.Module) -> None:
    if isinstance(module, nn.BatchNorm1d):
        nn.init.zeros_(module.bias)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (_for(nn.Linear), "pass"),
        (_for(nn.Conv2d), "warning"),
        (_by_hand, "pass"),
        (_freeze, "skip"),
        (_of_zeros, "pass"),
    ],
)
def test_functions_given_to_apply(function: Any, expected: str) -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    assert grade("init-not-applied", run_of(lambda: (model.apply(function), fit(model)))) == expected


def test_one_function_for_several_models() -> None:
    function = _for(nn.Conv2d)
    run = run_of(lambda: (nn.Conv2d(1, 8, 3).apply(function), (m := perceptron()).apply(function), fit(m)))
    assert grade("init-not-applied", run) == "note"


def test_loaded_weights_that_are_initialised_again() -> None:
    state = perceptron().state_dict()

    def late(again: Callable[[nn.Module], Any]) -> Callable[[], None]:
        def train() -> None:
            model = perceptron()
            model.load_state_dict(state)
            again(model)
            fit(model)

        return train

    def scaled(model: nn.Module) -> None:
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(0.5).add_(torch.randn_like(p) * 0.01)

    def folds() -> None:
        for _ in range(2):
            model = perceptron()
            fit(model)
            model.load_state_dict(state)
            model.eval()
            with torch.no_grad():
                model(torch.randn(4, 8))
            model.apply(_for(nn.Linear))
            fit(model)

    assert grade("init-not-applied", run_of(late(lambda m: m.apply(_for(nn.Linear))))) == "error"
    assert grade("init-not-applied", run_of(late(lambda m: m.apply(_by_hand)))) == "error"
    assert grade("init-not-applied", run_of(late(lambda m: [x.reset_parameters() for x in m if hasattr(x, "bias")]))) == "error"
    assert grade("init-not-applied", run_of(late(lambda m: m[2].reset_parameters()))) == "pass"
    assert grade("init-not-applied", run_of(late(lambda m: m.load_state_dict(perceptron().state_dict())))) == "pass"
    assert grade("init-not-applied", run_of(late(scaled))) == "pass"
    assert grade("init-not-applied", run_of(late(lambda m: m.half().float()))) == "pass"
    assert grade("init-not-applied", run_of(late(lambda m: None))) == "pass"
    assert grade("init-not-applied", run_of(folds)) == "pass"


# ---- spatial-collapse


def _stages(strides: list[int], widths: list[int], kernel: int = 3) -> nn.Module:
    layers: list[nn.Module] = []
    for stride, a, b in zip(strides, [1, *widths], widths, strict=False):
        layers += [nn.Conv2d(a, b, kernel, stride=stride, padding=kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 3))


@pytest.mark.parametrize(
    ("strides", "kernel", "expected"),
    [
        ([1, 2, 1, 2], 3, "pass"),
        ([2, 2, 2, 1, 1], 3, "warning"),
        ([2, 2, 2], 3, "pass"),
        ([2, 2, 2, 1], 3, "note"),
        ([2, 2, 2, 1, 1], 1, "skip"),
    ],
)
def test_spatial_collapse(strides: list[int], kernel: int, expected: str) -> None:
    torch.manual_seed(0)
    model = _stages(strides, [8, 8, 8, 32, 32][: len(strides)], kernel)
    assert grade("spatial-collapse", step_of(model, batch_of(12, 1, 8, 8))) == expected


def test_weights_said_to_be_dead_get_no_gradient() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 5, stride=2, padding=2), nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Flatten())
    step = step_of(model, batch_of(12, 1, 3, 3))
    classify(model, batch_of(12, 1, 3, 3)).backward()  # type: ignore[no-untyped-call]
    every, _ = kernels(step)
    for kernel, layer in zip(every, [model[0], model[1]], strict=True):
        zero = (layer.weight.grad.abs().sum((0, 1)) == 0).double().mean()
        assert float(zero) == pytest.approx(kernel.dead)


# ---- double-activation


def activated_models() -> dict[str, tuple[str, nn.Module]]:
    torch.manual_seed(0)
    a, b, c = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 3)
    return {
        "hidden softmax": ("warning", nn.Sequential(a, nn.Softmax(dim=1), b, nn.Softmax(dim=1), c)),
        "relu": ("pass", nn.Sequential(a, nn.ReLU(), b, nn.ReLU(), c)),
        "twice": ("note", nn.Sequential(a, nn.ReLU(), nn.ReLU(), c)),
        "experts": (
            "pass",
            Of(
                lambda m, x: (m.g(x).softmax(1)[..., None] * torch.stack([m.a(x), m.b(x), m.c(x)], 1)).sum(1),
                g=nn.Linear(8, 3),
                a=nn.Linear(8, 3),
                b=nn.Linear(8, 3),
                c=nn.Linear(8, 3),
            ),
        ),
        "at the end": ("pass", nn.Sequential(a, nn.ReLU(), c, nn.Softmax(dim=1))),
    }


@pytest.mark.parametrize("name", activated_models())
def test_double_activation(name: str) -> None:
    expected, model = activated_models()[name]
    x, _ = batch_of(64, 8)
    labels = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    assert grade("double-activation", step_of(model, (x, labels), lr=3e-3)) == expected


def test_topics_are_a_mixture() -> None:
    torch.manual_seed(0)
    words = torch.distributions.Dirichlet(torch.ones(4) * 0.3).sample((64,)) @ torch.distributions.Dirichlet(
        torch.ones(40) * 0.1
    ).sample((4,))
    model = nn.Sequential(nn.Linear(40, 32), nn.ReLU(), nn.Linear(32, 4), nn.Softmax(dim=1), nn.Linear(4, 40, bias=False))
    step = step_of(model, words, lambda m, b: -(m(b).log_softmax(1) * b).sum(1).mean(), lr=1e-2)
    assert grade("double-activation", step) in ("unsure", "note")
