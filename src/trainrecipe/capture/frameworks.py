"""What frameworks do in the script's place: they count batches, and choose the best weights.

Lightning validates, and steps schedulers of an epoch, when it has trained on as many batches as the loader has, so it is
told where a pass ends that a rehearsal cuts short. The metrics by which its callbacks and the Trainer of transformers
choose are noted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from trainrecipe.capture.listen.horizon import Horizon, Told
from trainrecipe.capture.patch import Patches
from trainrecipe.capture.where import spot

if TYPE_CHECKING:
    from trainrecipe.capture.listen.checkpoints import CheckpointCalls
    from trainrecipe.capture.listen.loaders import Loaders

LIGHTNING = ("lightning.pytorch.loops.training_epoch_loop", "pytorch_lightning.loops.training_epoch_loop")
"""Modules of Lightning's loop over the batches of an epoch, under both of its names."""
CHOOSERS = {
    f"{root}.{module}": name
    for root in ("lightning.pytorch.callbacks", "pytorch_lightning.callbacks")
    for module, name in (("model_checkpoint", "ModelCheckpoint"), ("early_stopping", "EarlyStopping"))
} | {"transformers.training_args": "TrainingArguments"}
"""Modules whose objects choose among weights, or end the training, by a metric that they know by its name; and the objects."""


def teach_lightning(name: str, loaders: Loaders, horizon: Horizon, patches: Patches) -> None:
    """Make Lightning end an epoch with the last batch of a pass that is cut short, validation included, and tell its length."""
    loop = getattr(sys.modules.get(name), "_TrainingEpochLoop", None)
    if not hasattr(loop, "_num_ready_batches_reached") or not hasattr(loop, "_should_check_val_fx"):
        return

    def reached(original: Any) -> Any:
        def _num_ready_batches_reached(self: Any) -> bool:
            horizon.told = _length(self.trainer)
            return bool(original(self)) or loaders.at_end_of_cut()

        return _num_ready_batches_reached

    def validates(original: Any) -> Any:
        def _should_check_val_fx(self: Any, *args: Any, **kwargs: Any) -> bool:
            at_end, often = loaders.end_cut(), self.trainer.check_val_every_n_epoch
            if original(self, *args, **kwargs):
                return True
            return at_end and often is not None and bool(self._should_check_val_epoch())

        return _should_check_val_fx

    patches.put(loop, "_num_ready_batches_reached", reached)
    patches.put(loop, "_should_check_val_fx", validates)


def _length(trainer: Any) -> Told:
    """How long a trainer of Lightning's is meant to train."""
    epochs, steps = getattr(trainer, "max_epochs", None), getattr(trainer, "max_steps", None)
    early = getattr(trainer, "early_stopping_callback", None) is not None
    epochs, steps = (n if isinstance(n, int) and n > 0 else None for n in (epochs, steps))
    return Told(epochs, steps, early)


def note_choosers(name: str, checkpoints: CheckpointCalls, patches: Patches) -> None:
    """Note by which metric, and in which direction, the objects of a module choose."""
    owner = getattr(sys.modules.get(name), CHOOSERS[name], None)
    if owner is None:
        return
    made = "__post_init__" if name.startswith("transformers") else "__init__"

    def notes(original: Any) -> Any:
        def built(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            checkpoints.note_chooser(self, _choice, spot(2))
            return result

        return built

    patches.put(owner, made, notes)


def _choice(chooser: Any) -> tuple[str | None, bool]:
    """The metric that an object chooses by, None if by none, and whether higher values are chosen."""
    if hasattr(chooser, "monitor"):
        keeps = getattr(chooser, "save_top_k", 1) != 0
        return (chooser.monitor if keeps else None), getattr(chooser, "mode", "min") == "max"
    loads = getattr(chooser, "load_best_model_at_end", False)
    metric = getattr(chooser, "metric_for_best_model", None)
    return (metric if loads else None), bool(getattr(chooser, "greater_is_better", False))
