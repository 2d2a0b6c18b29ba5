from __future__ import annotations

from typing import TYPE_CHECKING

from trainrecipe.check import Check
from trainrecipe.finding import Evidence, Ruling, Severity

if TYPE_CHECKING:
    from trainrecipe.subjects.run import Run

SHARE = 0.01
"""Share of the results of a line that wrapped around, from which it is reported."""
RANGES = {"uint8": "from 0 to 255", "int8": "from -128 to 127", "uint16": "from 0 to 65535", "int16": "from -32768 to 32767"}
FEW = 64
"""Results below which nothing is said: a counter, or an index."""


class WholeNumbersWrap(Check):
    """Arithmetic on 8-bit and 16-bit whole numbers stays within their range.

    What it checks
    --------------
    Additions, subtractions and products of NumPy arrays in your own files (those that speak of `uint8`, `int16`, PIL, cv2 and
    the like), while a rehearsal runs: whether the first results of each line are what the same operation gives with 64 bits.

    Why it matters
    --------------
    Pictures and sound come as small whole numbers, and NumPy wraps around without a word: `frame - background` is 255 where
    it should be -1, `image + 40` is black where it should be white. The net is trained on pictures full of false edges.

    What healthy looks like
    -----------------------
    `frame.astype(np.int16) - background`, or floats.

    What to do
    ----------
    Cast before you calculate: `.astype(np.float32)` first, then subtract, add, scale and clip.

    When it is wrong
    ----------------
    Numbers that are meant to go round, such as the hue of a colour or a hash. `+=` and the like, functions such as
    `np.subtract`, and tensors of PyTorch's are not heard.

    Source
    ------
    Fault catalogue 135; NumPy manual, "Integer overflow" (array types).
    """

    title = "Small whole numbers wrap around"
    rows = ("S10", "D4")
    faults = (135,)

    def measure(self, run: Run) -> Evidence | list[Evidence]:
        made = [
            Evidence({"sign": w.sign, "dtype": w.dtype, "share": w.share, "elements": w.elements}, place=w.place)
            for w in run.wraps
            if w.elements >= FEW
        ]
        return made or Evidence(missing="no arithmetic on small whole numbers was heard")

    def judge(self, evidence: Evidence) -> Ruling:
        e = evidence
        says = f"{e['share']:.1%} of the results of `{e['sign']}` in {e['dtype']} wrapped around"
        if e["share"] < SHARE:
            return Ruling.passed(f"{says}, of {e['elements']}")
        return Ruling.found(
            Severity.WARNING,
            f"{says}.",
            expected=f"results {RANGES[e['dtype']]}, or of a type that holds them",
            observed=f"{e['share']:.1%} of {e['elements']} results differ from those with 64 bits",
            fix="Cast first, then calculate: .astype(np.float32) or .astype(np.int32).",
        )
