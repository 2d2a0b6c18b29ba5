from __future__ import annotations

import ast
import itertools
import linecache
from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Place, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data
    from trainrecipe.subjects.run import Loader, Pass, Run

FEWEST = 4
"""Batches that a loader must have, for leaving its loop early to mean something."""
SHARE = 0.5
"""Share of the batches up to which a conditional break that comes at the same batch in each epoch is reported."""


class LoopLeftEarly(Check):
    """A limit on the batches per epoch does not leave out the same data for ever.

    What it checks
    --------------
    Training passes over an unshuffled loader that end after the same number of batches, again and again, by a `break` or
    `return` that depends on a condition.

    Why it matters
    --------------
    A limit that was set for debugging and left in ends each epoch after its first few batches. Without shuffling these are
    the same ones in every epoch: the model is trained on a fraction of the data, and never sees the rest.

    What healthy looks like
    -----------------------
    Each epoch uses all batches, or a limit together with shuffled data, so that every epoch sees another part.

    What to do
    ----------
    Remove the limit, or pass `shuffle=True` to the loader.

    When it is wrong
    ----------------
    Limits on shuffled data and on streams are common and not reported, nor are limits set in a framework's trainer.
    Statements that end the loop in its first turn, whatever happens, are `epoch-left-early`'s business. Training on a few
    batches on purpose looks the same: silence the check there.

    Source
    ------
    Fault catalogue 44.
    """

    title = "Each epoch sees the same part of the data"
    rows = ("S24",)
    faults = (44,)
    explains = ("same-batch", "label-order", "learning-rate-range")

    def measure(self, data: Data) -> list[Evidence]:
        """Look for training passes that end after the same number of batches, and for what ends them."""
        run = data.run
        numbers = dict.fromkeys(p.loader for p in run.train_passes())
        found = [_look(run, run.loaders[n], [p for p in run.train_passes() if p.loader == n]) for n in numbers]
        return [e for e in found if e is not None] or [Evidence(missing="no two training passes over one loader were seen")]

    def judge(self, evidence: Evidence) -> Ruling:
        """A condition that ends every pass at the same batch, of data that are not shuffled."""
        batches, length, how = evidence["batches"], evidence["length"], evidence["how"]
        if not evidence["left"] or not how or not evidence["condition"]:
            return Ruling.passed(f"{evidence['passes']} training passes: no condition ends them at the same batch")
        if length is None or length < FEWEST or batches > SHARE * length:
            return Ruling.passed(f"passes use {batches} of {length} batches")
        if evidence["shuffled"]:
            return Ruling.passed(f"a condition ends each pass after {batches} batches, and the data are shuffled")
        return Ruling.found(
            Severity.WARNING,
            f"Each epoch trains on the same {batches} of {length} batches: a `{how}` in the loop ends it.",
            expected=f"{length} batches in each epoch, or others in each",
            observed=f"{evidence['passes']} passes left after {batches} batch{'es' if batches > 1 else ''}; the data are not "
            "shuffled, so these are the same in each epoch",
            fix="Remove the limit, or shuffle the data.",
        )


def _look(run: Run, loader: Loader, passes: list[Pass]) -> Evidence | None:
    """What is known of the passes over one loader; the last of them may have been stopped by something else."""
    if len(passes) < 2:
        return None
    whole = [p for p, following in itertools.pairwise(passes) if p.place == following.place]
    counts = {p.batches for p in whole if not p.finished}
    left = len(whole) > 1 and len(counts) == 1 and not any(p.finished or not p.inside for p in whole)
    at, how, condition = _exit(whole[0].place) if left else (None, "", False)
    return Evidence(
        {
            "passes": len(passes),
            "left": left,
            "batches": min(counts, default=0),
            "length": loader.length,
            "shuffled": loader.shuffled,
            "how": how,
            "condition": condition,
        },
        place=at or passes[0].place,
    )


def _exit(place: Place | None) -> tuple[Place | None, str, bool]:
    """What ends the `for` loop that begins at a line: its place, `break` or `return`, and whether it depends on a condition.

    Statements of the body itself come before those inside an `if`.
    """
    if place is None:
        return None, "", False
    try:
        tree = ast.parse("".join(linecache.getlines(place.file)))
    except SyntaxError:
        return None, "", False
    loops = [n for n in ast.walk(tree) if isinstance(n, ast.For) and n.lineno <= place.line <= (n.iter.end_lineno or n.lineno)]
    if not loops:
        return None, "", False
    loop = max(loops, key=lambda n: n.lineno)
    for condition in (False, True):
        for statement in _exits(loop.body, condition):
            how = "return" if isinstance(statement, ast.Return) else "break"
            source = linecache.getline(place.file, statement.lineno).strip()
            return Place(place.file, statement.lineno, source, place.function), how, condition
    return None, "", False


def _exits(body: list[ast.stmt], conditions: bool, inner: bool = False) -> list[ast.stmt]:
    """The statements that leave a loop with this body: those that always do, or with `conditions` those under an `if`."""
    found: list[ast.stmt] = []
    for statement in body:
        if isinstance(statement, ast.Return) or (isinstance(statement, ast.Break) and not inner):
            found.append(statement)
        elif isinstance(statement, ast.With | ast.Try):
            found += _exits(statement.body, conditions, inner)
        elif isinstance(statement, ast.If) and conditions:
            found += _exits([*statement.body, *statement.orelse], conditions, inner)
        elif isinstance(statement, ast.For | ast.While) and conditions:
            found += _exits(statement.body, conditions, inner=True)
    return found
