"""State dicts that a program took, loaded, saved and read, as they were observed. Plain data."""

from __future__ import annotations

import dataclasses

from trainrecipe.finding import Place


@dataclasses.dataclass(slots=True)
class Use:
    """A line of the source that uses a kept state: `kind` is load, save or return; `receiver` is what it is loaded into."""

    kind: str
    place: Place
    receiver: str = ""


@dataclasses.dataclass(slots=True)
class Taken:
    """A call of `model.state_dict()`, or with `alias` a second name for the model, at one line; the last one there.

    `owner` and `target` are the source of the model and of what the result is assigned to; `best`: it happens under a
    comparison with the best value so far, which is renewed there. `held` tells that the result was still there after later
    steps of training and shares its memory with the model's parameters; `since` is the number of these steps. `uses` are
    the lines that use the target, `trained` whether an optimiser holds the model's parameters; `unread`: no line of the
    program reads the target, whatever it is called there.
    """

    model: str
    place: Place | None
    step: int
    owner: str = ""
    target: str = ""
    best: bool = False
    alias: bool = False
    count: int = 0
    held: bool = False
    since: int = 0
    trained: bool = False
    looped: bool = False
    unread: bool = False
    uses: list[Use] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Loaded:
    """A call of `model.load_state_dict(state)`: `given` entries in the state, `own` in the model, `matched` in both.

    `missing_state`: the state was empty. `shared` of them are the model's own memory, `since` the steps of training between
    the state and now (0 for a fresh one). `prefixed` entries would match with `prefix` removed from (or, with a leading +,
    added to) their names. `from_file` of them came out of a file; `read` and `read_prefixed` tell the same of the file that
    was read last and has not been loaded since: how many of its tensors' names the model has, as they are and with the prefix.
    `event` numbers the call among those of the run.
    """

    model: str
    place: Place | None
    step: int
    strict: bool
    given: int
    own: int
    matched: int
    shared: int
    since: int
    prefix: str = ""
    prefixed: int = 0
    from_file: int = 0
    file_tensors: int = 0
    file_matched: int = 0
    examples: list[str] = dataclasses.field(default_factory=list)
    own_examples: list[str] = dataclasses.field(default_factory=list)
    trained: bool = False
    event: int = 0


@dataclasses.dataclass(slots=True)
class Saved:
    """A call of `torch.save`: `kinds` of what lies in it by key (empty key for the object itself), `since` as for `Loaded`."""

    place: Place | None
    step: int
    path: str
    kinds: dict[str, str]
    since: int = 0
    taken: Place | None = None
    best: bool = False
    count: int = 1


@dataclasses.dataclass(slots=True)
class Resume:
    """A block of the source that reads a checkpoint and goes on counting where it ended.

    `keys` are the entries it reads, `counter` the one that sets where the count goes on.
    """

    place: Place
    keys: list[str]
    counter: str
    restores: int = 0


@dataclasses.dataclass(slots=True)
class Chosen:
    """A comparison of `value` with the `best` so far, both as written, that keeps weights or resets a count of patience.

    `higher`: higher values are chosen. `values` are the pairs of both, as they were after an evaluation. `given`: the line
    where the value is written so, if it was given to a function that compares it. `named`: a framework compares, and the
    value is the name of a metric.
    """

    place: Place
    value: str
    best: str
    higher: bool
    values: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    given: Place | None = None
    named: bool = False


@dataclasses.dataclass(slots=True)
class Checkpoints:
    """Everything that was seen of state dicts. `restored` are the optimisers whose state was loaded, with the step;
    `restores_models`: some line of the source loads a state into a model or reads a file."""

    taken: list[Taken] = dataclasses.field(default_factory=list)
    loaded: list[Loaded] = dataclasses.field(default_factory=list)
    saved: list[Saved] = dataclasses.field(default_factory=list)
    resumes: list[Resume] = dataclasses.field(default_factory=list)
    choices: list[Chosen] = dataclasses.field(default_factory=list)
    restored: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    restores_models: bool = False
    scalers: int = 0
