from __future__ import annotations

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.subjects.step import Step

SQUASHING = frozenset({"softmax", "sigmoid", "Softmax", "expit", "special_softmax", "special_expit"})


class SoftmaxBeforeCrossEntropy(Check):
    """Cross-entropy gets raw logits, not probabilities.

    What it checks
    --------------
    The tensor given to `cross_entropy` is traced back through reshapes to the operation that made it. If that is a
    softmax or a sigmoid, and its values are indeed probabilities, the loss applies a second softmax to them.

    Why it matters
    --------------
    Logits that are confined to 0…1 can never be confident after the second softmax: the loss cannot fall below
    ln(e + C − 1) − 1 (1.46 for 10 classes), gradients are small, and learning is slow. Accuracy may still look fine,
    and the loss at initialisation looks perfect, so nothing gives it away.

    What healthy looks like
    -----------------------
    The model's last layer is linear and its output goes straight into `cross_entropy`.

    What to do
    ----------
    Remove the softmax or sigmoid from the model and apply it only where probabilities are needed, such as for display.

    When it is wrong
    ----------------
    `log_softmax` before `cross_entropy` is harmless, since a second one changes nothing, and is not reported. Bounded
    scores that are meant as logits, such as cosine similarities, do not come from a softmax or sigmoid.

    Source
    ------
    PyTorch documentation of CrossEntropyLoss; fault catalogue 1 and 2; the floor follows from the best case, a one-hot
    vector as logits.
    """

    title = "Probabilities go into cross_entropy, which expects logits"
    rows = ("S18",)
    faults = (1, 2)
    explains = ("overfit-one-batch", "learning-rate-range", "loss-at-init")

    def measure(self, step: Step) -> list[Evidence] | Evidence:
        calls = [c for c in step.losses if c.name == "cross_entropy" and c.counts]
        if not calls:
            return Evidence(missing="the step has no cross_entropy")
        return [self._look(step, call) for call in calls]

    def _look(self, step: Step, call) -> Evidence:  # type: ignore[no-untyped-def]
        chain = list(step.back(call.input))
        maker = chain[-1] if chain else None
        values = call.prediction.float()
        bounded = bool(((values >= 0) & (values <= 1)).all())
        sums = values.sum(1)
        return Evidence(
            {
                "maker": maker.name if maker is not None else None,
                "bounded": bounded,
                "rows_sum_to_one": bool(((sums - 1).abs() < 1e-3).all()),
                "classes": values.shape[1] if values.ndim > 1 else values.shape[0],
                "low": float(values.min()),
                "high": float(values.max()),
            },
            place=step.place_of(maker) if maker is not None and maker.name in SQUASHING else call.place,
        )

    def judge(self, evidence: Evidence) -> Ruling:
        squashed = evidence["maker"] in SQUASHING and evidence["bounded"]
        if not squashed:
            return Ruling.passed(f"cross_entropy gets logits between {evidence['low']:.3g} and {evidence['high']:.3g}")
        import math

        maker = "softmax" if evidence["rows_sum_to_one"] else "sigmoid"
        floor = math.log(math.e + evidence["classes"] - 1) - 1
        return Ruling.found(
            Severity.ERROR,
            f"{maker} is applied before cross_entropy, which applies its own softmax.",
            expected="raw logits, of any size",
            observed=f"the output of {maker}, between {evidence['low']:.3g} and {evidence['high']:.3g}; "
            f"the loss cannot fall below {floor:.3f} for {evidence['classes']} classes",
            fix=f"Remove the {maker}: give cross_entropy the output of the last linear layer.",
        )
