"""Numbers that a training tells, as series: what it prints, what it logs by `trainrecipe.log`, what was captured.

>>> list(told("epoch 3: train loss 0.412  val acc 93.5%"))
[('epoch', 3.0), ('train loss', 0.412), ('val acc', 93.5)]
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from trainrecipe.subjects.better import direction
from trainrecipe.wrong_use import WrongUse, nearest

Series = list[tuple[int, float]]
"""Pairs of the number of optimiser steps taken and a value."""
CAPTURED = "captured "
"""How names of series begin that nobody told."""
TRAIN_LOSS = f"{CAPTURED}train loss"
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]|\.\d)|(?<![\w.])[-+]?(?:nan|inf)(?!\w)")
_WORD = re.compile(r"[A-Za-z_@][\w@/.\-]*")
_WORDS = 3
"""Words in front of a number that may be its name."""
_HELD_OUT = re.compile(r"(?:^|[^a-z])(?:val|valid|validation|test|eval|evaluation|dev|held|holdout|heldout|v)(?:[^a-z]|$)")
_LONGEST = 2000
"""Characters of a line that is read; longer ones are no reports."""


def told(line: str) -> Iterator[tuple[str, float]]:
    """The numbers of a line of output with the words in front of them; numbers without any are left out."""
    end = 0
    for found in _NUMBER.finditer(line[:_LONGEST]):
        between = line[end : found.start()]
        end = found.end()
        words = _WORD.findall(re.split(r"[|,;()\[\]{}]", between.rstrip(" =:([{"))[-1])
        if words:
            yield " ".join(w.strip("-./") for w in words[-_WORDS:]), float(found.group())


def chosen(names: Iterable[str], wanted: str = "") -> tuple[str, int]:
    """Which series a training is judged by, and whether it is better when higher (1) or lower (-1).

    Without a wish a score of held-out data is preferred to a loss of held-out data, that to anything of the training, and what
    the script tells to what was captured. A wish may begin with + (better when higher) or -. Raises WrongUse where no name says
    what is better, or the wish is none of them.
    """
    every = list(dict.fromkeys(names))
    if wanted:
        name, said = wanted.lstrip("+-"), {"+": 1, "-": -1}.get(wanted[:1], 0)
        if name not in every:
            raise WrongUse(f"--metric {wanted!r}: the script tells no such number; {_offer(name, every)}")
        if not (said or direction(name)):
            raise WrongUse(
                f"--metric {name!r} does not say what is better: say +{name} where higher is, -{name} where lower is"
            )
        return name, said or direction(name)
    graded = [(name, direction(name)) for name in every if direction(name)]
    if not graded:
        raise WrongUse(f"no number of the script's says by its name what is better; say --metric NAME; {_offer('', every)}")
    own = {name: not name.startswith(CAPTURED) for name in every}
    return max(graded, key=lambda g: (bool(_HELD_OUT.search(_plain(g[0]))), g[1] > 0, own[g[0]]))


def _plain(name: str) -> str:
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().replace("_", " ")


def _offer(wanted: str, names: Sequence[str]) -> str:
    return nearest(wanted, names) or ("it tells " + ", ".join(repr(n) for n in names[:12]) if names else "it tells none at all")


def final(series: Mapping[str, Series], name: str) -> float:
    """What a series ends with: its last value, of the losses of single batches the mean of the last tenth; NaN where it is
    empty."""
    values = [value for _, value in series.get(name) or []]
    last = values[-max(1, len(values) // 10) :] if name == TRAIN_LOSS else values[-1:]
    return math.fsum(last) / len(last) if last else math.nan
