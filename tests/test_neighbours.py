"""Nearest neighbours, near-duplicate rows and texts: equal to all-with-all, finding what is planted, silent on clean data."""

from __future__ import annotations

import io
import math
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import datasets

from trainrecipe.dataset import neighbours, shingles
from trainrecipe.dataset.near_duplicates import Pairs, floor, groups, near_duplicates
from trainrecipe.dataset.neighbours import nearest
from trainrecipe.dataset.shingles import near_duplicate_texts

DIGITS = datasets.load_digits()


def digits(count: int, seed: int = 0) -> np.ndarray:
    """Rows of 64 numbers: digits blended in pairs, with noise."""
    draw = np.random.default_rng(seed)
    one, two = (DIGITS.data[draw.integers(0, 1797, count)] / 16 for _ in range(2))
    share = 0.3 * draw.random((count, 1))
    return ((1 - share) * one + share * two + 0.05 * draw.normal(size=(count, 64))).astype(np.float32)


def clusters(count: int) -> np.ndarray:
    """Fifty clusters of very unequal size, each spread in six dimensions."""
    draw = np.random.default_rng(0)
    share = 1 / np.arange(1, 51)
    of = draw.choice(50, count, p=share / share.sum())
    planes = 0.3 * draw.normal(size=(50, 6, 32))
    within = np.einsum("nk,nkd->nd", draw.normal(size=(count, 6)), planes[of])
    return (draw.normal(size=(50, 32))[of] + within + 0.02 * draw.normal(size=(count, 32))).astype(np.float32)


def all_with_all(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    alike = unit @ unit.T
    np.fill_diagonal(alike, -np.inf)
    order = np.argsort(-alike, axis=1)[:, :k]
    return order, np.take_along_axis(alike, order, 1)


def pairs_of(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True))


# ---- neighbours


def test_few_rows_are_compared_exactly() -> None:
    rows = digits(500)
    found, (order, alike) = nearest(rows, 7), all_with_all(rows, 7)
    assert np.array_equal(found.rows, order)
    assert np.allclose(found.similarities, alike, atol=1e-6)
    assert found.recall == 1.0


@pytest.mark.parametrize("make", [digits, clusters])
def test_cells_find_nearly_all_neighbours(make, monkeypatch) -> None:
    monkeypatch.setitem(neighbours.EXACT, "cpu", 1000)
    rows = make(12_000)
    found, unit = nearest(rows, 10), rows / np.linalg.norm(rows, axis=1, keepdims=True)
    tenth = np.sort(unit[::20] @ unit.T, axis=1)[:, -11]  # the first is the row itself
    reached = (found.similarities[::20] >= tenth[:, None] - 1e-6).mean()
    assert reached >= 0.985
    assert abs(reached - found.recall) < 0.02  # the recall that is told is the recall
    assert (found.rows != np.arange(len(rows))[:, None]).all()
    assert all(len(set(row)) == 10 for row in found.rows.tolist())


def test_queries_find_the_rows_they_were_made_of(monkeypatch) -> None:
    rows = digits(6000)
    for most in (10**6, 1000):
        monkeypatch.setitem(neighbours.EXACT, "cpu", most)
        assert (nearest(rows, 3, queries=rows[::7] * 5).rows[:, 0] == np.arange(0, 6000, 7)).mean() > 0.995


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_storm_of_copies_costs_little(share: float, monkeypatch) -> None:
    monkeypatch.setitem(neighbours.EXACT, "cpu", 1000)
    rows = digits(20_000)
    copies = np.sort(np.random.default_rng(0).permutation(20_000)[: int(20_000 * share)])
    rows[copies] = rows[copies[0]]
    found = nearest(rows, 5)
    assert np.isin(found.rows[copies], copies).all()
    assert (found.similarities[copies] == 1).all()
    assert all(len({i, *row}) == 6 for i, row in zip(copies.tolist(), found.rows[copies].tolist(), strict=True))
    others = np.setdiff1d(np.arange(20_000), copies)
    assert (found.rows[others] >= 0).all()


def test_rows_alike_to_the_last_bits_do_not_end_in_one_cell(monkeypatch) -> None:
    monkeypatch.setitem(neighbours.EXACT, "cpu", 1000)
    draw = np.random.default_rng(0)
    rows = (np.ones(16) + 3e-6 * draw.normal(size=(20_000, 16))).astype(np.float32)
    assert (nearest(rows, 3).similarities > 0.999_99).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_rows_than_neighbours(count: int) -> None:
    found = nearest(np.eye(3, dtype=np.float32)[:count] + 1, 4)
    assert found.rows.shape == (count, 4)
    assert (found.rows >= 0).sum() == count * (count - 1)
    assert np.isneginf(found.similarities[found.rows < 0]).all()


def test_rows_without_direction_have_no_neighbours() -> None:
    rows = digits(50)
    rows[3, 0], rows[4, 1], rows[5] = np.nan, np.inf, 0.0
    found = nearest(rows, 40)
    assert (found.rows[3:6] == -1).all()
    assert not np.isin(found.rows, [3, 4, 5]).any()
    assert np.isneginf(found.similarities[found.rows < 0]).all()


def test_the_kind_of_array_does_not_matter(tmp_path: Path) -> None:
    rows = digits(3000).astype(np.float16)
    stored = np.memmap(tmp_path / "rows", np.float16, "w+", shape=rows.shape)
    stored[:] = rows
    answers = [nearest(given, 3).rows for given in (rows, stored, torch.from_numpy(rows), rows.astype(np.float32))]
    assert all(np.array_equal(answers[0], other) for other in answers[1:])


def test_same_seed_same_answer_and_no_trace(monkeypatch) -> None:
    monkeypatch.setitem(neighbours.EXACT, "cpu", 1000)
    rows, told = digits(5000), []
    before, kept = torch.get_rng_state(), rows.copy()
    one, two = nearest(rows, 5, tell=told.append), nearest(rows, 5)
    assert np.array_equal(one.rows, two.rows)
    assert np.array_equal(one.similarities, two.similarities)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(rows, kept)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_arrays_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match=r"k=0"):
        nearest(digits(5), 0)
    with pytest.raises(ValueError, match=r"\(5, 64\) and \(5, 3\)"):
        nearest(digits(5), 1, queries=digits(5)[:, :3])
    with pytest.raises(ValueError, match=r"not \(5, 8, 8\)"):
        nearest(digits(5).reshape(5, 8, 8), 1)


# ---- pictures


def photographs(count: int) -> list[np.ndarray]:
    """Digits enlarged to 64 x 64, turned, of other brightness and contrast, and noisy; no two of one digit."""
    draw = np.random.default_rng(0)
    made = []
    for image in (DIGITS.images[:count] * 15.9).astype(np.uint8):
        large = Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR).rotate(draw.uniform(-30, 30))
        values = np.asarray(large, float) * draw.uniform(0.5, 0.8) + draw.uniform(10, 50) + draw.normal(0, 6, (64, 64))
        made.append(values.clip(0, 255).astype(np.uint8))
    return made


def thumbnails(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(p).resize((16, 16), Image.Resampling.BOX)) for p in pictures])


def reencoded(picture: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=60)
    return np.asarray(Image.open(stream))


def resized(picture: np.ndarray) -> np.ndarray:
    small = Image.fromarray(picture).resize((48, 48), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((64, 64), Image.Resampling.BILINEAR))


COPIES = {
    "exact": lambda p: p,
    "re-encoded": reencoded,
    "brighter": lambda p: (p * 1.15).clip(0, 255).astype(np.uint8),
    "resized": resized,
}


@pytest.mark.parametrize("copies", [2, 25])
def test_copied_pictures_are_found_and_no_others(copies: int) -> None:
    pictures = photographs(1797)
    sources = np.random.default_rng(1).permutation(1797)[: 4 * copies].reshape(4, copies)
    planted = [copy(pictures[s]) for copy, of in zip(COPIES.values(), sources, strict=True) for s in of]
    wanted = {(int(s), 1797 + i) for i, s in enumerate(sources.reshape(-1))}
    found = near_duplicates(thumbnails(pictures + planted))
    assert len(wanted & pairs_of(found)) >= len(wanted) - 1
    assert pairs_of(found) <= wanted
    assert not len(near_duplicates(thumbnails(pictures)))


def test_pictures_equal_all_with_all_where_pairs_stand_out() -> None:
    pictures = thumbnails(photographs(600))
    draw = np.random.default_rng(0)
    copies = np.concatenate([(pictures[i] + draw.normal(0, 0.7, (n, 16, 16))) for i, n in ((5, 30), (9, 3), (40, 1))])
    every = np.concatenate([pictures, copies.clip(0, 255).astype(np.uint8)])
    centred = every.reshape(len(every), -1) - every.reshape(len(every), -1).mean(1, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    wanted = set(zip(*(x.tolist() for x in np.nonzero(np.triu(unit @ unit.T, 1) >= 0.998)), strict=True))
    assert len(wanted) == 31 * 30 // 2 + 6 + 1
    assert pairs_of(near_duplicates(every)) == wanted


def test_flat_pictures_are_left_out_and_equal_ones_form_a_chain() -> None:
    pictures = thumbnails(photographs(300))
    flat = np.full((50, 16, 16), 128, np.uint8) + np.arange(50, dtype=np.uint8)[:, None, None]
    found = near_duplicates(np.concatenate([pictures, flat, np.repeat(pictures[:1], 2000, 0)]))
    assert len(found) == 2000
    label = groups(found, 2350)
    assert (label[[0, *range(350, 2350)]] == 0).all()
    assert (label[1:350] == -1).all()


def smooth_pictures() -> dict[str, np.ndarray]:
    draw, axis = np.random.default_rng(0), np.linspace(-1, 1, 16)
    x, y = axis[None, :, None], axis[None, None]
    cx, cy, angle = (draw.uniform(-1, 1, (1500, 1, 1)) for _ in range(3))
    film = [(1 - t) * DIGITS.data[i] + t * DIGITS.data[i + 1] for i in range(30) for t in np.linspace(0, 1, 40, False)]
    return {
        "digits": np.asarray(DIGITS.images * 15.9, np.uint8),
        "two-valued digits": np.asarray((DIGITS.images > 7) * 255, np.uint8),
        "spots": (255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 0.1)).astype(np.uint8),
        "gratings": (128 + 100 * np.sin(8 * cx * (np.cos(3 * angle) * x + np.sin(3 * angle) * y) + 3 * cy)).astype(np.uint8),
        "film": (np.array(film) * 15.9).astype(np.uint8).reshape(-1, 8, 8),
        "one bright pixel": (255 * np.eye(64)[draw.integers(0, 64, 1000)]).reshape(-1, 8, 8).astype(np.uint8),
        "dark": np.asarray(DIGITS.images, np.uint8),
    }


@pytest.mark.parametrize("name", list(smooth_pictures()))
def test_pictures_that_are_all_alike_give_no_pairs(name: str) -> None:
    assert not len(near_duplicates(smooth_pictures()[name]))


def test_labels_raise_the_threshold_where_unrelated_pictures_are_alike() -> None:
    draw = np.random.default_rng(0)
    bright = np.linspace(40, 200, 16)[:, None] * np.ones(16)
    pictures = (bright + 2.0 * draw.normal(size=(600, 16, 16))).clip(0, 255)
    pictures[::20] = pictures[1::20] + 0.8 * draw.normal(size=(30, 16, 16))
    given, labels = pictures.clip(0, 255).astype(np.uint8), np.arange(600) // 2
    planted = {(i, i + 1) for i in range(0, 600, 20)}
    assert pairs_of(near_duplicates(given, labels=labels, threshold=0.99)) == planted
    centred = given.reshape(600, -1) - given.reshape(600, -1).mean(1, keepdims=True)
    assert np.median(floor(centred, labels)) > 0.99


# ---- tables and series


def tables() -> dict[str, np.ndarray]:
    draw, time = np.random.default_rng(0), np.arange(2000)
    windows = np.lib.stride_tricks.sliding_window_view
    angle = draw.uniform(0, 6, (1000, 1))
    spreads = np.geomspace(1e-4, 1, 20)
    curve = np.pad(np.concatenate([np.cos(angle), np.sin(angle)], 1), ((0, 0), (0, 8)))
    return {
        **{name: getattr(datasets, f"load_{name}")().data for name in ("digits", "wine", "breast_cancer", "diabetes")},
        "windows of a sine": windows(np.sin(time / 7.3), 32),
        "windows of a periodic sine": windows(np.sin(2 * np.pi * time / 50), 32),
        "windows of a random walk": windows(np.cumsum(draw.normal(size=2000)), 32),
        "windows of a calming series": windows(np.exp(-time / 300) * np.cumsum(draw.normal(size=2000)), 32),
        "empty rows": np.maximum(0, draw.normal(size=(1500, 6)) @ draw.normal(size=(6, 64)) - 2),
        "limits of a range": draw.normal(size=(1500, 5)).clip(-1, 1),
        "sines of random phase": np.sin(np.linspace(0, 6, 50) + draw.uniform(0, 6.28, (1000, 1))),
        "grid": np.stack(np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 40)), -1).reshape(-1, 2),
        "one column": draw.uniform(size=(1000, 1)),
        "heavy tails": draw.standard_cauchy(size=(2000, 8)),
        "two-valued": draw.integers(0, 2, (1000, 5)).astype(float),
        "rare events": (draw.random((2000, 20)) < 0.05).astype(float),
        "one-hot": np.eye(10)[draw.integers(0, 10, 1000)],
        "rounded": draw.normal(size=(2000, 3)).round(1),
        "categories and rounded": np.append(draw.integers(0, 3, (2000, 4)), draw.normal(size=(2000, 2)).round(1), 1),
        "a curve beside a cloud": np.concatenate([curve, draw.normal(size=(1000, 10))]),
        "tight and wide blobs": datasets.make_blobs(2000, 8, centers=20, cluster_std=spreads, random_state=0)[0],
        "moons": datasets.make_moons(1000, noise=0.1, random_state=0)[0],
    }


@pytest.mark.parametrize("name", list(tables()))
def test_clean_tables_give_no_pairs(name: str) -> None:
    assert not len(near_duplicates(tables()[name]))


def test_of_iris_only_truly_equal_rows_are_told() -> None:
    rows = datasets.load_iris().data
    assert all((rows[a] == rows[b]).all() for a, b in pairs_of(near_duplicates(rows)))


@pytest.mark.parametrize("name", ["wine", "breast_cancer", "diabetes", "digits"])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_copied_rows_of_a_table_are_found(name: str, noise: float) -> None:
    rows = getattr(datasets, f"load_{name}")().data
    draw = np.random.default_rng(0)
    sources = draw.permutation(len(rows))[:8]
    copies = rows[sources] + noise * rows.std(0) * draw.normal(size=(8, rows.shape[1]))
    wanted = {(int(s), len(rows) + i) for i, s in enumerate(sources)}
    assert pairs_of(near_duplicates(np.concatenate([rows, copies]))) == wanted


def test_rows_with_gaps_are_left_out() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 8))
    rows[100:120] = rows[:20]
    rows[:10, 3] = np.nan
    assert pairs_of(near_duplicates(rows)) == {(i, 100 + i) for i in range(10, 20)}


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("shape", [(4, 4), (5,)])
def test_tiny_data(count: int, shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).integers(0, 255, (count, *shape)).astype(np.uint8 if len(shape) == 2 else float)
    assert not len(near_duplicates(rows))
    assert not len(floor(rows.reshape(count, math.prod(shape)), np.zeros(count)))


def test_copies_among_a_handful_of_rows() -> None:
    pictures = thumbnails(photographs(4))
    assert pairs_of(near_duplicates(pictures[[0, 1, 2, 1, 3]])) == {(1, 3)}
    rows = np.random.default_rng(0).normal(size=(6, 8))
    assert pairs_of(near_duplicates(np.concatenate([rows, rows[2:3]]))) == {(2, 6)}


def test_near_duplicates_are_the_same_every_time() -> None:
    rows = thumbnails(photographs(200))
    one, two = near_duplicates(np.concatenate([rows, rows[:9]])), near_duplicates(np.concatenate([rows, rows[:9]]))
    assert len(one) == 9
    assert all(np.array_equal(getattr(one, n), getattr(two, n)) for n in ("a", "b", "similarity"))


def test_groups_are_connected_components() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 300, (2, 150))
    pairs = Pairs.of(a[a != b], b[a != b], np.ones((a != b).sum()))
    slow = {i: {i} for i in range(300)}
    for one, two in pairs_of(pairs):
        merged = slow[one] | slow[two]
        slow.update(dict.fromkeys(merged, merged))
    label = groups(pairs, 300)
    assert all(set(np.flatnonzero(label == label[i])) == slow[i] if len(slow[i]) > 1 else label[i] == -1 for i in range(300))
    assert set(label[label >= 0]) == set(range(label.max() + 1))


def test_a_long_chain_is_one_group() -> None:
    order = np.random.default_rng(0).permutation(200_000)
    label = groups(Pairs.of(order[:-1], order[1:], np.ones(199_999)), 200_001)
    assert (label[:-1] == 0).all()
    assert label[-1] == -1


# ---- texts


def documents(count: int, words: int = 80, seed: int = 0) -> list[str]:
    """Texts of words as frequent as in English: the n-th commonest one n-th as often as the first."""
    draw = np.random.default_rng(seed)
    share = 1 / np.arange(1, 5001)
    return [" ".join(f"w{i}" for i in row) for row in draw.choice(5000, (count, words), p=share / share.sum())]


def edited(text: str, share: float, draw: random.Random) -> str:
    words = text.split()
    for i in draw.sample(range(len(words)), round(share * len(words))):
        words[i] = f"new{draw.randrange(1000)}"
    return " ".join(words)


def test_edited_texts_are_found_and_no_others() -> None:
    texts, draw = documents(1000), random.Random(0)
    copies = [edited(texts[i], share, draw).upper() for share in (0.0, 0.03) for i in range(50)]
    found = pairs_of(near_duplicate_texts(texts + copies))
    between = {(1000 + i, 1050 + i) for i in range(50)}  # copies of one text are copies of each other
    wanted = {(i % 50, 1000 + i) for i in range(100)}
    assert wanted <= found <= wanted | between
    assert not len(near_duplicate_texts(texts))


def test_texts_equal_the_sets_compared_one_by_one() -> None:
    texts, draw = documents(200, 40), random.Random(0)
    texts += [edited(texts[i % 200], 0.02 + 0.3 * draw.random(), draw) for i in range(300)]
    words = [re.findall(r"\w+", t) for t in texts]
    sets = [{tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in words]
    texts_with = Counter(s for one in sets for s in one)
    sets = [{s for s in one if texts_with[s] <= shingles.RARE} for one in sets]
    wanted = {
        (i, j)
        for i in range(500)
        for j in range(i + 1, 500)
        if min(len(sets[i]), len(sets[j])) >= shingles.FEWEST and len(sets[i] & sets[j]) >= 0.5 * len(sets[i] | sets[j])
    }
    found = pairs_of(near_duplicate_texts(texts))
    assert found <= wanted
    assert len(found) >= 0.99 * len(wanted) > 100


def test_templates_are_no_copies() -> None:
    draw = random.Random(0)
    lines = [f"user {draw.randrange(10**6)} read block {draw.randrange(10**6)} from node number nine" for _ in range(3000)]
    assert not len(near_duplicate_texts(lines))
    prompts = ["you are a helpful assistant and answer in one short sentence " * 20 + t for t in documents(500, 30)]
    assert not len(near_duplicate_texts(prompts))
    assert pairs_of(near_duplicate_texts([*prompts, prompts[7] + " indeed"])) == {(7, 500)}


def test_tokens_are_compared_like_words() -> None:
    draw = np.random.default_rng(0)
    tokens = [row.tolist() for row in draw.integers(0, 50_000, (500, 100))]
    assert pairs_of(near_duplicate_texts([*tokens, [*tokens[3][:50], 7, *tokens[3][50:]]])) == {(3, 500)}


def test_short_texts_must_be_equal() -> None:
    assert pairs_of(near_duplicate_texts(["yes it is", "", "Yes, it is.", "yes it was", "", "yes it is"])) == {(0, 2), (2, 5)}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_texts(count: int) -> None:
    assert not len(near_duplicate_texts(documents(count)))


def test_a_storm_of_equal_texts_is_a_chain() -> None:
    texts = documents(50)
    found = near_duplicate_texts(texts + texts[:1] * 5000)
    assert len(found) == 5000
    assert set(groups(found, 5050)[[0, *range(50, 5050)]]) == {0}


def test_texts_are_the_same_every_time() -> None:
    texts = documents(300) + [edited(t, 0.1, random.Random(i)) for i, t in enumerate(documents(300))]
    assert pairs_of(near_duplicate_texts(texts)) == pairs_of(near_duplicate_texts(texts))
