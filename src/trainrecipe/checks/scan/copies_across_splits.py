"""Evaluation examples that are copies of training examples, as stored or as they look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check, Price
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.scan import Scan

ALIKE = 0.1
"""The same share where copies are rows of features that nearly agree, which may be two examples as well."""
SHARE = 0.01
"""Share of the evaluation examples from which it is a warning; CIFAR's test sets hold 3.3 and 10 % (Barz and Denzler 2020)."""
FEW = 3
"""Copies below which nothing is said: iris holds one pair of equal rows."""
WHOLE = 0.98
"""Share of all training examples, and of a split, that are copies of each other where the split is the training set itself,
read once more for its score or for feature importances."""


class CopiesAcrossSplits(Check):
    """No evaluation example is a copy of a training example.

    What it checks
    --------------
    Every example of every split: first what is stored, before random transforms, by its contents; then how examples look:
    grey thumbnails of images, features of tables, shingles of words. Copies that were saved again, brightened or resized are
    found, and exact ones whatever augmentation does to them.

    Why it matters
    --------------
    Scores on examples that were trained on measure memory. Models and settings are then chosen for what they remember.

    What healthy looks like
    -----------------------
    No copies, or a handful in collections from the web.

    What to do
    ----------
    Look at the pairs, remove the copies from one side, and split by group (person, scene, document) where they come from one.

    When it is wrong
    ----------------
    Crops and turned copies are not seen; mirror images are, in up to 200,000 pictures. Rows of few values, windows of a
    series and short texts are equal by chance and left out. Rows of features that nearly agree are a note up to a tenth of the
    split, and so is all that is known only from what a model was fed (a program without loaders). Similar examples of one
    source (frames of a film) are copies to this check, and to a model as well. A split that is the whole training set once
    more, beside others that are not, is no evaluation.

    Source
    ------
    Barz and Denzler, "Do we train on test data?", 2020; fault catalogue 92 and 140; RECIPE D3.
    """

    title = "Evaluation examples are copies of training examples"
    rows = ("D3", "S24")
    faults = (92, 140)
    price = Price.FORWARD
    explains = ("train-val-overlap", "window-leakage", "group-leak", "time-leak")

    def measure(self, scan: Scan) -> Evidence | list[Evidence]:
        import numpy as np

        from trainrecipe.dataset.copies import copies

        train = scan.training()
        if train is None or not scan.evaluations():
            return Evidence(missing="there is no split to train on and one to evaluate on")
        found = copies(scan)
        trained = np.any([scan.where(other.name) for other in scan.trainings()], axis=0)
        made = []
        hits = {s.name: found.across(scan.where(s.name), trained) for s in scan.evaluations()}
        again = {n for n, hit in hits.items() if hit.sum() >= WHOLE * max(scan.where(n).sum(), trained.sum())}
        for split in scan.evaluations():
            if split.name in again and len(again) < len(hits):
                continue  # training examples are read again, beside others that are held out
            here, hit = scan.where(split.name), hits[split.name]
            exact = hit & found.exact
            made.append(
                Evidence(
                    {
                        "split": split.name,
                        "rows": int(here.sum()),
                        "copies": int(hit.sum()),
                        "exact": int(exact.sum()),
                        "sample": scan.column("index")[hit][:8].astype(int).tolist(),
                        "pictures": scan.thumbs is not None,
                        "fed": scan.as_fed,
                        "sampled": split.sampled or train.sampled,
                        "where": f"split == '{split.name}' and duplicate_group is not None",
                    },
                    place=scan.place(split.name),
                )
            )
        return made

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['copies']} of {e['rows']} examples of {e['split']} are copies of training examples"
        if e["copies"] < FEW:
            return Ruling.passed(says)
        counted = e["copies"] if e["pictures"] or e["copies"] >= ALIKE * e["rows"] else e["exact"]
        return Ruling.found(
            Severity.WARNING if counted >= max(FEW, SHARE * e["rows"]) and not e["fed"] else Severity.NOTE,
            f"{says} ({e['copies'] / e['rows']:.1%}): {e['exact']} with equal contents, the others look nearly the same.",
            expected="splits without an example in common",
            observed=f"such as examples {', '.join(map(str, e['sample']))} of {e['split']}"
            + (", in the part that was read" if e["sampled"] else ""),
            fix="Look at the pairs with `recipe view`, remove the copies from one side, and split by their source.",
            causes=(
                "examples were duplicated or augmented before the split",
                "the collection itself holds copies, and the split was drawn over files rather than sources",
            ),
        )
