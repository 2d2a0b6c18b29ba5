"""What probes answer on digits and on planted tasks, and how often they flag a change that changes nothing.

    python benchmarks/probes.py                # everything, about five minutes on one core
    python benchmarks/probes.py coverage       # or digits, planted, coverage

A null change replaces columns of noise by fresh columns of noise: the difference of the true scores is zero, so 5 % of the
intervals of the difference may leave zero out, half of them below it. Labels at random show the same for "can be told".
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from test_probes import coloured, early, one_feature, ordered, patched, sided

from trainrecipe.probes.answers import Interval, interval, score_interval, student
from trainrecipe.probes.models import FOLDS, Target, draw_folds, measure
from trainrecipe.probes.probes import Probes, probe

REPETITIONS = 150
KNOWN = {
    "4 x 4 pixels": 0.935,
    "2 x 2 pixels": 0.613,
    "1 x 1 pixels": 0.125,
    "4 grey levels": 0.979,
    "2 grey levels": 0.942,
    "pixels sorted": 0.246,
    "pixels shuffled in each image": 0.112,
    "one fixed permutation": 0.986,
    "4 x 4 patches shuffled": 0.791,
}
"""The better of 5 nearest neighbours and ridge on the pixels, by scikit-learn."""


def show(title: str, probes: Probes, seconds: float, known: dict[str, float] | None = None) -> None:
    print(f"\n## {title} ({seconds:.1f} s, {probes.examples} examples)\n\n{probes.says}")
    for note in probes.notes:
        print(f"Note: {note}.")
    for answer in probes.answers:
        print(f"\n{answer.question} {answer.says}")
        for level in answer.levels:
            before = f"{known[level.name]:6.3f}" if known and level.name in known else ""
            d = level.change
            flag = "lost" if level.lost else "within noise" if level.within_noise else "gained"
            figures = f"{level.score:.3f} ({level.low:.3f} to {level.high:.3f})  {d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})"
            print(f"  {level.name[:44]:44s} {figures} {flag:12s} {before:6s} {level.model}")
    if probes.unreached:
        print(f"\nNot reached: {len(probes.unreached)} levels.")


def digits() -> None:
    x, y = load_digits(return_X_y=True)
    timed("digits", x.reshape(-1, 1, 8, 8), y, "image", "classes", known=KNOWN, seconds=60)


def planted() -> None:
    for title, made, kind in (
        ("two marks in the same half", sided, "image"),
        ("colour at equal luma", coloured, "image"),
        ("a bar anywhere", patched, "image"),
        ("an early pulse in the first channel", early, "series"),
        ("word 1 before word 2", ordered, "tokens"),
        ("the fourth of six columns", one_feature, "table"),
    ):
        timed(title, *made(), kind, "classes")
    for load, task in ((load_wine, "classes"), (load_breast_cancer, "classes"), (load_diabetes, "numbers")):
        data = load()
        timed(load.__name__, data.data, data.target, "table", task, names=[str(n) for n in data.feature_names])


def timed(
    title: str, x: np.ndarray, y: np.ndarray, kind: str, task: str, known: dict[str, float] | None = None, **options
) -> None:
    start = time.perf_counter()
    probes = probe(x, y, kind=kind, task=task, **options)
    show(title, probes, time.perf_counter() - start, known)


def coverage() -> None:
    print(f"\n## Null changes, {REPETITIONS} data sets each: share flagged (promised 0.05, as lost and random labels 0.025)\n")
    columns = ("labels", "examples", "flagged", "as lost", "examples alone", "Nadeau-Bengio", "random labels told")
    print(" | ".join(columns))
    for task, n in (("classes", 100), ("classes", 400), ("numbers", 100), ("numbers", 400)):
        shares = np.array([null_change(task, n, seed) for seed in range(REPETITIONS)]).mean(0)
        print(f"{task} | {n} | " + " | ".join(f"{share:.3f}" for share in shares), flush=True)


def null_change(task: str, n: int, seed: int) -> tuple[bool, bool, bool, bool, bool]:
    """Whether a null change is flagged, flagged as a loss, flagged without the repetitions' variance or by Nadeau and Bengio's.

    The last is whether labels at random are told from the same columns.
    """
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(n, 3))
    signal = y + rng.normal(size=(n, 3))
    labels = (y.sum(1) > 0).astype(int) if task == "classes" else y.sum(1)
    one, two = ({"columns": torch.as_tensor(np.hstack([signal, rng.normal(size=(n, 6))])).float()} for _ in range(2))
    target, folds = Target.of(labels, task), draw_folds(labels, task, 5, seed)
    a, b = (measure(view, target, folds, network=False, seed=seed).parts for view in (one, two))
    found, alone = interval(b - a, target), interval((b - a).mean(0).expand(2, -1), target)
    shuffled = rng.permutation(labels)
    lottery = Target.of(shuffled, task)
    random = measure(one, lottery, draw_folds(shuffled, task, 5, seed), network=False, seed=seed)
    told = score_interval(random.parts, lottery).low > lottery.chance
    return _flags(found), found.high < 0, _flags(alone), _flags(nadeau_bengio(b - a, folds)), told


def _flags(found: Interval) -> bool:
    return not found.low <= 0 <= found.high


def nadeau_bengio(parts: torch.Tensor, folds: torch.Tensor) -> Interval:
    """The interval of the mean over splits by (1/J + n_test/n_train) s², for comparison."""
    inside = torch.nn.functional.one_hot(folds, FOLDS).float()
    scores = (torch.einsum("rnk,rn->rk", inside, parts) / inside.sum(1)).double().flatten()
    half = student(0.975, len(scores) - 1) * float(((1 / len(scores) + 1 / (FOLDS - 1)) * scores.var()).sqrt())
    return Interval(float(scores.mean()), float(scores.mean()) - half, float(scores.mean()) + half)


if __name__ == "__main__":
    assert FOLDS == 5, "the figures above are of five folds"
    with torch.no_grad():
        for part in sys.argv[1:] or ("digits", "planted", "coverage"):
            {"digits": digits, "planted": planted, "coverage": coverage}[part]()
