"""Whether a net that was taught two examples knows more than those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, ranges

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.lessons import Class
    from trainrecipe.subjects.step import Step

STEPS = 24
RATE = 1e-2
FITTED = 0.1
"""Share of their first loss that may be left on the two examples."""
UNSHOWN = 0.85
"""Share of the examples of other classes that are right, as the lower end of its interval, from which on something leaks."""
OTHERS = 16
"""Examples that must be left to judge."""


class TwoExamples(Check):
    """A net that was taught two examples only knows those by heart and little about the others.

    What it checks
    --------------
    A twin is trained on a batch that holds two of its examples, of different classes, over and over, until it has learnt them.
    Then it is asked about the rest of the batch, and above all about classes that it was never shown.

    Why it matters
    --------------
    Nobody can know a class without having seen an example of it. If the net does, the label itself is in what it is given, and
    its scores will not last where labels are not known.

    What healthy looks like
    -----------------------
    The two are learnt by heart; of the rest about as many are right as by chance, more if the task is easy; of classes that
    were not shown none.

    What to do
    ----------
    Look at everything that the model is given next to the labels: flags, masks, lengths and features made from labels.

    When it is wrong
    ----------------
    Where classes are positions (multiple choice, pointing, localisation) a net treats all alike and can know those that it was
    not shown, so it is a note, and only where nearly all of them are right. Nets that knew the classes before are left out.
    With two classes or numbers nothing is concluded. Several losses and labels per position are skipped.

    Source
    ------
    A. Karpathy's recipe ("train on one or two examples: validation should be at chance"); fault catalogue 144.
    """

    title = "Classes that were never shown are known all the same"
    rows = ("S15",)
    faults = (144,)
    price = Price.TRAIN
    explains = ()

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.lessons import class_of

        found = class_of(step)
        if isinstance(found, str):
            return Evidence(missing=found)
        if (step.batch_size or 0) < OTHERS + 2 or not found.train:
            return Evidence(missing=f"the batch has fewer than {OTHERS + 2} examples")
        pair = _pair(found)
        if pair is None:
            return Evidence(missing="all labels of the batch are the same")
        try:
            return _taught(found, pair)
        except Exception as error:
            return Evidence(missing=f"the step cannot be executed on two examples: {type(error).__name__}: {error}")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        before, after, unshown = e["before"], e["after"], e["unshown"]
        text = (
            f"two examples are learnt in {e['steps']} steps (loss {e['first']:.3g} to {e['last']:.3g}); of {e['others']} "
            f"others then {_told(e, after[0])} (before {_told(e, before[0])}, a constant {_told(e, e['chance'][0])})"
        )
        if e["last"] > FITTED * e["first"]:
            return Ruling.unsure(text.replace("are learnt", "are not learnt", 1))
        if unshown is None or unshown[1] < UNSHOWN or e["unshown_before"][2] >= UNSHOWN:
            return Ruling.passed(text)
        return Ruling.found(
            Severity.NOTE,
            f"After two examples the net knows classes that it was never shown: {_told(e, unshown[0])} of "
            f"{e['unshown_count']}.",
            expected="examples of classes that were not shown are wrong: nothing tells their names",
            observed=f"{_told(e, unshown[0])} ({unshown[1]:.2f} … {unshown[2]:.2f}) of {e['unshown_count']} examples of other "
            f"classes, before the training {_told(e, e['unshown_before'][0])}",
            fix="Look at each input of the model next to the labels, and leave out what is made from them.",
            causes=(
                "a feature or flag is made from the label (drop the inputs one by one and train on two examples again)",
                "the classes are positions that the net treats alike, as in multiple choice: then this is as it should be",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        e = evidence
        named = {"before": e["before"], "after two examples": e["after"], "a constant": e["chance"]}
        named |= {"classes not shown": e["unshown"]} if e["unshown"] else {}
        bars = [{"name": n, "low": s[1], "middle": s[0], "high": s[2]} for n, s in named.items()]
        caption = "The rest of the batch, 95 % intervals. Classes that were not shown cannot be known."
        title = "squared error relative to the mean (lower is better)" if e["kind"] == "numbers" else "share right"
        return ranges("Two examples", caption, bars, x_title=title)


def _pair(found: Class) -> tuple[int, int] | None:
    """Two rows of the first batch with different labels, as far apart as they go for numbers."""
    y = found.labels(found.train[:1])
    key = y[:, 0] if y.ndim > 1 else y
    i, j = int(key.argmin()), int(key.argmax())
    return (i, j) if bool(key[i] != key[j]) else None


def _taught(found: Class, pair: tuple[int, int]) -> Evidence:
    import torch

    from trainrecipe.subjects.lessons import train

    feed, size = found.train[0], found.step.batch_size or 0
    here = torch.tensor([pair[k % 2] for k in range(size)])
    labels = found.labels([feed])
    rest = torch.tensor([k for k in range(size) if k not in pair], device=labels.device)
    two: dict[int, torch.Tensor] = {n: _rows(t, here, size) for n, t in feed.items()}
    twin = found.step.twin()
    before = found.predict(twin, [feed], evaluating=False)
    curve = train(found, twin, [two], RATE, 0.5 * FITTED * found.constant, steps=STEPS)
    if curve.cut:
        return Evidence(missing="the time for experiments ran out")
    if curve.broken:
        return Evidence(missing="the loss on two examples did not stay finite")
    after = found.predict(twin, [feed], evaluating=False)
    data: dict[str, Any] = {
        "kind": found.kind,
        "steps": len(curve.losses) - 1,
        "first": curve.losses[0],
        "last": curve.losses[-1],
        "others": len(rest),
        "before": found.score(before[rest], labels[rest]).plain(),
        "after": found.score(after[rest], labels[rest]).plain(),
        "chance": _chance(found, labels[rest]).plain(),
        "unshown": None,
    }
    shown = labels[torch.tensor(pair)]
    unshown = rest[~torch.isin(labels[rest], shown)] if found.kind == "classes" else rest[:0]
    if len(unshown) >= 8:
        data["unshown"] = found.score(after[unshown], labels[unshown]).plain()
        data["unshown_before"] = found.score(before[unshown], labels[unshown]).plain()
        data["unshown_count"] = len(unshown)
    return Evidence(data, place=found.call.place)


def _rows(tensor: torch.Tensor, rows: torch.Tensor, size: int) -> torch.Tensor:
    return tensor[rows] if tensor.ndim and tensor.shape[0] == size else tensor


def _chance(found: Class, labels: torch.Tensor) -> Any:
    from trainrecipe.subjects.scores import relative_error, share_right

    if found.kind == "numbers":
        return relative_error(labels.mean(0).expand_as(labels), labels)
    return share_right(labels.mode().values.expand_as(labels), labels)


def _told(e: Evidence, value: float) -> str:
    return f"a relative squared error of {value:.2f}" if e["kind"] == "numbers" else f"{value:.0%} right"
