from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, heatmap

if TYPE_CHECKING:
    from trainrecipe.subjects.step import Step

SUMMARIES = frozenset(
    {
        *("mean", "sum", "std", "var", "var_mean", "std_mean", "max", "min", "amax", "amin", "norm", "vector_norm", "prod"),
        *("median", "quantile", "logsumexp", "topk", "sort", "argsort", "kthvalue", "unique", "histc", "bincount", "aminmax"),
    }
)
"""Statistics of the batch: minibatch discrimination, hand-written normalisation, routing. Deliberate more often than not."""
NORMS = frozenset({"batch_norm", "instance_norm", "native_batch_norm"})
SEQUENTIAL = frozenset(
    {
        *("lstm", "gru", "rnn_tanh", "rnn_relu", "cumsum", "cumprod", "conv1d", "scaled_dot_product_attention"),
        *("multi_head_attention_forward", "matmul", "__matmul__", "bmm", "einsum", "cdist"),
    }
)
"""Operations that relate the elements of a sequence or a set: right, if axis 0 is not the batch."""


class BatchMixing(Check):
    """Each example's output depends on that example alone.

    What it checks
    --------------
    On a copy of the model in evaluation mode one example of the batch is replaced by another; then all the others are
    replaced instead. An element of the output that changes both times depends on several examples. The first operation
    whose result does so is where they are mixed. The examples are also given in another order: their outputs must come out
    in that order, and otherwise as they were.

    Why it matters
    --------------
    The model can read from the neighbours in the batch, which are not there, or are others, when it is used. Training
    looks plausible while validation depends on the size and the order of the batches.

    What healthy looks like
    -----------------------
    Replacing one example leaves the outputs of all others as they were, bit for bit: the chart of dependencies is a
    diagonal.

    What to do
    ----------
    Look at the reshape, transpose or recurrent layer named: `view` and `reshape` do not swap axes, `nn.LSTM`, `nn.GRU`
    and attention take time first unless they get `batch_first=True`, and `dim=0` is the batch.

    When it is wrong
    ----------------
    Only outputs of modules are compared, never the loss, so contrastive losses over a batch are not concerned, nor is
    a similarity matrix that a model returns. Batch statistics (batch norm without running statistics, minibatch
    discrimination) are at most a note. Where axis 0 may be a set, a graph or a sequence and not a batch, it is unsure.

    Source
    ------
    Karpathy's recipe ("use backprop to chart dependencies"); fault catalogue 9, 101, 103. The comparison is exact: 0.0
    for MLP, CNN with group norm, attention with layer norm, and CNN with batch norm in evaluation mode (measured).
    """

    title = "Examples of a batch influence each other's outputs"
    rows = ("S12",)
    faults = (9, 101, 103, 121)
    price = Price.FORWARD
    explains = ("overfit-one-batch", "input-independent-baseline", "loss-at-init")

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.capture.replay import CannotReplay
        from trainrecipe.subjects.rows import mixing

        if step.distrust:
            return Evidence(missing=step.distrust)
        try:
            return mixing(step)
        except CannotReplay as error:
            return Evidence(missing=f"evaluation mode cannot be compared with training: {error}")
        except RuntimeError as error:  # such as offsets into a sequence of tokens
            return Evidence(missing=f"the model does not take inputs with other rows: {error}")

    def judge(self, evidence: Evidence) -> Ruling:
        if evidence.get("by_place"):
            return Ruling.found(
                Severity.WARNING,
                "An example's output depends on the place that it has in the batch.",
                expected="the same outputs, in another order, for the same examples in another order",
                observed=f"with the {evidence['examples']} examples moved on by one place, most outputs change",
                fix="Index position codes and other tables by the position in the sequence, not in the batch: with "
                "batch_first inputs x is (batch, time, features), and `pe[:, :x.size(1)]` is meant, not `pe[:x.size(0)]`.",
            )
        if not evidence["mixes"]:
            return Ruling.passed(f"replacing any of {evidence['tested']} examples changes no other example's output")
        name = evidence["operation"]
        if name in NORMS:
            return Ruling.unsure("a batch norm uses the statistics of the batch in evaluation mode too, which hides all else")
        if evidence["other_axis"] or evidence["fixed"] or evidence["relations"]:
            return Ruling.unsure("outputs depend on several rows of the input, but its axis 0 may be time, or nodes of a graph")
        if name in SEQUENTIAL and evidence["flat"] and not evidence["sure"]:
            return Ruling.unsure(f"{name} relates the rows of the input, which may be a sequence or a set and not a batch")
        if evidence["set_like"] and name not in ("softmax", "log_softmax", "normalize"):
            return Ruling.unsure(f"every row sees all others alike through {name}: a set, or attention within the batch?")
        summary = name in SUMMARIES
        return Ruling.found(
            Severity.NOTE if summary else Severity.ERROR,
            f"Outputs depend on other examples of the batch; they are first mixed by `{name}`.",
            expected="replacing one example changes its own output only",
            observed=f"replacing one example of {evidence['examples']} changes the outputs of "
            f"{evidence['reach']:.3g} examples on average",
            fix="If the statistic of the batch is meant, keep a running one for evaluation; else take it over the features."
            if summary
            else f"Keep axis {evidence['axis']} for the examples: check the axes of the reshape or layer at this line "
            "(`batch_first=True` for recurrent layers and attention, `transpose` instead of `view`, `dim=-1` instead of 0).",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence.get("chart"):
            return None
        return heatmap(
            "Which example's output depends on which example",
            "Healthy: only the diagonal is dark. Column: the example that was replaced; row: the output that changed.",
            evidence["chart"],
            x_title="example replaced",
            y_title="output",
            value_title="relative change",
        )
