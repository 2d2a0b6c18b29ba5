"""Whether the parts of an example turn together: an image that is flipped at random, and the map of labels that goes with it.

A few examples are read several times under known random states, in a process of their own.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch

from trainrecipe.subjects.data import Data
from trainrecipe.subjects.examples import numbers, seed_all
from trainrecipe.subjects.moves import ALIKE, APART, MOVES, correlation, is_labels, is_lopsided, move, plane, shows
from trainrecipe.subjects.rereading import read_apart

PROBES = 6
DRAWS = 10
"""Readings of each example: at a chance of one half, one in 500 examples is turned alike in all of them."""
SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Turning:
    """What an image and its labels do, two parts of each example.

    `move` tells how the image was seen turned. Of the examples seen turned, whose labels are not symmetric under it, they
    stayed where they were in `stays`, turned as well in `follows`, and changed in another way in `other`. `boxes`: the
    labels are boxes with corners (x1, y1, x2, y2) instead of a map.
    """

    boxes: bool
    move: str
    stays: int
    follows: int
    other: int
    apart: int


def turning(data: Data, number: int) -> list[Turning] | str:
    """How images and labels of a loader's data set turn; a text that says why, where that cannot be told."""
    found: list[Turning] | str = read_apart(data, number, "turning", _look)
    return found


def _look(dataset: Any, length: int) -> list[Turning]:
    until = time.perf_counter() + SECONDS
    counts: dict[tuple[int, int, bool], list[int]] = {}
    names: dict[tuple[int, int, bool], str] = {}
    for i in sorted({(2 * k + 1) * length // (2 * PROBES) for k in range(PROBES)}):
        draws: list[list[torch.Tensor]] = []
        pairs: list[tuple[int, int, bool]] = []
        for seed in range(DRAWS):
            seed_all(seed)
            draws.append(numbers(dataset[i]))
            pairs = pairs or _pairs(draws[0])
            if not pairs or time.perf_counter() > until:
                break
        if len({tuple(t.shape for t in d) for d in draws}) > 1 or len(draws) < 2:
            continue
        for pair in pairs:
            outcome, how = _outcome(draws, *pair)
            if outcome is not None:
                counts.setdefault(pair, [0, 0, 0, 0])[outcome] += 1
                names.setdefault(pair, how)
    return [Turning(pair[2], names[pair], *found) for pair, found in counts.items()]


def _pairs(parts: list[torch.Tensor]) -> list[tuple[int, int, bool]]:
    """An image and the map of the same height and width, or the boxes, that go with it."""
    planes = [plane(t) for t in parts]
    found = []
    for k, image in enumerate(planes):
        for m, other in enumerate(planes):
            if image is None or k == m:
                continue
            if other is not None and other.shape[-2:] == image.shape[-2:] and (is_labels(parts[m]) or is_labels(parts[k])):
                found.append((k, m, False))
            elif _are_boxes(parts[m], image) and not is_labels(parts[k]):
                found.append((k, m, True))
    return found


def _are_boxes(tensor: torch.Tensor, image: torch.Tensor) -> bool:
    if tensor.ndim != 2 or tensor.shape[-1] != 4 or not len(tensor):
        return False
    ordered = bool((tensor[:, 2:] > tensor[:, :2]).all())
    return ordered and float(tensor.min()) >= 0 and 1 < float(tensor.max()) <= max(image.shape[-2:])


def _outcome(draws: list[list[torch.Tensor]], k: int, m: int, boxes: bool) -> tuple[int | None, str]:
    """What the labels of one example did when its image was turned: 0 they stayed, 1 they followed, 2 something else, 3 they
    were turned, but apart from it."""
    first, labels = plane(draws[0][k]), draws[0][m]
    assert first is not None
    alone = not boxes and is_labels(labels) and _is_only_image(draws[0], k)
    seen: set[int] = set()
    named = ""
    for draw in draws[1:]:
        image = plane(draw[k])
        assert image is not None
        how = move(first, image)
        same = torch.equal(draw[m], labels)
        if alone and not same and _apart(first, image, labels, draw[m]):
            seen.add(3)
            named = named or how or "turned"
            continue
        if not how:
            seen |= set() if same else {2}
            continue
        if boxes:
            turned = _turned_boxes(labels, how, first)
            if turned is None or torch.equal(turned, labels):
                continue
            seen.add(0 if same else 1)
        else:
            given, now = plane(labels), plane(draw[m])
            assert given is not None
            assert now is not None
            turned = MOVES[how](given)
            if not is_lopsided(given, turned) or shows(given, first):
                continue
            seen.add(0 if same else 1 if correlation(turned, now) > ALIKE else 2)
        named = named or how
    outcome = 3 if alone and seen == {0, 1} else max(seen, default=None)
    return (outcome, named) if named else (None, "")


def _is_only_image(parts: list[torch.Tensor], k: int) -> bool:
    """Whether no other part of an example is an image that the labels may belong to."""
    return [i for i, t in enumerate(parts) if plane(t) is not None and not is_labels(t)] == [k]


def _apart(first: torch.Tensor, image: torch.Tensor, labels: torch.Tensor, turned: torch.Tensor) -> bool:
    """Whether labels were turned in a way in which their image was not."""
    given, now = plane(labels), plane(turned)
    if given is None or now is None or shows(given, first):
        return False
    images = [(correlation(g(first), image), correlation(g(given), now)) for g in (_same, *MOVES.values())]
    told = max(i for i, _ in images) > ALIKE and max(m for _, m in images) > ALIKE
    return told and not any(i > APART and m > APART for i, m in images)


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _turned_boxes(boxes: torch.Tensor, how: str, image: torch.Tensor) -> torch.Tensor | None:
    height, width = image.shape[-2:]
    x1, y1, x2, y2 = boxes.unbind(-1)
    if how == "flipped left to right":
        return torch.stack([width - x2, y1, width - x1, y2], -1)
    if how == "flipped upside down":
        return torch.stack([x1, height - y2, x2, height - y1], -1)
    return None
