"""Inputs or targets that lost their fractions in a cast to whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data

FEW = 16
"""Different whole numbers in the inputs up to which a cast may have made them."""
RICHER = 3.0
"""Times as many different values in the raw array, as in what is fed."""
SIGMAS = 4.0
"""Standard deviations of sampling by which the share of a number in a column may differ, as fed and as a cast gives it."""
ALIKE = 0.97
"""Share of the columns in which they must agree."""
COLUMNS = 512
LOSS = 0.005
"""Share of a target's variance that a cast must have taken."""


class IntegerTruncation(Check):
    """Inputs and targets keep their fractions on the way from the raw data to the net.

    What it checks
    --------------
    Where what is fed consists of a few whole numbers, the arrays that the script and its data sets hold are tried as its
    source: normalised in a usual way (divided by their maximum or by 255, standardised) and then cut to whole numbers. It
    is reported where the values come out in the very same shares, and the array holds many more of them.

    Why it matters
    --------------
    A picture between 0 and 1 that is cast to uint8 or long is black but for its brightest pixels. Everything runs, and a
    little can even be learnt.

    What healthy looks like
    -----------------------
    Normalised inputs have as many different values as the raw ones.

    What to do
    ----------
    Cast to float first and normalise afterwards; look for `astype(int)`, `.long()`, `.byte()`, `//` and `dtype=np.uint8`.

    When it is wrong
    ----------------
    Binary and counted features are recognised by having no richer source. Only arrays that are still held when training
    begins are known; what a function threw away cannot be compared. A threshold exactly at the maximum looks the same.

    Source
    ------
    Fault catalogue 135.
    """

    title = "A cast to whole numbers cut off the fractions"
    rows = ("S10", "D4")
    faults = (135,)
    price = Price.FREE
    explains = ("inputs-and-labels-unrelated", "conflicting-labels", "broken-examples", "overfit-one-batch", "unused-inputs")

    def measure(self, data: Data) -> Evidence | list[Evidence]:
        from trainrecipe.subjects.contents import held_arrays, training

        table = training(data)
        if table is None:
            return Evidence(missing="no training inputs were seen")
        arrays = held_arrays(data)
        found = [e for e in (_inputs(table, arrays), _targets(table, arrays)) if e is not None]
        return found or Evidence(missing="the inputs are no few whole numbers, or no array was held that they could come from")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        if not e["cut"]:
            return Ruling.passed(f"the {e['what']} are whole numbers, and no array that the script holds gives them by a cast")
        shares = ", ".join(f"{v:g} ({s:.1%})" for v, s in e["shares"][:4])
        return Ruling.found(
            Severity.WARNING,
            f"The {e['what']} are the whole parts of {e['source']} ({e['how']}): their fractions were cut off.",
            expected=f"{e['raw_kinds']} different values, as {e['source']} holds",
            observed=f"{e['kinds']} different values: {shares}",
            fix="Cast to float first (astype(np.float32), .float()), then normalise.",
        )

    def draw(self, evidence: Evidence) -> Picture | None:
        if not evidence["cut"]:
            return None
        values = {f"{v:g}": s for v, s in evidence["shares"][:16]}
        return bars(f"Values of the {evidence['what']}", "Share of each value in what the net is fed.", values, x_title="share")


def _inputs(table: Table, arrays: list[tuple[str, torch.Tensor]]) -> Evidence | None:
    import torch

    width = table.x[0].numel()
    pick = slice(None, None, max(1, width // COLUMNS))
    fed = table.x.reshape(table.rows, -1)[:, pick].double()
    kinds = torch.unique(fed)
    if width < 4 or not 1 <= len(kinds) <= FEW:
        return None
    moved = not bool((fed == fed.round()).all())
    if moved:
        whole = _whole(fed, kinds)
        if whole is None:
            return None
        fed = whole
    sources = [(n, a) for n, a in arrays if a.ndim > 1 and a[0].numel() == width and len(a) >= min(32, table.rows // 2)]
    for name, array in sources:
        raw = array.reshape(len(array), -1)[:, pick].double()
        many = torch.unique(raw)
        if not bool(raw.isfinite().all()) or len(many) < max(5, RICHER * len(kinds)):
            continue
        for how, scaled in _scalings(raw):
            cut = scaled.trunc()
            if _same_shares(fed, cut - cut.min() if moved else cut):
                return _evidence(table, "inputs", fed.reshape(-1), name, how, len(many))
    return Evidence({"cut": False, "what": "inputs"}, place=table.place) if sources else None


def _whole(fed: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor | None:
    """Whole numbers from 0 on, out of which an offset and a factor make what is fed; None where none do."""
    if len(kinds) < 2:
        return None
    places = (fed - kinds[0]) / kinds.diff().min()
    return places.round() if float((places - places.round()).abs().max()) < 1e-3 else None


def _targets(table: Table, arrays: list[tuple[str, torch.Tensor]]) -> Evidence | None:
    import torch

    y = table.y
    if y is None or not all(b.loss in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss") for b in table.batches):
        return None
    if not bool((y == y.round()).all()) or table.rows < 32:
        return None
    for name, array in arrays:
        raw = array.reshape(-1).double()
        if array.numel() != len(array) or len(raw) < table.rows // 2 or not bool(raw.isfinite().all()):
            continue
        lost = float((raw - raw.trunc()).var() / raw.var().clamp_min(1e-30))
        fractions = float((raw != raw.round()).double().mean())
        if fractions > 0.5 and lost > LOSS and _same_shares(y[:, None], raw.trunc()[:, None]):
            return _evidence(table, "targets", y, name, "as it is", len(torch.unique(raw)))
    return Evidence({"cut": False, "what": "targets"}, place=table.place)


def _evidence(table: Table, what: str, fed: torch.Tensor, source: str, how: str, raw_kinds: int) -> Evidence:
    import torch

    values, counts = torch.unique(fed, return_counts=True)
    shares = [[float(v), float(c) / len(fed)] for v, c in zip(values, counts, strict=True)]
    data: dict[str, Any] = {"cut": True, "what": what, "source": source, "how": how, "raw_kinds": raw_kinds}
    return Evidence({**data, "kinds": len(values), "shares": shares}, place=table.place)


def _scalings(raw: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """Usual normalisations of an array of examples."""
    most = raw.abs().max().clamp_min(1e-12)
    spread = raw.std(0, correction=0)
    spread = spread.where(spread > 0, spread.new_ones(()))
    found = [("divided by its maximum", raw / most)]
    if float(most) <= 255:
        found.append(("divided by 255", raw / 255))
    found += [
        ("standardised per feature", (raw - raw.mean(0)) / spread),
        ("standardised as a whole", (raw - raw.mean()) / raw.std(correction=0).clamp_min(1e-12)),
        ("between 0 and 1 per feature", (raw - raw.amin(0)) / (raw.amax(0) - raw.amin(0)).clamp_min(1e-12)),
    ]
    if bool((raw != raw.round()).any()):
        found.append(("as it is", raw))
    return found


def _same_shares(fed: torch.Tensor, cut: torch.Tensor) -> bool:
    """Whether two tables of whole numbers hold each number in the same share of each column, up to what sampling rows
    changes."""
    import torch

    kinds = torch.unique(cut)
    if len(kinds) > 4 * FEW or len(torch.unique(fed)) > len(kinds) or not bool(torch.isin(torch.unique(fed), kinds).all()):
        return False
    for kind in kinds:
        share, wanted = (fed == kind).double().mean(0), (cut == kind).double().mean(0)
        chance = (wanted * (1 - wanted) * (1 / len(fed) + 1 / len(cut))).sqrt()
        near = (share - wanted).abs() <= SIGMAS * chance + 3 / len(fed)
        if float(near.double().mean()) < ALIKE:
            return False
    return True
