from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, lines

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.layers import Depth
    from trainrecipe.subjects.step import Step

LAYERS = 5
EACH = 6.0
"""Growth of the signal forwards, and of the gradient backwards, over all hidden layers: both are needed. Measured for eight
ReLU layers: He 1 and 1, weights 1.7 times as large 30 and 44; twenty layers with batch norm 1 and 45 (healthy)."""
STEADY = 0.9
RECURRENT = 100.0
"""Growth of the gradient from the last to the first time step of a recurrent layer. Measured over 16 steps: default weights
and LSTM below 1, orthogonal weights 0.3, gain 1.5 7, gain 3 430."""
UNROLLED = 1000.0
"""The same for a loop written by hand, where every time step may have a loss, whose gradients add up to the length."""
REPEATS = 8
TIMED = frozenset({"rnn_tanh", "rnn_relu", "gru", "lstm"})


class ExplodingGradients(Check):
    """Neither signals nor gradients grow from layer to layer, or from time step to time step.

    What it checks
    --------------
    At the first step seen: whether the root mean square of the signal rises steadily through the weighted layers while the
    gradient rises steadily on its way back. For recurrent layers: how the gradient of the last output grows on its way
    to the first time step.

    Why it matters
    --------------
    A product of factors above 1 grows with depth. Outputs start huge, steps overshoot, and the loss spikes or becomes NaN.

    What healthy looks like
    -----------------------
    Signals and gradients of similar size in each layer; through time, fading ones.

    What to do
    ----------
    Initialise with He (ReLU) or Xavier (tanh) gains, recurrent weights orthogonal with gain 1; add normalisation; clip.

    When it is wrong
    ----------------
    Gradients that grow towards the input while signals do not, as in deep networks with batch norm, are not reported. With
    gradient clipping recurrent growth is a note.

    Source
    ------
    Fault catalogue 107, 113; Pascanu et al. 2013. The measure is relative: gradient norms alone depend on the loss.
    """

    title = "Signals and gradients explode with depth"
    rows = ("S17",)
    faults = (107, 113)
    price = Price.BACKWARD
    explains = ("init-scale", "loss-at-init", "saturation", "learning-rate-range", "overfit-one-batch")

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.layers import depths

        if step.distrust:
            return Evidence(missing=step.distrust)
        profile = depths(step)
        found = [*_through_time(step), *_unrolled(profile), *_through_layers(profile)]
        if not found:
            return Evidence(missing=f"fewer than {LAYERS} weighted layers in a row, and no recurrent layer")
        return [Evidence({**data, "clips": _clips(step)}, place=place or step.place) for data, place in found]

    def judge(self, evidence: Evidence) -> Ruling:
        growth, steady = float(evidence["growth"]), evidence["steady"]
        if evidence["kind"] == "layers":
            forward = float(evidence["forward"])
            if min(growth, forward) < EACH or min(steady, evidence["steady_forward"]) < STEADY:
                return Ruling.passed(f"signals grow by {forward:.2g}, gradients backwards by {growth:.2g}")
            count = len(evidence["gradient"])
            return Ruling.found(
                Severity.WARNING,
                f"Signals grow by a factor of {forward:.2g} over {count} layers, and gradients by {growth:.2g} backwards.",
                expected=f"growth below {EACH:g} in each direction",
                observed=f"about {forward ** (1 / (count - 1)):.2f} per layer forwards and "
                f"{growth ** (1 / (count - 1)):.2f} backwards at the first step",
                fix="Start the weights smaller: `nn.init.kaiming_normal_` for ReLU, `nn.init.xavier_normal_` for tanh, "
                "or add normalisation layers.",
            )
        limit = RECURRENT if evidence["kind"] == "time" else UNROLLED
        if growth < limit or steady < STEADY:
            return Ruling.passed(f"from the last to the first time step the gradient changes by a factor of {growth:.2g}")
        return Ruling.found(
            Severity.NOTE if evidence["clips"] else Severity.WARNING,
            f"The gradient of `{evidence['name']}` grows by a factor of {growth:.2g} from the last to the first time step.",
            expected=f"a gradient that fades or stays; growth below {limit:g}",
            observed=f"about {growth ** (1 / max(1, evidence['length'] - 1)):.2f} per time step over {evidence['length']}",
            fix="Start the recurrent weights orthogonal with gain 1 (`nn.init.orthogonal_`), and clip gradients.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        layered = evidence["kind"] == "layers"
        series = {"gradient": evidence["gradient"]} | ({"signal": evidence["signal"]} if layered else {})
        return lines(
            "Size of the gradient by depth" if layered else "Size of the gradient by time step",
            "A straight slope on this scale is geometric growth; healthy curves are about level, or fade through time.",
            series,
            x_title="layer" if layered else "time step",
            log_y=True,
        )


def _clips(step: Step) -> bool:
    return step.clip is not None


def _through_layers(profile: list[Depth]) -> list[tuple[dict[str, Any], Any]]:
    from trainrecipe.subjects.layers import rising

    uses: dict[int, int] = {}
    for d in profile:
        uses[d.key] = uses.get(d.key, 0) + 1
    hidden = [d for d in profile if uses[d.key] == 1][:-1]
    if len(hidden) < LAYERS - 1 or any(d.delta == 0 or d.signal == 0 for d in (hidden[0], hidden[-1])):
        return []
    signals, deltas = [d.signal for d in hidden], [d.delta for d in hidden]
    data = {
        "kind": "layers",
        "growth": deltas[0] / deltas[-1],
        "forward": signals[-1] / signals[0],
        "steady": rising(deltas[::-1]),
        "steady_forward": rising(signals),
        "gradient": deltas,
        "signal": signals,
    }
    return [(data, hidden[0].place)]


def _unrolled(profile: list[Depth]) -> list[tuple[dict[str, Any], Any]]:
    from trainrecipe.subjects.layers import rising

    calls: dict[int, list[Depth]] = {}
    for d in profile:
        calls.setdefault(d.key, []).append(d)
    found = []
    for used in calls.values():
        deltas = [d.delta for d in used]
        if len(used) >= REPEATS and deltas[-1] > 0:
            data = {"kind": "unrolled", "growth": deltas[0] / deltas[-1], "steady": rising(deltas[::-1]), "gradient": deltas}
            found.append(({**data, "name": used[0].name, "length": len(used)}, used[0].place))
    return found[:2]


def _through_time(step: Step) -> list[tuple[dict[str, Any], Any]]:
    """Growth of the gradient through each recurrent layer of PyTorch's, from its last output back to each input."""
    from trainrecipe.capture.watch import run_watched
    from trainrecipe.subjects.layers import rising

    found: list[tuple[dict[str, Any], Any]] = []

    def look(seen: Seen) -> None:
        if seen.name not in TIMED or len(found) >= 3 or not seen.weights:
            return
        profile = _time_profile(seen)
        if profile is not None and len(profile) >= REPEATS and profile[-1] > 0:
            data = {"kind": "time", "growth": profile[0] / profile[-1], "steady": rising(profile[::-1]), "gradient": profile}
            found.append(({**data, "name": seen.path or seen.name, "length": len(profile)}, seen.place))

    run_watched(step, step.twin(), look)
    return found


def _time_profile(seen: Seen) -> list[float] | None:
    """Norm of the gradient of the last output, weighted at random, in the input of each time step."""
    import torch

    first = isinstance(seen.args[-1], bool) and seen.args[-1]
    given = seen.args[0]
    if not isinstance(seen.args[-1], bool) or given.ndim != 3:
        return None  # packed sequences
    given = given.detach().clone().requires_grad_()
    with torch.enable_grad(), torch._C.DisableTorchFunction():
        out = getattr(torch, seen.name)(given, *seen.args[1:])[0]
        last = out[:, -1] if first else out[-1]
        weights = torch.randn(last.shape, generator=torch.Generator().manual_seed(0)).to(last)
        (gradient,) = torch.autograd.grad((last * weights).sum(), given)
    return [float(v) for v in gradient.float().norm(dim=2).mean(0 if first else 1)]
