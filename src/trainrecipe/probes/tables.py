"""The questions that probes answer about token sequences and tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from trainrecipe.picture import Picture
from trainrecipe.probes import answers, inputs
from trainrecipe.probes.answers import Level, Standing
from trainrecipe.probes.features import table_views, token_views
from trainrecipe.probes.models import Target
from trainrecipe.probes.questions import Change, Question, Views, drawn_changes, dropped

_HALF = 60
"""Examples that a half must have for the search of a smallest set: one half orders the columns, the other measures."""


def token_questions(x: np.ndarray, pad: int, seed: int) -> list[Question]:
    """Questions about tokens (N, T), the most telling first."""
    longest = int((~inputs.padding(x, pad)).sum(1).max())
    kinds = len(np.unique(x))
    lengths = [longest >> i for i in range(1, longest.bit_length())][:7]
    see = partial(see_tokens, pad=pad, seed=seed)
    order = [Change("tokens shuffled in each example", partial(inputs.order_shuffled, x, pad, seed), see)]
    first = [Change(f"the first {s} token{'s' * (s > 1)}", partial(inputs.cut, x, pad, s), see, s) for s in lengths]
    last = [
        Change(f"the last {s} token{'s' * (s > 1)}", partial(inputs.cut, x, pad, s, last=True), see, s) for s in lengths[:4]
    ]
    counts = [c for c in (kinds >> i for i in range(1, kinds.bit_length())) if c >= 2][:7]
    common = [Change(f"the {c} most frequent tokens", partial(inputs.common_only, x, pad, c), see, c) for c in counts]
    line, kinds_line = partial(_line, "tokens kept", longest), partial(_line, "kinds of tokens kept", kinds)
    return [
        Question("Does the order of tokens matter?", order, _order, _order_drawn),
        Question("How short can examples be, from the beginning?", first, answers.enough, line),
        Question("How many kinds of tokens are needed?", common, answers.enough, kinds_line),
        Question("How short can examples be, from the end?", last, answers.enough, line),
    ]


def see_tokens(x: np.ndarray, pad: int, seed: int) -> Views:
    """Features of token sequences."""
    return token_views(x, inputs.padding(x, pad), seed)


def table_questions(x: np.ndarray, target: Target, names: Sequence[str], seed: int) -> list[Question]:
    """Questions about a table (N, F), the most telling first. Constant columns are left out of them."""
    moving = [int(i) for i in np.flatnonzero(varying(x))]

    def change(name: str, make: Callable[[], np.ndarray], value: float | None = None, judged: bool = False) -> Change:
        return Change(name, make, table_views, value, judged)

    def columns(kept: Sequence[int]) -> np.ndarray:
        return x[:, list(kept)]

    alone = [change(names[i], partial(columns, [i]), i) for i in moving]
    without = [change(f"without {names[i]}", partial(columns, [j for j in moving if j != i]), i) for i in moving]
    swapped = [change(f"{names[i]} shuffled", partial(_swapped, x, i, seed), i, True) for i in moving]
    questions = [Question("What does each feature tell alone?", alone, _alone, _alone_drawn, many=True)]
    if len(moving) > 1:
        if len(x) >= 2 * _HALF:
            questions.append(_smallest_set(x, target, names, moving, seed))
        questions.append(Question("Which features can be dropped?", without, dropped, drawn_changes, many=True))
        questions.append(Question("Which features do the models rely on?", swapped, _relied, drawn_changes, many=True))
    return questions


def varying(x: np.ndarray) -> np.ndarray:
    """(F,) whether a column has more than one value, a missing one counted as a value."""
    missing = np.isnan(x)
    first = np.nanmax(np.where(missing, -np.inf, x), 0)
    return np.asarray(((np.where(missing, first, x) != first).any(0)) | (missing.any(0) & ~missing.all(0)))


def backward_order(x: np.ndarray, target: Target, rows: np.ndarray) -> list[int]:
    """Columns of a table from the most needed to the first that is dropped, by backward elimination on a ridge regression.

    Each column enters with its square. Dropping a group g from a least-squares fit with coefficients w raises the squared
    error by w_gᵀ [(XᵀX)⁻¹]_gg⁻¹ w_g, so no model is fitted anew to find the cheapest column.
    """
    z = table_views(np.where(np.isnan(x), np.nanmean(x, 0), x)[rows])["columns"].double()
    z = torch.cat([z, z.square() - z.square().mean(0)], 1)
    wanted = target.wanted[torch.as_tensor(rows)].double()
    wanted = wanted - wanted.mean(0)
    weights = target.weights[torch.as_tensor(rows), None].double()
    gram = z.T @ (weights * z) + 0.01 * len(rows) * torch.eye(z.shape[1], dtype=torch.float64)
    side = z.T @ (weights * wanted)
    count = x.shape[1]
    left, dropped_first = list(range(count)), []
    while left:
        index = torch.tensor([*left, *(i + count for i in left)])
        inverse = torch.linalg.inv(gram[index][:, index])
        fit = inverse @ side[index]
        pairs = torch.arange(len(left))[:, None] + torch.tensor([0, len(left)])
        blocks = inverse[pairs[:, :, None], pairs[:, None, :]]  # (F, 2, 2)
        rise = (fit[pairs] * torch.linalg.solve(blocks, fit[pairs])).sum((1, 2))
        dropped_first.append(left.pop(int(rise.argmin())))
    return dropped_first[::-1]


def _smallest_set(x: np.ndarray, target: Target, names: Sequence[str], moving: list[int], seed: int) -> Question:
    """The order is found on one half and measured on the other, lest columns be kept that fit this half by luck."""
    shuffled = np.random.default_rng(seed).permutation(len(x))
    half = np.sort(shuffled[: len(x) // 2])
    rest = np.sort(shuffled[len(x) // 2 :])
    order = [moving[i] for i in backward_order(x[:, moving], target, half)]
    sizes = sorted({s for s in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64) if s < len(order)}, reverse=True)
    changes = [Change(_in_words(order, s, names), partial(_take, x, order[:s]), table_views, s) for s in sizes]

    return Question("Which features are enough?", changes, answers.enough, partial(_line, "features", len(order)), rows=rest)


def _in_words(order: Sequence[int], size: int, names: Sequence[str]) -> str:
    """The first features of an order in words."""
    return f"the {f'{size} features' if size > 1 else 'feature'} {answers.listed([names[i] for i in order[:size]], 8)}"


def _take(x: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    return x[:, list(kept)]


def _swapped(x: np.ndarray, column: int, seed: int) -> np.ndarray:
    out = x.copy()
    out[:, column] = np.random.default_rng(seed + column).permutation(out[:, column])
    return out


def _order(standing: Standing, levels: Sequence[Level]) -> str:
    free = levels[0]
    return f"Order {answers.weight(standing, free)}: with the tokens of each example shuffled, {answers.fall(standing, free)}."


def _order_drawn(standing: Standing, levels: Sequence[Level]) -> Picture:
    caption = "Look whether the bar without order lies clearly left of the whole input's: then order is used."
    return answers.ranges("Order of tokens", caption, standing, levels)


def _alone(standing: Standing, levels: Sequence[Level]) -> str:
    best = sorted(levels, key=lambda level: -level.score)
    known = [f"{level.name} {level.told()}" for level in best if not standing.at_chance(level)]
    whole = next((level for level in best if answers.safe(standing, level)), None)
    text = f"Alone tell most: {answers.listed(known, 3)}." if known else "No feature alone tells more than chance."
    return text + (f" {whole.name} alone is as good as all: {answers.against(standing, whole)}." if whole else "")


def _alone_drawn(standing: Standing, levels: Sequence[Level]) -> Picture:
    best = sorted(levels, key=lambda level: -level.score)[:30]
    caption = "Look for a feature that is as good alone as the whole input: it may hold the label itself."
    return answers.ranges("Each feature alone", caption, standing, best)


def _relied(standing: Standing, levels: Sequence[Level]) -> str:
    lost = sorted((level for level in levels if level.lost), key=lambda level: level.change.value)
    if not lost:
        return "No single feature is relied on: shuffled in the test, none lowers the score measurably."
    names = [f"{level.name} ({level.change.value:+.3f})" for level in lost]
    return f"The models rely on {len(lost)} of {len(levels)} features; in the test alone: {answers.listed(names)}."


def _line(x_title: str, whole: int, standing: Standing, levels: Sequence[Level]) -> Picture:
    caption = "Look for the point from which the curve stays at the dashed line of the whole input: more adds nothing."
    return answers.curve("Score by how much is kept", caption, standing, levels, x_title, whole)
