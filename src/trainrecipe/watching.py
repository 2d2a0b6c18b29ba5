"""`with trainrecipe.watch() as watched:` around a training loop, in a script of one's own or in a notebook.

    with trainrecipe.watch() as watched:
        for inputs, labels in loader:
            ...
    watched            # in a notebook: shows the findings; elsewhere: print(watched)

The loop is observed exactly as `recipe run` observes a script: results are bit for bit those without it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from trainrecipe.capture import subjects
from trainrecipe.capture.listen.listener import Listener
from trainrecipe.config import BUDGET, Config
from trainrecipe.exam import Examination, examine
from trainrecipe.wrong_use import WrongUse


class Watched:
    """What `watch` yields: `examination` is there once the block has ended."""

    def __init__(self) -> None:
        self._examination: Examination | None = None

    @property
    def examination(self) -> Examination:
        """The answers of all checks. Raises WrongUse while the block is still going on."""
        if self._examination is None:
            raise WrongUse("the examination is made when the `with trainrecipe.watch()` block ends; look after it")
        return self._examination

    def __str__(self) -> str:
        return str(self.examination)

    def _repr_html_(self) -> str:
        return self.examination._repr_html_()


@contextlib.contextmanager
def watch(*, budget: float = BUDGET, config: Config | None = None) -> Iterator[Watched]:
    """Observe the block, and examine what was seen when it ends.

    `budget` is the time in seconds for experiments on the captured steps. The block's own exceptions pass through, and
    the examination is made all the same.
    """
    listener = Listener()
    watched = Watched()
    listener.install()
    try:
        yield watched
    finally:
        listener.remove()
        config = config or Config.load()
        try:
            watched._examination = _examine(listener, config, budget)
        except Exception as error:  # of ours: it must not reach the user's program
            watched._examination = Examination(())
            warnings.warn(f"trainrecipe failed to examine the block: {type(error).__name__}: {error}", stacklevel=3)


def _examine(listener: Listener, config: Config, budget: float) -> Examination:
    listener.fill_plan()
    subjects.fill_parameters(listener)
    subjects.fill_untaught(listener)
    subjects.fill_stream(listener)
    seen = [*subjects.steps(listener), listener.run, subjects.data(listener, may_read=False)]
    return examine(*seen, config=config, budget=budget)
