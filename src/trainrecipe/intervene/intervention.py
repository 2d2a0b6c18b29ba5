"""One named thing that is changed in a running script from outside, and the proof that it was."""

from __future__ import annotations

import abc
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from trainrecipe.wrong_use import WrongUse, nearest

Put = Callable[[Any, str, Callable[[Any], Any]], None]
"""`put(owner, name, make)` replaces `owner.name` by `make(original)` for the time of the script."""


@dataclasses.dataclass(frozen=True)
class Effect:
    """What an intervention did: whether it `took` effect, and what it changed, or why it could not."""

    took: bool
    says: str


class Intervention(abc.ABC):
    """A change of one thing. `install` is called when PyTorch has been imported and before anything of the script uses it.

    `name` is what people call it, `example` a whole argument, `about` one sentence. `said` is what was asked for.
    """

    name: ClassVar[str]
    example: ClassVar[str]
    about: ClassVar[str]

    def __init__(self, value: str) -> None:
        """Raises WrongUse for a value that it cannot take."""
        self.said = f"{self.name}={value}"
        self.value = value

    @abc.abstractmethod
    def install(self, put: Put) -> None:
        """Replace what must be replaced."""

    @abc.abstractmethod
    def effect(self) -> Effect:
        """What it did, once the script is over."""

    def number(self, low: float, high: float, text: str | None = None) -> float:
        """The value as a number. Raises WrongUse where it is none, or not within the limits."""
        try:
            found = float(self.value if text is None else text)
        except ValueError:
            raise WrongUse(f"{self.said}: {text or self.value!r} is no number; say it as in {self.example}") from None
        if not low <= found <= high:
            raise WrongUse(f"{self.said}: {found:g} is not between {low:g} and {high:g}")
        return found

    def factor(self, low: float, high: float) -> tuple[bool, float]:
        """Whether the value is a factor, as in `x0.5`, and its number. Raises WrongUse as `number` does."""
        relative = self.value[:1] in ("x", "*", "×")
        return relative, self.number(1e-6 if relative else low, high, self.value[1:] if relative else self.value)

    def word(self, *known: str) -> str:
        """The value as one of some words. Raises WrongUse."""
        if self.value not in known:
            raise WrongUse(f"{self.said}: the value must be {' or '.join(known)}")
        return self.value


def interventions() -> dict[str, type[Intervention]]:
    """Every intervention of this package by its name, in order of the names."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
        importlib.import_module(module.name)
    return {kind.name: kind for kind in sorted(_kinds(Intervention), key=lambda kind: kind.name)}  # type: ignore[type-abstract]


def _kinds(base: type[Intervention]) -> Iterator[type[Intervention]]:
    for kind in base.__subclasses__():
        if kind.__module__.startswith(__name__.rpartition(".")[0]) and not kind.__abstractmethods__:
            yield kind
        yield from _kinds(kind)


def intervention(text: str) -> Intervention:
    """The intervention that `name=value` means. Raises WrongUse for an unknown name and a value that it cannot take."""
    name, equals, value = text.partition("=")
    known = interventions()
    kind = known.get(name.strip().replace("-", "_"))
    if kind is None:
        offer = nearest(name, known) or "known are " + ", ".join(known)
        raise WrongUse(f"{text!r}: there is no intervention {name!r}; {offer}")
    if not equals or not value.strip():
        raise WrongUse(f"{text!r} gives {name} no value; say it as in {kind.example}")
    return kind(value.strip())
