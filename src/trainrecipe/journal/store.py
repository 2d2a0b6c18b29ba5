"""The folder `.trainrecipe/` of a working directory: where runs are recorded and found again.

    journal = Journal.at(Path.cwd())
    log = journal.new_run(command="check", script="train.py")
    journal.record("last")

Layout: `.trainrecipe/runs/<id>/events.jsonl` with `report.html` beside it, and the rebuildable `index.sqlite`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainrecipe.journal.events import FILE_NAME, EventLog, read_events
from trainrecipe.journal.home import homes, new_folder, prepared
from trainrecipe.journal.index import Entry, entries
from trainrecipe.journal.record import Record
from trainrecipe.wrong_use import WrongUse


class RunNotFound(WrongUse):
    """No run, or more than one, answers to the name; the message lists what exists."""


class JournalUnwritable(WrongUse):
    """Neither the working directory nor the cache nor the temporary folder takes a run."""


@dataclasses.dataclass(frozen=True)
class Journal:
    """The runs of one working directory.

    `homes` are the folders that may hold them: `.trainrecipe` first, then the places that are used when it cannot be
    written. Reading looks into all of them, so that a run is found wherever it had to go, and creates nothing.
    """

    directory: Path
    homes: tuple[Path, ...]

    @classmethod
    def at(cls, directory: Path | None = None) -> Journal:
        """The journal of a working directory, by default of the current one."""
        directory = (directory or Path.cwd()).absolute()
        return cls(directory, homes(directory))

    def new_run(
        self, *, command: str, script: str, args: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> EventLog:
        """Open the log of a new run in a folder of its own.

        When `.trainrecipe` cannot be written the run goes to the cache or the temporary folder, and the log's `notice`
        (also its first `message` event) says so. Raises JournalUnwritable when that fails too.
        """
        refusals: list[str] = []
        for home in self.homes:
            try:
                folder = new_folder(prepared(home))
                log = EventLog.create(
                    folder,
                    run=folder.name,
                    command=command,
                    script=script,
                    args=args,
                    cwd=self.directory,
                    environment=environment,
                )
            except OSError as error:
                refusals.append(f"{home}: {error.strerror or error}")
            else:
                if refusals:
                    log.notify(f"The run is recorded in {folder}, because the usual place refused it ({refusals[0]}).")
                return log
        raise JournalUnwritable(
            f"the run cannot be recorded anywhere ({'; '.join(refusals)}); free some space, or name a "
            "folder that can be written in the environment variable TMPDIR"
        )

    def runs(self) -> list[Entry]:
        """A summary of each run, newest first."""
        found = [entry for home in self.homes for entry in entries(home)]
        return sorted(found, key=lambda entry: entry.moment, reverse=True)

    def record(self, which: str = "last") -> Record:
        """The run named `last`, or by its id, the beginning of its id, or the four characters at its end.

        Raises RunNotFound with the candidates when the name fits several runs, and with what exists when it fits none.
        """
        path = self.folder(which) / FILE_NAME
        try:
            return Record.from_events(read_events(path))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise WrongUse(f"the log {path} cannot be read ({error!r}); was it written by another version?") from error

    def folder(self, which: str = "last") -> Path:
        """The folder of a run, named as for `record`."""
        folders = [home / "runs" / self._resolve(which) for home in self.homes]
        return next((f for f in folders if (f / FILE_NAME).is_file()), folders[0])

    def _resolve(self, which: str) -> str:
        ids = [entry.run for entry in self.runs()]
        if not ids:
            raise RunNotFound(f"no run is recorded in {self.directory}; `recipe check train.py` records one")
        if which == "last":
            return ids[0]
        fits = [run for run in ids if run == which] or [run for run in ids if _answers(run, which)]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise RunNotFound(f"{which!r} fits {len(fits)} runs: {_some(fits)}; give more of the id")
        raise RunNotFound(f"no run {which!r} in {self.directory}; there is {_some(ids)} (newest first; or say `last`)")


def _answers(run: str, which: str) -> bool:
    return bool(which) and (run.startswith(which) or run.endswith(f"-{which}"))


def _some(ids: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(ids) - limit} more" if len(ids) > limit else ""
    return ", ".join(ids[:limit]) + more
