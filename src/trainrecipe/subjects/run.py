"""A training run as it was observed: passes over the data, forwards, backwards, steps, schedules and clips. Plain data.

While the script runs the listener fills this in; afterwards checks read it. Everything is counted in optimiser steps and
in events, a number that grows by one with every observed event, so that the order of things can be told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from trainrecipe.finding import Place
from trainrecipe.subjects.checkpoints import Checkpoints
from trainrecipe.subjects.criteria import Criterion, LossUse
from trainrecipe.subjects.draws import Carried, Draw
from trainrecipe.subjects.dynamics import Dynamics
from trainrecipe.subjects.evaluation import Evaluation
from trainrecipe.subjects.exits import LoopExit
from trainrecipe.subjects.gradients import GradientUse, NormShare, Scalar, Scaler
from trainrecipe.subjects.inits import Inits
from trainrecipe.subjects.knob import Knob, Trial
from trainrecipe.subjects.weights import Weights
from trainrecipe.subjects.wraps import Wrap


@dataclasses.dataclass(slots=True)
class Layer:
    """A module that behaves differently in training: `kind` is dropout or batchnorm, `rate` a dropout's probability."""

    name: str
    kind: str
    rate: float = 0.0


@dataclasses.dataclass(slots=True)
class Model:
    """A module that the script calls itself. `moody` are its dropout and batch-norm layers, `trainable` its parameters.

    `loaded`: weights were loaded into it before the first step. `kin`: other models that have parameters in common with it,
    such as the one that a wrapper wraps. `fresh_norms`: at its first call some of its batch-norm
    layers had not seen a batch yet.
    """

    number: int
    name: str
    moody: list[Layer]
    trainable: int
    total: int
    born: Place | None = None
    loaded: bool = False
    kin: list[int] = dataclasses.field(default_factory=list)
    fresh_norms: bool = False


@dataclasses.dataclass(slots=True)
class Forward:
    """Forwards of one model at one line, in one mode, during one pass. `moody` names the layers in training mode.

    `repeats` is the largest number of forwards per batch; `fed` counts those whose result a backward started from.
    `rows` are content hashes of the rows of its first input, `looks` the same call by call, each with its event
    and the number of rows. `stepped` counts the optimiser steps that followed such a backward, `at_steps` the different
    optimiser steps at which it was called, the last of them `last_step`. `weights` is a hash of some of the model's trainable
    weights at the first of these calls, taken where it came in a pass. `adapting` names the batch-norm layers that were
    frozen by then, had statistics of an earlier training, and go on averaging; `frozen`: no parameter of the model required
    a gradient.
    """

    model: int
    place: Place | None
    training: bool
    grad: bool
    moody: tuple[str, ...]
    in_pass: int | None
    first_event: int
    last_event: int
    step: int
    count: int = 0
    fed: int = 0
    tracked: int = 0
    repeats: int = 1
    stepped: int = 0
    at_steps: int = 0
    last_step: int = -1
    weights: int | None = None
    adapting: tuple[str, ...] = ()
    frozen: bool = False
    rows: set[int] = dataclasses.field(default_factory=set)
    batches: list[int] = dataclasses.field(default_factory=list)
    looks: list[tuple[int, frozenset[int], int]] = dataclasses.field(default_factory=list)

    @property
    def unused(self) -> bool:
        """Whether no backward ever started from its results, though the training went on, and it comes with no loader."""
        return self.in_pass is None and not self.fed and self.at_steps > 1


@dataclasses.dataclass(slots=True)
class Pass:
    """One iteration over a loader: from `iter(loader)` until it ends or another takes over.

    `backwards` counts backward calls on its batches, `inside` those while its loop was still going on; `fetched` batches
    since the last backward, and `shared` how often it gave one batch of several loaders to a step. `length` is
    `len(loader)` or None; `cut` tells that a rehearsal left batches out. `batch_hashes` are content hashes, one per batch
    seen in detail, `rows` those of their examples where several workers iterate over a data set.
    """

    number: int
    loader: int
    place: Place | None
    first_event: int
    step: int
    length: int | None
    batches: int = 0
    backwards: int = 0
    inside: int = 0
    last_event: int = 0
    finished: bool = False
    cut: bool = False
    fetched: int = 0
    shared: int = 0
    batch_hashes: list[int] = dataclasses.field(default_factory=list)
    labels: list[list[list[float]]] = dataclasses.field(default_factory=list)
    rows: list[list[int]] = dataclasses.field(default_factory=list)

    @property
    def trains(self) -> bool:
        """Whether backward was called during this pass."""
        return self.backwards > 0


@dataclasses.dataclass(slots=True)
class Loader:
    """A DataLoader: what it reads and how. `dataset` numbers the innermost data set; `born` is the line that built it,
    `sampler_born` the one that built its sampler.

    `label` tells which tensor of its batches the loss takes as target, where that was seen.
    """

    number: int
    place: Place | None
    dataset: int
    dataset_name: str
    examples: int | None
    batch_size: int | None
    sampler: str
    shuffled: bool
    drop_last: bool
    workers: int
    length: int | None
    born: Place | None = None
    label: int | None = None
    sampler_born: Place | None = None


@dataclasses.dataclass(slots=True)
class Untaught:
    """Reentrant activation checkpoints at one line, none of whose inputs requires a gradient: `names` are trainable parameters
    of the `block` in them that never got one, with so many `elements`; `others` is the number of its parameters that did."""

    block: str
    place: Place | None
    names: list[str]
    elements: int
    others: int


@dataclasses.dataclass(slots=True)
class Clip:
    """Calls of a gradient-clipping function at one line. `coefficients` is limit / norm for each call seen in detail.

    `stale` counts calls after the optimiser's step with no backward in between, `empty` calls without any gradient, both
    among the `seen` calls. For clipping by value the coefficient is limit / root mean square of the gradient.
    """

    place: Place | None
    kind: str
    limit: float
    norm_type: float
    count: int = 0
    stale: int = 0
    empty: int = 0
    seen: int = 0
    coefficients: list[float] = dataclasses.field(default_factory=list)
    optimizers: set[int] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(slots=True)
class Seam:
    """Between two folds that a loop hands out as indices: `carried` tells that the later one begins with the weights that the
    earlier one ended with, after an evaluation. `shared` of its `judged` evaluation examples were in the earlier training
    part, `back` of the earlier one's `before` are in the later training part."""

    optimizer: str
    carried: bool
    shared: int
    judged: int
    back: int
    before: int
    place: Place | None


@dataclasses.dataclass(slots=True)
class Scheduler:
    """A learning-rate scheduler. `calls` holds the optimiser's step count at each call of `step` by the script.

    `horizon` are the lengths it was built with, such as T_max or total_steps, in its own units; `conditional`: it is stepped
    under a condition that asks for more than every so many steps. `early` counts optimiser
    steps before which it was stepped after the backward.

    The plan for the whole run (`unplanned` says why there is none; otherwise it reproduced all observed rates):
    `interval` is the number of optimiser steps per call; `planned` holds points (step, rate) of the group with the most
    elements over `covered` steps, `complete` unless the plan is longer; `peaks` the highest rate of each group and
    `built_rates` the rates they were built with; `dead` the share of steps at the end with a rate below a thousandth of
    the peak, from step `dead_from` on, `low` that below a tenth, `zero` that with a rate of zero; `turns` how often the
    rate comes back up; `beyond` the highest rate after the end of the plan, None when it would rise without end;
    `lowest` the lowest rate of the plan.

    `bounded`: a comparison guards the calls of its step, so that they may end before the run does. Of a schedule that waits
    for a plateau `metrics` are the values it was given, `metric` the source of the argument, and `mode` tells whether the
    least or the greatest is best. Of a rate that is set by hand the plan is what was seen; `shortened` tells that passes were.
    """

    number: int
    name: str
    optimizer: int
    place: Place | None
    step_place: Place | None = None
    calls: list[int] = dataclasses.field(default_factory=list)
    passes: list[int | None] = dataclasses.field(default_factory=list)
    horizon: dict[str, float] = dataclasses.field(default_factory=dict)
    conditional: bool = False
    born_step: int = 0
    early: int = 0
    unplanned: str = "it was not followed ahead"
    interval: float = 1.0
    planned: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    complete: bool = False
    covered: float = 0.0
    peaks: list[float] = dataclasses.field(default_factory=list)
    built_rates: list[float] = dataclasses.field(default_factory=list)
    largest: int = 0
    dead: float = 0.0
    dead_from: float | None = None
    zero: float = 0.0
    low: float = 0.0
    only_rises: bool = False
    turns: int = 0
    beyond: float | None = None
    lowest: float = 0.0
    mode: str = ""
    metric: str = ""
    metrics: list[float] = dataclasses.field(default_factory=list)
    bounded: bool = False
    shortened: bool = False


@dataclasses.dataclass(slots=True)
class OptimizerStep:
    """What was seen at one optimiser step, in detail.

    `backwards` contributed to its gradients since the last step; `fresh` tells that the gradients were empty or zero
    before the first of them (None: something changed them in between); `cleared_late` that gradients were cleared after
    the last backward and before this step; `gradient` tells whether any gradient was non-zero.
    """

    step: int
    event: int
    backwards: int
    fresh: bool | None
    cleared_late: bool
    gradient: bool | None
    clear_place: Place | None = None
    backward_place: Place | None = None
    grad_norm: float | None = None
    weight_norm: float | None = None
    update_norm: float | None = None


@dataclasses.dataclass(slots=True)
class Written:
    """A number that the script wrote where an optimiser reads no `setting`, while that setting never changed.

    `form`: in its `defaults` after it was built, as an `attribute`, or under a `key` of its groups that it does not know.
    It was `first`, and `last` at the last of the `steps` at which it was another than the values `used`.
    """

    form: str
    name: str
    setting: str
    first: float
    used: list[float]
    last: float = 0.0
    steps: int = 0
    place: Place | None = None


@dataclasses.dataclass(slots=True)
class Optimizer:
    """An optimiser: class, groups (`lr`, `weight_decay`, `parameters`, other `settings`), and its steps seen in detail.

    `rates` holds one learning rate per step, that of its largest group. `planned_steps` is the most steps that the loops
    around it allow in the whole run (None: unknown; `certain`: they are not left early), `least_steps` how many the seen
    part of the run makes when no batch is left out. `standard`: its class is PyTorch's own. `grown` are the lines that
    added a group of parameters; `eps_share` is the share of the elements whose update Adam's eps sets the size of. `loop`:
    file and line of the innermost loop around its step, `by_length`: in that loop it stands under a condition that may ask
    for the end of a pass (any but a remainder).

    `built_in` is the innermost loop around its construction, when `born_pass` passes had begun. `replaces` is an earlier
    optimiser of the same class that held the very same tensors and took steps; `untouched` that nobody has changed them
    since its last step, `resumes` that this one had a state, such as running averages, before its first step. `written` are
    numbers that look like its settings and that it does not read.
    """

    number: int
    name: str
    place: Place | None
    groups: list[dict[str, Any]]
    parameters: int
    momentum: bool = False
    scale_free: bool = False
    steps: int = 0
    step_place: Place | None = None
    rates: list[float] = dataclasses.field(default_factory=list)
    seen: list[OptimizerStep] = dataclasses.field(default_factory=list)
    born_step: int = 0
    takes_closure: bool = False
    planned_steps: int | None = None
    least_steps: int = 0
    certain: bool = False
    standard: bool = True
    grown: list[Place] = dataclasses.field(default_factory=list)
    eps_share: float | None = None
    loop: tuple[str, int] | None = None
    replaces: int | None = None
    resumes: bool = False
    untouched: bool = False
    born_pass: int = 0
    built_in: tuple[str, int] | None = None
    by_length: bool = False
    written: list[Written] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Backward:
    """Backward calls at one line. `nodes` are sizes of the graph behind the loss, `alive` how many earlier losses' graphs
    were still held in memory, `shared` how many of its nodes belong to earlier graphs, all with the number of the call;
    `losses` the values seen; `loop` the file and line of the innermost loop around it.
    `flows` are pairs of optimisers: what the parameters of the first made went through those of the second on the way to
    the loss."""

    place: Place | None
    count: int = 0
    first_event: int = 0
    last_event: int = 0
    nodes: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    alive: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    shared: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    losses: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    held_at: Place | None = None
    held_name: str = ""
    loop: tuple[str, int] | None = None
    flows: list[tuple[int, int]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class Parameter:
    """One tensor that is trainable or lies in an optimiser, at the end of observation.

    `registered`: reachable through a called model's `parameters()`. `reached`: the loss depends on it in a recorded step.
    `gradient`: it got a non-zero gradient. `moved`: its bits differ from those at the first recorded step. `stuck`: share
    of its elements that a step with a non-zero update left bit-identical, in recorded steps (None when not seen).
    `asked`: `torch.autograd.grad` was asked for its gradient, as inner loops of meta-learning do.
    `updates`: recorded steps with a gradient; `still`: share of the elements with a gradient that no step moved;
    `push`: the largest gradient in these steps, relative to the weight.
    `rate`: the highest learning rate that it had so far; `peak`: the highest that it had or is planned to have.
    `used_in`: the called model in whose forward it is used; `mode`: whether the layer it belongs to was in training mode
    there. `fate` and `part`: why it got no gradient and
    the largest module of which that is true (see capture/unused.py; empty when it got one). `ratios`: norm of the update
    over norm of the weight before it, one per recorded step with a gradient, oldest first; `norm`: that of its weight at
    the first of these steps; `dimensions`: the number of its axes; `rates`: the learning rate that each optimiser was
    built with for it.
    """

    name: str
    model: int | None
    elements: int
    dtype: str
    trainable: bool
    registered: bool
    optimizers: list[int]
    reached: bool
    gradient: bool
    moved: bool | None
    rate: float | None = None
    born: Place | None = None
    called: bool | None = None
    kind: str = ""
    stuck: float | None = None
    asked: bool = False
    updates: int = 0
    still: float | None = None
    push: float | None = None
    peak: float | None = None
    used_in: int | None = None
    mode: bool | None = None
    fate: str = ""
    part: str = ""
    ratios: list[float] = dataclasses.field(default_factory=list)
    norm: float | None = None
    dimensions: int = 0
    rates: dict[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Untrained:
    """A linear or convolutional layer whose weight is frozen as its constructor made it, in a model that is trained.

    What it was given depends on trained weights, and the loss on what it gave. `last`: no other weight lies between it and
    the loss. `adapter`: the module that it lies in has trained parameters of its own, as LoRA has. `place` is the line that
    freezes, or where there are several the one that built the layer.
    """

    name: str
    kind: str
    model: str
    elements: int
    last: bool
    adapter: bool
    place: Place | None


@dataclasses.dataclass(slots=True)
class HotLine:
    """A line of the user's and the `share` of the time that the program spent there or in what it calls."""

    place: Place | None
    share: float


@dataclasses.dataclass(slots=True)
class Clock:
    """Seconds of `steps` training steps that were not looked at in detail, and what they were spent on.

    `loading` waits for loaders, `forward` is calls of models with gradients, `evaluation` those without, `optimiser` its
    steps; what is left of `whole` is the script's own Python, its loss, and clearing gradients. `lines` took most of the
    time, where that was sampled.
    """

    steps: int = 0
    whole: float = 0.0
    loading: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    optimiser: float = 0.0
    evaluation: float = 0.0
    lines: list[HotLine] = dataclasses.field(default_factory=list)

    @property
    def rest(self) -> float:
        """Seconds between the parts that are known."""
        return max(0.0, self.whole - self.loading - self.forward - self.backward - self.optimiser - self.evaluation)

    def shares(self) -> dict[str, float]:
        """What part of the time went where."""
        parts = {
            "waiting for data": self.loading,
            "forward": self.forward,
            "backward": self.backward,
            "optimiser": self.optimiser,
            "evaluation": self.evaluation,
            "loss and the script's own Python": self.rest,
        }
        return {name: seconds / self.whole for name, seconds in parts.items()} if self.whole else {}


@dataclasses.dataclass(slots=True)
class Reseed:
    """The first optimiser step after a global random stream was seeded again: hashes of the stream's state at that step.

    `stream` is torch, numpy or python; `seed` what was given to it. `seeded` is the state right after seeding, `forward` that
    at the first forward after it, which had gradients on if `trains`; `state` that at the step, and `later` at the
    optimiser's next step, where it was not seeded in between. `evaluated` tells that there was a forward without gradients in
    between; `batch` is a hash of the input of that first forward.
    """

    stream: str
    seed: str
    place: Place | None
    optimizer: int
    step: int
    in_pass: int | None
    seeded: int
    forward: int | None
    trains: bool
    batch: int | None
    evaluated: bool
    state: int
    later: int | None = None


@dataclasses.dataclass(slots=True)
class Site:
    """A line of the user's source that was not reached. `kind`: `optimizer step`, `step` (of something unknown), `build`
    (an optimiser is built), `group` (parameters are added to one), `rate` (a learning rate is set)."""

    kind: str
    place: Place


@dataclasses.dataclass(slots=True)
class Run:
    """Everything that was observed, and how the run ended. `rehearsal` tells that the loaders were cut short.

    `evaluated` are the watched evaluations, `checkpoints` what was seen of state dicts, `raw_losses` what the training's loss
    applies directly to a model's outputs, with the model's number.
    `hurried`: from some step on nothing was looked at in detail, since the script went on to its end.
    `input_gradients`: a model was called with tensors that collect gradients themselves and are in no optimiser.
    `carries_state`: a step consumes what an earlier one produced, such as a recurrent state; `carried`: a recurrent
    state was handed from one batch of a loader to the next. `dynamics`: predictions for one batch along the run.
    `targets`: for scripts
    without loaders, the one-number-per-example targets of successive steps, `series` whether its inputs are overlapping
    windows. `unseeded`: generators made without a seed, or global ones drawn from and
    never seeded. `weights` holds what was seen of freezing, sharing, overwriting, teachers and norms; `seams` lie between
    the folds of a cross-validation, `own_rates` are learning rates that the script sets by hand, as they were seen,
    `idle_schedulers` schedulers that were built and never stepped, `exits` loops that are left in their first turn,
    `untrained` layers that stay frozen as they were made.
    `mark_places`: the lines behind
    the labels of the `fingerprint`. `twin_run`: a second execution with the same seed, of which only the `fingerprint` is
    known. `on_gpu`: losses were computed on a GPU. `trials` are short trainings with other values of the `knob` that was named.
    """

    script: str = ""
    rehearsal: bool = False
    hurried: bool = False
    seeded: Place | None = None
    steps: int = 0
    events: int = 0
    planned_epochs: int | None = None
    models: list[Model] = dataclasses.field(default_factory=list)
    forwards: list[Forward] = dataclasses.field(default_factory=list)
    evaluated: list[Evaluation] = dataclasses.field(default_factory=list)
    raw_losses: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    checkpoints: Checkpoints = dataclasses.field(default_factory=Checkpoints)
    passes: list[Pass] = dataclasses.field(default_factory=list)
    loaders: list[Loader] = dataclasses.field(default_factory=list)
    loaders_built: int = 0
    draws: list[Draw] = dataclasses.field(default_factory=list)
    clips: list[Clip] = dataclasses.field(default_factory=list)
    untaught: list[Untaught] = dataclasses.field(default_factory=list)
    schedulers: list[Scheduler] = dataclasses.field(default_factory=list)
    optimizers: list[Optimizer] = dataclasses.field(default_factory=list)
    backwards: list[Backward] = dataclasses.field(default_factory=list)
    parameters: list[Parameter] = dataclasses.field(default_factory=list)
    losses: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    gradients: list[GradientUse] = dataclasses.field(default_factory=list)
    norm_shares: list[NormShare] = dataclasses.field(default_factory=list)
    scalers: list[Scaler] = dataclasses.field(default_factory=list)
    scalars: list[Scalar] = dataclasses.field(default_factory=list)
    reseeds: list[Reseed] = dataclasses.field(default_factory=list)
    ended: str = ""
    unseen: list[str] = dataclasses.field(default_factory=list)
    unreached: list[Site] = dataclasses.field(default_factory=list)
    twin_run: Run | None = None
    carries_state: bool = False
    carried: Carried | None = None
    input_gradients: bool = False
    targets: list[list[float]] = dataclasses.field(default_factory=list)
    targets_place: Place | None = None
    series: bool = False
    fingerprint: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    on_gpu: bool = False
    mark_places: dict[str, Place] = dataclasses.field(default_factory=dict)
    unseeded: list[tuple[str, Place | None]] = dataclasses.field(default_factory=list)
    clock: Clock = dataclasses.field(default_factory=Clock)
    weights: Weights = dataclasses.field(default_factory=Weights)
    dynamics: Dynamics | None = None
    inits: Inits = dataclasses.field(default_factory=Inits)
    untrained: list[Untrained] = dataclasses.field(default_factory=list)
    exits: list[LoopExit] = dataclasses.field(default_factory=list)
    wraps: list[Wrap] = dataclasses.field(default_factory=list)
    idle_schedulers: list[Scheduler] = dataclasses.field(default_factory=list)
    own_rates: list[Scheduler] = dataclasses.field(default_factory=list)
    seams: list[Seam] = dataclasses.field(default_factory=list)
    criteria: list[Criterion] = dataclasses.field(default_factory=list)
    loss_uses: list[LossUse] = dataclasses.field(default_factory=list)
    knob: Knob | None = None
    trials: list[Trial] = dataclasses.field(default_factory=list)

    def train_passes(self) -> list[Pass]:
        """Passes during which backward was called."""
        return [p for p in self.passes if p.trains]

    def passes_of(self, optimizer: Optimizer) -> list[Pass]:
        """Passes that trained from the construction of an optimiser on, until that of a later one, of another fold or phase."""
        later = [o.born_pass for o in self.optimizers if o.steps and o.born_pass > optimizer.born_pass]
        end = min(later, default=len(self.passes))
        return [p for p in self.passes[optimizer.born_pass : end] if p.trains]

    def evaluation_passes(self) -> list[Pass]:
        """Passes without a backward, that a batch was taken from."""
        return [p for p in self.passes if not p.trains and p.batches]

    def trained_models(self) -> set[int]:
        """Numbers of the models whose forwards fed a backward."""
        return {f.model for f in self.forwards if f.fed}

    def related_to_training(self) -> set[int]:
        """Numbers of the models that are trained, or have parameters in common with one that is."""
        trained = self.trained_models()
        return trained | {kin for number in trained for kin in self.models[number].kin}

    def evaluations(self) -> Iterator[Forward]:
        """Forwards that belong to evaluation: in a pass without backward, or without gradients outside any training step.

        Forwards that are made while a training pass goes on (target networks, teachers, rollouts) are not among them, nor
        are those in a model's own `forward` that was called by that name, or that come with nearly every optimiser step
        where there is no loader, unless their results are judged by labels.
        """
        training = {p.number for p in self.passes if p.trains}
        beside = {(f.model, f.place) for f in self.forwards if f.in_pass in training}
        judged = {(e.model, e.place) for e in self.evaluated if e.judges}
        for forward in self.forwards:
            if forward.fed or forward.in_pass in training:
                continue
            if forward.training and not forward.grad and forward.place is not None and forward.place.function == "forward":
                continue  # a part without gradients, such as a target network
            doubtful = forward.grad or (forward.model, forward.place) in beside or _every_step(forward)
            if forward.in_pass is None and doubtful and (forward.model, forward.place) not in judged:
                continue
            yield forward


def _every_step(forward: Forward) -> bool:
    return forward.at_steps >= 3 and forward.at_steps >= 0.5 * (forward.last_step - forward.step + 1)
