"""Whether a map of labels turns with its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.data import Data

FEWEST = 2
"""Examples that must have been seen turned, with their labels left where they were."""


class LabelsLeftBehind(Check):
    """Where an image is flipped or turned at random, its mask or its boxes are turned with it.

    What it checks
    --------------
    A few examples of each data set are read ten times under different random states, in a process of their own. Where an
    image comes out flipped, transposed or turned by right angles, the map of labels of the same height and width, or the
    boxes, must come out turned alike, and not by a decision of their own. Labels that are symmetric under the move say nothing
    and are left out. Batches that the training loop turns itself are compared with what the loader gave.

    Why it matters
    --------------
    A random flip of the image alone makes half of the masks wrong. The loss still falls, since backgrounds are large and
    objects often in the middle, and the model stays far below what it could reach.

    What healthy looks like
    -----------------------
    One random decision per example, applied to the image and to its labels: `if flip: image, mask = image.flip(-1),
    mask.flip(-1)`, or transforms that are given both (`torchvision.transforms.v2`, `albumentations`).

    What to do
    ----------
    Draw once, and turn the labels with the image; for boxes exchange and mirror the corners.

    When it is wrong
    ----------------
    Targets that show the image itself, such as an image that is to be restored, are not taken for labels. Crops, small
    rotations and elastic changes are not looked for, nor labels other than maps and boxes with corners (x1, y1, x2, y2).
    Of flips that the training loop makes after the loader, those of whole or single images of a batch are seen.

    Source
    ------
    Fault catalogue 151.
    """

    title = "Images are flipped, their labels are not, or by another decision"
    rows = ("D4", "S24")
    faults = (151,)
    explains = ("mirrored-labels",)

    def measure(self, data: Data) -> list[Evidence]:
        """Read examples several times and follow images and labels."""
        from trainrecipe.subjects.examples import read_place
        from trainrecipe.subjects.turning import turning

        found, why = _in_the_loop(data), "no loader was read"
        seen: set[int] = set()
        for record, loader in data.loaders:
            if id(loader.dataset) in seen:
                continue
            seen.add(id(loader.dataset))
            told = turning(data, record.number)
            if isinstance(told, str):
                why = told
                continue
            if not told:
                why = "no image with a map of labels or boxes was seen flipped or turned"
            at = read_place(loader.dataset) or record.born or record.place
            for one in told:
                counts = {"move": one.move, "stays": one.stays, "follows": one.follows, "other": one.other, "apart": one.apart}
                found.append(Evidence({**counts, "boxes": one.boxes, "batches": False}, place=at))
        return found or [Evidence(missing=why)]

    def judge(self, evidence: Evidence) -> Ruling:
        """The labels of every example stay although its image is turned."""
        stays = evidence["stays"]
        turned = stays + evidence["follows"] + evidence["other"] + evidence["apart"]
        if evidence["apart"] >= FEWEST and evidence["apart"] > evidence["other"]:
            return _apart(evidence, turned)
        if not stays and not evidence["apart"]:
            return Ruling.passed(f"{evidence['follows']} of {turned} labels turn with their images; none stay behind")
        if stays < FEWEST or evidence["follows"] or evidence["other"] or evidence["apart"]:
            return Ruling.unsure(f"of {turned} examples seen turned, the labels of {stays} stay where they are")
        what = "boxes stay where they were" if evidence["boxes"] else "map of labels stays where it was"
        return Ruling.found(
            Severity.WARNING,
            f"Images are {evidence['move']} at random, and their {what}.",
            expected="labels turned with their image, by the same random decision",
            observed=f"{stays} training batches held images that were {evidence['move']} beside labels as the loader gave them"
            if evidence["batches"]
            else f"{stays} of {turned} examples were seen {evidence['move']}, with the same labels in every reading",
            fix="Draw the random decision once per example and apply it to the image and to its labels.",
        )


def _apart(evidence: Evidence, turned: int) -> Ruling:
    seen = f"{evidence['apart']} training batches" if evidence["batches"] else f"{evidence['apart']} of {turned} examples"
    return Ruling.found(
        Severity.WARNING,
        "Images and their maps of labels are turned at random, each by a decision of its own.",
        expected="labels turned with their image, by the same random decision",
        observed=f"in {seen} the labels were turned in a way in which the image was not",
        fix="Draw the random decision once per example and apply it to the image and to its labels.",
    )


def _in_the_loop(data: Data) -> list[Evidence]:
    """Training batches whose images the loop turned, and whose labels it did not."""
    turned = [b for b in data.fed if b.trains and b.turned]
    if not turned:
        return []
    apart = sum(b.apart for b in turned)
    counts = {"move": turned[0].turned, "stays": len(turned) - apart, "follows": 0, "other": 0, "apart": apart, "boxes": False}
    return [Evidence({**counts, "batches": True}, place=turned[0].turned_at)]
