from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, ranges

if TYPE_CHECKING:
    from trainrecipe.capture.watch import Seen
    from trainrecipe.subjects.step import Step

SQUASHES = frozenset({"tanh", "tanh_", "sigmoid", "sigmoid_", "special_expit", "softsign", "hardtanh", "hardsigmoid"})
FLAT = 0.97
"""|a| from which on tanh is called saturated: its derivative is below 6 %. The smdebug and DeepDiagnosis rules use this
order; a sigmoid is rescaled to -1…1 first."""
SHARE = 0.5
"""Share of a layer's values, in most batches."""
BATCHES = 0.8
"""Share of the batches in which that must hold."""
EXAMPLES = 100
EARLY = 40
"""Steps up to which saturation speaks of the start or the learning rate. Later it is what training makes of confident units:
measured in a healthy classifier, none at step 32 and 64 % of the code layer at step 256."""
KEEPING = frozenset(
    {
        *("view", "reshape", "flatten", "transpose", "permute", "contiguous", "squeeze", "unsqueeze", "cat", "stack"),
        *("dropout", "layer_norm", "batch_norm"),
    }
)


class Saturation(Check):
    """Tanh and sigmoid units work where they have a slope.

    What it checks
    --------------
    The model runs, with the latest weights, on every batch that was kept. Counted are results of hidden tanh and sigmoid
    units, those that go on into another weighted layer, that lie within 3 % of their limit. Sigmoids written by hand, as
    1 / (1 + exp(-z)), and networks of plain tensors without any module are seen too.

    Why it matters
    --------------
    A saturated unit passes less than 6 % of the gradient, so the layers before it hardly learn.

    What healthy looks like
    -----------------------
    Results spread over the range; a minority near the limits.

    What to do
    ----------
    Start the weights with Xavier initialisation, normalise the inputs, lower the learning rate.

    When it is wrong
    ----------------
    Gates (sigmoids that multiply something), attention, output heads and the inside of LSTM and GRU are not counted: they
    saturate by design. Late in a long training saturation is a note.

    Source
    ------
    Fault catalogue 111; Glorot and Bengio 2010. With a pre-activation of standard deviation 1 about 4 % are saturated.
    """

    title = "Hidden units are saturated"
    rows = ("S17",)
    faults = (111,)
    price = Price.FORWARD
    explains = ("vanishing-gradients", "overfit-one-batch")

    def measure(self, step: Step) -> Evidence | list[Evidence]:
        if step.distrust:
            return Evidence(missing=step.distrust)
        layers, examples = _saturated(step.latest)
        if not layers:
            return Evidence(missing="the step has no hidden tanh or sigmoid units")
        if examples < EXAMPLES:
            return Evidence({"layers": [], "examples": examples})
        worst = max(layers, key=lambda layer: (layer["often"] >= BATCHES, layer["middle"]))
        place = worst.pop("place")
        for layer in layers:
            layer.pop("place", None)
        first = step.tape.step if step.latest is not step and worst["often"] >= BATCHES and _from_the_start(step) else None
        data = {"layers": layers, "worst": worst, "examples": examples, "step": step.latest.tape.step, "first": first}
        return Evidence(data, place=place or step.place)

    def judge(self, evidence: Evidence) -> Ruling:
        if not evidence["layers"]:
            return Ruling.unsure(f"only {evidence['examples']} examples were seen; {EXAMPLES} are needed")
        worst = evidence["worst"]
        share, name = worst["middle"], worst["name"]
        if worst["often"] < BATCHES:
            return Ruling.passed(f"at most {share:.0%} of a hidden layer's values are saturated (median over batches)")
        early = evidence["step"] <= EARLY or (evidence["first"] is not None and evidence["first"] <= EARLY)
        return Ruling.found(
            Severity.WARNING if early else Severity.NOTE,
            f"{share:.0%} of the values of `{name}` are saturated.",
            expected=f"fewer than {SHARE:.0%} of a hidden layer's values within {1 - FLAT:.0%} of the limit",
            observed=f"{share:.0%} (median over batches) after {evidence['step']} steps, so hardly any gradient passes",
            fix="Start the weights smaller (`nn.init.xavier_uniform_`), normalise the inputs, or use ReLU.",
            causes=(
                "The weights start too large: compare their standard deviation with 1/sqrt(inputs).",
                "The inputs are not normalised: look at their standard deviation.",
                "The learning rate is too high: run again with a tenth of it.",
            ),
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["layers"]:
            return None
        return ranges(
            "Activations of hidden units by layer",
            "From the 5th to the 95th percentile, the dot is the median of |a|; saturated units crowd at 1.",
            [{"name": la["name"], "low": la["p5"], "middle": la["p50"], "high": la["p95"]} for la in evidence["layers"]],
            x_title="|activation|, a sigmoid rescaled to -1…1",
        )


def _from_the_start(step: Step) -> bool:
    return any(layer["often"] >= BATCHES for layer in _saturated(step)[0])


def _saturated(step: Step) -> tuple[list[dict[str, Any]], int]:
    """Per hidden layer of tanh or sigmoid units the share of saturated values per batch, and percentiles of |a|."""

    from trainrecipe.subjects.activations import HandWritten, over_feeds, without_modules
    from trainrecipe.subjects.layers import label, over_batches

    plain, by_hand = without_modules(step), HandWritten()
    shares: dict[tuple[int, int], list[float]] = {}
    sizes: dict[tuple[int, int], Any] = {}
    names: dict[tuple[int, int], tuple[str, Any]] = {}
    hidden: set[tuple[int, int]] = set()
    gates: set[tuple[int, int]] = set()
    sources: dict[int, set[tuple[int, int]]] = {}
    kept: list[Any] = []
    rows: dict[tuple[int, int], int] = {}
    last = [(-1, -1)]

    def look(op: Any, seen: Seen, number: int) -> None:
        if (op.index, number) != last[0]:
            last[0] = (op.index, number)
            sources.clear()
            kept.clear()
            by_hand.clear()
        if not (seen.inside or plain) or not seen.outputs:
            return
        kept.extend(seen.outputs)
        coming = set().union(*(sources.get(id(t), set()) for t in seen.inputs))
        if seen.weights and any(w.ndim >= 2 for w in seen.weights):
            hidden.update(coming)
        elif seen.name in KEEPING:
            sources[id(seen.outputs[0])] = coming
        elif coming:
            gates.update(coming)  # multiplied, added, compared: not a plain hidden layer
        out = seen.outputs[0]
        written = by_hand.sigmoid(seen)
        if not (seen.name in SQUASHES or written) or not out.requires_grad or out.numel() < 8:
            return
        key = (op.index, seen.index)
        size = out.detach().float()
        size = (2 * size - 1).abs() if written or "sig" in seen.name or "expit" in seen.name else size.abs()
        shares.setdefault(key, []).append(float((size > FLAT).double().mean()))
        flat = size.flatten()
        sizes[key] = flat[:: max(1, len(flat) // 4096)].quantile(flat.new_tensor([0.05, 0.5, 0.95]))
        names[key] = (label(op, dataclasses.replace(seen, name="sigmoid") if written else seen), seen.place)
        rows[key] = rows.get(key, 0) + (out.shape[0] if number else 0)
        sources[id(out)] = {key}

    (over_feeds if plain else over_batches)(step, look)
    found = []
    for key in shares:
        if key not in hidden or key in gates:
            continue
        seen_shares = sorted(shares[key])
        low, middle, high = (float(v) for v in sizes[key])
        found.append(
            {
                "name": names[key][0],
                "middle": seen_shares[len(seen_shares) // 2],
                "often": sum(s > SHARE for s in seen_shares) / len(seen_shares),
                "p5": low,
                "p50": middle,
                "p95": high,
                "place": names[key][1],
            }
        )
    return found, max((rows[k] for k in shares if k in hidden and k not in gates), default=0)
