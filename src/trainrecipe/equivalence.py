"""Whether a vectorised function does what the loop does that it replaces: values and gradients, over generated shapes.

    from trainrecipe import same

    def test_vectorised_distance():
        same(distance_by_loops, distance, "n d", "m d")

It raises `Different`, an AssertionError, at the first case in which the two disagree.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from trainrecipe.capture.tape import RandomState
from trainrecipe.capture.tensors import map_tensors, tensors_in

LARGEST = 6
"""Sizes that are drawn lie between 2 and this, and differ from each other, so that swapped axes show; 0, 1 and equal sizes
come on top."""
LAYOUTS = ("contiguous", "transposed", "every second element")
_KINDS = ("float", "positive", "unit", "bool", "int")
_TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
_NUMBERS = {float: torch.float64, int: torch.int64, bool: torch.bool}


class Different(AssertionError):
    """The two functions disagree; the message tells for which shapes, at which element, and both values."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sameness:
    """What was compared: `cases` that agreed, `refused` that the slow function cannot do itself, and the largest relative
    difference of a value and of a gradient in float64."""

    cases: int
    refused: int
    value: float
    gradient: float

    def __str__(self) -> str:
        left_out = f", {self.refused} that the first function refuses" if self.refused else ""
        return f"same in {self.cases} cases{left_out}: values to {self.value:.1e}, gradients to {self.gradient:.1e}"


@dataclasses.dataclass(frozen=True, slots=True)
class _Spec:
    """An argument given as a pattern: sizes by name or number, and what its elements are."""

    pattern: str
    sizes: tuple[str, ...]
    kind: str
    below: str = ""

    def names(self) -> set[str]:
        return {s for s in (*self.sizes, self.below) if s and not s.isdigit()}


@dataclasses.dataclass(frozen=True, slots=True)
class _Case:
    sizes: Mapping[str, int]
    layout: str
    dtype: torch.dtype
    seed: int


def same(
    slow: Callable[..., Any],
    fast: Callable[..., Any],
    *arguments: Any,
    sizes: Mapping[str, int | tuple[int, int]] | None = None,
    trials: int = 12,
    gradients: bool = True,
    tolerance: float | None = None,
    seed: int = 0,
) -> Sameness:
    """Check that `fast` gives what `slow` gives, for generated arguments of many shapes; raise `Different` where it does not.

        same(loop, vectorised, "b t d", "b t: bool")            # a batch of sequences and its mask
        same(loop, vectorised, "v d", "b t: int v", 0.5)        # a table, indices into it, and a number

    An argument is a pattern of named or fixed sizes, the same name standing for the same size everywhere. After a colon
    comes what its elements are: `float` (normal, the default), `positive`, `unit` (between 0 and 1), `bool`, or `int n`
    (0 … n-1, n a number or a named size). Anything else is given to both functions as it is, tensors as copies.

    Sizes are drawn anew for each of the `trials`, then each is 1 and 0 in turn and all are equal; `sizes` fixes some or
    bounds them, as in `{"d": 64, "t": (1, 9)}`. Memory layouts that are not contiguous and float32 are tried as well.
    Compared are shapes, dtypes, values, the gradients of every float argument for random gradients of the results (in
    float64, unless `gradients` is False), and whether arguments are changed in place. `tolerance` is relative to the largest
    magnitude (1e-9 in float64, 1e-4 in float32). Where no result of `slow` has a gradient, as in a loop over NumPy arrays or
    plain numbers, gradients are not compared. Cases that `slow` itself refuses with an exception are left out and counted;
    ValueError when those are all, or when a pattern cannot be read. Random streams are the same for both functions and
    untouched afterwards.
    """
    specs = [_read(a) if isinstance(a, str) else a for a in arguments]
    names = sorted({n for s in specs if isinstance(s, _Spec) for n in s.names()})
    unknown = set(sizes or {}) - set(names)
    if unknown:
        raise ValueError(f"same: sizes names {', '.join(sorted(unknown))}, but the patterns only have {', '.join(names)}")
    done, refused, worst = 0, 0, [0.0, 0.0]
    before = RandomState.now()
    try:
        for case in _cases(names, sizes or {}, trials, seed):
            error = _compare(slow, fast, specs, case, gradients, tolerance, worst)
            refused, done = refused + (error is not None), done + (error is None)
            last = error or None
    finally:
        before.restore()
    if not done:
        raise ValueError(f"same: {_name(slow)} itself fails in all {refused} cases, the last time with {last!r}")
    return Sameness(done, refused, worst[0], worst[1])


def _read(pattern: str) -> _Spec:
    shape, colon, kind = pattern.partition(":")
    sizes = tuple(shape.split())
    for size in sizes:
        if not re.fullmatch(r"[A-Za-z_]\w*|\d+", size):
            raise ValueError(f"same: in {pattern!r} {size!r} is no size: give names and numbers with spaces between")
    words = kind.split() or ["float"]
    whole = words[0] == "int"
    if words[0] not in _KINDS or len(words) != 1 + whole or (colon and not kind.strip()):
        raise ValueError(f"same: in {pattern!r} after the colon comes one of {', '.join(_KINDS[:-1])} or `int n`, not {kind!r}")
    return _Spec(pattern, sizes, words[0], words[1] if whole else "")


# ---- cases


def _cases(names: Sequence[str], fixed: Mapping[str, int | tuple[int, int]], trials: int, seed: int) -> Iterator[_Case]:
    numbers = random.Random(seed)
    bounds = {n: b if isinstance(b := fixed.get(n, (0, 10**9)), tuple) else (b, b) for n in names}
    plans: list[dict[str, int]] = [_draw(names, bounds, numbers)]
    for value in (1, 0):
        plans += [{**_draw(names, bounds, numbers), n: value} for n in names if bounds[n][0] <= value <= bounds[n][1]]
    plans += [{n: min(max(v, bounds[n][0]), bounds[n][1]) for n in names} for v in (1, 3)]
    plans += [_draw(names, bounds, numbers) for _ in range(max(1, trials))]
    for number, plan in enumerate(plans):
        yield _Case(plan, LAYOUTS[number % len(LAYOUTS)], torch.float64, seed + number)
    yield _Case(plans[0], LAYOUTS[1], torch.float32, seed)
    yield _Case(plans[-1], LAYOUTS[0], torch.float32, seed + len(plans))


def _draw(names: Sequence[str], bounds: Mapping[str, tuple[int, int]], numbers: random.Random) -> dict[str, int]:
    """A size for each name, different ones as far as they go."""
    pool = itertools.chain(numbers.sample(range(2, LARGEST + 1), LARGEST - 1), iter(lambda: numbers.randint(2, LARGEST), None))
    drawn: dict[str, int] = {}
    for name in names:
        low, high = bounds[name]
        size = next(pool)
        drawn[name] = size if low <= size <= high else numbers.randint(low, min(high, low + LARGEST))
    return drawn


def _arguments(specs: Sequence[Any], case: _Case) -> list[Any]:
    generator = torch.Generator().manual_seed(case.seed)
    return [_tensor(s, case, generator) if isinstance(s, _Spec) else _copied(s) for s in specs]


def _tensor(spec: _Spec, case: _Case, generator: torch.Generator) -> torch.Tensor:
    shape: list[int] = [case.sizes[s] if s in case.sizes else int(s) for s in spec.sizes]
    if spec.kind == "int":
        below = case.sizes[spec.below] if spec.below in case.sizes else int(spec.below)
        if below < 1 and 0 not in shape:
            raise _Impossible
        made = torch.randint(0, max(1, below), shape, generator=generator)
    elif spec.kind == "bool":
        made = torch.rand(shape, generator=generator) < 0.5
    else:
        made = torch.randn(shape, generator=generator, dtype=torch.float64)
        made = {"positive": lambda t: t.exp(), "unit": lambda t: t.sigmoid()}.get(spec.kind, lambda t: t)(made).to(case.dtype)
    return made


class _Impossible(Exception):
    """No such argument exists: an index into a table of length zero."""


def _laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values with other strides."""
    if layout == "transposed" and tensor.ndim > 1:
        return tensor.permute(*reversed(range(tensor.ndim))).contiguous().permute(*reversed(range(tensor.ndim)))
    if layout == "every second element" and tensor.ndim:
        wide = tensor.new_zeros((*tensor.shape[:-1], 2 * tensor.shape[-1]))
        wide[..., ::2] = tensor
        return wide[..., ::2]
    return tensor


def _copied(value: Any) -> Any:
    return map_tensors(value, lambda t: t.detach().clone())


# ---- comparing


def _compare(
    slow: Any, fast: Any, specs: Sequence[Any], case: _Case, gradients: bool, tolerance: float | None, worst: list[float]
) -> Exception | None:
    """Compare both functions in one case; the exception with which the slow one refuses it, else None."""
    gradients = gradients and case.dtype is torch.float64
    try:
        reference = _Outcome(slow, specs, case, gradients)
    except Exception as error:
        return error
    where = _describe(specs, case)
    try:
        candidate = _Outcome(fast, specs, case, gradients)
    except Exception as error:
        raise Different(
            f"{_name(fast)} fails where {_name(slow)} does not\n  {where}\n  {type(error).__name__}: {error}"
        ) from error
    limit = tolerance if tolerance is not None else _TOLERANCES[case.dtype]
    both = f"{_name(slow)} and {_name(fast)}"
    for kind, mine, theirs in (
        ("result", reference.results, candidate.results),
        ("argument, after the call,", reference.arguments, candidate.arguments),
        ("gradient of argument", *_comparable(reference, candidate)),
    ):
        if len(mine) != len(theirs):
            raise Different(f"{both} return {len(mine)} and {len(theirs)} tensors\n  {where}")
        for number, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            what = f"{kind} {number}" if len(mine) > 1 else kind.removesuffix("s")
            gap = _gap(a, b, f"{both} disagree: {what}", where, limit)
            if case.dtype is torch.float64 and kind != "argument, after the call,":
                worst[kind != "result"] = max(worst[kind != "result"], gap)
    return None


def _comparable(reference: _Outcome, candidate: _Outcome) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The gradients of both; zeros where only the candidate has none, nothing where the reference has none."""
    mine, theirs = reference.gradients, candidate.gradients
    if mine is None:
        return [], []
    return mine, [torch.zeros_like(t) for t in mine] if theirs is None else theirs


class _Outcome:
    """What one function made of its arguments: results, the arguments afterwards, and their gradients."""

    def __init__(self, function: Any, specs: Sequence[Any], case: _Case, gradients: bool) -> None:
        arguments = _arguments(specs, case)
        leaves = [t.requires_grad_(gradients) for t in tensors_in(arguments) if t.is_floating_point()]
        # the function gets copies of the leaves, so that it may write to them as it would in the middle of a model
        given = [
            _laid_out(a.clone(), case.layout) if isinstance(s, _Spec) else map_tensors(a, torch.clone)
            for s, a in zip(specs, arguments, strict=True)
        ]
        torch.manual_seed(case.seed)
        with torch.enable_grad() if gradients else torch.no_grad():
            out = function(*given)
        made = [v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=_NUMBERS[type(v)]) for v in _leaves(out)]
        self.results = [t.detach() for t in made]
        self.arguments = [t.detach() for t in tensors_in(given)]
        self.gradients = _pulled_back(made, leaves, case.seed) if gradients else None


def _pulled_back(made: list[torch.Tensor], leaves: list[torch.Tensor], seed: int) -> list[torch.Tensor] | None:
    """The gradients of the arguments for random gradients of the results; None when no result has one."""
    generator = torch.Generator().manual_seed(seed + 1)
    weights = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in made]
    pairs = [(t, w.to(t.dtype)) for t, w in zip(made, weights, strict=True) if t.requires_grad]
    if not pairs:
        return None
    found = torch.autograd.grad([t for t, _ in pairs], leaves, [w for _, w in pairs], allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip(leaves, found, strict=True)]


def _leaves(out: Any) -> Iterator[Any]:
    """The tensors and numbers in a result."""
    if isinstance(out, torch.Tensor | int | float | bool):
        yield out
    elif isinstance(out, Mapping):
        for key in sorted(out, key=str):
            yield from _leaves(out[key])
    elif isinstance(out, list | tuple):
        for value in out:
            yield from _leaves(value)
    else:
        with contextlib.suppress(TypeError):
            yield from tensors_in(out)


def _gap(a: torch.Tensor, b: torch.Tensor, what: str, where: str, limit: float) -> float:
    """The largest relative difference; raises Different if it is above the limit, or if shapes or dtypes differ."""
    if a.shape != b.shape:
        raise Different(f"{what} has another shape: {tuple(a.shape)} and {tuple(b.shape)}\n  {where}")
    if a.dtype != b.dtype:
        raise Different(f"{what} has another dtype: {a.dtype} and {b.dtype}\n  {where}")
    x, y = (t.to(torch.complex128) if t.is_complex() else t.double() for t in (a, b))
    both_odd = (x == y) | (x.isnan() & y.isnan())
    scale = float(x[x.isfinite()].abs().max()) if bool(x.isfinite().any()) else 0.0
    far = (x - y).abs().masked_fill(both_odd, 0.0)
    wrong = ~(far <= limit * max(scale, 1e-300))
    if bool(wrong.any()):
        at = tuple(int(i) for i in wrong.nonzero()[0])
        shown = f"at [{', '.join(map(str, at))}] {a[at].item():.8g} and {b[at].item():.8g}"
        count = f"{int(wrong.sum())} of {wrong.numel()} elements differ" if wrong.ndim else "the only element differs"
        raise Different(f"{what} of shape {tuple(a.shape)} is different\n  {where}\n  {shown}; {count}")
    return float(far.max()) / scale if far.numel() and scale else 0.0


def _describe(specs: Sequence[Any], case: _Case) -> str:
    told = []
    for number, spec in enumerate(specs):
        if isinstance(spec, _Spec):
            shape = tuple(case.sizes[s] if s in case.sizes else int(s) for s in spec.sizes)
            told.append(f'argument {number} "{spec.pattern}" = {shape}')
    kind = str(case.dtype).removeprefix("torch.")
    return f"{'; '.join(told) or 'the given arguments'} ({kind}, {case.layout}, seed {case.seed})"


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
