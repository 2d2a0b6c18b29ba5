"""Images whose axes were exchanged by reshape instead of permute."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity
from trainrecipe.picture import Picture, bars

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.contents import Table
    from trainrecipe.subjects.data import Data

SIDE = 6
"""Height and width from which neighbouring pixels are compared."""
SMOOTH = 0.5
"""Share of the other reading's neighbour differences, below which a reading counts as the true one."""
PICTURE = 0.5
"""Neighbour differences, relative to the variance, below which a reading looks like a picture; unrelated pixels give 1."""
NOISY = 0.6
"""The same where nearly all images are smoother the other way, so that noise in the pictures is not what tells."""
NEARLY_ALL = 0.95
SMALL = 0.75
FEWEST = 16
"""Small pictures are rough themselves: both bounds rise to this, where so many of the images are smoother the other way
(digits of 8 × 8 pixels: 100 % of the images, 0.51 against 0.79; noise: 43 %, measured)."""
IMAGES = 64
STORED = 4096
"""Pictures of an array of the script's that are compared with those fed."""
EQUAL = 0.98
"""Correlation, number by number in memory, from which a picture fed is a stored one, scaled: channels that are standardised
after they were mixed leave more, other pictures less."""


class ChannelOrder(Check):
    """The axes of an image batch are the ones the net takes them for.

    What it checks
    --------------
    Batches of images (N, C, H, W) with two to four channels, as fed: the mean squared difference of neighbouring pixels
    along height and width, relative to the variance of the channel. The same numbers in the same order are read as (N, H,
    W, C), too. Pictures are smooth only when they are read as they were written. And where the script holds arrays of shape
    (N, H, W, C): whether the numbers of each picture fed come in the order in which they lie there.

    Why it matters
    --------------
    `reshape` and `view` change the shape and leave the numbers where they are: each "channel" then holds a third of the
    rows with the colours interleaved. The net still learns something, which is why it is seldom noticed.

    What healthy looks like
    -----------------------
    Neighbouring pixels of a channel resemble each other more in the shape that is fed than in any other.

    What to do
    ----------
    `x.permute(0, 3, 1, 2)` (then `.contiguous()` if needed) for arrays of shape (N, H, W, C), never `reshape` or `view`.

    When it is wrong
    ----------------
    Grey images have no channels to mix and are left out. Pictures of noise are equally rough in both readings, and told only
    by an array that holds them.
    BGR in place of RGB cannot be told.

    Source
    ------
    Fault catalogue 136; PyTorch's memory formats: an array in (N, H, W, C) order viewed as (N, C, H, W).
    """

    title = "Image axes were exchanged by reshape instead of permute"
    rows = ("S10", "S19")
    faults = (136,)
    price = Price.FREE

    def measure(self, data: Data) -> Evidence:
        from trainrecipe.subjects.contents import evaluations, training

        train = training(data)
        tables = [t for t in ([train] if train is not None else []) + evaluations(data) if _is_image(t.x)]
        if not tables:
            return Evidence(missing="no batch of images with two to four channels was fed")
        return max((_look(data, t) for t in tables), key=lambda e: (e["stored"], e["as_fed"] / max(e["other"], 1e-9)))

    def judge(self, evidence: Evidence) -> Ruling:
        as_fed, other = evidence["as_fed"], evidence["other"]
        _, c, h, w = evidence["shape"]
        says = f"neighbouring pixels differ by {as_fed:.2f} of the variance as fed, by {other:.2f} read as (N, {h}, {w}, {c})"
        plain = other <= SMOOTH * as_fed and other <= PICTURE
        small = evidence["smoother"] >= NEARLY_ALL and other <= SMALL * min(as_fed, 1.0) and as_fed < 1.0
        noisy = evidence["smoother"] >= NEARLY_ALL and c > 2 and other <= min(SMOOTH * as_fed, NOISY)
        if evidence["stored"]:
            says = (
                f"`{evidence['stored']}` holds them as (N, {h}, {w}, {c}), with the numbers in the order in which they are fed"
            )
        elif not (plain or small or noisy):
            return Ruling.passed(says)
        true = "what is stored" if evidence["stored"] else "smooth"
        return Ruling.found(
            Severity.WARNING,
            f"The images are scrambled: read as (N, {h}, {w}, {c}) they are {true}, but the net gets (N, {c}, {h}, {w}).",
            expected="axes that change places together with the numbers, so that neighbouring pixels stay neighbours",
            observed=says,
            fix="Use x.permute(0, 3, 1, 2) where the axes are exchanged; reshape and view only change the shape.",
        )

    def draw(self, evidence: Evidence) -> Picture:
        values = {"as the net gets them": evidence["as_fed"], "with channels last": evidence["other"]}
        return bars(
            "Roughness of the images", "Mean squared difference of neighbouring pixels over the variance; 1 is noise.", values
        )


def _look(data: Data, table: Table) -> Evidence:
    stored = _stored(data, table)
    x = table.x[:IMAGES].double()
    n, c, h, w = x.shape
    x = x - x.mean((2, 3), keepdim=True)  # planes of different brightness would look smooth when they are read otherwise
    x = x / x.std((2, 3), keepdim=True).clamp_min(1e-12)
    other = x.reshape(n, h, w, c).permute(0, 3, 1, 2)
    pairs = [(_roughness(x[i : i + 1]), _roughness(other[i : i + 1])) for i in range(n)]
    smoother = sum(b < a for a, b in pairs) / n if n >= FEWEST else 0.0
    found = {"as_fed": _roughness(x), "other": _roughness(other), "smoother": smoother, "shape": [n, c, h, w]}
    return Evidence({**found, "stored": stored}, place=table.place or table.batches[0].place)


def _stored(data: Data, table: Table) -> str:
    """The array of the script's that holds the pictures with channels last and their numbers in the order as fed, if any."""
    from trainrecipe.subjects.contents import held_arrays

    _, c, h, w = table.x.shape
    fed = _normed(table.x[:FEWEST])
    for name, held in held_arrays(data):
        if held.ndim == 4 and held.shape[1:] == (h, w, c) and bool((fed.norm(dim=1) > 0.5).all()):
            alike = (fed @ _normed(held[:STORED]).T).abs()
            if float((alike.amax(1) >= EQUAL).float().mean()) >= NEARLY_ALL:
                return name
    return ""


def _normed(x: torch.Tensor) -> torch.Tensor:
    """Each picture as a row of mean 0 and length 1, its numbers in the order in which they lie in memory."""
    rows = x.reshape(len(x), -1).float()
    rows = rows - rows.mean(1, keepdim=True)
    rows /= rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return rows


def _is_image(x: torch.Tensor) -> bool:
    return x.ndim == 4 and x.is_floating_point() and 2 <= x.shape[1] <= 4 and min(x.shape[2:]) >= SIDE and len(x) >= 4


def _roughness(x: torch.Tensor) -> float:
    """Mean squared difference of neighbours along height and width over twice the variance of each image's channel."""
    x = x - x.mean((2, 3), keepdim=True)
    variance = 2 * x.square().mean((2, 3)).clamp_min(1e-12)
    down, across = x.diff(dim=2).square().mean((2, 3)), x.diff(dim=3).square().mean((2, 3))
    varied = variance > 1e-9
    return float(((down + across) / 2 / variance)[varied].median()) if bool(varied.any()) else 1.0
