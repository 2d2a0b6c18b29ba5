"""Whether pictures of one split have the colours of another split's when the first and the third channel are exchanged."""

from __future__ import annotations

import dataclasses

import torch

from trainrecipe.subjects.contents import Table, hashes

IMAGES = 48
"""Images of either split from which on the order of their channels is compared."""
CLEARLY, CLOSE = 2.0, 0.33
"""How many times as far apart as chance, or as in the reverse order, channels must be; and what share of that they may be
apart in reverse."""
GROUP = 6
"""Images of a class in either split from which on its mean colour is compared."""
LEVELS = 16
"""Values that pictures hold at least: the planes of a board game and of masks are no colours."""
ERRORS, SURE = 2.0, 100.0
"""Standard errors that the classes' mean colours must be apart as they are, on average (root of the mean square), and how much
the sum of their squares must be above that of the reverse order: twice a log-likelihood, in which shifts are not counted."""
LEANS = 10.0
"""That lead of the reverse order that the classes must give, too, where they are too few to decide alone."""
NEAR, CONTRAST = 0.2, 1.5
"""What share of that they may be apart in the reverse order, beyond chance, where contrasts may differ by this factor."""
OTHERS = 0.1
"""That share of the squares for one class: nearer to another class of the training set, its hue is that one's."""
FEW = 3
"""Classes that may have swapped their hues by chance in the way that looks like exchanged channels."""
PLAIN = 0.25
"""The same in deviations between the images of one class: far less is a slight drift, seen in many images."""


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """How far the colours of two splits are apart, as they are and with two channels exchanged; `chance` is what two samples
    of the same pictures are. `groups`: the classes whose mean colours were compared; 0 where all images were, as a whole."""

    straight: float
    reverse: float
    chance: float
    groups: int


def exchanged(train: Table, other: Table, others: list[Table]) -> Exchange | None:
    """Whether evaluation images look like training images with the first and the third channel exchanged; None if not.

    Where labels are known they decide: the mean colour of each class, less what all classes have in common (a colour cast,
    another normalisation). Else the distribution of each channel does. `others` are all evaluations: one that sees the same
    images in both orders does so on purpose.
    """
    a, b = _pictures(train.x), _pictures(other.x)
    if a is None or b is None or min(len(a), len(b)) < IMAGES or len(torch.unique(a[:IMAGES])) < LEVELS:
        return None
    classes = _by_class(a, b, *_groups(train.y, other.y, bool(train.classes)))
    if classes is not None and (classes.found or classes.sure):
        found = classes.exchange if classes.found else None
    else:
        found = _as_a_whole(a, b)
    return None if found is None or _on_purpose(other, [train, *others]) else found


def _pictures(x: torch.Tensor) -> torch.Tensor | None:
    """Images of three channels as (N, 3, H, W); None for anything else."""
    if x.ndim != 4 or 3 not in (x.shape[1], x.shape[3]):
        return None
    return x if x.shape[1] == 3 else x.movedim(3, 1)


def _on_purpose(other: Table, known: list[Table]) -> bool:
    """Whether the same images are fed in the other order, too."""
    channel = 1 if other.x.shape[1] == 3 else 3
    seen = {h for t in known if t is not other for h in hashes(t.x)}
    turned = hashes(other.x[: 4 * IMAGES].flip(channel))
    return sum(h in seen for h in turned) > 0.5 * len(turned)


# ---- by class


@dataclasses.dataclass(frozen=True, slots=True)
class _Classes:
    exchange: Exchange
    found: bool
    sure: bool  # enough is known, so that nothing else is asked


def _groups(y: torch.Tensor | None, z: torch.Tensor | None, classes: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The class of each image of both splits; the quarter that its target lies in, where that is a measurement."""
    if y is None or z is None:
        return torch.zeros(0), torch.zeros(0)
    if classes:
        return y, z
    cuts = y.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=y.dtype))
    return torch.bucketize(y, cuts), torch.bucketize(z, cuts)


def _by_class(a: torch.Tensor, b: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> _Classes | None:
    """The classes' mean colours in standard errors, each less the mean over the classes; None where there are too few."""
    if len(y) != len(a) or len(z) != len(b):
        return None
    kinds = [k for k in torch.unique(y).tolist() if min(int((y == k).sum()), int((z == k).sum())) >= GROUP]
    if len(kinds) < 2:
        return None
    known, seen = _colours(a), _colours(b)
    m, error, spread = _means(known, y, kinds)
    n, other_error, _ = _means(seen, z, kinds)
    whole = known.var((0, 1), correction=0).mean()  # an even plane has no deviation of its own
    weight = 1 / (_either(error + other_error) + 1e-6 * whole + 1e-12)
    free = (len(kinds) - 1) * m[0].numel()
    straight, reverse = _misfit(m, n, weight), _misfit(m.flip(1), n, weight)
    beyond, rest = straight - free, reverse - free
    size = (_centred(n - m, weight).square() / (_either(spread) + 1e-6 * whole + 1e-12)).mean().sqrt()
    unlike = _unlike(m, n, error + other_error)
    found = (
        unlike
        and beyond > ERRORS**2 * free
        and straight - reverse > SURE
        and float(size) > PLAIN
        and rest < NEAR**2 * beyond + 3 * (2 * free) ** 0.5
    )
    exchange = Exchange((straight / free) ** 0.5, (reverse / free) ** 0.5, 1.0, len(kinds))
    return _Classes(exchange, found, not (unlike and LEANS < straight - reverse < SURE))


def _colours(x: torch.Tensor) -> torch.Tensor:
    """Mean and deviation of each channel of each image (N, 3, 2)."""
    x = x.double()
    return torch.stack([x.mean((2, 3)), x.std((2, 3), correction=0)], 2)


def _means(v: torch.Tensor, y: torch.Tensor, kinds: list[float]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per class the mean, the square of its standard error, and the variance."""
    parts = [v[y == k] for k in kinds]
    spread = torch.stack([p.var(0) for p in parts])
    counts = torch.tensor([len(p) for p in parts], dtype=v.dtype)[:, None, None]
    return torch.stack([p.mean(0) for p in parts]), spread / counts, spread


def _either(v: torch.Tensor) -> torch.Tensor:
    """The same for either order of the channels, so that both are measured alike."""
    return (v + v.flip(1)) / 2


def _centred(apart: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return apart - (apart * weight).sum(0) / weight.sum(0)


def _misfit(m: torch.Tensor, n: torch.Tensor, weight: torch.Tensor) -> float:
    """The sum of squares in standard errors, up to contrast: with colours alike its mean is the number of the free ones."""
    a, b = _centred(m, weight), _centred(n, weight)
    contrast = float((a * b * weight).sum() / (a.square() * weight).sum().clamp_min(1e-30))
    return float(((b - min(max(contrast, 1 / CONTRAST), CONTRAST) * a).square() * weight).sum())


def _unlike(m: torch.Tensor, n: torch.Tensor, error: torch.Tensor) -> bool:
    """Whether classes have another hue than classes of the training set have. Else they may have swapped them, as where an ink
    or a background that goes with the class goes with another one in the test set; of many hues nobody does so in just the
    way that exchanged channels do."""
    m, n, error = (v[..., 0] for v in (m - m.mean(1, keepdim=True), n - n.mean(1, keepdim=True), error))
    chance = error.sum(1)
    first, second = divmod(int(torch.cdist(m, m).argmax()), len(m))
    two_hues = _hues_apart(m, m)[:, [first, second]].min(1).values.sum() < OTHERS * m.square().sum() + chance.sum()
    if len(m) > FEW and not two_hues:
        return True
    apart = _hues_apart(n, m)
    nearest, own = apart.min(1).values, apart.diagonal()
    return bool(((nearest > OTHERS * own) & (nearest > CLEARLY**2 * chance)).any())


def _hues_apart(n: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """How far each hue is from each other one, up to contrast."""
    contrast = ((n[:, None] * m).sum(2) / m.square().sum(1).clamp_min(1e-30)).clamp(1 / CONTRAST, CONTRAST)
    return (n[:, None] - contrast[..., None] * m).square().sum(2)


# ---- without labels


def _as_a_whole(train: torch.Tensor, other: torch.Tensor) -> Exchange | None:
    known, seen = _channels(train), _channels(other)
    straight, reverse = float((known - seen).norm()), float((known - seen.flip(0)).norm())
    chance = float((_channels(train[::2]) - _channels(train[1::2])).norm())
    unlike = float((known - known.flip(0)).norm())
    halves = [_channels(other[i::2]) for i in range(2)]
    sure = all(float((known - h).norm()) > CLEARLY * float((known - h.flip(0)).norm()) for h in halves)
    found = sure and min(straight, unlike) > CLEARLY * chance and reverse < CLOSE * straight
    return Exchange(straight, reverse, chance, 0) if found else None


def _channels(x: torch.Tensor) -> torch.Tensor:
    """Quantiles, mean and deviation of each channel, and the deviation of its mean over the images (3, 8)."""
    flat = x.double().transpose(0, 1).flatten(1)
    few = flat[:, :: max(1, flat.shape[1] // 20_000)]
    quantiles = torch.quantile(few, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.double), dim=1).T
    own = x.double().mean((-2, -1)).std(0)
    return torch.cat([quantiles, torch.stack([flat.mean(1), flat.std(1), own], 1)], 1)
