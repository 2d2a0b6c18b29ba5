"""Token sequences that are mostly padding, and evaluation text made of one unknown token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.data import Data

LENGTH = 8
PADDED = 0.8
"""Share of all tokens that are padding, from which it is said."""
UNKNOWN = 0.5
"""Share of the evaluation tokens that are one token, which is rare in training, from which it is reported."""
RARE = 0.1
"""Share of that token in training, at most."""
FILLED = 0.03
"""Share of the training positions from which the token that fills the ends is padding, and no word."""
WORDS = 200
"""Different tokens from which they are words, none of which makes up half of a text."""
SOME, NEARLY = 30, 0.8
"""Fewer tokens may be words, too, where one of them takes nearly all positions."""
TINY, FEW, LOWEST = 3, 10, 4
"""Still fewer tokens may be words of a tiny vocabulary, where the commonest one and that of the padding are both among the
lowest numbers, which are set aside for tokens that are no words; and the fewest where nearly all positions are the one."""
MOST, ENDS = 4, 0.95
"""Tokens at the ends of rows that may be padding, and the share of all its places that padding has there."""
VARIED = 20
"""Different tokens in training, so that a share says something."""


class PaddingShare(Check):
    """Token sequences consist of text, and evaluation text of tokens that training knows.

    What it checks
    --------------
    Inputs that are sequences of whole numbers: the share of positions taken by the one token that fills the ends (or the
    beginnings) of the rows; whether one token that is rare in training makes up most of the evaluation text; and whether one
    token makes up most of the training text itself, where there are many tokens, or where it and the padding are both among
    the lowest numbers.

    Why it matters
    --------------
    Padding costs computation, and where it is not masked it drowns the text in every mean and in the last state of a
    recurrent net. A token that suddenly stands for most words means that the evaluation text went through another
    vocabulary.

    What healthy looks like
    -----------------------
    Less padding than text; the same tokens are frequent in both splits.

    What to do
    ----------
    Pad to the longest row of each batch, sort rows of like length together, or cut the maximum length. Encode
    evaluation text with the training vocabulary and the same lower-casing and splitting.

    When it is wrong
    ----------------
    Long rows among many short ones need padding; masked and packed properly it only costs time, so it is a note. A token that
    makes up most of the training may be an event that is the rule, such as "nothing happened": this is a note, too.

    Source
    ------
    Fault catalogue 152; RECIPE D2.
    """

    title = "Token sequences are mostly padding or unknown tokens"
    rows = ("D2", "D13")
    faults = (152,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.contents import evaluations, training

        train = training(data)
        if train is None or train.x.ndim != 2 or train.x.is_floating_point() or train.x.shape[1] < LENGTH:
            return Evidence(missing="the inputs are no sequences of tokens")
        first = {"kind": "padding", **_padding(train.x), "length": train.x.shape[1]}
        found = [Evidence(first, place=train.place)]
        common = _unknown(train.x, train.x)
        padding = int(first["token"]) if first["share"] > FILLED else LOWEST
        special = 0 <= padding < LOWEST and 0 <= common["token"] < LOWEST and padding != common["token"]
        nearly = common["share"] >= NEARLY
        if common["kinds"] >= ((TINY if nearly else FEW) if special else SOME if nearly else WORDS):
            found.append(Evidence({"kind": "common", **common}, place=train.place))
        for other in evaluations(data):
            if other.x.ndim == 2 and not other.x.is_floating_point():
                found.append(Evidence({"kind": "unknown", **_unknown(train.x, other.x)}, place=other.place))
        return found

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if e["kind"] == "unknown":
            says = (
                f"token {e['token']} makes up {e['share']:.0%} of the evaluation text and {e['train']:.0%} of the training text"
            )
            if e["share"] < UNKNOWN or e["train"] > RARE or e["kinds"] < VARIED:
                return Ruling.passed(says)
            return Ruling.found(
                Severity.WARNING,
                f"Most of the evaluation text is one token: {says}.",
                expected="evaluation text of tokens that training knows",
                observed=f"{e['kinds']} different tokens in training; token {e['token']} is likely the one for unknown words",
                fix="Encode the evaluation text with the training vocabulary, and split and lower-case both alike.",
            )
        if e["kind"] == "common":
            if e["share"] < UNKNOWN:
                return Ruling.passed(f"the commonest of {e['kinds']} tokens makes up {e['share']:.0%} of the text")
            return Ruling.found(
                Severity.NOTE,
                f"One token of {e['kinds']} makes up {e['share']:.0%} of the training text (token {e['token']}).",
                expected="text of many words; the commonest one makes up a tenth or less",
                observed=f"token {e['token']} at {e['share']:.0%} of the positions that are not padding: likely the one for "
                "unknown words",
                fix="Print how many words are not in the vocabulary; split and lower-case the text as the vocabulary was made.",
            )
        if e["share"] < PADDED:
            return Ruling.passed(f"{e['share']:.0%} of the token positions are padding")
        return Ruling.found(
            Severity.NOTE,
            f"{e['share']:.0%} of all token positions are padding (token {e['token']}).",
            expected="more text than padding",
            observed=f"rows of {e['length']} positions hold {e['typical']} tokens at the median",
            fix="Pad each batch to its longest row only, or lower the maximum length.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        e: Any = evidence
        if e["kind"] == "unknown":
            return bars(
                "The commonest evaluation token", "Its share of the text.", {"training": e["train"], "evaluation": e["share"]}
            )
        return None


def _padding(x: torch.Tensor) -> dict[str, Any]:
    """The token that fills row ends, and its share."""
    import torch

    best = {"share": 0.0, "token": 0, "typical": x.shape[1]}
    for rows in (x, x.flip(1)):
        tokens, counts = torch.unique(rows[:, -1], return_counts=True)
        for token in tokens[counts.argsort(descending=True)[:MOST]].tolist():
            run = (rows.flip(1) == token).long().cumprod(1).sum(1)
            share = float(run.double().mean()) / x.shape[1]
            only = int(run.sum()) >= ENDS * int((x == token).sum())
            if only and share > best["share"] and int((run > 0).sum()) > len(x) // 3:
                best = {"share": share, "token": token, "typical": int(x.shape[1] - run.median())}
    return best


def _unknown(train: torch.Tensor, other: torch.Tensor) -> dict[str, Any]:
    import torch

    text = other.reshape(-1)
    for padding in (_padding(train), _padding(other)):  # batches by length pad less than one batch of everything
        kept = text[text != padding["token"]] if padding["share"] > FILLED and padding["typical"] else text
        text = kept if len(kept) else text
    token = int(text.mode().values)
    return {
        "token": token,
        "share": float((text == token).double().mean()),
        "train": float((train == token).double().mean()),
        "kinds": len(torch.unique(train)),
    }
