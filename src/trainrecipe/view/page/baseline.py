"""A human baseline: which examples a person is asked about, in which order, and what the answers come to."""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from trainrecipe.finding import Evidence, Finding, Ruling
from trainrecipe.journal.store import Journal
from trainrecipe.table.confusion import natural
from trainrecipe.table.marks import Answer, Key, Marks
from trainrecipe.table.table import Table
from trainrecipe.view.page import agreement
from trainrecipe.view.page.agreement import Kappa, Share
from trainrecipe.view.page.looks import values, viewed
from trainrecipe.wrong_use import WrongUse

MOST = 500
_CANDIDATES = 2000
PRESSED = "1234567890abcdefghijklmnopqrstuvwxyz"


@dataclasses.dataclass(frozen=True)
class Pass:
    """One person's way through the examples of a session; `again` is the blind second one. The order differs for each."""

    session: str
    person: str
    again: bool
    keys: tuple[Key, ...]
    classes: tuple[str, ...]
    split: str

    @classmethod
    def of(cls, marks: Marks, session: str, person: str, again: bool) -> Pass:
        """Raises WrongUse for a session that was never begun."""
        plan = marks.sessions().get(session)
        if plan is None:
            raise WrongUse(f"there is no session {session[:60]!r} of a human baseline; begin one")
        keys = [(str(s), int(i)) for s, i in plan["keys"]]
        random.Random(f"{session} {person} {again}").shuffle(keys)  # its own generator: nobody's state moves
        return cls(session, person, again, tuple(keys), tuple(plan["classes"]), plan["split"])

    def answers(self, marks: Marks) -> dict[Key, Answer]:
        """What this person answered in this pass."""
        return {a.key: a for a in marks.answers(self.session) if a.person == self.person and a.again == self.again}


def plan(table: Table, split: str, number: int, seed: int) -> dict[str, Any]:
    """Examples of a split that have views and labels, as many of each class as its share asks for.

    Raises WrongUse where there are none, or fewer than two classes.
    """
    rows = viewed(table, f"split == {split!r} and not isnull(label)", _CANDIDATES, seed)
    found = list(values(table, rows).values())
    by_class: dict[str, list[Key]] = {}
    for row in found:
        by_class.setdefault(str(row["label"]), []).append((row["split"], int(row["index"])))
    if len(by_class) < 2:
        raise WrongUse(f"the split {split!r} has no labelled examples of two classes whose looks the scan kept")
    wanted = shares({c: len(keys) for c, keys in by_class.items()}, min(number, len(found), MOST))
    chooser = random.Random(seed)
    keys = [key for c in sorted(by_class) for key in chooser.sample(by_class[c], wanted[c])]
    classes = sorted((str(v) for v, _ in table.counts("label", most=200).values), key=natural)
    return {"split": split, "keys": keys, "classes": classes, "seed": seed}


def shares(sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """How many of each class make `total` in proportion to the sizes, by largest remainders (Hamilton's method).

    >>> shares({"a": 6, "b": 3, "c": 1}, 5)
    {'a': 3, 'b': 2, 'c': 0}
    """
    exact = {c: total * n / sum(sizes.values()) for c, n in sizes.items()}
    found = {c: int(v) for c, v in exact.items()}
    left = total - sum(found.values())
    for c in sorted(exact, key=lambda c: (found[c] - exact[c], c))[:left]:
        found[c] += 1
    return found


def keys_of(classes: Sequence[str]) -> dict[str, str]:
    """The key that answers each class: the class itself where it is one character, else digits and letters in order.

    Empty for more classes than there are keys: those are typed.
    """
    if all(len(c) == 1 and c.isalnum() and c.isascii() for c in classes):
        lower = [c.lower() for c in classes]
        if len(set(lower)) == len(lower):
            return dict(zip(classes, lower, strict=True))
    return dict(zip(classes, PRESSED, strict=False)) if len(classes) <= len(PRESSED) else {}


@dataclasses.dataclass(frozen=True)
class Result:
    """What the answers of one pass come to; `model` where the table has predictions, the rest where there are two passes."""

    human: Share
    with_label: Kappa
    seconds: float
    confusion: list[tuple[str, str, str, int]]
    mistakes: list[tuple[Key, str, str]]
    model: Share | None = None
    difference: float | None = None
    with_model: Kappa | None = None
    against: str = ""
    second: Kappa | None = None
    ceiling: Share | None = None


def result(table: Table, marks: Marks, done: Pass) -> Result:
    """Judge a pass by the labels, the model, and another pass over the same examples where there is one."""
    answers = done.answers(marks)
    rows = table.rows_of(answers)
    by_row = values(table, list(rows.values()))
    known = {key: by_row[row] for key, row in rows.items() if row in by_row}
    keys = [key for key in done.keys if key in known]
    given = [answers[k].answer for k in keys]
    labels = [str(known[k]["label"]) for k in keys]
    right = [a == b for a, b in zip(given, labels, strict=True)]
    wrong = [(k, label, a) for k, label, a in zip(keys, labels, given, strict=True) if a != label]
    made = Result(
        human=agreement.share(sum(right), len(right)),
        with_label=agreement.kappa(given, labels),
        seconds=statistics.median(answers[k].seconds for k in keys) if keys else 0.0,
        confusion=_disagreements(labels, given, [str(known[k].get("predicted") or "") for k in keys]),
        mistakes=wrong,
    )
    return _beside_another(_beside_model(made, [known[k].get("predicted") for k in keys], given, labels), marks, done, answers)


def _disagreements(labels: list[str], given: list[str], predicted: list[str]) -> list[tuple[str, str, str, int]]:
    """Label, answer and prediction where they are not all the same, with how often, the most frequent first."""
    three = Counter(zip(labels, given, predicted, strict=True))
    return [(a, b, p, n) for (a, b, p), n in three.most_common() if a != b or p not in ("", a)]


def _beside_model(made: Result, predicted: list[Any], given: list[str], labels: list[str]) -> Result:
    three = [(str(p), g, label) for p, g, label in zip(predicted, given, labels, strict=True) if p is not None]
    if not three:
        return made
    hits = [(g == label, p == label) for p, g, label in three]
    return dataclasses.replace(
        made,
        model=agreement.share(sum(m for _, m in hits), len(hits)),
        difference=agreement.sign_test(hits.count((True, False)), hits.count((False, True))),
        with_model=agreement.kappa([g for _, g, _ in three], [p for p, _, _ in three]),
    )


def _beside_another(made: Result, marks: Marks, done: Pass, answers: Mapping[Key, Answer]) -> Result:
    others: dict[tuple[str, bool], dict[Key, Answer]] = {}
    for a in marks.answers(done.session):
        if (a.person, a.again) != (done.person, done.again):
            others.setdefault((a.person, a.again), {})[a.key] = a
    if not others:
        return made
    # Another person tells more than another pass of the same one, who makes the same mistakes again.
    (person, again), other = max(others.items(), key=lambda o: (o[0][0] != done.person, len(o[1])))
    both = [k for k in answers if k in other]
    first, second = [answers[k].answer for k in both], [other[k].answer for k in both]
    same = sum(a == b for a, b in zip(first, second, strict=True))
    return dataclasses.replace(
        made,
        against=f"{person or 'another person'}" if person != done.person else f"the {'second' if again else 'first'} pass",
        second=agreement.kappa(first, second),
        ceiling=agreement.ceiling(same, len(both), len(done.classes)),
    )


def record(journal: Journal, name: str, folder: str, done: Pass, made: Result) -> None:
    """Write the result to the journal, as a run of its own."""
    says = f"{made.human.hits} of {made.human.total} examples of {done.split} answered as labelled ({_percent(made.human)})"
    if made.model:
        says += f"; the model: {_percent(made.model)}"
    if made.second:
        says += f"; kappa with {made.against} {made.second.value:.3f}"
    data = {k: v for k, v in dataclasses.asdict(made).items() if k != "mistakes"}
    data |= {"session": done.session, "person": done.person, "again": done.again, "split": done.split}
    finding = Finding("human-baseline", "Human baseline", Ruling.passed(says + "."), Evidence(data))
    log = journal.new_run(command="view", script=name)
    log.append("summary", facts={"table": folder, "human baseline": says})
    log.append("finding", finding=finding.to_json())
    log.append("ended", status="finished", exit_code=0, seconds=round(made.seconds * made.human.total, 1))
    log.close()


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} %, {100 * share.low:.1f} to {100 * share.high:.1f}"
