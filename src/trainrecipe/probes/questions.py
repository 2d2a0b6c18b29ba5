"""The questions that probes answer about images and series: changes of the input, and the sentence their scores make."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from torch import Tensor

from trainrecipe import picture
from trainrecipe.picture import Picture
from trainrecipe.probes import answers, inputs
from trainrecipe.probes.answers import Level, Standing
from trainrecipe.probes.features import bag_of_patches, image_views, series_views

Views = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One level of a question: `inputs` makes the changed examples, `features` what the models see of them.

    With `judged_only` the models are fitted on the whole input and meet the change in the test alone. `value` is the level as
    a number.
    """

    name: str
    inputs: Callable[[], np.ndarray]
    features: Callable[[np.ndarray], Views]
    value: float | None = None
    judged_only: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A question, its changes in the order of importance, and how their levels are told and drawn.

    `many`: the levels are scanned for some that differ, so their intervals of differences are widened by Bonferroni's rule.
    `rows` are the examples that it is measured on, all by default.
    """

    text: str
    changes: Sequence[Change]
    says: Callable[[Standing, Sequence[Level]], str]
    draw: Callable[[Standing, Sequence[Level]], Picture]
    many: bool = False
    rows: np.ndarray | None = None


def image_questions(x: np.ndarray, seed: int) -> list[Question]:
    """Questions about images (N, C, H, W), the most telling first."""
    height, width = x.shape[2:]
    side = min(height, width)
    see = partial(image_views, seed=seed)

    def change(name: str, make: Callable[[], np.ndarray], value: float | None = None) -> Change:
        return Change(name, make, see, value)

    position = [
        change("pixels shuffled in each image", lambda: inputs.shuffled(x, seed)),
        change("pixels sorted", lambda: inputs.ranked(x)),
        change("one fixed permutation", lambda: inputs.permuted(x, seed)),
    ]
    sides = [side >> i for i in range(1, side.bit_length())]
    down = [change(f"{s} x {s} pixels", partial(inputs.area_average, x, s), s) for s in sides]
    sizes = [p for p in (side // 2, side // 4, side // 8) if p >= 2]
    local = [
        Change(f"bag of {p} x {p} features", lambda: x, partial(bag_of_patches, height=p, width=p, seed=seed), p)
        for p in sorted({p for p in (3, 5, side // 4, side // 2) if 2 <= p < side})
    ]
    local += [change(f"{p} x {p} patches shuffled", partial(inputs.patches_shuffled, x, p, p, seed)) for p in sizes]
    questions = [
        Question("Does position matter?", position, _position("pixels"), partial(_ranged, "Position")),
        Question("How far can images be downsampled?", down, answers.enough, partial(_sides, side)),
        Question("Are local features enough?", local, _local, partial(_ranged, "Local features and global arrangement")),
    ]
    if x.shape[1] == 3:
        colour = [change("grey", lambda: inputs.grey(x)), change("mean colour only", lambda: inputs.area_average(x, 1))]
        questions.append(Question("Does colour matter?", colour, _colour, partial(_ranged, "Colour")))
    questions.append(_parts(x, change))
    grey_levels = [change(f"{2**b} grey levels", partial(inputs.levels, x, 2**b), b) for b in (4, 2, 1)]
    questions.append(Question("How fine must values be?", grey_levels, answers.enough, partial(_ranged, "Bit depth")))
    questions.append(_occlusion(x, change))
    return [q for q in questions if q.changes]


def series_questions(x: np.ndarray, names: Sequence[str], seed: int) -> list[Question]:
    """Questions about series (N, C, T), the most telling first."""
    steps = x.shape[2]
    see = partial(series_views, seed=seed)

    def change(name: str, make: Callable[[], np.ndarray], value: float | None = None) -> Change:
        return Change(name, make, see, value)

    def segments(size: int) -> np.ndarray:
        return inputs.patches_shuffled(x[:, :, None], 1, size, seed)[:, :, 0]

    def part(start: int, stop: int, stride: int = 1) -> np.ndarray:
        return x[:, :, start:stop:stride]

    lengths = [steps >> i for i in range(1, steps.bit_length())][:7]
    flip = np.random.default_rng(seed).random(len(x)) < 0.5
    order = [change("steps shuffled in each series", lambda: inputs.shuffled(x, seed))]
    order += [change(f"segments of {s} shuffled", partial(segments, s)) for s in lengths[:3] if s >= 2]
    order += [change("half of the series reversed", lambda: np.where(flip[:, None, None], x[:, :, ::-1], x))]
    thin = [change(f"one step in {steps // s}", partial(part, 0, steps, steps // s), s) for s in lengths]
    first = [change(f"the first {s} step{'s' * (s > 1)}", partial(part, 0, s), s) for s in lengths]
    middle = [
        change(f"the middle {s} step{'s' * (s > 1)}", partial(part, (steps - s) // 2, (steps + s) // 2), s) for s in lengths[:3]
    ]
    last = [change(f"the last {s} step{'s' * (s > 1)}", partial(part, steps - s, steps), s) for s in lengths[:3]]
    ends = [change("first and last only", lambda: x[:, :, [0, -1]])]
    questions = [
        Question("Does the order of steps matter?", order, _position("steps"), partial(_ranged, "Order")),
        Question("How far can series be thinned?", thin, answers.enough, partial(_steps, steps)),
        Question("How short can series be?", first, answers.enough, partial(_steps, steps)),
        Question("Which part can be dropped?", [*ends, *middle, *last], _kept, partial(_ranged, "Parts")),
    ]
    if x.shape[1] > 1:
        titles = names if len(names) == x.shape[1] else [f"channel {i}" for i in range(x.shape[1])]
        drop = [change(f"without {t}", partial(np.delete, x, i, 1)) for i, t in enumerate(titles)]
        questions.append(Question("Which channels can be dropped?", drop, dropped, drawn_changes, many=True))
    return [q for q in questions if q.changes]


def _parts(x: np.ndarray, change: Callable[..., Change]) -> Question:
    shape = (x.shape[2], x.shape[3])
    centre = inputs.box(shape, 0.25, 0.75, 0.25, 0.75)
    quarters = {"top left": (0, 0.5, 0, 0.5), "top right": (0, 0.5, 0.5, 1), "bottom left": (0.5, 1, 0, 0.5)}
    quarters["bottom right"] = (0.5, 1, 0.5, 1)
    parts = [
        change("centre only (a quarter)", partial(inputs.blanked, x, ~centre)),
        change("border only (three quarters)", partial(inputs.blanked, x, centre)),
        *(change(f"without {n}", partial(inputs.blanked, x, inputs.box(shape, *b))) for n, b in quarters.items()),
    ]
    return Question("Which part can be dropped?", parts, _kept, partial(_ranged, "Parts of the image"))


def _occlusion(x: np.ndarray, change: Callable[..., Change]) -> Question:
    shape = (x.shape[2], x.shape[3])
    rows, columns = min(4, shape[0]), min(4, shape[1])
    cells = [
        change(
            f"without row {i}, column {j}", partial(inputs.blanked, x, inputs.box(shape, *_cell(i, rows), *_cell(j, columns)))
        )
        for i in range(rows)
        for j in range(columns)
    ]
    draw = partial(_map, rows, columns)
    return Question("Which cell of the image is needed?", cells if min(shape) > 1 else (), dropped, draw, many=True)


def _cell(index: int, count: int) -> tuple[float, float]:
    return index / count, (index + 1) / count


def _position(what: str) -> Callable[[Standing, Sequence[Level]], str]:
    def says(standing: Standing, levels: Sequence[Level]) -> str:
        free, rest = levels[0], levels[1:]
        head = "Position" if what == "pixels" else "Order"
        text = f"{head} {answers.weight(standing, free)}: with the {what} of each example shuffled, "
        text += f"{answers.fall(standing, free)}."
        return text + "".join(f" {answers.capital(level.name)}: {level.told()}." for level in rest)

    return says


def _local(standing: Standing, levels: Sequence[Level]) -> str:
    bags = [level for level in levels if level.value is not None]
    least = next((level for level in bags if answers.safe(standing, level)), None)
    best = max(bags, key=lambda level: level.score)
    if least:
        text = f"Local features are enough: a {least.name}, wherever they are, gives {answers.against(standing, least)}."
    else:
        verdict = "Local features are nearly enough" if answers.nearly_all(standing, best) else "Global arrangement matters"
        text = f"{verdict}: with the best {best.name}, {answers.fall(standing, best)}."
    rest = [f"{level.name} {level.told()}" for level in levels if level.value is None]
    return text + (f" With {', '.join(rest)}." if rest else "")


def _colour(standing: Standing, levels: Sequence[Level]) -> str:
    alone = f" Mean colour alone: {levels[1].told()}." if len(levels) > 1 else ""
    return f"Colour {answers.weight(standing, levels[0])}: in grey, {answers.fall(standing, levels[0])}.{alone}"


def _kept(standing: Standing, levels: Sequence[Level]) -> str:
    fine = [level for level in levels if answers.safe(standing, level)]
    worst = min(levels, key=lambda level: level.change.value)
    text = "; ".join(f"{level.name}: {answers.against(standing, level)}" for level in fine)
    text = f"Nothing measurable is lost with {text}." if fine else "No part is shown to be enough."
    return text + (f" Most is lost with {worst.name}: {answers.fall(standing, worst)}." if worst.lost else "")


def dropped(standing: Standing, levels: Sequence[Level]) -> str:
    """Which levels of a scan lose, at 95 % for all together."""
    lost = sorted((level for level in levels if level.lost), key=lambda level: level.change.value)
    names = [f"{level.name} ({level.change.value:+.3f})" for level in lost]
    rest = f"for the other {len(levels) - len(lost)} no loss can be measured one at a time"
    if not lost:
        low = min(level.change.low for level in levels)
        return f"No loss can be measured when any one is dropped; at 95 % none costs more than {-low:.3f} of {standing.metric}."
    return f"{answers.capital(standing.metric)} falls {answers.listed(names)}" + (
        f"; {rest}." if len(lost) < len(levels) else "."
    )


def _ranged(title: str, standing: Standing, levels: Sequence[Level]) -> Picture:
    caption = "Look for levels whose bars lie clearly left of the whole input's: what they take away is used."
    return answers.ranges(title, caption, standing, levels)


def drawn_changes(standing: Standing, levels: Sequence[Level]) -> Picture:
    """Differences to the whole input, largest loss first."""
    caption = "Look for bars that lie wholly below zero: the score falls without that input. The others can go, one at a time."
    return answers.changes("What each one adds", caption, standing, levels)


def _sides(side: int, standing: Standing, levels: Sequence[Level]) -> Picture:
    caption = (
        "Look for the side from which the curve stays at the dashed line of the whole input: detail above it adds nothing."
    )
    return answers.curve("Score by resolution", caption, standing, levels, "pixels a side", side)


def _steps(steps: int, standing: Standing, levels: Sequence[Level]) -> Picture:
    caption = "Look for the length from which the curve stays at the dashed line of the whole input."
    return answers.curve("Score by length", caption, standing, levels, "steps", steps)


def _map(rows: int, columns: int, standing: Standing, levels: Sequence[Level]) -> Picture:
    if len(levels) < rows * columns:
        return drawn_changes(standing, levels)  # a map with holes would be read as one with cells that do not matter
    losses = [-level.change.value for level in levels]
    matrix = [losses[i * columns : (i + 1) * columns] for i in range(rows)]
    caption = "Dark cells are needed: the score falls by that much when models are trained and tested without them."
    return picture.heatmap(
        "Loss without each cell", caption, matrix, x_title="column", y_title="row", value_title=f"loss of {standing.metric}"
    )
