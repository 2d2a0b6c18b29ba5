"""Probes find what was planted, keep quiet where there is nothing, and agree with slow and obvious twins."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_digits, load_wine
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from trainrecipe.probes import answers as probe_answers
from trainrecipe.probes import features as probe_features
from trainrecipe.probes import inputs as probe_inputs
from trainrecipe.probes import models as probe_models
from trainrecipe.probes.answers import Answer, Level
from trainrecipe.probes.probes import Probes, probe
from trainrecipe.probes.sample import draw
from trainrecipe.probes.tables import backward_order


def sided(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two different marks in 16 x 16 noise, away from the borders; the label is whether both are in the same half."""
    rng = np.random.default_rng(seed)
    x = 0.1 * rng.normal(size=(n, 1, 16, 16))
    halves, places = rng.integers(2, size=(n, 2)), 3 + rng.integers(2, size=(n, 2))
    for image, (a, b) in zip(x[:, 0], 7 * halves + places, strict=True):
        image[3:5, a : a + 2] += 1
        image[11:13, b : b + 2] -= 1
    return x, (halves[:, 0] == halves[:, 1]).astype(int)


def coloured(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Textures that are reddish or bluish at equal luma; grey tells nothing."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    luma = rng.random((n, 8, 8)) + rng.random((n, 1, 1))
    shift = np.where(y, 0.3, -0.3)[:, None, None] + 0.1 * rng.normal(size=(n, 8, 8))
    return np.stack([luma + shift, luma, luma - shift * 0.299 / 0.114], 1), y


def patched(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bar of three pixels anywhere in 12 x 12 noise, lying or standing: a local feature tells it, its place does not."""
    rng = np.random.default_rng(seed)
    x, y = 0.2 * rng.normal(size=(n, 1, 12, 12)), rng.integers(2, size=n)
    for image, standing in zip(x[:, 0], y, strict=True):
        i, j = rng.integers(0, 10, size=2)
        image[i : i + 3, j : j + 3] += np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]]).T if standing else 0
        image[i : i + 3, j : j + 3] += 0 if standing else np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]])
    return x, y


def one_feature(n: int = 800, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Six columns of noise, the fourth of which is the label, noisy; the last is constant."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    x[:, 5] = 1
    return x, (x[:, 3] + 0.1 * rng.normal(size=n) > 0).astype(int)


def ordered(n: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sentences of 6 to 12 words with padding; the label is whether word 1 comes before word 2."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, 12), int)
    for row in x:
        length = rng.integers(6, 13)
        row[:length] = rng.integers(3, 20, size=length)
        row[rng.choice(length, 2, replace=False)] = [1, 2]
    return x, ((x == 1).argmax(1) < (x == 2).argmax(1)).astype(int)


def early(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two channels of noise over 32 steps; a pulse in the first eight steps of the first channel is the label."""
    rng = np.random.default_rng(seed)
    x, y = 0.3 * rng.normal(size=(n, 2, 32)), rng.integers(2, size=n)
    x[:, 0, 2:6] += y[:, None]
    return x, y


def answer(probes: Probes, start: str) -> Answer:
    return next(a for a in probes.answers if a.question.startswith(start))


def level(probes: Probes, start: str) -> Level:
    return next(lv for a in probes.answers for lv in a.levels if lv.name.startswith(start))


@pytest.fixture(scope="module")
def digits() -> Probes:
    x, y = load_digits(return_X_y=True)
    return probe(x.reshape(-1, 1, 8, 8), y, kind="image", task="classes", seconds=300, seeds=2)


def test_digits_agree_with_known_figures(digits: Probes) -> None:
    assert digits.baseline is not None
    assert digits.baseline.value == pytest.approx(0.986, abs=0.01)
    for name, known, slack in (
        ("4 x 4 pixels", 0.935, 0.02),
        ("2 x 2 pixels", 0.613, 0.06),
        ("1 x 1 pixels", 0.125, 0.03),
        ("pixels sorted", 0.246, 0.04),
        ("one fixed", 0.986, 0.01),
        ("4 grey levels", 0.979, 0.02),
        ("2 grey levels", 0.942, 0.025),
    ):
        assert level(digits, name).score == pytest.approx(known, abs=slack), name
    assert level(digits, "pixels shuffled").score < 0.17  # neighbours 0.112; which values there are tells a little
    assert 0.78 < level(digits, "4 x 4 patches").score < 0.95  # neighbours 0.79
    assert "Position matters: with the pixels" in answer(digits, "Does position").says
    assert level(digits, "one fixed").within_noise


def test_a_level_per_cell_and_every_answer_with_a_picture(digits: Probes) -> None:
    assert len(answer(digits, "Which cell").levels) == 16
    assert digits.unreached == ()
    data = json.loads(json.dumps(digits.to_json()))
    assert all(a["says"] and a["picture"]["beside"]["kind"] == "grid" for a in data["answers"])


def test_position_alone() -> None:
    probes = probe(*sided(), kind="image", task="classes", seeds=2, seconds=60)
    assert probes.baseline is not None
    assert probes.baseline.value > 0.95
    assert level(probes, "pixels shuffled").score < 0.6
    assert "matters" in answer(probes, "Does position").says
    assert level(probes, "bag of 3 x 3").score < 0.6


def test_colour_alone() -> None:
    probes = probe(*coloured(), kind="image", task="classes", seeds=2, seconds=60)
    assert level(probes, "grey").low < 0.55
    assert "Colour matters" in answer(probes, "Does colour").says
    assert "chance" in answer(probes, "Does colour").says
    assert "Position makes no measurable difference" in answer(probes, "Does position").says


def test_one_patch_anywhere() -> None:
    probes = probe(*patched(), kind="image", task="classes", seeds=2, seconds=60)
    assert probes.baseline is not None
    assert probes.baseline.value > 0.9
    assert level(probes, "bag of 3 x 3").score > 0.9
    assert level(probes, "pixels shuffled").score < 0.6
    assert "Local features are enough" in answer(probes, "Are local").says


def test_one_feature() -> None:
    x, y = one_feature()
    probes = probe(x, y, kind="table", task="classes", seeds=2, seconds=60, names=list("abcdef"))
    assert any("constant" in note and "f" in note for note in probes.notes)
    alone = {lv.name: lv for lv in answer(probes, "What does").levels}
    assert set(alone) == set("abcde")
    assert alone["d"].score > 0.85
    assert max(alone[c].low for c in "abce") < 0.55
    assert "The feature d is enough" in answer(probes, "Which features are enough").says
    assert [lv.name for lv in answer(probes, "Which features can").levels if lv.lost] == ["without d"]
    assert [lv.name for lv in answer(probes, "Which features do").levels if lv.lost] == ["d shuffled"]


def test_order_of_tokens() -> None:
    probes = probe(*ordered(), kind="tokens", task="classes", seeds=2, seconds=60)
    assert probes.baseline is not None
    assert probes.baseline.value > 0.8
    assert level(probes, "tokens shuffled").low < 0.53
    assert "Order matters" in answer(probes, "Does the order").says
    assert level(probes, "the 2 most").score > 0.8 or level(probes, "the 5 most").score > 0.8


def test_an_early_pulse() -> None:
    probes = probe(*early(), kind="series", task="classes", seeds=2, seconds=60)
    assert not level(probes, "the first 8").lost
    assert level(probes, "the last 8").low < 0.55
    assert [lv.lost for lv in answer(probes, "Which channels").levels] == [True, False]


@pytest.mark.parametrize("kind", ["image", "series", "tokens", "table"])
def test_random_labels_tell_nothing(kind: str) -> None:
    rng = np.random.default_rng(1)
    shape = {"image": (300, 3, 8, 8), "series": (300, 16), "tokens": (300, 10), "table": (300, 5)}[kind]
    x = rng.integers(9, size=shape) if kind == "tokens" else rng.normal(size=shape)
    probes = probe(x, rng.integers(3, size=300), kind=kind, task="classes", seeds=2)  # type: ignore[arg-type]
    assert probes.says.startswith("The probes cannot tell: no small model learns this")
    assert probes.answers == ()


def test_same_input_same_output_and_no_trace() -> None:
    x, y = load_wine(return_X_y=True)
    torch.manual_seed(3)
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]
    before = x.copy()
    one, two = (probe(x, y, kind="table", task="classes", seeds=1, seconds=300).to_json() for _ in range(2))
    assert one == two
    assert (x == before).all()
    assert torch.equal(state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # type: ignore[index]


def test_time_is_kept_and_what_was_not_reached_is_said() -> None:
    x, y = load_digits(return_X_y=True)
    start = time.monotonic()
    probes = probe(x.reshape(-1, 1, 8, 8), y, kind="image", task="classes", seconds=0.8, seeds=5)
    assert time.monotonic() - start < 20  # 0.8, and more on a busy machine for the whole input and the last level
    assert probes.unreached
    reached = sum(len(a.levels) for a in probes.answers)
    assert reached + len(probes.unreached) == 37


def test_numbers() -> None:
    x, y = load_diabetes(return_X_y=True)
    probes = probe(x, y, kind="table", task="numbers", seeds=2)
    assert probes.metric == "R²"
    assert probes.baseline is not None
    assert 0.4 < probes.baseline.value < 0.55
    best = max(answer(probes, "What does").levels, key=lambda lv: lv.score)
    assert best.name == "feature 2"


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        (np.ones((50, 1, 4, 4)), np.zeros(50), "fewer than two classes"),
        (np.random.default_rng(0).normal(size=(10, 1, 4, 4)), np.arange(10) % 2, "10 examples are too few"),
        (np.ones((50, 1, 4, 4)), np.arange(50) % 2, "no small model learns this"),
        (np.full((50, 1, 4, 4), np.nan), np.arange(50) % 2, "no small model learns this"),
        (np.zeros((0, 1, 4, 4)), np.zeros(0), "fewer than two classes"),
    ],
)
def test_poor_data(x: np.ndarray, y: np.ndarray, why: str) -> None:
    assert why in probe(x, y, kind="image", task="classes", seeds=2).says


def test_odd_data_that_can_be_told() -> None:
    x, y = one_feature(200)
    x[::7, 0], x[3, 1] = np.nan, np.inf
    words = np.where(y, "yes", "no")
    assert probe(x, words, kind="table", task="classes", seeds=1).answers
    one_pixel = (y + 0.1 * np.random.default_rng(0).normal(size=200)).reshape(-1, 1, 1, 1)
    assert probe(one_pixel, y, kind="image", task="classes", seeds=2).baseline.value > 0.95  # type: ignore[union-attr]
    rare = np.concatenate([y, [7, 7]])
    probes = probe(np.concatenate([x, x[:2]]), rare, kind="table", task="classes", seeds=2, seconds=60)
    assert "1 classes of fewer than 5 examples were left out" in probes.notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "sound"}, "kind is one of"),
        ({"task": "boxes"}, "'classes' or 'numbers'"),
        ({"kind": "table"}, r"of shape \(N, F\), not \(4, 1, 2, 2\)"),
        ({"labels": np.zeros(3)}, "do not fit 4 examples"),
    ],
)
def test_malformed_arguments_are_refused(change: dict, message: str) -> None:
    given = {"inputs": np.zeros((4, 1, 2, 2)), "labels": np.zeros(4), "kind": "image", "task": "classes"} | change
    with pytest.raises(ValueError, match=message):
        probe(given.pop("inputs"), given.pop("labels"), **given)


def test_neighbours_equal_scikit_learn() -> None:
    x, y = load_digits(return_X_y=True)
    x, y = x[:400], y[:400]
    folds = probe_models.draw_folds(y, "classes", 1, 0)
    target = probe_models.Target("classes", torch.nn.functional.one_hot(torch.as_tensor(y)).float(), torch.ones(len(y)))
    features = torch.as_tensor(x).float()
    found = probe_models.neighbours(features, features, target, folds)["5 nearest neighbours"]
    twin = cross_val_predict(KNeighborsClassifier(5), x, y, cv=PredefinedSplit(folds[0].numpy()))
    assert (found[0].argmax(1).numpy() == twin).mean() > 0.995  # but for ties


def test_ridge_equals_scikit_learn() -> None:
    x, y = load_diabetes(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    folds, target = probe_models.draw_folds(y, "numbers", 1, 0), probe_models.Target.of(y, "numbers")
    features = torch.as_tensor(x).float()
    found = probe_models.ridges(features, features, target, folds, (0.01,))[0]
    wanted, fold = target.wanted[:, 0].numpy(), folds[0].numpy()
    for k in range(probe_models.FOLDS):
        train = fold != k
        twin = Ridge(0.01 * (x[train] ** 2).sum(0).mean()).fit(x[train], wanted[train])
        assert np.abs(found[0, fold == k, 0].numpy() - twin.predict(x[fold == k])).max() < 1e-3


def test_no_model_sees_the_fold_it_is_judged_on() -> None:
    """With a column that identifies the example, and labels at random, nothing may be told."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    target, folds = probe_models.Target.of(y, "classes"), probe_models.draw_folds(y, "classes", 2, 0)
    found = probe_models.measure({"identity": torch.eye(200)}, target, folds)
    assert abs(float(found.parts.mean()) - 0.5) < 0.1


def test_folds_are_even_and_stratified() -> None:
    y = np.repeat([0, 1, 2], [100, 50, 7])
    for fold in probe_models.draw_folds(y, "classes", 3, 0).numpy():
        counts = np.array([np.bincount(fold[y == c], minlength=5) for c in range(3)])
        assert (counts.max(1) - counts.min(1) <= 1).all()


def test_changes_equal_slow_twins() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((5, 3, 8, 8)).astype(np.float32)
    assert np.allclose(probe_inputs.area_average(x, 4), x.reshape(5, 3, 4, 2, 4, 2).mean((3, 5)), atol=1e-6)
    assert np.allclose(probe_inputs.area_average(x, 8), x, atol=1e-6)
    for changed in (probe_inputs.shuffled(x, 0), probe_inputs.permuted(x, 0), probe_inputs.patches_shuffled(x, 2, 2, 0)):
        assert changed.shape == x.shape
        assert np.allclose(probe_inputs.ranked(changed), probe_inputs.ranked(x))
    pixels = {tuple(p) for p in probe_inputs.shuffled(x, 0)[0].reshape(3, -1).T}
    assert pixels == {tuple(p) for p in x[0].reshape(3, -1).T}  # channels stay together
    moved, corners = probe_inputs.patches_shuffled(x, 4, 4, 0)[0], [(i, j) for i in (0, 4) for j in (0, 4)]
    before, after = ({z[:, i : i + 4, j : j + 4].tobytes() for i, j in corners} for z in (x[0], moved))
    assert before == after
    assert len(np.unique(probe_inputs.levels(x, 4))) == 4


def test_padding_stays_and_words_are_kept() -> None:
    x = np.array([[5, 0, 6, 7, 0, 0], [0, 0, 1, 2, 3, 4]])
    assert probe_inputs.padding(x, 0).tolist() == [[False] * 4 + [True] * 2, [True] * 2 + [False] * 4]
    mixed = probe_inputs.order_shuffled(x, 0, 0)
    assert (np.sort(mixed, 1) == np.sort(x, 1)).all()
    assert (mixed[0, 4:] == 0).all()
    assert (mixed[1, :2] == 0).all()
    assert probe_inputs.cut(x, 0, 3).tolist() == [[5, 0, 6], [1, 2, 3]]
    assert probe_inputs.cut(x, 0, 3, last=True).tolist() == [[0, 6, 7], [2, 3, 4]]


def test_components_equal_those_of_a_full_decomposition() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(300, 200, generator=random) * torch.logspace(0, -3, 200)
    found, _ = probe_models.reduced(x, x, 0)
    left, values, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    twin = (left * values)[:, : probe_models.COMPONENTS]
    twin = twin / twin.var(0).sum().sqrt()
    distances = [torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist") for z in (found, twin)]
    assert torch.allclose(*distances, atol=1e-3)


def test_backward_order_equals_refitting() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5))
    y = 3 * x[:, 2] + 2 * x[:, 0] ** 2 + x[:, 4] + 0.1 * rng.normal(size=200)
    order = backward_order(x, probe_models.Target.of(y, "numbers"), np.arange(200))
    assert order[:3] == [2, 0, 4]


def test_samples_keep_proportions() -> None:
    y = np.repeat([0, 1, 2], [8000, 1900, 100])
    sample = draw(np.zeros((10000, 2)), y, "table", "classes", 1000, 0)
    assert np.bincount(sample.labels).tolist() == [800, 190, 10]


def test_intervals() -> None:
    random = torch.Generator().manual_seed(0)
    numbers = probe_models.Target.of(np.arange(400.0), "numbers")
    parts = torch.randn(1, 400, generator=random).expand(3, -1)  # repetitions that agree: the interval of a mean
    found = probe_answers.interval(parts, numbers)
    assert found.value == pytest.approx(float(parts[0].mean()))
    assert found.high - found.value == pytest.approx(1.966 * float(parts[0].std()) / 20, rel=1e-2)
    assert probe_answers.student(0.975, 24) == pytest.approx(2.0639, abs=1e-3)
    classes = probe_models.Target.of(np.arange(100) % 2, "classes")
    assert probe_answers.score_interval(torch.ones(2, 100), classes).low < 0.97  # no variance is no certainty


def test_parts_add_up_to_balanced_accuracy_and_r2() -> None:
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(3, size=90) // 2, rng.integers(2, size=90)
    target = probe_models.Target.of(labels, "classes")
    parts = target.parts(torch.nn.functional.one_hot(torch.as_tensor(guesses))[None].float())
    assert float(parts.mean()) == pytest.approx(balanced_accuracy_score(labels, guesses), abs=1e-6)
    numbers = rng.normal(size=90)
    target = probe_models.Target.of(numbers, "numbers")
    predicted = target.wanted + 0.3 * torch.as_tensor(rng.normal(size=(90, 1))).float()
    clipped = predicted[:, 0].clamp(target.wanted.min(), target.wanted.max())
    assert float(target.parts(predicted[None]).mean()) == pytest.approx(r2_score(target.wanted[:, 0], clipped), abs=1e-5)


def test_local_features_do_not_depend_on_the_place() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1, 8, 8)).astype(np.float32)
    x[:20, :, 1:4, 1:4] += 5
    bag = probe_features.bag_of_patches(np.tile(x, (1, 1, 1, 2)), 3, 3, 0)
    assert bag["a bag of local features"].shape == (40, 128)
