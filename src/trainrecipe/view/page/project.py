"""What a page shows: the tables of one working directory, kept open, their marks, and the runs of its journal."""

from __future__ import annotations

import threading
from pathlib import Path

from trainrecipe.finding import Finding
from trainrecipe.journal.home import FOLDER_NAME
from trainrecipe.journal.record import Record
from trainrecipe.journal.store import Journal
from trainrecipe.table.marks import Marks
from trainrecipe.table.store import Store
from trainrecipe.table.table import Table
from trainrecipe.wrong_use import WrongUse, nearest

_NEWEST = 40
"""Runs that are looked through for the scan that a table came from."""


class Project:
    """One working directory. `only` is the folder of one table, where a person named it; else all that were scanned there."""

    def __init__(self, directory: Path, only: Path | None = None) -> None:
        self.directory = directory.absolute()
        self.only = only.absolute() if only else None
        self.journal = Journal.at(self.directory)
        self._open: dict[str, tuple[Table, Marks]] = {}
        self._scans: dict[str, str] = {}
        self._lock = threading.Lock()

    def folders(self) -> dict[str, Path]:
        """The folders of the tables by name. Only these names are ever served, whatever an address says."""
        if self.only:
            return {self.only.name: self.only}
        data = self.directory / FOLDER_NAME / "data"
        found = sorted(data.iterdir()) if data.is_dir() else []
        return {f.name: f for f in found if (f / "manifest.json").is_file()}

    def table(self, name: str) -> Table:
        """The table of that name, opened once. Raises WrongUse."""
        return self._opened(name)[0]

    def marks(self, name: str) -> Marks:
        """The tags, notes and answers of the table of that name. Raises WrongUse."""
        return self._opened(name)[1]

    def _opened(self, name: str) -> tuple[Table, Marks]:
        with self._lock:
            if name not in self._open:
                folders = self.folders()
                if name not in folders:
                    raise NoTable(f"there is no table {name!r} here; {nearest(name, folders)}".rstrip("; "))
                self._open[name] = Table.open(folders[name]), Marks.open(folders[name])
            return self._open[name]

    def about(self, name: str) -> str:
        """One line about a table, from its manifest alone."""
        try:
            manifest = Store.open(self.folders()[name]).manifest
        except WrongUse as error:
            return str(error)
        splits = ", ".join(f"{split.name} {split.read:,}" for split in manifest.splits)
        made = f" · {manifest.created[:16].replace('T', ' ')}" if manifest.created else ""
        return f"{splits}{made}{'' if manifest.finished else ' · the scan has not ended'}"

    def close(self) -> None:
        """Close what was opened."""
        with self._lock:
            for table, marks in self._open.values():
                table.close()
                marks.close()
            self._open.clear()

    def scan(self, name: str) -> Record | None:
        """The newest record of a scan that wrote the table of that name; None where the journal has none."""
        folder = str(self.folders()[name])
        entries = [entry for entry in self.journal.runs() if entry.command == "data"]
        for entry in entries[:_NEWEST]:
            if self._scans.get(entry.run, folder) != folder:
                continue
            record = self._record(entry.run)
            if record is None:
                continue
            written = str((self.directory / record.facts.get("table", "?")).absolute())
            self._scans[entry.run] = written
            if written == folder:
                return record
        return None

    def findings(self, name: str) -> tuple[Finding, ...]:
        """What stood out at the newest scan."""
        record = self.scan(name)
        return tuple(f for f in record.findings if f.waived is None) if record else ()

    def _record(self, run: str) -> Record | None:
        try:
            return self.journal.record(run)
        except WrongUse:  # a torn log must not take the page down
            return None


class NoTable(WrongUse):
    """No table has that name."""
