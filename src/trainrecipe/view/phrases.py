"""What every view says in the same words: how a run ended, what was found, how to run it again."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from trainrecipe.finding import Finding, Severity
from trainrecipe.journal.record import Record
from trainrecipe.picture import Picture

_ENDINGS = {
    "rehearsed": "Stopped on purpose after a short rehearsal.",
    "finished": "The script ran to its end.",
    "failed": "The script raised an error; what is below covers the part that ran.",
    "exited": "The script ended itself with exit code {code}; what is below covers the part that ran.",
    "interrupted": "Interrupted; what is below covers the part that ran.",
    "broken": "trainrecipe itself failed. This is our fault, not the script's; please report it.",
    "running": "Still running.",
    "killed": "Killed before it could say how it ended; what is below covers the part that ran.",
}
STAGES = ("overfit", "regularize", "tune")
"""Commands that make experiments: what they say is said in messages, and no check is made."""
CAUTION = "Nothing found is not proof that nothing is wrong."
SOUND = ("rehearsed", "finished", "running")

# C0 and C1 control characters except tab and newline: they could drive a terminal, and XML 1.0 forbids most of them.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """`text` without the characters that could drive a terminal or break XML; each becomes U+FFFD."""
    return _CONTROL.sub("\ufffd", text)


def ending(record: Record) -> str:
    """How the run ended, as a sentence."""
    if not record.script:
        return "Examined from Python."
    sentence = _ENDINGS.get(record.status, f"The run ended with the unknown status {record.status!r}.")
    return sentence.format(code=record.exit_code)


def opened(record: Record) -> list[Finding]:
    """The findings that nobody silenced, the headline first."""
    return [f for f in record.findings if f.waived is None]


def waived(record: Record) -> list[Finding]:
    """The findings that the user silenced with a reason."""
    return [f for f in record.findings if f.waived is not None]


def undecided(record: Record) -> bool:
    """Whether no check came to an answer."""
    return not (record.findings or record.passed)


def tally(findings: Iterable[Finding]) -> str:
    """Counts by severity, the gravest first: `2 errors, 1 warning and 1 note`; empty when there are none."""
    counts = Counter(f.severity for f in findings)
    return listed([plural(counts[s], s.value) for s in Severity if counts[s]])


def outcome(record: Record) -> str:
    """What was found, waived, passed and left out, in one sentence."""
    found, rest = tally(opened(record)), _coverage(record)
    if undecided(record):
        return "Nothing was checked, so nothing can be said about this script."
    return listed([f"{found or 'Nothing'} found", *rest]) + "."


def coverage(record: Record) -> str:
    """What was waived, passed and left out, in one sentence; empty when nothing was."""
    rest = listed(_coverage(record))
    return f"{rest}." if rest else ""


def names(findings: Iterable[Finding]) -> list[str]:
    """The ids of the checks, each once, by alphabet."""
    return sorted({f.check for f in findings})


def grouped(skipped: Iterable[Finding]) -> list[tuple[str, list[str]]]:
    """Reasons with the checks that they kept from deciding, the most common reason first."""
    reasons: dict[str, set[str]] = {}
    for f in skipped:
        reasons.setdefault(f.ruling.says, set()).add(f.check)
    pairs = [(reason, sorted(checks)) for reason, checks in reasons.items()]
    return sorted(pairs, key=lambda pair: (-len(pair[1]), pair[1]))


def headline(record: Record) -> str:
    """What was found in which script; an unfinished run is not called clean."""
    found, script = tally(opened(record)), record.script.rpartition("/")[2]
    if not script:
        return f"{found} found" if found else "Nothing found"
    if undecided(record):
        return f"Nothing was checked in {script}"
    part = script if found or record.status in SOUND else f"the part of {script} that ran"
    return f"{found or 'Nothing found'} in {part}"


def command(record: Record) -> str:
    """The command line that makes this run again; for an examination from Python, the function."""
    if not record.script:
        return f"trainrecipe.{record.command}"
    words = ["recipe", *record.command.removeprefix("recipe ").split(), *_script(record.script)]
    return shlex.join([*words, "--", *record.args] if record.args else words)


def silence(finding: Finding) -> str:
    """The comment that waives the finding when put on its line."""
    return f"# recipe: allow[{finding.check}] reason"


def duration(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def when(started: str) -> str:
    """The start of a run to the minute, as recorded: `2025-11-25 15:46`."""
    return started[:16].replace("T", " ")


def used_columns(table: Picture, brief: bool = False) -> list[int]:
    """The columns of a table that have something in them; with `brief`, of those for narrow views."""
    content = table.content
    every = range(len(content["columns"]))
    chosen = content.get("brief") or every if brief else every
    return [i for i in chosen if not content["rows"] or any(row[i] for row in content["rows"])]


def plural(count: int, noun: str) -> str:
    """`1 check`, `2 checks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


def _coverage(record: Record) -> list[str]:
    silenced, passed, missing = len(waived(record)), len(names(record.passed)), len(names(record.skipped))
    parts = [f"{silenced} waived"] if silenced else []
    parts += [f"{plural(passed, 'check')} passed"] if passed else []
    return parts + ([f"{missing} could not be made"] if missing else [])


def _script(script: str) -> list[str]:
    return ["-m", script[3:]] if script.startswith("-m ") else [script]
