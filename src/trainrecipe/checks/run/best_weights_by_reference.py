from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.checkpoints import Loaded, Saved, Taken
    from trainrecipe.subjects.run import Run


class BestWeightsByReference(Check):
    """Weights that are kept for later are a copy.

    What it checks
    --------------
    Whether a `state_dict()` that was kept while training went on still is the model's own memory when it is loaded or saved
    later: then it holds the latest weights, not those of the time it was taken. In a rehearsal, which ends before that, the
    kept state must share the parameters' memory after later steps, and a line of the source must load it. The same for a
    second name for the model: `best_model = model`.

    Why it matters
    --------------
    `state_dict()` returns references. The "best" weights follow every step, loading them changes nothing, and the script
    reports the last weights as the best ones without any error.

    What healthy looks like
    -----------------------
    `copy.deepcopy(model.state_dict())`, or `torch.save` at the time of the best score.

    What to do
    ----------
    Copy: `best = {k: v.clone() for k, v in model.state_dict().items()}`. On a CPU, `v.cpu()` is no copy.

    When it is wrong
    ----------------
    A state that is taken and loaded into another model at once (target networks, averages) is not reported. A live view that
    is loaded into other models on purpose is a note. Copies that are made after our look are not seen.

    Source
    ------
    Fault catalogue 94; WenjieDu/PyPOTS#667, thunlp/OpenKE#131, pytorch/tutorials#188.
    """

    title = "The best weights are kept by reference and follow every later step"
    rows = ("S24",)
    faults = (94,)
    explains = ("best-weights-never-restored",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        seen = run.checkpoints
        if not seen.taken and not seen.loaded:
            return Evidence(missing="no weights were taken from a model or loaded into one while the script was observed")
        loaded = [_of_load(x, seen.taken) for x in seen.loaded if x.shared and x.shared == x.matched and x.since and x.trained]
        saved = [_of_save(x, seen.taken) for x in seen.saved if x.since]
        places = [x.place for x in seen.loaded] + [x.place for x in seen.saved]
        reached = {(p.file, p.line) for p in places if p is not None}
        kept = [_of_kept(t, reached) for t in seen.taken if t.trained]
        found = [*loaded, *saved, *(e for e in kept if e is not None)]
        copies = len([t for t in seen.taken if t.trained])
        return _distinct(found) or Evidence({"how": "", "taken": copies, "loads": len(seen.loaded)})

    def judge(self, evidence: Evidence) -> Ruling:
        how = evidence["how"]
        if not how:
            return Ruling.passed(f"no state that was kept by reference is used later ({evidence['loads']} loads seen)")
        since, model = evidence["since"], evidence["model"]
        observed = {
            "load": f"all {evidence['tensors']} tensors that are loaded are {model}'s own memory, {since} steps after "
            "they were taken: loading them changes nothing",
            "save": f"what is saved was taken {since} steps earlier and is {model}'s own memory: it holds the latest weights",
            "kept": f"{since} steps later the kept state is still {model}'s own memory; line {evidence['used']} uses it",
            "alias": f"{since} steps later both names are one {model} object; line {evidence['used']} uses the second",
        }[how]
        return Ruling.found(
            Severity.ERROR if how == "load" else Severity.WARNING if evidence["sure"] else Severity.NOTE,
            "The weights kept as the best are no copy: they are the parameters themselves, and training goes on changing them.",
            expected="a copy of the weights as they were then",
            observed=observed,
            fix="Keep copy.deepcopy(model) and use that." if how == "alias" else "Keep copy.deepcopy(model.state_dict()).",
        )


def _of_load(loaded: Loaded, taken: list[Taken]) -> Evidence:
    at = max((t for t in taken if t.step == loaded.step - loaded.since), key=lambda t: t.best, default=None)
    place = at.place if at is not None else loaded.place
    data = {"how": "load", "sure": True, "since": loaded.since, "model": loaded.model, "tensors": loaded.shared, "used": 0}
    return Evidence(data, place=place)


def _of_save(saved: Saved, taken: list[Taken]) -> Evidence:
    at = next((t for t in taken if t.place == saved.taken), None)
    sure = at is not None and (at.best or at.looped)
    data = {
        "how": "save",
        "sure": sure,
        "since": saved.since,
        "model": at.model if at else "the model",
        "tensors": 0,
        "used": 0,
    }
    return Evidence(data, place=saved.taken)


def _of_kept(taken: Taken, reached: set[tuple[str, int]]) -> Evidence | None:
    """A state that is still held, for which the source has a line that was not reached."""
    open_uses = [u for u in taken.uses if taken.alias or (u.place.file, u.place.line) not in reached]
    if not taken.held or not open_uses:
        return None
    use = open_uses[0]
    sure = taken.best or (use.kind == "load" and use.receiver == taken.owner)
    data = {
        "how": "alias" if taken.alias else "kept",
        "sure": sure,
        "since": taken.since,
        "model": taken.model,
        "tensors": 0,
        "used": use.place.line,
    }
    return Evidence(data, place=taken.place)


def _distinct(found: list[Evidence]) -> list[Evidence]:
    """One per line, the surest first."""
    order = {"load": 0, "save": 1, "kept": 2, "alias": 2}
    kept: dict[str, Evidence] = {}
    for e in sorted(found, key=lambda e: order[e["how"]]):
        kept.setdefault(str(e.place), e)
    return list(kept.values())
