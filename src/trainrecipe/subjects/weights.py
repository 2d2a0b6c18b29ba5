"""What was seen of a run's weights beyond the table of parameters: freezing, sharing, overwriting, teachers, norms.

Plain data, one kind of fact per class; `Run.weights` holds them all.
"""

from __future__ import annotations

import dataclasses

from trainrecipe.finding import Place


@dataclasses.dataclass(slots=True)
class Freeze:
    """Something in the code that looks as if it froze parameters and does not.

    `kind`: `module` (an attribute was set on a module), `tensor` (on a tensor, misspelt), `compared` (a comparison that
    stands alone), `thawed` (`requires_grad = True` on a module whose parameters stay frozen). `attribute` is the name that
    was set, `holder` what it was set on. `names` and `elements` are the parameters concerned, `moved` how many elements lie in
    those that an optimiser moved. `own`: the module's own class sets it, so it may be no more than a note to itself.
    """

    kind: str
    attribute: str
    holder: str
    names: list[str]
    elements: int
    moved: int
    place: Place | None
    own: bool = False


@dataclasses.dataclass(slots=True)
class FrozenMove:
    """A tensor that does not require a gradient, and that an optimiser moved all the same.

    `zero`: its gradient was zero at these steps; otherwise it was the very one of an earlier step. `decay` and `momentum`
    are the settings of its group.
    """

    name: str
    elements: int
    optimizer: int
    steps: int
    zero: bool
    decay: float
    momentum: bool


@dataclasses.dataclass(slots=True)
class Overwritten:
    """A parameter whose update did not last until the next step, at `lost` of `steps` steps that could be compared.

    `kind`: `reset` (it was the same before the next step as before this one), `copied` (it held the values of `source`),
    `fresh` (it held other values altogether), `rounded` (most of it was as before, on a coarse grid), `rewritten` (a module's
    forward changed most of it; `lost` counts these).
    """

    name: str
    elements: int
    optimizer: int
    kind: str
    steps: int
    lost: int
    source: str = ""
    place: Place | None = None


@dataclasses.dataclass(slots=True)
class Shared:
    """One layer at several positions of a container. `chain`: what it returned went into it again within one forward.

    `written`: the source multiplies a list around a constructor, as in `[Block()] * 6`; `says`: the source around it speaks
    of sharing.
    """

    container: str
    kind: str
    layer: str
    positions: int
    elements: int
    chain: bool
    written: bool
    says: bool
    place: Place | None


@dataclasses.dataclass(slots=True)
class Recreated:
    """A layer or parameter that is made anew within the forward of a model. `model` is what is called; `same`: it begins
    with the same values each time; `held`: an optimiser holds one of them."""

    kind: str
    model: str
    steps: int
    elements: int
    same: bool
    held: bool
    place: Place | None


@dataclasses.dataclass(slots=True)
class Discarded:
    """A statement that computes a tensor and drops it: the operation, its source, and in how many steps it was seen.

    `sum`: it is no call but a calculation with a graph, and `scalar`: its value is one number, as of a term of the loss.
    """

    operation: str
    source: str
    steps: int
    layer: bool
    place: Place | None
    sum: bool = False
    scalar: bool = False


@dataclasses.dataclass(slots=True)
class Norm:
    """A batch-norm layer. `values` are the numbers per channel in each training forward that was recorded.

    `evaluated`: it was used in eval mode outside of training; `whole`: every training batch was the whole data set.
    `examples` are the lengths of the batch axis in these forwards; empty where there is one value per example, or where
    processes share their statistics.
    """

    model: int
    name: str
    momentum: float | None
    values: list[int]
    evaluated: bool
    whole: bool
    place: Place | None
    examples: list[int] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Untouched:
    """Forwards in eval mode, after training began, of a model whose batch-norm statistics were never updated.

    `source`: the trained model whose weights it has.
    """

    model: str
    layers: int
    names: list[str]
    forwards: int
    source: str
    own: bool
    place: Place | None


@dataclasses.dataclass(slots=True)
class Teacher:
    """A model that is trained by no optimiser and has the shape of one that is (`student`).

    `copied`: it began with the student's values, when that was untrained and nothing had been loaded into it (`plain`).
    `steps` student steps were seen, in `changes` of which it changed; `shares` are the parts of the way to the student that
    it went at each change. `fed`: it was called within training steps; `same_inputs`: with the very inputs of the student.
    `sites`: lines and packages that may still write to it. `pulls` are the parts of the way to it that the student was set
    back between two steps, `pulled` the line that loaded its weights into the student, `synced` counts loads the other way
    round.
    """

    model: str
    student: str
    copied: bool
    plain: bool
    steps: int
    changes: int
    shares: list[float]
    moved: float
    fed: bool
    same_inputs: bool
    sites: list[str]
    place: Place | None
    pulls: list[float] = dataclasses.field(default_factory=list)
    pulled: Place | None = None
    synced: int = 0


@dataclasses.dataclass(slots=True)
class Reload:
    """A model that was built again and given stored weights, next to one of its class that was trained.

    `apart`: with the same weights, in eval mode and on the same input their outputs differ by this share of their norm.
    `settings` are their attributes that differ, as text; `default`: one of these has, after loading, the value that the
    constructor takes if it is told nothing. `place`: where the weights were loaded. `further`: it is trained on.
    """

    model: str
    apart: float
    settings: list[str]
    default: bool
    place: Place | None
    further: bool = False


@dataclasses.dataclass(slots=True)
class Weights:
    """All of it. `compared`: pairs of successive steps whose weights were compared; `thaws` are lines that may make
    parameters trainable, `other_steps` calls of a `step` in files that did not take part in a training step;
    `foreign_loop`: a library, not the program's own code, loops over the training data, and a rehearsal cut that short."""

    freezes: list[Freeze] = dataclasses.field(default_factory=list)
    frozen_moves: list[FrozenMove] = dataclasses.field(default_factory=list)
    overwritten: list[Overwritten] = dataclasses.field(default_factory=list)
    rewritten: list[Overwritten] = dataclasses.field(default_factory=list)
    compared: int = 0
    shared: list[Shared] = dataclasses.field(default_factory=list)
    recreated: list[Recreated] = dataclasses.field(default_factory=list)
    discarded: list[Discarded] = dataclasses.field(default_factory=list)
    norms: list[Norm] = dataclasses.field(default_factory=list)
    untouched: list[Untouched] = dataclasses.field(default_factory=list)
    teachers: list[Teacher] = dataclasses.field(default_factory=list)
    reloads: list[Reload] = dataclasses.field(default_factory=list)
    thaws: list[Place] = dataclasses.field(default_factory=list)
    other_steps: list[Place] = dataclasses.field(default_factory=list)
    foreign_loop: bool = False
