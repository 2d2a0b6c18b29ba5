"""trainrecipe: finds the silent faults in an unmodified PyTorch training script.

From the command line: `recipe check train.py`. From Python:

    from trainrecipe import Step, examine

    print(examine(Step(model, batch, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))))

Importing the package loads neither PyTorch nor anything else heavy; names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainrecipe.check import Check as Check
    from trainrecipe.equivalence import Different as Different
    from trainrecipe.equivalence import same as same
    from trainrecipe.exam import Examination as Examination
    from trainrecipe.exam import examine as examine
    from trainrecipe.finding import Evidence as Evidence
    from trainrecipe.finding import Finding as Finding
    from trainrecipe.finding import Ruling as Ruling
    from trainrecipe.finding import Severity as Severity
    from trainrecipe.studying import data as data
    from trainrecipe.subjects.step import Step as Step
    from trainrecipe.watching import watch as watch

_HOMES = {
    "Check": "check",
    "Different": "equivalence",
    "Evidence": "finding",
    "Examination": "exam",
    "Finding": "finding",
    "Ruling": "finding",
    "Severity": "finding",
    "Step": "subjects.step",
    "data": "studying",
    "examine": "exam",
    "same": "equivalence",
    "watch": "watching",
}
__all__ = [
    "Check",
    "Different",
    "Evidence",
    "Examination",
    "Finding",
    "Ruling",
    "Severity",
    "Step",
    "data",
    "examine",
    "same",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
