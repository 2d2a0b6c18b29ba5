"""What a table of examples says of itself: where the data came from, how examples are built, which columns there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

VERSION = 1
"""Of the layout on disk; a table of another version is scanned anew."""

KINDS = ("number", "integer", "category", "text", "flag")
"""Of columns: measured, counted, one of a few values, free text, yes or no."""
PARTS = ("image", "mask", "boxes", "series", "tokens", "text", "table", "labels", "class", "number", "tensor")
"""Of what an example is made: `table` is one row of features, `labels` several classes at once, `tensor` anything else."""
ROLES = ("input", "target", "other")


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of the table. `part` is the name of the part of an example that it measures, empty for the whole example.

    `tail` tells that extreme values deserve a look; `hidden` that the page shows it only when it is asked for.
    """

    name: str
    kind: str
    title: str = ""
    part: str = ""
    about: str = ""
    unit: str = ""
    tail: bool = False
    hidden: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"column {self.name!r} is of kind {self.kind!r}; the kinds are {', '.join(KINDS)}")


@dataclasses.dataclass(frozen=True)
class Part:
    """One part of an example, such as its image or its label.

    `name` is what columns begin with, `path` where it lies in an example as the data set gives it (`[0]`, `['image']`),
    `shape` that of the first example, without its varying dimensions where `ragged`. `features` are names of the columns of a
    `table` part, `classes` names of classes by number, where known.
    """

    name: str
    path: str
    kind: str
    role: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    ragged: bool = False
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in PARTS or self.role not in ROLES:
            raise ValueError(f"part {self.name!r}: kind {self.kind!r}, role {self.role!r} is not known")


@dataclasses.dataclass
class Split:
    """How far one split was read. `length` is None where it cannot be known before a pass; `read` counts the rows.

    `planned` examples were to be read: all, or, where `sampled`, so many drawn at random with the seed 0 (of a stream, the
    first ones). `role` is what the program does with it: `train`, `validation`, `test` or empty. `random`: two readings of an
    example differ; `raw` tells where stored examples are known from (see scan/reading.py), `fed` where nothing is known but
    what a model was fed. Splits with the same number of
    `dataset` are parts of one data set, and `index` counts in it.
    """

    name: str
    length: int | None
    role: str = ""
    planned: int | None = None
    read: int = 0
    failed: int = 0
    sampled: bool = False
    complete: bool = False
    seconds: float = 0.0
    random: bool | None = None
    raw: str = ""
    dataset: int = 0
    place: str = ""


@dataclasses.dataclass
class Manifest:
    """The whole. `source` is how the data sets are made again: `{"kind": "script" | "module" | "python", "target", "args"}`."""

    name: str
    source: dict[str, Any]
    created: str = ""
    splits: list[Split] = dataclasses.field(default_factory=list)
    parts: list[Part] = dataclasses.field(default_factory=list)
    columns: list[Column] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    finished: bool = False
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Manifest:
        """Rebuild from `to_json`. Raises KeyError, TypeError or ValueError for data of another layout."""
        if data["version"] != VERSION:
            raise ValueError(f"the table is of version {data['version']}, this is {VERSION}")
        fields = dict(data)
        fields["splits"] = [Split(**s) for s in data["splits"]]
        fields["parts"] = [Part(**{k: _tuple(v) for k, v in p.items()}) for p in data["parts"]]
        fields["columns"] = [Column(**c) for c in data["columns"]]
        return cls(**fields)

    def split(self, name: str) -> Split:
        """The split of that name. Raises KeyError."""
        for split in self.splits:
            if split.name == name:
                return split
        raise KeyError(name)

    def inputs(self) -> list[Part]:
        """The parts that are inputs."""
        return [p for p in self.parts if p.role == "input"]

    def target(self) -> Part | None:
        """The first part that is a target."""
        return next((p for p in self.parts if p.role == "target"), None)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
