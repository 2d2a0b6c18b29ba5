"""Frameworks that count batches themselves are told where a pass ends that a rehearsal cuts short.

Lightning validates, and steps schedulers of an epoch, when it has trained on as many batches as the loader has.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from trainrecipe.capture.patch import Patches

if TYPE_CHECKING:
    from trainrecipe.capture.listen.loaders import Loaders

LIGHTNING = ("lightning.pytorch.loops.training_epoch_loop", "pytorch_lightning.loops.training_epoch_loop")
"""Modules of Lightning's loop over the batches of an epoch, under both of its names."""


def teach_lightning(name: str, loaders: Loaders, patches: Patches) -> None:
    """Make Lightning end an epoch with the last batch of a pass that is cut short, validation included."""
    loop = getattr(sys.modules.get(name), "_TrainingEpochLoop", None)
    if not hasattr(loop, "_num_ready_batches_reached") or not hasattr(loop, "_should_check_val_fx"):
        return

    def reached(original: Any) -> Any:
        def _num_ready_batches_reached(self: Any) -> bool:
            return bool(original(self)) or loaders.at_end_of_cut()

        return _num_ready_batches_reached

    def validates(original: Any) -> Any:
        def _should_check_val_fx(self: Any, *args: Any, **kwargs: Any) -> bool:
            if original(self, *args, **kwargs):
                return True
            often = self.trainer.check_val_every_n_epoch
            return loaders.at_end_of_cut() and often is not None and bool(self._should_check_val_epoch())

        return _should_check_val_fx

    patches.put(loop, "_num_ready_batches_reached", reached)
    patches.put(loop, "_should_check_val_fx", validates)
