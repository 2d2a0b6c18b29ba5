"""What well-known example programs taught: odd inputs break no check, and are not mistaken for faults."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import samples
import torch
import torch.nn.functional as F
from torch import nn

from trainrecipe.capture import subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.check import built_in
from trainrecipe.exam import ask
from trainrecipe.finding import Finding, Severity
from trainrecipe.journal.record import merge
from trainrecipe.subjects.step import Step

CHECKS = {c.id: c for c in built_in()}


def answers(name: str, subject: Any) -> list[Finding]:
    found = list(ask(CHECKS[name], subject))
    assert all("itself failed" not in f.ruling.says for f in found), [f.ruling.says for f in found]
    return found


def gravest(name: str, subject: Any) -> Severity | None:
    return min((f.severity for f in answers(name, subject) if f.severity is not None), key=lambda s: s.rank, default=None)


def step_of(model: nn.Module, batch: Any, loss: Any) -> Step:
    return Step(model, batch, loss, torch.optim.Adam(model.parameters(), lr=1e-3))


class Experts(nn.Module):
    """Each row goes to the expert that its first feature names; the last expert is never named."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen = (x[:, 0] > 0).long()
        rows = torch.cat([(chosen == k).nonzero()[:, 0] for k in range(3)])
        parts = [self.experts[k](x[chosen == k]) for k in range(3)]
        return torch.cat(parts)[rows.argsort()]


def test_an_expert_without_rows_is_no_trouble_for_the_search_for_nonlinearities() -> None:
    torch.manual_seed(0)
    batch = (torch.randn(16, 5), torch.randint(0, 3, (16,)))
    step = step_of(Experts(), batch, lambda m, b: F.cross_entropy(m(b[0]), b[1]))
    assert gravest("missing-nonlinearity", step) is None


class Masked(nn.Module):
    """Attention that gets its causal mask as an argument of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 9)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embedding(tokens), src_mask=mask))  # type: ignore[no-any-return]


def test_a_mask_of_infinities_is_no_input_of_an_odd_scale() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 9, (8, 7))
    batch = (tokens[:, :-1], nn.Transformer.generate_square_subsequent_mask(6), tokens[:, 1:])
    step = step_of(Masked(), batch, lambda m, b: F.cross_entropy(m(b[0], b[1]).flatten(0, 1), b[2].flatten()))
    assert gravest("input-scale", step) is None


def padded_targets(ignore: bool) -> Step:
    """Positions come first, as nn.Transformer and nn.LSTM have them by default, and half of the targets are padding."""
    torch.manual_seed(0)
    lengths = torch.arange(24) % 6 + 3
    tokens = torch.randint(1, 9, (9, 24)).masked_fill(torch.arange(9)[:, None] >= lengths, 0)
    model = nn.Sequential(nn.Embedding(9, 16, padding_idx=0), nn.Linear(16, 9))
    index = 0 if ignore else -100
    batch = (tokens[:-1], tokens[1:])
    return step_of(model, batch, lambda m, b: F.cross_entropy(m(b[0]).flatten(0, 1), b[1].reshape(-1), ignore_index=index))


@pytest.mark.parametrize(("ignore", "expected"), [(True, None), (False, Severity.WARNING)])
def test_padding_in_the_loss_is_told_where_positions_come_first(ignore: bool, expected: Severity | None) -> None:
    assert gravest("padding-in-loss", padded_targets(ignore)) == expected


@pytest.mark.parametrize(("cause", "headline"), [(Severity.NOTE, "symptom"), (Severity.WARNING, "cause")])
def test_a_note_takes_nothing_graver_beneath_it(cause: Severity, headline: str) -> None:
    one = dataclasses.replace(samples.simple("cause", cause), explains=("symptom",))
    other = samples.simple("symptom", Severity.ERROR)
    first = merge([one, other])[0]
    assert first.check == headline


def test_a_layer_of_a_model_that_no_recorded_step_ran_is_not_called_unused() -> None:
    listener = Listener()
    listener.install()
    try:
        torch.manual_seed(0)
        x, y = torch.randn(32, 4), torch.randint(0, 3, (32,))
        for keep in (200, 40):
            model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
            for _ in range(keep):
                F.cross_entropy(model(x), y).backward()
                optimizer.step()
                optimizer.zero_grad()
    finally:
        listener.remove()
    listener.run.ended = "finished"
    subjects.fill_parameters(listener)
    assert gravest("unused-parameters", listener.run) is None
