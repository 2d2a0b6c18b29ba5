"""What was seen of initialisation: functions given to `Module.apply`, and weights that were loaded before training."""

from __future__ import annotations

import dataclasses

from trainrecipe.finding import Place


@dataclasses.dataclass(slots=True)
class Application:
    """A call of `Module.apply` with a function whose code initialises weights.

    `weights` is the number of the module's tensors of two or more axes, `kinds` the layers that hold them; `changed` how
    many of all its parameters changed, `called` whether a function of `torch.nn.init` ran; `elsewhere` that the same
    function changed another model.
    With `loop` it is a loop over `children()`, told by its first line: `changed` layers were initialised in it, `weights`
    others of the same type, that lie deeper, nowhere.
    With a `base` it is a call that initialised `changed` layers of that type, and passed `weights` layers by whose types,
    `kinds`, are derived from it.
    """

    function: str
    model: str
    place: Place | None
    weights: int
    kinds: list[str]
    changed: int
    called: bool
    elsewhere: bool = False
    loop: bool = False
    base: str = ""


@dataclasses.dataclass(slots=True)
class Reload:
    """Weights given to a model by `load_state_dict`, as the next backward or optimiser step found them.

    `tensors` of two or more axes were loaded, with `elements` in all; of those, `lost` elements are unrelated to what was
    loaded, in the tensors `names`. `overwritten` is the line that initialised one of them since.
    """

    model: str
    place: Place | None
    tensors: int
    elements: int
    lost: int
    names: list[str]
    overwritten: Place | None


@dataclasses.dataclass(slots=True)
class Inits:
    """Everything about initialisation."""

    applied: list[Application] = dataclasses.field(default_factory=list)
    reloads: list[Reload] = dataclasses.field(default_factory=list)
