"""What a change `name=value` is: an intervention, or a knob of the script's own, a constant or a flag."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from trainrecipe.intervene.intervention import intervention, interventions
from trainrecipe.intervene.knob import meant
from trainrecipe.wrong_use import WrongUse


@dataclasses.dataclass(frozen=True)
class Applied:
    """Changes by the way they are made: interventions, constants with their values, and words for the command line."""

    interventions: tuple[str, ...]
    constants: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


def applied(changes: Sequence[str], script: str, module: bool = False) -> Applied:
    """How changes are made in a script. A knob of the script's own has precedence over an intervention of the same name.

    Raises WrongUse for what is neither, and for a value that it cannot take.
    """
    inside: list[str] = []
    constants: dict[str, str] = {}
    words: list[str] = []
    for change in changes:
        name, equals, given = change.partition("=")
        if not equals or not given:
            raise WrongUse(f"{change!r} is no change; say it as in dropout=0.3 or hidden=128")
        known = name.replace("-", "_") in interventions()
        try:
            knob = meant(name.strip(), (given.strip(),), script, module)
        except WrongUse:
            if not known:
                raise
            knob = None
        if knob is None or (known and not knob.path and not knob.place):
            intervention(change)
            inside.append(change)
        elif knob.path:
            constants[knob.path] = given.strip()
        else:
            words += knob.arguments(given.strip())
    return Applied(tuple(inside), tuple(constants.items()), tuple(words))
