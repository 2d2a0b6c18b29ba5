from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Reseed, Run

EPOCHS = 2
STEPS = 4
"""Times that the same state must have come back: at the start of passes, or at steps within one."""
SHARE = 0.8


class SeedResetInLoop(Check):
    """The random streams move on during the training.

    What it checks
    --------------
    Where a global random stream is seeded again while an optimiser trains: whether its state at the steps that follow is the
    same each time, and whether the training draws from it (dropout, noise, augmentation, the order of the data). The same
    where a generator of the script's own is made anew from one seed at each step, and the model is fed equal batches then.

    Why it matters
    --------------
    Randomness that repeats is none. Each epoch drops the same units at the same batch, adds the same noise, shows the data in
    the same order: regularisation is lost, and the network may adapt to one mask. It often comes from a seed that was
    meant to make the evaluation repeatable.

    What healthy looks like
    -----------------------
    One seed at the start of the script. Where an evaluation needs the same samples each time, a generator of its own, or
    `torch.random.fork_rng()`.

    What to do
    ----------
    Seed once, before the loop.

    When it is wrong
    ----------------
    Seeds that depend on the epoch give other states and are not reported; nor are seeds at the start of each of several
    trainings, folds or trials, which have optimisers of their own, nor those after which the training draws nothing. Noise
    that is held fixed on purpose (common random numbers) looks the same.

    Source
    ------
    Fault catalogue 46; PyTorch forum thread 63816; PYSIASSIST pattern 7.
    """

    title = "The random seed is reset inside the training loop"
    rows = ("S24", "S2")
    faults = (46,)
    explains = ("same-batch", "label-order", "epoch-order-repeats")

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        if not any(o.steps for o in run.optimizers):
            return Evidence(missing="no optimiser took a step while the script was observed")
        groups: dict[tuple[str, int, str], list[Reseed]] = {}
        for entry in run.reseeds:
            if entry.step > 0 or entry.in_pass is not None:
                groups.setdefault((entry.stream, entry.optimizer, str(entry.place)), []).append(entry)
        again = [g for g in groups.values() if len(g) >= EPOCHS]
        return [self._look(run, g) for g in again] or Evidence({"times": 0})

    def _look(self, run: Run, entries: list[Reseed]) -> Evidence:
        states = [e.state for e in entries]
        common = max(set(states), key=states.count)
        equal = [e for e in entries if e.state == common]
        passes = {e.in_pass for e in equal}
        each_step = len(equal) > len(passes) or passes == {None}
        own = not entries[0].seeded  # a generator of the script's own: told by the batch only
        noise = [
            e
            for e in equal
            if not own and (e.later not in (None, e.state) or (e.trains and not e.evaluated and e.state != e.forward))
        ]
        drawn = [e for e in equal if e.trains and not e.evaluated and e.forward != e.seeded]
        fed = {e.batch for e in drawn}
        order = len(drawn) == len(equal) and len(fed) == 1 and None not in fed
        if own:
            fresh = [e for e in drawn if e.batch is not None]
            order = len(fresh) >= SHARE * len(equal) and len({e.batch for e in fresh}) == 1
        again = each_step and not own and len(drawn) == len(equal) and len({e.forward for e in drawn}) == 1
        loaders = {run.passes[p].loader for p in passes if p is not None}
        if loaders and not own:
            order = all(run.loaders[n].shuffled for n in loaders) and _same_order(run, equal)
        return Evidence(
            {
                "times": len(entries),
                "equal": len(equal),
                "each_step": each_step,
                "passes": len(passes - {None}),
                "noise": bool(noise) and len(noise) == len(equal),
                "order": order,
                "draws": again,
                "stream": entries[0].stream,
                "seed": equal[0].seed,
                "own": own,
                "evaluation": all(e.evaluated for e in equal),
            },
            place=entries[0].place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        times = evidence["times"]
        if not times:
            return Ruling.passed("no random stream was seeded again while an optimiser trained")
        equal, stream = evidence["equal"], evidence["stream"]
        if equal < SHARE * times or equal < (STEPS if evidence["each_step"] else EPOCHS):
            return Ruling.passed(
                f"{stream}'s stream was seeded {times} times during the training, with other states at the steps"
            )
        if not evidence["noise"] and not evidence["order"] and not evidence["draws"]:
            return Ruling.passed(f"{stream}'s stream is reset during the training, which does not draw from it")
        what = " and ".join(
            w
            for w, there in (
                ("the same order of the data", evidence["order"]),
                ("the same noise or dropout", evidence["noise"]),
                ("the same random numbers in front of every forward", evidence["draws"] and not evidence["noise"]),
            )
            if there
        )
        often = f"{equal} steps" if evidence["each_step"] else f"{equal} epochs"
        by = ", after an evaluation" if evidence["evaluation"] else ""
        if evidence["own"]:
            return Ruling.found(
                Severity.WARNING,
                f"A generator is made anew from seed {evidence['seed']} again and again, and the training is fed the same "
                "batch each time.",
                expected="one generator, made before the loop, that moves on with every draw",
                observed=f"equal batches at {often} after it was made from the same seed",
                fix="Make the generator once, outside the loop and outside the function that draws a batch.",
            )
        return Ruling.found(
            Severity.WARNING,
            f"{stream}'s random stream is set back to seed {evidence['seed']} during the training{by}: {what} each time.",
            expected="random states that never come back during a training",
            observed=f"the very same state of the stream at {often}, and draws by the training after it",
            fix="Seed once, before the loop"
            + (
                "; give the evaluation a torch.Generator of its own, or wrap it in fork_rng()."
                if evidence["evaluation"]
                else "."
            ),
        )


def _same_order(run: Run, entries: list[Reseed]) -> bool:
    """Whether the passes that these steps belong to gave the same batches in the same order.

    The first one may differ, where the stream is set back within passes: its own order was drawn before.
    """
    numbers = sorted({e.in_pass for e in entries if e.in_pass is not None})
    orders = [run.passes[n].batch_hashes for n in numbers]
    shortest = min(map(len, orders), default=0)
    equal = [o[:shortest] == orders[-1][:shortest] for o in orders]
    within = len(entries) > len(numbers) and len(orders) > EPOCHS
    return shortest >= 1 and len(orders) >= EPOCHS and (all(equal) or (within and all(equal[1:])))
