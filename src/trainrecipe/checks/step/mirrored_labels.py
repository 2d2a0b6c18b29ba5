from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    import torch

    from trainrecipe.subjects.step import Step

SMALLEST = 8
"""Pixels that an image must have along each side."""
MOST = 64
"""Examples that are looked at."""
FEWEST = 4
"""Examples that must fit in either way, as they are and turned."""
RARELY = 0.1
"""Share of the examples that fit one way only that must be turned: a single odd image is no rule."""


class MirroredLabels(Check):
    """Maps of labels lie on their images, and not on the mirror images.

    What it checks
    --------------
    For steps whose inputs are images and whose targets are maps of the same height and width: how well each map of labels can
    be predicted from brightness and edges at the same place of its image, as it is and flipped along one or both axes. If some
    examples fit only as they are and others only flipped, images were turned at random and their labels were not.

    Why it matters
    --------------
    A random flip of the image alone makes half of the masks wrong. The loss still falls, since backgrounds are large and
    objects often in the middle, and the model stays far below what it could reach.

    What healthy looks like
    -----------------------
    No example fits better in another pose than in its own. Symmetric ones, and labels that brightness and edges do not tell,
    fit equally in all poses and say nothing.

    What to do
    ----------
    Draw once per example, and flip the labels with the image.

    When it is wrong
    ----------------
    Where the task is to find out whether an image is mirrored. Turns by right angles and crops are not looked for. That all
    examples are turned alike may be meant, and is not reported.

    Source
    ------
    Fault catalogue 151.
    """

    title = "Some images are flipped, and their labels are not"
    rows = ("D4", "S24")
    faults = (151,)
    explains = ("overfit-one-batch",)

    def measure(self, step: Step) -> Evidence:
        from trainrecipe.subjects.poses import fits

        found = _examples(step)
        if found is None:
            return Evidence(missing="there are no images with maps of labels of their height and width")
        fit = fits(*found)
        pose = max(fit.turned, key=lambda name: fit.turned[name])
        return Evidence(
            {"examples": fit.examples, "straight": fit.straight, "turned": fit.turned[pose], "pose": pose}, place=step.place
        )

    def judge(self, evidence: Evidence) -> Ruling:
        straight, turned, examples = evidence["straight"], evidence["turned"], evidence["examples"]
        if not turned:
            return Ruling.passed(f"none of {examples} maps of labels fits its image better when flipped")
        if min(straight, turned) < FEWEST or turned < RARELY * (straight + turned):
            return Ruling.unsure(f"of {examples} maps of labels {turned} fit better {evidence['pose']}, {straight} as they are")
        return Ruling.found(
            Severity.WARNING,
            f"The maps of labels of {turned} of {examples} images lie {evidence['pose']} on them.",
            expected="every map of labels fits its image as it is",
            observed=f"{straight} maps fit as they are and not {evidence['pose']}; with {turned} it is the other way",
            fix="Draw the random flip once per example, and apply it to the image and to its labels.",
        )


def _examples(step: Step) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Images (N, C, H, W) of several steps and their maps of labels (N, H, W)."""
    import torch

    images = [i for i in step.inputs if i.dense and i.tensor.ndim == 4 and i.tensor.is_floating_point()]
    pairs = [(i, t) for i in images for t in step.targets if t.dense and _is_map(t.tensor, i.tensor)]
    if len(pairs) != 1:
        return None
    image, label = pairs[0]
    kept = [(image.tensor, label.tensor)]
    for batch in step.batches_seen:
        given = batch.on(step.tape) or {}
        if image.number in given and label.number in given:
            kept.append((given[image.number], given[label.number]))
    many = {id(x): (x, y) for x, y in kept}.values()
    x, y = torch.cat([x for x, _ in many])[:MOST], torch.cat([y.reshape(y.shape[0], *y.shape[-2:]) for _, y in many])[:MOST]
    return x.cpu(), y.cpu()


def _is_map(label: torch.Tensor, image: torch.Tensor) -> bool:
    n, _, *size = image.shape
    return min(size) >= SMALLEST and list(label.shape) in ([n, *size], [n, 1, *size])
