from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.inits import Application, Reload
    from trainrecipe.subjects.run import Run

MOST_OF_IT = 0.5
"""Share of loaded elements that must be lost; a new head on a pretrained body is a small part of it."""
ALL_OF_IT = 0.9


class InitNotApplied(Check):
    """Initial values reach the weights that they are meant for, and loaded weights are still there when training begins.

    What it checks
    --------------
    Calls of `Module.apply` with a function whose code initialises weights: whether it ran or changed anything, and whether it
    takes layers of one type and passes those by whose types the program derives from it. Loops over
    `children()` in which a function of `torch.nn.init` initialises layers: whether layers of the same type lie in the
    `Sequential`, `ModuleList` or `ModuleDict` of the same module, still have the weights of their constructor, and are about
    to be trained. And weights given by `load_state_dict`: a sample of each is compared at the next backward with what was
    loaded.

    Why it matters
    --------------
    A function for `nn.Conv2d` does nothing to a model of linear layers, without an error; the model keeps PyTorch's defaults.
    `type(m) is nn.Linear` is not true of a layer whose class is derived from `nn.Linear`; `isinstance` is.
    `children()` gives the direct children only: a loop over it leaves out what lies deeper. An initialisation after loading
    throws the pretrained weights away: training starts from nothing.

    What healthy looks like
    -----------------------
    The function changes weights; loading comes after every initialisation.

    What to do
    ----------
    Compare the types that the function asks for with those in the model (`print(model)`). Loop over `modules()` to reach
    every layer. Load the checkpoint last.

    When it is wrong
    ----------------
    One function for several models that does nothing to one of them is a note. A loop that reaches at least as many layers as
    it passes by may be meant for those, such as several heads: it is a note; set to constants they are not counted. Layers
    that are initialised without `torch.nn.init` in the way that PyTorch does it cannot be told from new ones. A part of the
    loaded weights that is initialised anew, such as the head, is not reported, nor are weights that were used in between
    (the best of a fold, before the next one begins).

    Source
    ------
    Fault catalogue 109; fla-org/flash-linear-attention#739.
    """

    title = "Initial weights are not what the program means them to be"
    rows = ("S17", "S24")
    faults = (109,)
    explains = ("update-ratio",)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        inits = run.inits
        walks = [a for a in inits.applied if a.loop]
        idle = [a for a in inits.applied if a.weights and not a.changed and not a.called]
        lost = [r for r in inits.reloads if r.elements and r.lost >= MOST_OF_IT * r.elements]
        if not inits.applied and not inits.reloads:
            return Evidence(missing="no weights were loaded, and no function that initialises weights was given to `apply`")
        made = [self._idle(a) for a in idle[:3]] + [self._walk(a) for a in walks[:3]] + [self._lost(r) for r in lost[:3]]
        made += [self._subclasses(a) for a in inits.applied if a.base][:3]
        return made or Evidence({"kind": "", "applied": len(inits.applied), "loaded": len(inits.reloads)})

    def _idle(self, one: Application) -> Evidence:
        data = {"kind": "idle", "function": one.function, "model": one.model, "kinds": one.kinds, "weights": one.weights}
        return Evidence({**data, "elsewhere": one.elsewhere}, place=one.place)

    def _walk(self, one: Application) -> Evidence:
        data = {"kind": "walk", "loop": one.function, "model": one.model, "layer": one.kinds[0]}
        return Evidence({**data, "reached": one.changed, "missed": one.weights}, place=one.place)

    def _subclasses(self, one: Application) -> Evidence:
        data = {"kind": "derived", "function": one.function, "model": one.model, "kinds": one.kinds, "base": one.base}
        return Evidence({**data, "reached": one.changed, "missed": one.weights}, place=one.place)

    def _lost(self, one: Reload) -> Evidence:
        share = one.lost / one.elements
        data = {"kind": "lost", "model": one.model, "share": share, "names": one.names, "tensors": one.tensors}
        at = str(one.place) if one.place is not None else ""
        return Evidence({**data, "loaded_at": at.rpartition("/")[2]}, place=one.overwritten or one.place)

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["kind"]:
            return Ruling.passed(
                f"{evidence['applied']} initialisations by `apply` had an effect, {evidence['loaded']} loaded models kept "
                "their weights until training began"
            )
        if evidence["kind"] == "idle":
            kinds = ", ".join(evidence["kinds"])
            return Ruling.found(
                Severity.NOTE if evidence["elsewhere"] else Severity.WARNING,
                f"`apply({evidence['function']})` initialises nothing in {evidence['model']}.",
                expected="a function that initialises weights finds layers of the types that it asks for",
                observed=f"no value changed, and no function of torch.nn.init ran; the {evidence['weights']} weights are "
                f"in {kinds}",
                fix=f"Let {evidence['function']} ask for the types that the model is made of: {kinds}.",
                causes=(
                    "the type or the name that the function compares with is another than the model's",
                    "the model's layers are replaced after this line",
                ),
            )
        if evidence["kind"] == "walk":
            reached, missed, layer = evidence["reached"], evidence["missed"], evidence["layer"]
            return Ruling.found(
                Severity.WARNING if reached == 1 or missed > reached else Severity.NOTE,
                f"The loop `{evidence['loop']}` initialises {reached} {layer} in {evidence['model']} and passes {missed} by.",
                expected="an initialisation by type reaches every layer of that type",
                observed=f"{missed} {layer} in the containers of {evidence['model']} still have the weights of their "
                "constructor when training begins",
                fix="Loop over modules() instead of children(), which does not descend; or name the layers that are meant.",
            )
        if evidence["kind"] == "derived":
            return self._derived(evidence)
        share = evidence["share"]
        return Ruling.found(
            Severity.ERROR if share >= ALL_OF_IT else Severity.WARNING,
            f"The weights loaded into {evidence['model']} are overwritten before training begins.",
            expected="what `load_state_dict` gives is still there at the first backward",
            observed=f"{share:.0%} of the elements loaded ({evidence['loaded_at']}) are unrelated to what they were: "
            f"{', '.join(evidence['names'][:4])}{', …' if len(evidence['names']) > 4 else ''}",
            fix="Load the weights after the last initialisation.",
        )

    def _derived(self, evidence: Evidence) -> Ruling:
        kinds, base, reached, missed = ", ".join(evidence["kinds"]), evidence["base"], evidence["reached"], evidence["missed"]
        return Ruling.found(
            Severity.WARNING if missed > reached else Severity.NOTE,
            f"`apply({evidence['function']})` initialises {reached} {base} and passes {missed} {kinds} by.",
            expected=f"a function for {base} also takes what is derived from it",
            observed=f"{missed} layers of {evidence['model']}, of type {kinds} derived from {base}, still have the weights of "
            "their constructor when training begins",
            fix=f"Ask by isinstance(m, nn.{base}), which is true of derived types, too.",
        )
