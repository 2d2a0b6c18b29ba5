"""The measurements of the data stage: planted truths are found, clean sets are silent, p-values without a cause uniform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import datasets
from sklearn.linear_model import Ridge as SlowRidge
from sklearn.metrics import average_precision_score, roc_auc_score

from trainrecipe.dataset import grouping, label_noise, shift, shortcuts, tails
from trainrecipe.dataset.same_targets import near_by_target

CLEAN = ("digits", "wine", "breast_cancer", "iris")
LEVELS = (0.05, 0.1, 0.25, 0.5)


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    found = getattr(datasets, f"load_{name}")()
    return found.data, found.target


def standard(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)


def neighbours(x: np.ndarray, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    unit = standard(x) / np.maximum(np.linalg.norm(standard(x), axis=1, keepdims=True), 1e-12)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -np.inf)
    rows = np.argsort(-likeness, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(likeness, rows, 1)


def suspects(x: np.ndarray, y: np.ndarray, seed: int = 0) -> label_noise.Suspects:
    return label_noise.suspects(x, y, *neighbours(x), seed=seed)


def flipped(y: np.ndarray, share: float, how: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng, classes = np.random.default_rng(seed), int(y.max()) + 1
    hit = rng.permutation(len(y))[: round(share * len(y))]
    made = y.copy()
    made[hit] = (y[hit] + (rng.integers(1, classes, len(hit)) if how == "symmetric" else 1)) % classes
    return made, made != y


def uniform(values: list[float], slack: float = 0.0) -> None:
    """No more p-values at or below a level than that share, within three standard errors."""
    for level in LEVELS:
        error = (level * (1 - level) / len(values)) ** 0.5
        assert np.mean(np.array(values) <= level) <= level + 3 * error + slack, level


# ---- label noise


@pytest.mark.parametrize("name", CLEAN)
def test_the_rate_of_a_clean_set_may_be_zero(name: str) -> None:
    found = label_noise.rate(suspects(*load(name)))
    assert found.share is not None
    assert found.share.low == 0.0
    assert found.share.high < 0.1
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high


@pytest.mark.parametrize("how", ["symmetric", "pairwise"])
@pytest.mark.parametrize("name", CLEAN)
def test_the_rate_covers_planted_noise(name: str, how: str) -> None:
    x, y = load(name)
    for seed, share in enumerate((0.02, 0.05, 0.1, 0.2)):
        noisy, hit = flipped(y, share, how, seed)
        found = suspects(x, noisy, seed)
        rate = label_noise.rate(found).share
        assert rate is not None
        assert rate.low <= share <= rate.high
        if share == 0.2 and name in ("digits", "breast_cancer"):
            assert rate.low > 0.04
        assert average_precision_score(hit, found.score) > (0.8 if len(y) > 200 else 0.6 if share > 0.02 else 0.2)


def test_a_weak_model_tells_no_rate_and_overlap_is_no_noise() -> None:
    x, y = datasets.make_circles(1000, noise=0.15, factor=0.5, random_state=0)
    assert label_noise.rate(suspects(x, y)).share is None
    x, y = datasets.make_moons(1000, noise=0.3, random_state=0)
    rate = label_noise.rate(suspects(x, y)).share
    assert rate is not None
    assert rate.low == 0.0
    coarse = datasets.load_digits().images.reshape(-1, 2, 4, 2, 4).mean((2, 4)).reshape(-1, 4)
    rate = label_noise.rate(suspects(coarse, load("digits")[1])).share
    assert rate is None or rate.low == 0.0


def test_suspects_suggest_the_true_label_of_any_kind_and_leave_no_trace() -> None:
    x, y = load("digits")
    noisy, hit = flipped(y, 0.05, "symmetric", 0)
    words = np.array([f"digit {v}" for v in noisy])
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    found, again = suspects(x, words), suspects(x, words)
    assert torch.equal(state, torch.get_rng_state())
    assert (numbers == np.random.get_state()[1]).all()
    assert (found.score == again.score).all()
    right = found.suggested[hit] == np.array([f"digit {v}" for v in y])[hit]
    assert right.mean() > 0.95
    assert np.allclose(found.probabilities.sum(1), 1)
    assert hit[found.order[:60]].mean() > 0.9


def test_the_confident_joint_finds_the_confused_pair() -> None:
    x, y = load("digits")
    noisy = np.where((y == 3) & (np.random.default_rng(0).random(len(y)) < 0.3), 8, y)
    found = suspects(x, noisy)
    joint = label_noise.confident_joint(found.probabilities, found.labels)
    np.fill_diagonal(joint, 0)
    assert np.unravel_index(joint.argmax(), joint.shape) == (8, 3)


def test_the_confident_joint_equals_a_slow_twin() -> None:
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    floor = [p[y == c, c].mean() for c in range(4)]
    slow = np.zeros((4, 4), dtype=int)
    for row, given in zip(p, y, strict=True):
        over = [c for c in range(4) if row[c] >= floor[c]]
        if over:
            slow[given, max(over, key=lambda c: row[c])] += 1
    assert (label_noise.confident_joint(p, y) == slow).all()


def test_margins_average_over_epochs_and_rank_flipped_labels_last() -> None:
    history = np.array([[[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], [[4.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]])
    assert label_noise.margins(history, np.array([0, 2])).tolist() == [2.5, -2.0]
    x, y = load("digits")
    noisy, hit = flipped(y, 0.05, "symmetric", 0)
    inputs, labels = torch.tensor(standard(x)), torch.tensor(noisy)
    weights = torch.zeros(64, 10, dtype=torch.double, requires_grad=True)
    epochs = []
    for _ in range(30):
        logits = inputs @ weights
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, labels), [weights])
        weights = (weights - 0.5 * gradient).detach().requires_grad_()
        epochs.append(logits.detach())
    assert average_precision_score(hit, -label_noise.margins(torch.stack(epochs), noisy)) > 0.85


@pytest.mark.parametrize(("count", "total"), [(0, 50), (3, 50), (50, 50), (199, 2000)])
def test_clopper_pearson_equals_scipy(count: int, total: int) -> None:
    slow = stats.binomtest(count, total).proportion_ci(0.95, "exact")
    assert label_noise.clopper_pearson(count, total) == pytest.approx((slow.low, slow.high), abs=1e-9)


def test_a_judged_sample_covers_the_rate() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        top, rest = rng.random(200) < 0.4, rng.random(1800) < 0.01
        share = (top.sum() + rest.sum()) / 2000
        found = label_noise.judged(rng.choice(top, 50, False), rng.choice(rest, 50, False), rows=2000, queue=200)
        covered += found.low <= share <= found.high
    assert covered >= 95
    assert label_noise.judged([True, False], [False], rows=3) == shortcuts.Interval(1 / 3, 1 / 3, 1 / 3)
    with pytest.raises(ValueError, match="more than there are"):
        label_noise.judged([True] * 5, [], rows=3)


def test_copies_with_different_labels_conflict() -> None:
    groups, labels = np.array([-1, 0, 1, 0, 1, -1]), ["a", "a", "b", "c", "b", "z"]
    assert label_noise.conflicts(groups, labels) == (label_noise.Conflict(0, (1, 3), ("a", "c")),)


def test_label_noise_takes_odd_input() -> None:
    none, some = np.zeros((0, 10), dtype=np.int64), np.random.default_rng(0).normal(size=(60, 3))
    assert label_noise.rate(label_noise.suspects(np.zeros((0, 3)), [], none, none.astype(float))).share is None
    one = label_noise.suspects(some[:1], ["x"], np.full((1, 10), -1), np.full((1, 10), -np.inf))
    assert np.isfinite(one.score).all()
    assert label_noise.rate(suspects(some, np.zeros(60, dtype=int))).reason == "there is one class only"
    some[3] = np.nan
    some[4, 0] = np.inf
    some[:, 2] = 1.0
    rows, likeness = neighbours(np.nan_to_num(some, posinf=0))
    assert np.isfinite(label_noise.suspects(some, np.arange(60) % 2, rows, likeness).score).all()
    with pytest.raises(ValueError, match="59 labels"):
        label_noise.suspects(some, np.zeros(59), rows, likeness)


# ---- shift


def test_distances_and_aucs_equal_slow_twins() -> None:
    rng = np.random.default_rng(0)
    sides, values = rng.random((300, 3)) < 0.3, rng.integers(0, 9, 300)
    for j in range(3):
        side = sides[:, j]
        assert shift._gap(values.astype(float), sides)[j] == pytest.approx(
            stats.ks_2samp(values[side], values[~side]).statistic
        )
        shares = [np.bincount(values[s], minlength=9) / s.sum() for s in (side, ~side)]
        assert shift._variation(values, sides)[j] == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
        scores = rng.integers(0, 30, 300).astype(float)
        assert shift._aucs(scores[:, None], sides[:, [j]])[0] == pytest.approx(roc_auc_score(side, scores))


@pytest.mark.parametrize(("name", "times"), [("wine", 150), ("diabetes", 150), ("digits", 20)])
def test_random_splits_are_no_shift(name: str, times: int) -> None:
    x, whole, single = load(name)[0], [], []
    for seed in range(times):
        part = np.random.default_rng(seed).random(len(x)) < 0.25
        found = shift.shift(x, part, permutations=39, seed=seed)
        whole.append(found.p_value)
        single.append(min(f.p_value for f in found.features))
    uniform(whole)
    uniform(single)
    assert np.mean(whole) < 0.65


def test_split_groups_are_no_shift_where_they_are_named() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(60), 10)
    x = rng.normal(size=(60, 5))[group] + 0.2 * rng.normal(size=(600, 5))
    parts = [(np.random.default_rng(s).random(60) < 0.3)[group] for s in range(60)]
    uniform([shift.shift(x, p, groups=group, permutations=39, seed=s).p_value for s, p in enumerate(parts)])
    assert shift.shift(x, parts[0], permutations=39).p_value == 1 / 40
    moved = x + parts[0][:, None] * 2.0
    assert shift.shift(moved, parts[0], groups=group).p_value <= 0.01


def test_a_shift_is_found_and_its_feature_named() -> None:
    rng = np.random.default_rng(0)
    part = np.repeat(["train", "val"], (900, 300))
    late = part == "val"
    table: dict[str, np.ndarray] = {f"x{i}": rng.normal(size=1200) for i in range(10)}
    table["colour"] = np.where(rng.random(1200) < np.where(late, 0.6, 0.3), "red", "blue")
    table["gap"] = np.where(rng.random(1200) < np.where(late, 0.3, 0.02), np.nan, rng.normal(size=1200))
    table["wide"] = rng.normal(size=1200) * np.where(late, 2.5, 1)
    found = shift.shift(table, part)
    assert found.auc is not None
    assert found.auc > shift.MEDIUM_AUC
    assert found.low > 0.5
    assert found.p_value == 0.005
    strong = {(f.name, f.kind) for f in found.features if f.p_value <= 0.05 and f.distance > shift.SMALL_DISTANCE}
    assert strong == {("colour", "categories"), ("gap", "missing"), ("wide", "numbers")}
    assert found.features == shift.shift(table, part).features


def test_a_tiny_shift_stays_below_the_floor_of_effects() -> None:
    rng = np.random.default_rng(0)
    part = np.arange(100_000) % 2
    found = shift.shift({"x": rng.normal(size=100_000) + 0.1 * part}, part)
    assert found.auc is not None
    assert found.auc < shift.SMALL_AUC
    assert found.features[0].distance < shift.SMALL_DISTANCE


def test_shift_takes_odd_input() -> None:
    part = np.arange(40) % 2
    odd: dict[str, np.ndarray] = {
        "same": np.ones(40),
        "none": np.full(40, np.nan),
        "wild": np.array([np.inf, -np.inf, np.nan, 1.0] * 10),
        "words": np.array(["a", None, "b", float("nan")] * 10, dtype=object),
        "day": np.array(["2020-01-01", "NaT"] * 20, dtype="datetime64[D]"),
    }
    assert 0 < shift.shift(odd, part).p_value <= 1
    assert shift.shift({}, part).auc is None
    assert shift.shift(np.zeros((40, 0)), part).auc is None
    assert shift.shift(np.ones((40, 2)), part).p_value == 1.0
    assert "too few" in shift.shift(np.ones((3, 1)), [0, 1, 1]).reason
    with pytest.raises(ValueError, match="3 parts"):
        shift.shift(np.ones((3, 1)), ["a", "b", "c"])
    with pytest.raises(ValueError, match="split has 2"):
        shift.shift(np.ones((3, 1)), ["a", "b"])


# ---- shortcuts


def test_ridge_equals_a_slow_twin() -> None:
    rng = np.random.default_rng(0)
    x, y, fold = rng.normal(size=(60, 4)), rng.normal(size=(60, 2)), shortcuts.folds(60, 5, 0)
    fast = shortcuts.Ridge(x, fold)(y)
    for k in range(5):
        slow = SlowRidge(alpha=1.0).fit(x[fold != k], y[fold != k])
        assert np.allclose(fast[fold == k], slow.predict(x[fold == k]))


def test_groups_stay_together_and_exchange_their_labels() -> None:
    group = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
    fold = shortcuts.folds(10, 2, 0, group)
    assert all(len(set(fold[group == g])) == 1 for g in range(4))
    for order in shortcuts.permuted(10, 20, 0, group):
        assert all(len(set(group[order][group == g])) == 1 for g in range(4))


def test_a_source_that_tells_the_class_is_a_shortcut() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 600)
    hospital = np.array(["north", "south", "east"])[np.where(rng.random(600) < 0.9, y, rng.integers(0, 3, 600))]
    table = {"hospital": hospital, "size": rng.normal(size=600), "lost": np.where(rng.random(600) < 0.1, np.nan, 1.0)}
    found = shortcuts.baseline(table, np.array(["cat", "dog", "owl"])[y])
    best = found.alone[0]
    assert (best.name, best.p_value) == ("hospital", 0.005)
    assert best.gain.low > shortcuts.SHORTCUT_GAIN
    assert all(other.p_value > 0.05 for other in found.alone[1:])
    assert found.together is not None
    assert found.together.gain.low > shortcuts.SHORTCUT_GAIN


def test_a_rare_class_is_told_by_missing_values_and_a_number_by_a_band() -> None:
    rng = np.random.default_rng(0)
    rare = rng.random(2000) < 0.04
    gone = np.where(rare & (rng.random(2000) < 0.9), np.nan, rng.normal(size=2000))
    told = shortcuts.baseline({"gone": gone}, rare).alone[0]
    assert told.gain.low > 0.7
    assert told.majority > 0.95
    x = rng.normal(size=800)
    told = shortcuts.baseline({"x": x}, np.cos(3 * x) + 0.1 * rng.normal(size=800)).alone[0]
    assert told.gain.low > 0.6


def test_metadata_that_belong_to_the_content_are_no_shortcut() -> None:
    images, y = datasets.load_digits().images, load("digits")[1]
    table = {
        "mean": images.mean((1, 2)),
        "spread": images.std((1, 2)),
        "empty": (images == 0).mean((1, 2)),
        "row": np.arange(1797),
    }
    table["border"] = images.sum((1, 2)) - images[:, 1:-1, 1:-1].sum((1, 2))
    together = shortcuts.baseline(table, y, permutations=39).together
    assert together is not None
    assert 0.2 < together.gain.value < together.gain.high < shortcuts.SHORTCUT_GAIN


@pytest.mark.parametrize("numeric", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_unrelated_metadata_have_uniform_p_values(numeric: bool, grouped: bool) -> None:
    whole, single = [], []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(30), 5)
        label = rng.normal(size=30) if numeric else rng.integers(0, 3, 30)
        other = rng.normal(size=30)[group] + 0.1 * rng.normal(size=150)
        y = label[group] if grouped else rng.permutation(label[group])
        y = y + 0.1 * rng.normal(size=150) if numeric else y
        table = {"a": other, "b": rng.choice(["x", "y", "z"], 150), "c": rng.integers(0, 4, 150)}
        found = shortcuts.baseline(table, y, groups=group if grouped else None, permutations=39, seed=seed)
        assert found.together is not None
        whole.append(found.together.p_value)
        single.append(min(told.p_value for told in found.alone))
    uniform(whole)
    uniform(single)


@pytest.mark.parametrize("name", [*CLEAN, "diabetes"])
def test_honest_features_are_no_leaks_and_a_copy_of_the_label_is(name: str) -> None:
    x, y = load(name)
    table = {str(i): column for i, column in enumerate(x.T[-30:])}
    assert not any(leak.suspicious for leak in shortcuts.leaks(table, y))
    copy = {**table, "copy": 3.0 - 2 * y if name == "diabetes" else np.exp(y)}
    found = shortcuts.leaks(copy, y)[0]
    assert found.name == "copy"
    assert found.suspicious
    assert found.decides
    if len(np.unique(y)) == 2 or name == "diabetes":
        assert found.monotone > 0.99


def test_an_id_decides_nothing_and_odd_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    assert not shortcuts.leaks({"id": np.arange(100)}, y)[0].decides
    assert shortcuts.baseline({}, y).reason == "there are no columns"
    assert shortcuts.baseline({"x": np.ones(100)}, np.zeros(100)).reason == "all labels are the same"
    assert shortcuts.baseline({"x": np.ones(3)}, [0, 1, 1]).together is None
    assert shortcuts.baseline({"x": np.zeros(0)}, []).together is None
    odd = {"x": np.full(100, np.nan), "y": np.array([None, "a"] * 50, dtype=object), "z": np.array([np.inf, -1.0] * 50)}
    assert shortcuts.baseline(odd, y, permutations=19).together is not None
    with pytest.raises(ValueError, match="'x' has 99 rows"):
        shortcuts.baseline({"x": np.ones(99)}, y)


# ---- order and groups


def test_sorted_labels_are_told_from_shuffled_and_alternating_ones() -> None:
    y = load("digits")[1]
    assert grouping.sorted_labels(np.sort(y)).effect > 0.99  # type: ignore[union-attr]
    shuffled = np.random.default_rng(0).permutation(y)
    assert abs(grouping.sorted_labels(shuffled).effect) < 0.05  # type: ignore[union-attr]
    assert grouping.sorted_labels(["a", "b"] * 50).effect < 0  # type: ignore[union-attr]
    walk = np.random.default_rng(0).normal(size=300).cumsum()
    assert grouping.sorted_labels(walk).effect > 0.8  # type: ignore[union-attr]
    values = [
        grouping.sorted_labels(np.random.default_rng(s).permutation(y[:200]), permutations=39, seed=s) for s in range(200)
    ]
    uniform([v.p_value for v in values if v is not None])
    assert grouping.sorted_labels([1, 1, 1]) is None
    assert grouping.sorted_labels([]) is None
    walk[:3] = np.nan, np.inf, -np.inf
    assert grouping.sorted_labels(walk).effect > 0.8  # type: ignore[union-attr]


def series(kind: str, rows: int = 800) -> np.ndarray:
    rng, time = np.random.default_rng(0), np.arange(rows)
    if kind == "walk":
        return rng.normal(size=(rows, 6)).cumsum(0)
    if kind == "windows":
        walk = rng.normal(size=rows + 24).cumsum()
        return np.stack([walk[i : i + 24] for i in range(rows)])
    return np.stack([np.sin(2 * np.pi * time / 7 + k) for k in range(6)], 1) + 0.3 * rng.normal(size=(rows, 6))


@pytest.mark.parametrize("kind", ["walk", "windows"])
def test_a_random_split_of_a_series_leaks_and_blocks_do_not(kind: str) -> None:
    x, held = series(kind), np.random.default_rng(1).random(800) < 0.2
    leak = grouping.time_leak(x, held)
    assert leak is not None
    assert leak.suspicious
    assert leak.blocks[1][0] - leak.blocks[0][1] > leak.reach > 4
    kept = grouping.time_leak(x, np.arange(800) >= 640)
    assert kept is not None
    assert not kept.suspicious
    order = np.random.default_rng(2).permutation(800)
    moved = grouping.time_leak(x[order], held[order], position=order)
    assert moved is not None
    assert moved.adjacent == leak.adjacent


@pytest.mark.parametrize("name", [*CLEAN, "diabetes", "periodic", "sorted digits"])
def test_data_in_no_order_do_not_leak_in_time(name: str) -> None:
    x, y = (series(name), np.zeros(800)) if name == "periodic" else load(name.split()[-1])
    y = np.zeros(len(x)) if name == "diabetes" else y
    order = np.argsort(y, kind="stable") if name == "sorted digits" else np.arange(len(y))
    held = np.random.default_rng(1).random(len(x)) < 0.2
    for labels in (y[order], None):
        found = grouping.time_leak(x[order], held, labels=labels, permutations=99)
        assert found is not None
        assert not found.suspicious


def test_patients_on_both_sides_are_a_group_leak_and_categories_are_none() -> None:
    rng = np.random.default_rng(0)
    patient, y = rng.integers(0, 40, 800), rng.integers(0, 3, 800)
    x = rng.normal(size=(40, 16))[patient] + rng.normal(size=(800, 16)) + 3 * np.eye(16)[y]
    keys = {"patient": patient, "chance": rng.integers(0, 40, 800), "class": y, "sex": patient % 2, "row": np.arange(800)}
    found = {leak.key: leak for leak in grouping.group_leaks(x, rng.random(800) < 0.2, keys, labels=y)}
    assert set(found) == {"patient", "chance", "sex"}
    assert [name for name, leak in found.items() if leak.suspicious] == ["patient"]
    assert found["patient"].shared > 0.9
    kept = grouping.group_leaks(x, patient < 8, {"patient": patient}, labels=y)
    assert kept == ()


def test_keys_that_mean_nothing_have_uniform_p_values() -> None:
    x, y = load("wine")
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        key, held = rng.integers(0, 20, len(y)), rng.random(len(y)) < 0.3
        found += grouping.group_leaks(x, held, {"key": key}, labels=y, permutations=39, seed=seed + 1000)
    uniform([leak.p_value for leak in found])
    assert not any(leak.suspicious for leak in found)
    few, held = np.random.default_rng(0).integers(0, 2, (600, 2)), np.random.default_rng(1).random(600) < 0.3
    (tied,) = grouping.group_leaks(few, held, {"key": np.arange(600) // 10})
    assert tied.alike == pytest.approx(0.5, abs=0.05)


def test_candidate_keys_are_folders_and_columns_that_repeat() -> None:
    paths = [f"scans/c{i % 3}/p{i % 60 // 3}/slice_{i:03}.png" for i in range(240)]
    rng = np.random.default_rng(0)
    columns = {
        "id": np.arange(240),
        "weight": rng.normal(size=240).round(1),
        "site": rng.integers(0, 12, 240),
        "one": np.ones(240),
    }
    found = {name: len(np.unique(column)) for name, column in grouping.candidate_keys(columns, paths).items()}
    assert found == {"site": 12, "folder 1 up": 60, "folder 2 up": 3}


def test_grouping_takes_odd_input() -> None:
    assert grouping.time_leak(np.zeros((0, 3)), np.zeros(0, dtype=bool)) is None
    assert grouping.group_leaks(np.zeros((1, 3)), np.array([True]), {"k": np.array([1])}) == ()
    held = np.arange(60) % 3 == 0
    odd = np.full((60, 2), np.nan)
    odd[0] = np.inf
    found = grouping.time_leak(odd, held)
    assert found is not None
    assert not found.suspicious
    assert not any(g.suspicious for g in grouping.group_leaks(np.ones((60, 2)), held, {"rows": np.arange(60) // 3}))
    assert grouping.time_leak(np.zeros((60, 0)), held) is not None
    assert grouping.candidate_keys({}, []) == {}
    with pytest.raises(ValueError, match="labels has 59 rows"):
        grouping.time_leak(odd, held, labels=np.zeros(59))


# ---- tails


def test_planted_outliers_rank_first_on_their_axis() -> None:
    rng = np.random.default_rng(0)
    table: dict[str, np.ndarray] = {"a": rng.normal(size=500), "b": rng.lognormal(size=500), "c": rng.choice(["x", "y"], 500)}
    table["a"][7], table["b"][8], table["c"] = 40.0, 1e4, np.where(np.arange(500) == 9, "z", table["c"])
    far = tails.ranked(table, distances=np.where(np.arange(500) == 10, 30.0, rng.random(500)))
    assert {int(i): str(far.axis[i]) for i in sorted(far.order[:3])} == {7: "a", 8: "b", 10: "distance to neighbours"}
    assert (far.axis[9], far.value[9]) == ("c", "z")
    assert far.score[9] == pytest.approx(3.1, abs=0.2)
    assert sorted(far.rank) == list(range(1, 501))


def test_scores_equal_the_definition_and_ids_are_not_rare() -> None:
    x = np.array([-3.0, -1.0, 0.0, 1.0, 2.0, 9.0, 0.0])
    far = tails.ranked({"x": x})
    right = np.median(x[x >= 0])
    assert far.score[5] == pytest.approx(9 / (1.4826 * right))
    assert tails.ranked({"id": np.array([f"{i}" for i in range(50)])}).score.max() == 0.0


def test_tails_take_odd_input() -> None:
    assert len(tails.ranked({}).score) == 0
    assert len(tails.ranked({"x": np.zeros(0)}, distances=np.zeros((0, 5))).score) == 0
    assert tails.ranked({"x": np.array([1.0])}).rank.tolist() == [1]
    far = tails.ranked({"x": np.array([np.nan, 1.0, np.inf, 2.0, 3.0]), "same": np.ones(5)})
    assert far.order[0] == 2
    assert far.score[0] == 0.0
    few: dict[str, Any] = {"x": np.array([0.0] * 9 + [5.0])}
    assert np.isfinite(tails.ranked(few).score).all()
    with pytest.raises(ValueError, match="x 2, y 3"):
        tails.ranked({"x": np.ones(2), "y": np.ones(3)})


def test_sentinels_are_spikes_and_clean_targets_have_none() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(50, 10, 2000)
    y[:40], y[40:80], y[80:120] = 0, -1, 999
    found = tails.spikes(y)
    assert {s.value for s in found} == {0.0, -1.0, 999.0}
    assert all(s.sentinel and s.count == 40 for s in found)
    (clipped,) = tails.spikes(np.minimum(rng.lognormal(size=2000), 5))
    assert clipped.edge
    ages = rng.integers(20, 90, 3000).astype(float)
    ages[rng.random(3000) < 0.3] = 40.0
    assert {s.value for s in tails.spikes(ages)} == {40.0}


@pytest.mark.parametrize("seed", range(5))
def test_natural_targets_have_no_spikes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rounded = rng.integers(20, 90, 3000).astype(float)
    some = rng.random(3000) < 0.3
    rounded[some] = np.round(rounded[some] / 10) * 10
    for y in (
        load("diabetes")[1],
        rng.normal(size=3000).round(1),
        rng.poisson(20, 3000),
        rng.geometric(0.1, 3000),
        np.floor(rng.exponential(20, 3000)),
        rounded,
        rng.integers(0, 5, 3000),
        np.zeros(0),
        np.full(9, np.nan),
    ):
        assert tails.spikes(np.asarray(y, dtype=float)) == ()


# ---- copies that are told by their targets


def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    found = datasets.load_diabetes()
    return found.data / found.data.std(0), found.target


@pytest.mark.parametrize("noise", [0.05, 0.2, 0.4])
def test_noisy_copies_are_told_by_their_targets(noise: float) -> None:
    x, y = _diabetes()
    rng = np.random.default_rng(1)
    copies = [x + noise * rng.normal(size=x.shape) for _ in range(2)]
    found = near_by_target(np.concatenate([x, *copies]), np.tile(y, 3))
    assert len(found) > len(x)
    assert np.mean(found.a % len(x) == found.b % len(x)) > 0.98
    assert not len(near_by_target(x, y))


@pytest.mark.parametrize("seed", range(40))
def test_rounded_targets_tell_of_no_copies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, width = int(rng.integers(200, 3000)), int(rng.integers(1, 12))
    x = rng.normal(size=(rows, width))
    y = x @ rng.normal(size=width) + np.sin(3 * x[:, 0]) + rng.normal(0, rng.choice([0, 0.01, 0.3, 1]), rows)
    assert not len(near_by_target(x, np.round(y * rng.choice([3, 10, 30, 100]))))
