"""What cleanlab, CleanVision, imagededup and fastdup find in data with planted defects; run by data_quality.py.

    python -m venv peers
    peers/bin/pip install "cleanlab[datalab]==2.9.0" cleanvision==0.3.7 fastdup scikit-learn pandas matplotlib "pyarrow<21"
    peers/bin/pip install torch PyWavelets tqdm pillow && peers/bin/pip install --no-deps imagededup
    python benchmarks/data_quality.py --peers peers/bin/python

Nothing of trainrecipe is imported here. Each case is a folder with `case.json` (`peers` names the tools, `peer_ask` the
question), `images/` with one PNG per row, and `table.npz` with features `x` and labels `y`; answers are written beside them
as soon as there are any, so that a tool that dies takes only the rest of its own cases along. Seconds are CPU time without
imports.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import time
import types
from collections.abc import Callable, Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np

Answer = dict[str, Any]
"""`pairs`, `rows`, `score` by row, or `alarm`, as far as a question is answered by them."""
FLAGS = ("dark", "light", "low_information", "odd_size", "odd_aspect_ratio", "blurry")
"""CleanVision's questions to single images, less `grayscale`, which is no defect of grey images."""


def cleanlab(folder: Path, ask: str) -> dict[str, Answer]:
    """Label issues and quality scores by out-of-fold probabilities of a logistic regression; the rest by Datalab."""
    table = np.load(folder / "table.npz")
    x, y = np.nan_to_num(table["x"]), table["y"]
    x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    if ask == "labels":
        return {"cleanlab, logistic regression": _labels(x, y)}
    from cleanlab import Datalab

    if ask == "shortcut":
        return {"cleanlab Datalab, spurious correlations": {"alarm": _spurious(folder, y)}}
    issue = {"pairs": "near_duplicate", "outliers": "outlier", "order": "non_iid"}[ask]
    lab = Datalab({"row": np.arange(len(x))}, verbosity=0)
    lab.find_issues(features=x, issue_types={issue: {}})
    found = lab.get_issues(issue)
    told = np.flatnonzero(found[f"is_{issue}_issue"])
    if ask == "pairs":
        return {"cleanlab Datalab": {"pairs": _paired((i, j) for i in told for j in found.near_duplicate_sets.iloc[i])}}
    if ask == "order":
        return {"cleanlab Datalab, non-iid": {"alarm": bool(len(told))}}
    return {"cleanlab Datalab": {"rows": told.tolist(), "score": (1 - found.outlier_score).tolist()}}


def _labels(x: np.ndarray, y: np.ndarray) -> Answer:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    likely = cross_val_predict(LogisticRegression(max_iter=2000), x, y, cv=folds, method="predict_proba")
    rows = np.flatnonzero(find_label_issues(y, likely, n_jobs=1))
    return {"rows": rows.tolist(), "score": (1 - get_label_quality_scores(y, likely)).tolist()}


def _spurious(folder: Path, y: np.ndarray) -> bool:
    from cleanlab import Datalab
    from datasets import Dataset
    from PIL import Image

    images = [Image.open(p) for p in sorted((folder / "images").glob("*.png"))]
    lab = Datalab(
        data=Dataset.from_dict({"image": images, "label": y.tolist()}), label_name="label", image_key="image", verbosity=0
    )
    lab.find_issues()  # only without arguments does it look for them
    found = lab.get_info("spurious_correlations")
    return bool((found["correlations_df"]["score"] < found["threshold"]).any())


def cleanvision(folder: Path, ask: str) -> dict[str, Answer]:
    """All its checks, in one process: more are slower on small images."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder / "images"))
    lab.find_issues(n_jobs=1, verbose=False)
    if ask != "pairs":
        flagged = lab.issues[[f"is_{name}_issue" for name in FLAGS]].any(axis=1)
        return {"CleanVision": {"rows": [_row(path) for path in lab.issues.index[flagged]]}}
    sets = [*lab.info["exact_duplicates"]["sets"], *lab.info["near_duplicates"]["sets"]]
    return {"CleanVision": {"pairs": _paired((_row(a), _row(b)) for s in sets for a, b in combinations(s, 2))}}


def imagededup(folder: Path, ask: str) -> dict[str, Answer]:
    """PHash, at the default radius and at a narrow one. Its import of torchvision, which PHash does not use, is stubbed."""
    from imagededup.methods import PHash

    method = PHash(verbose=False)
    codes = method.encode_images(str(folder / "images"), num_enc_workers=0)
    if ask != "pairs":
        lacking = {_row(p) for p in (folder / "images").iterdir()} - {_row(name) for name in codes}
        return {"imagededup PHash": {"rows": sorted(lacking)}}
    answers = {}
    for radius in (10, 4):
        near = method.find_duplicates(encoding_map=codes, max_distance_threshold=radius, num_dist_workers=0)
        answers[f"imagededup PHash, radius {radius}"] = {
            "pairs": _paired((_row(a), _row(b)) for a, others in near.items() for b in others)
        }
    return answers


def fastdup(folder: Path, ask: str) -> dict[str, Answer]:
    """Pairs above its default threshold for components and above a strict one; its invalid files; its outliers."""
    import fastdup as tool

    done = tool.create(work_dir=str(folder / "fastdup"), input_dir=str(folder / "images"))
    done.run(overwrite=True, num_threads=1)
    if ask == "rows":
        return {"fastdup": {"rows": [_row(name) for name in done.invalid_instances().filename]}}
    if ask == "outliers":
        found = done.outliers()
        score = np.zeros(len(list((folder / "images").iterdir())))
        score[[_row(name) for name in found.filename_outlier]] = 2 - found.distance
        return {"fastdup": {"rows": np.flatnonzero(score).tolist(), "score": score.tolist()}}
    near = done.similarity()
    answers = {}
    for least in (0.96, 0.999):
        told = near[near.distance >= least]
        pairs = ((_row(a), _row(b)) for a, b in zip(told.filename_from, told.filename_to, strict=True))
        answers[f"fastdup, similarity {least}"] = {"pairs": _paired(pairs)}
    return answers


TOOLS: dict[str, Callable[[Path, str], dict[str, Answer]]] = {
    "cleanlab": cleanlab,
    "cleanvision": cleanvision,
    "imagededup": imagededup,
    "fastdup": fastdup,
}


def main() -> None:
    """Answer the cases of a folder with one tool: `data_peers.py TOOL FOLDER`."""
    name, root = sys.argv[1], Path(sys.argv[2])
    _prepare(name)
    for folder in sorted(root.iterdir()):
        case = json.loads((folder / "case.json").read_text())
        if name not in case["peers"] or (folder / f"{name}.json").exists():
            continue
        began = time.process_time()
        try:
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                answers = TOOLS[name](folder, case["peer_ask"])
        except BaseException as error:
            cause = str(error).strip().splitlines() or [""]
            reason = re.sub(r" at 0x\w+", "", cause[0])[:160]
            answers = {name: {"error": f"{type(error).__name__}: {reason}"}}
        seconds = time.process_time() - began
        told = {variant: {**answer, "seconds": seconds} for variant, answer in answers.items()}
        (folder / f"{name}.json").write_text(json.dumps(told))


def _prepare(name: str) -> None:
    """Import what is imported once, so that it does not count."""
    with contextlib.suppress(ImportError):
        if name == "imagededup":
            for module in ("", ".transforms", ".models", ".models.vision_transformer"):
                sys.modules["torchvision" + module] = _Stub("torchvision" + module)
            importlib.import_module("imagededup.methods")
        elif name == "cleanlab":
            for module in ("cleanlab.datalab.datalab", "cleanlab.filter", "sklearn.linear_model", "sklearn.model_selection"):
                importlib.import_module(module)
        else:
            importlib.import_module(name)


class _Anything:
    """Stands for whatever is asked of torchvision while imagededup is imported."""

    def __getattr__(self, name: str) -> _Anything:
        return _Anything()

    def __call__(self, *args: Any, **kwargs: Any) -> _Anything:
        return _Anything()


class _Stub(types.ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything()


def _row(path: str | Path) -> int:
    return int(Path(path).stem)


def _paired(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted({(int(min(a, b)), int(max(a, b))) for a, b in pairs})


if __name__ == "__main__":
    main()
