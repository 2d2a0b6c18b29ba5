"""The processes of a distributed training side by side: what each rank held, drew, evaluated and sent. Plain data.

Each rank writes down what it saw (`RankFacts`), and the rank that examines reads what the others wrote.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from trainrecipe.finding import Place


@dataclasses.dataclass(slots=True)
class Weight:
    """One trained tensor after an optimiser's step: hashes of its value and of the gradient the step used, and a few of
    their elements."""

    name: str
    shape: list[int]
    value: str
    gradient: str
    values: list[float] = dataclasses.field(default_factory=list)
    gradients: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Snapshot:
    """The trained tensors of one optimiser after its step number `count` (0: before the first one)."""

    optimizer: int
    count: int
    weights: list[Weight]


@dataclasses.dataclass(slots=True)
class Wrapper:
    """A DistributedDataParallel. `calls` of it with gradients, `bare` those of the module inside that went past it, where."""

    place: Place | None
    calls: int = 0
    bare: int = 0
    bare_place: Place | None = None


@dataclasses.dataclass(slots=True)
class Collective:
    """A call in which ranks exchange tensors: its name, line, number of elements, the event and the optimiser steps so far.

    `gradients`: it was given a gradient of a trained tensor, `weights`: a trained tensor or module itself.
    """

    name: str
    place: Place | None
    elements: int
    event: int
    step: int
    gradients: bool = False
    weights: bool = False


@dataclasses.dataclass(slots=True)
class Reading:
    """One pass over a loader: `examples` in its data set (`dataset` names it and tells what it holds), whether its sampler
    is PyTorch's DistributedSampler, and the `indices` drawn, as numbers of examples of the innermost data set; `complete`:
    all of them.

    `hashes` are content hashes of its first batches, `states` random states before each of them, `drew`: making them drew
    random numbers. `reported`: a number that the program keeps or prints was worked out from it. `closed`: training went on,
    or the program ended, after it.
    """

    place: Place | None
    sampler_place: Place | None
    dataset: str
    examples: int | None
    distributed: bool
    trains: bool
    evaluates: bool
    first_event: int
    indices: list[int] = dataclasses.field(default_factory=list)
    complete: bool = False
    hashes: list[int] = dataclasses.field(default_factory=list)
    states: list[str] = dataclasses.field(default_factory=list)
    drew: bool = False
    reported: bool = False
    closed: bool = False


@dataclasses.dataclass(slots=True)
class LocalMean:
    """The mean that one rank's loss is at a step: over how many `targets`, for how many `rows` that the model is given, each
    of the shape `inner` where every element counts; its `weight` in what backward started from.

    `local` are a few elements of the gradient that this backward gave in this rank alone, `used` the same of the one that
    the optimiser's step used. Both are empty where they were not looked at.
    """

    step: int
    targets: int
    rows: int
    inner: list[int]
    weight: float
    place: Place | None
    local: list[float] = dataclasses.field(default_factory=list)
    used: list[float] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class RankFacts:
    """What one rank saw. `batches` are content hashes of what its model was fed in training, step by step. `sharded` names
    layers that are split over ranks (FSDP). `unseen` are lines of the program that exchange tensors and were not
    reached. `means` are the losses of its first recorded steps that are means over targets."""

    rank: int
    world: int
    status: str = ""
    initialized: Place | None = None
    trained_place: Place | None = None
    wrappers: list[Wrapper] = dataclasses.field(default_factory=list)
    snapshots: list[Snapshot] = dataclasses.field(default_factory=list)
    collectives: list[Collective] = dataclasses.field(default_factory=list)
    readings: list[Reading] = dataclasses.field(default_factory=list)
    batches: list[int] = dataclasses.field(default_factory=list)
    sharded: list[str] = dataclasses.field(default_factory=list)
    ignored: list[str] = dataclasses.field(default_factory=list)
    unseen: list[Place] = dataclasses.field(default_factory=list)
    means: list[LocalMean] = dataclasses.field(default_factory=list)

    def training(self) -> list[Reading]:
        """Passes in which it trained."""
        return [r for r in self.readings if r.trains]

    def evaluating(self) -> list[Reading]:
        """Passes in which it evaluated."""
        return [r for r in self.readings if r.evaluates]

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RankFacts:
        """What `to_json` gave."""
        return typing.cast(RankFacts, _built(cls, data))


@dataclasses.dataclass(slots=True)
class Ranks:
    """All ranks that were seen, in order, and how many there are. `missing`: why some were not seen."""

    world: int
    facts: list[RankFacts]
    missing: str = ""

    def why_not(self) -> str:
        """Why nothing can be compared; empty if it can."""
        if len(self.facts) < 2:
            return self.missing or f"only rank {self.facts[0].rank if self.facts else 0} of {self.world} was seen"
        if all(f.initialized is None for f in self.facts):
            return "torch.distributed was not initialised, so the processes do not train together"
        sharded = next((f.sharded for f in self.facts if f.sharded), [])
        if sharded:
            return f"{sharded[0]} is split over the ranks; only replicas that hold the whole model can be compared"
        return ""

    def pairs(self) -> Iterator[tuple[RankFacts, RankFacts]]:
        """The first rank with each of the others."""
        return ((self.facts[0], other) for other in self.facts[1:])

    def together(self) -> bool:
        """Whether ranks train one model: a wrapper averages gradients, or the program exchanges them itself."""
        return any(f.wrappers or any(c.gradients or c.weights for c in f.collectives) for f in self.facts)


def _built(kind: Any, data: Any) -> Any:
    """An object of the annotated type out of JSON."""
    if data is None:
        return None
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _built(hints[name], value) for name, value in data.items()})  # type: ignore[operator]
    inner = [a for a in typing.get_args(kind) if a is not type(None)]
    if isinstance(data, list):
        return [_built(inner[0], item) for item in data]
    return _built(inner[0], data) if inner else data
