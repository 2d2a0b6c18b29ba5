"""Texts and token sequences that are nearly copies: sets of overlapping runs of words, compared by MinHash and then exactly.

Everything is done on flat arrays, for all texts at once; only cutting a text into words is done text by text.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from trainrecipe.dataset.near_duplicates import Array, Pairs

RUN = 3
"""Words of a shingle. Measured on docstrings with edits planted: runs of 3 with `THRESHOLD` found all copies with 3 % of their
words changed and four in five with 10 %; runs of 5 with 0.7 found three in four and next to none."""
THRESHOLD = 0.5
"""Share of the shingles of two texts together that both have, from which the pair is told."""
FEWEST = 5
"""Shingles below which two texts are compared only as a whole."""
COMMON = 0.01
"""Share of all texts from which a shingle belongs to a template: a prompt, a header, the fixed words of a log line."""
RARE = 10
"""Texts that may share a shingle however few texts there are."""
BANDS, ROWS = 42, 3
"""Texts meet if a band of signature values agrees: of pairs at Jaccard s, 1 - (1 - s^3)^42, which is 0.996 at 0.5."""
WITHIN = 20
"""Texts of a bucket are compared with so many that follow; a bucket of thousands does not give millions of pairs."""
PERMUTATIONS = 128
BLOCK = 2**22
"""Shingles, or shared shingles, in work at a time."""


def near_duplicate_texts(
    texts: Sequence[str | Sequence[int]],
    *,
    threshold: float = THRESHOLD,
    common: float = COMMON,
    seed: int = 0,
    tell: Callable[[float], object] | None = None,
) -> Pairs:
    """Pairs of texts, or of token sequences, that share at least `threshold` of their 3-word shingles (Jaccard similarity).

        pairs = near_duplicate_texts(["the cat sat on the mat today ...", ...])

    Words are runs of letters and digits in lower case; the integers of a sequence are its words. Shingles that more than
    `common` of all different texts have (and more than `RARE` texts) are left out first: texts that share a template only are
    no copies. Texts with fewer than `FEWEST` shingles left are compared as a whole, and equal ones give a chain of pairs, as do
    all texts of equal words. Every pair told was verified on the shingles themselves. Time is about linear in the words.

    Not seen: copies with more than about one word in ten changed, translations, one text within another much longer one, and
    near copies so many that they make up more than `common` of all texts, which look like a template.

    Broder 1997, "On the resemblance and containment of documents", with the bands of Indyk and Motwani 1998.
    """
    number, first, words, ends = _distinct(texts)
    order = np.argsort(number, kind="stable")
    same = np.flatnonzero(np.diff(number[order]) == 0)
    chains = (order[same], order[same + 1], np.ones(len(same)))
    shingles = _specific(_shingled(words, ends), common)
    a, b = _meeting(_signatures(shingles, seed, tell), shingles.long, threshold)
    alike = _jaccard(shingles, a, b)
    near = alike >= threshold
    pairs = (first[a[near]], first[b[near]], alike[near])
    return Pairs.of(*(np.concatenate(both) for both in zip(chains, pairs, strict=True)))


# ---- words


def _distinct(texts: Sequence[str | Sequence[int]]) -> tuple[Array, Array, Array, Array]:
    """The number of each text's kind (texts of equal words), the first text of each kind, and the words of these, one after
    the other, with the end of each. Texts without words are of no kind with any other."""
    vocabulary: dict[str, int] = {}
    kinds: dict[bytes, int] = {}
    number = np.empty(len(texts), np.int64)
    first: list[int] = []
    kept: list[Array] = []
    for i, text in enumerate(texts):
        words = _words(text, vocabulary)
        key = words.tobytes() or b"empty %d" % i
        if key not in kinds:
            kinds[key] = len(first)
            first.append(i)
            kept.append(words)
        number[i] = kinds[key]
    ends = np.cumsum([len(w) for w in kept], dtype=np.int64)
    return number, np.array(first, np.int64), np.concatenate([np.empty(0, np.int64), *kept]), ends


def _words(text: str | Sequence[int], vocabulary: dict[str, int]) -> Array:
    if isinstance(text, str):
        return np.array([vocabulary.setdefault(w, len(vocabulary)) for w in re.findall(r"\w+", text.lower())], np.int64)
    return np.asarray(text, np.int64).reshape(-1)


# ---- shingles


@dataclasses.dataclass(frozen=True, slots=True)
class _Shingles:
    """The set of shingles of each text: those of text t are `values[ends[t-1]:ends[t]]`, numbered by kind and ascending."""

    values: Array
    ends: Array

    @property
    def starts(self) -> Array:
        return np.concatenate([[0], self.ends[:-1]]) if len(self.ends) else self.ends

    @property
    def long(self) -> Array:
        """The texts with enough shingles to be compared."""
        return np.flatnonzero(self.ends - self.starts >= FEWEST)


def _shingled(words: Array, ends: Array) -> _Shingles:
    """The sets of all runs of `RUN` words that lie within one text."""
    text = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    mixed = _mixed(words.astype(np.uint64))
    run = np.zeros(max(0, len(words) - RUN + 1), np.uint64)
    for i in range(RUN):
        run = _mixed(run + mixed[i : i + len(run)])
    inside = text[: len(run)] == text[RUN - 1 :]
    kind = np.unique(run[inside], return_inverse=True)[1].reshape(-1)
    each = np.unique(_paired(text[: len(run)][inside], kind))
    of, values = _parted(each)
    return _Shingles(values, np.cumsum(np.bincount(of, minlength=len(ends))))


def _paired(high: Array, low: Array) -> Array:
    """Two numbers below 2^32 as one, which sorts like the two."""
    return high.astype(np.int64) << 32 | low.astype(np.int64)


def _parted(both: Array) -> tuple[Array, Array]:
    return both >> 32, both & 0xFFFFFFFF


def _mixed(values: Array) -> Array:
    """Numbers scattered over 64 bits, Steele, Lea and Flood 2014 (SplitMix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _specific(shingles: _Shingles, common: float) -> _Shingles:
    """The sets without the shingles of templates."""
    texts = np.bincount(shingles.values)
    kept = texts[shingles.values] <= max(RARE, common * len(shingles.ends))
    return _Shingles(shingles.values[kept], np.concatenate([[0], np.cumsum(kept)])[shingles.ends])


# ---- MinHash


def _signatures(shingles: _Shingles, seed: int, tell: Callable[[float], object] | None) -> Array:
    """For each long text and permutation the least value among its shingles, uint32 (texts, PERMUTATIONS)."""
    chosen, starts = shingles.long, shingles.starts
    made = np.empty((len(chosen), PERMUTATIONS), np.uint32)
    keys = _mixed(np.random.default_rng(seed).integers(0, 2**63, PERMUTATIONS).astype(np.uint64))
    sizes = np.cumsum(shingles.ends[chosen] - starts[chosen])
    done = 0
    while done < len(chosen):
        upto = max(done + 1, int(np.searchsorted(sizes, BLOCK + (sizes[done - 1] if done else 0))))
        part = chosen[done:upto]
        lengths = shingles.ends[part] - starts[part]
        at = np.cumsum(lengths) - lengths
        scattered = _mixed(shingles.values[_ranges(starts[part], lengths)].astype(np.uint64))
        for i, key in enumerate(keys):
            value = ((scattered ^ key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)
            made[done:upto, i] = np.minimum.reduceat(value, at)
        done = upto
        if tell is not None:
            tell(done / len(chosen))
    return made


def _ranges(starts: Array, lengths: Array) -> Array:
    """The numbers start, start + 1, ... of each range, one range after the other."""
    ends = np.cumsum(lengths)
    return np.asarray(np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths))


def _meeting(signatures: Array, texts: Array, threshold: float) -> tuple[Array, Array]:
    """Pairs of texts with an equal band, whose signatures agree to less than 0.2, or four standard errors, short of enough."""
    met = np.empty(0, np.int64)
    for band in range(BANDS):
        key = np.zeros(len(texts), np.uint64)
        for column in signatures[:, band * ROWS : (band + 1) * ROWS].T:
            key = _mixed(key ^ column)
        order = np.argsort(key, kind="stable")
        for step in range(1, min(WITHIN, len(order) - 1) + 1):
            same = np.flatnonzero(key[order[step:]] == key[order[:-step]])
            if not len(same):
                break
            met = np.append(met, _paired(order[same], order[same + step]))
        met = np.unique(met)
    a, b = _parted(met)
    agree = np.empty(len(a))
    for i in range(0, len(a), BLOCK // PERMUTATIONS):
        part = slice(i, i + BLOCK // PERMUTATIONS)
        agree[part] = (signatures[a[part]] == signatures[b[part]]).mean(1)
    likely = agree >= threshold - 0.2
    return texts[a[likely]], texts[b[likely]]


def _jaccard(shingles: _Shingles, a: Array, b: Array) -> Array:
    """The share of the shingles of two texts together that both have, for each pair."""
    starts, sizes = shingles.starts, shingles.ends - shingles.starts
    shared = np.zeros(len(a), np.int64)
    weight = np.cumsum(sizes[a] + sizes[b]) // BLOCK
    for part in np.split(np.arange(len(a)), np.flatnonzero(np.diff(weight)) + 1):
        both = [
            _paired(np.repeat(part, sizes[one]), shingles.values[_ranges(starts[one], sizes[one])])
            for one in (a[part], b[part])
        ]
        merged = np.sort(np.concatenate(both))
        twice = _parted(merged[1:][np.diff(merged) == 0])[0]
        shared += np.bincount(twice, minlength=len(a))
    return np.asarray(shared / np.maximum(1, sizes[a] + sizes[b] - shared))
