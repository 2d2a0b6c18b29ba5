"""Short trainings of twins on captured batches, judged on batches that they were not trained on.

A `Class` is a step whose loss compares one prediction per example with one label; its captured batches are split into
training and held-out ones. `Lesson` is what a twin learnt from the training batches with the labels as they are, and with
the same labels shuffled; both are shared by several checks, since training is what costs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch

from trainrecipe.capture.hashing import row_hashes
from trainrecipe.capture.replay import CannotReplay, Twin
from trainrecipe.capture.tensors import equal
from trainrecipe.subjects.practice import Curve, adam, practise
from trainrecipe.subjects.scores import Score, better, relative_error, share_right
from trainrecipe.subjects.step import Input, LossCall, Step
from trainrecipe.subjects.theory import Theory, theory_of

KINDS = {
    "cross_entropy": "classes",
    "nll_loss": "classes",
    "multi_margin_loss": "classes",
    "binary_cross_entropy_with_logits": "binary",
    "binary_cross_entropy": "binary",
    "mse_loss": "numbers",
    "l1_loss": "numbers",
    "smooth_l1_loss": "numbers",
    "huber_loss": "numbers",
}
FEWEST = 8
"""Held-out examples from which something is told."""
TRAIN = 4
"""Batches to train on at most; the others are held out, as many at most."""
STEPS = 40
RATES = (3e-3, 3e-4)
"""Adam's rates, tried in turn until the loss falls; the script's own plays no part."""
FALLEN = 0.8
"""Share of the best constant's loss below which a rate is seen to work."""
LEARNT = 0.15
"""Share of the best constant's loss on the training batches at which a training is over."""
Feed = Mapping[int, torch.Tensor]


@dataclasses.dataclass(slots=True)
class Class:
    """A step that can be taught: its loss, the numbers of the target and of the largest input, and its batches."""

    step: Step
    call: LossCall
    theory: Theory
    kind: str
    target: int
    main: Input
    train: list[Feed]
    held: list[Feed]
    keep: list[torch.Tensor]

    @property
    def numbers(self) -> list[int]:
        """The inputs with a row per example."""
        size = self.step.batch_size
        return [i.number for i in self.step.inputs if i.tensor.ndim and i.tensor.shape[0] == size and i.number != self.target]

    @property
    def tokens(self) -> set[int]:
        """The inputs that hold whole numbers other than 0 and 1 in any batch."""
        every = [*self.train, *self.held]
        whole = [n for n in self.numbers if not self.step.tape.values[n].dtype.is_floating_point]
        return {n for n in whole if any(f[n].dtype is not torch.bool and int(f[n].max()) > 1 for f in every)}

    def labels(self, feeds: Sequence[Feed]) -> torch.Tensor:
        """The labels of some batches: class numbers, 0 and 1, or numbers with one column each."""
        found = torch.cat([f[self.target].detach().reshape(f[self.target].shape[0], -1) for f in feeds])
        return found.double() if self.kind == "numbers" else found[:, 0].round().long()

    def rows(self, feeds: Sequence[Feed], most: int = 1024) -> torch.Tensor:
        """The inputs of some batches as one vector per example, at most so long; counts where they are whole numbers."""
        parts = [torch.cat([_flat(f[n]) for f in feeds]) for n in self.numbers]
        parts = [_counts(p, most) if n in self.tokens else p.double() for n, p in zip(self.numbers, parts, strict=True)]
        whole = torch.cat([p if p.shape[1] <= most else p[:, :: -(-p.shape[1] // most)] for p in parts], 1)
        return whole.nan_to_num(0.0, 0.0, 0.0)

    def held_labels(self) -> torch.Tensor:
        """The labels of the held-out examples that are judged: those that are not in the training batches as well."""
        return self.labels(self.held)[torch.cat(self.keep)]

    @property
    def silent(self) -> str:
        """Why the held-out examples tell nothing about what was learnt; empty if they do."""
        if not self.held or sum(int(k.sum()) for k in self.keep) < FEWEST:
            return "too few different batches were seen to hold some of them out"
        labels = self.held_labels()
        return "the held-out labels are all equal" if bool((labels == labels[:1]).all()) else ""

    def shuffled(self, seed: int = 0) -> list[Feed]:
        """The training batches with their labels in random order, over all batches."""
        whole = torch.cat([f[self.target] for f in self.train])
        order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed)).to(whole.device)
        parts = torch.split(whole[order], [len(f[self.target]) for f in self.train])
        return [{**f, self.target: p} for f, p in zip(self.train, parts, strict=True)]

    @property
    def constant(self) -> float:
        """The loss of the best constant prediction, in units of the step's own loss; that of zero would flatter any net
        that starts at the mean of its targets."""
        best = self.theory.neutral if self.theory.prior is None else self.theory.prior
        return best * abs(self.theory.factor)

    @property
    def floor(self) -> float:
        """The lowest loss that the labels allow, zero where that is not known."""
        return (self.theory.floor or 0.0) * abs(self.theory.factor)

    def left(self, loss: float) -> float:
        """How much of the way from the floor up to the best constant a loss is: 1 where nothing is learnt, 0 where all is."""
        return (loss - self.floor) / max(1e-12, self.constant - self.floor)

    def predict(self, twin: Twin, feeds: Sequence[Feed], *, evaluating: bool) -> torch.Tensor:
        """What a twin predicts for some batches, one row per example. Raises CannotReplay."""
        twin.evaluating = evaluating
        try:
            with torch.no_grad():
                made = [twin.run(f, until=[self.call.input])[self.call.input] for f in feeds]
        finally:
            twin.evaluating = False
        whole = torch.cat(made)
        return whole.reshape(whole.shape[0], -1).double()

    def score(self, predicted: torch.Tensor, labels: torch.Tensor) -> Score:
        """How good predictions are, as the loss function reads them."""
        if self.kind == "numbers":
            return relative_error(predicted, labels)
        if self.kind == "classes":
            guesses = predicted.argmax(1)
        else:
            guesses = (predicted[:, 0] > (0.5 if self.call.name == "binary_cross_entropy" else 0.0)).long()
        return share_right(guesses, labels)


def class_of(step: Step) -> Class | str:
    """The step as a class that can be taught, or the reason why it is none. Remembered."""
    if "class" not in step.known:
        step.known["class"] = _class_of(step)
    return step.known["class"]  # type: ignore[no-any-return]


def _class_of(step: Step) -> Class | str:
    if step.distrust:
        return step.distrust
    found = theory_of(step)
    if isinstance(found, str):
        return found
    call, theory = found
    kind, size = KINDS.get(call.name), step.batch_size
    constants = step.tape.constants()
    if kind is None or call.target is None:
        return f"{call.name} does not compare predictions with labels"
    if call.op.parent is not None or len(call.op.inputs) < 2 or call.op.inputs[1] not in constants:
        return "the loss is computed inside the model, or its labels are"
    target, prediction = call.target, call.prediction
    per_row = target.ndim and target.shape[0] == size and (target.numel() == size or (kind == "numbers" and target.ndim == 2))
    if not per_row or not prediction.ndim or prediction.shape[0] != size or prediction.ndim > 2:
        return "there is not one label for each example"
    if (kind == "classes") == target.is_floating_point():
        return "the labels are shares, not classes"
    if kind == "binary" and not bool(((target == 0) | (target == 1)).all()):
        return "the labels are shares, not classes"
    inputs = [i for i in step.inputs if i.tensor.ndim and i.tensor.shape[0] == size and i.dense]
    if not inputs or any(i.number == call.op.inputs[1] for i in step.inputs):
        return "no input has one row for each example" if not inputs else "the labels are an input of the model as well"
    if kind == "numbers" and any(equal(i.tensor, target) for i in inputs):
        return "the net is to reproduce its input"
    main = max(inputs, key=lambda i: (i.tensor.is_floating_point(), i.tensor.numel()))
    feeds = step.feeds()
    half = min(TRAIN, (len(feeds) + 1) // 2)
    made = Class(step, call, theory, kind, call.op.inputs[1], main, list(feeds[:half]), list(feeds[half : half + TRAIN]), [])
    made.keep = _unseen(made)
    return made


def _unseen(made: Class) -> list[torch.Tensor]:
    """Per held-out batch, which rows are not in the training batches."""
    known = {h for f in made.train for h in _hashes(f[made.main.number])}
    return [torch.tensor([h not in known for h in _hashes(f[made.main.number])]) for f in made.held]


def _hashes(tensor: torch.Tensor) -> list[int]:
    flat = _flat(tensor)
    return row_hashes(flat, len(flat)) or [hash(tuple(r)) for r in flat.tolist()]


# ---- lessons


@dataclasses.dataclass(slots=True)
class Lesson:
    """What a twin learnt: on the held-out examples after training with the labels as they are (`right`) and shuffled
    (`wrong`), both trained for `steps` at `rate`; `fit` and `wrong_fit` are how much of their training loss is left, relative
    to the best constant's."""

    right: Score
    wrong: Score
    steps: int
    rate: float
    fit: float
    wrong_fit: float
    curves: dict[str, list[float]]
    constant: float


def lesson_of(found: Class) -> Lesson | str:
    """Teach the class once; a string says why that was not possible. Remembered."""
    known = found.step.known
    if "lesson" not in known:
        try:
            known["lesson"] = _teach(found)
        except (CannotReplay, RuntimeError, IndexError, ValueError, KeyError, TypeError, AssertionError) as error:
            known["lesson"] = f"the step cannot be executed on other batches: {type(error).__name__}: {error}"
    return known["lesson"]  # type: ignore[no-any-return]


def _teach(found: Class) -> Lesson | str:
    step = found.step
    if step.transfers:
        return f"the step does not move to other batches: {step.transfers}"
    if found.silent:
        return found.silent
    if found.theory.prior is not None and found.theory.prior - (found.theory.floor or 0.0) <= 1e-6:
        return "all labels of the batch are the same"
    goal = found.floor + LEARNT * (found.constant - found.floor)
    best: tuple[float, Twin, Curve, float] | None = None
    for rate in RATES:
        twin = step.twin()
        curve = train(found, twin, found.train, rate, goal)
        if curve.cut:
            return "the time for experiments ran out"
        if not curve.broken and (best is None or level(found, curve) < best[0]):
            best = level(found, curve), twin, curve, rate
        if best is not None and found.left(best[0]) <= FALLEN:
            break
    if best is None:
        return "the loss on the twin did not stay finite at any learning rate that was tried"
    _, twin, curve, rate = best
    other = step.twin()
    shuffled = train(found, other, found.shuffled(), rate, -math.inf, steps=len(curve.losses) - 1)
    if shuffled.cut or shuffled.broken:
        return "the time for experiments ran out" if shuffled.cut else "the loss on the twin did not stay finite"
    right, wrong = judged(found, twin, other)
    curves = {"labels as they are": curve.losses, "labels shuffled": shuffled.losses}
    fits = found.left(level(found, curve)), found.left(level(found, shuffled))
    return Lesson(right, wrong, len(curve.losses) - 1, rate, *fits, curves, found.constant)


def train(found: Class, twin: Twin, feeds: Sequence[Feed], rate: float, until: float, steps: int = STEPS) -> Curve:
    """Train a twin on batches in turn, until the mean of a round is at most `until`."""
    return practise(found.step, twin, adam(found.step, twin, rate), steps, batches=feeds, until=until)


def level(found: Class, curve: Curve) -> float:
    """The mean loss of the last round over the training batches."""
    last = curve.losses[-len(found.train) :]
    return sum(last) / max(1, len(last))


def judged(found: Class, *twins: Twin) -> list[Score]:
    """The scores of twins on the held-out examples, all in evaluation mode or all in training mode: whichever suits the first,
    since running statistics of a batch norm may lag behind after few steps."""
    labels, keep = found.held_labels(), torch.cat(found.keep)
    best: list[Score] = []
    for evaluating in (False, True):
        try:
            scores = [found.score(found.predict(t, found.held, evaluating=evaluating)[keep], labels) for t in twins]
        except CannotReplay:
            continue
        if not best or better(found.kind, scores[0].value, best[0].value):
            best = scores
    if not best:
        raise CannotReplay("the predictions could not be computed again")
    return best


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().reshape(tensor.shape[0], -1)


def _counts(tokens: torch.Tensor, most: int) -> torch.Tensor:
    """How often each whole number occurs in a row; several share a place when there are more than `most` of them."""
    places = tokens.long().clamp(min=0) % most
    counts = torch.zeros(len(places), most, dtype=torch.float64, device=places.device)
    return counts.scatter_add_(1, places, torch.ones_like(places, dtype=torch.float64))
