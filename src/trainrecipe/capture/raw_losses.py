"""Which functions the training's loss applies to a model's outputs directly: they tell whether these are logits."""

from __future__ import annotations

from trainrecipe.capture.listen.listener import Listener
from trainrecipe.capture.tape import LOSSES, Tape
from trainrecipe.subjects.names import RESHAPING, SOFTMAX, plain_name

_TELLING = LOSSES | SOFTMAX | {"sigmoid", "logsigmoid", "softplus"}


def fill_raw_losses(listener: Listener) -> None:
    """Fill `run.raw_losses`: (number of the model, name of the function)."""
    numbers = {id(root): n for n, root in enumerate(listener.models.roots.values())}
    found = {pair for tapes in listener.backwards.tapes.values() for tape in tapes for pair in _of(tape, numbers)}
    listener.run.raw_losses = sorted(found)


def _of(tape: Tape, numbers: dict[int, int]) -> set[tuple[int, str]]:
    outputs: dict[int, int] = {}
    found: set[tuple[int, str]] = set()
    for op in tape.history:
        if not op.top:
            continue
        if op.kind == "module" and id(op.call) in numbers:
            outputs |= dict.fromkeys(op.outputs, numbers[id(op.call)])
        elif op.inputs and op.inputs[0] in outputs:
            model = outputs[op.inputs[0]]
            if op.name in RESHAPING:
                outputs |= dict.fromkeys(op.outputs, model)
            elif plain_name(op) in _TELLING:
                found.add((model, plain_name(op)))
    return found
