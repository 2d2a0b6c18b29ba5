"""A recorded run, read back from its event log: what every view shows.

The event log is `events.jsonl` in the run's folder, one JSON object per line with `t` (seconds since the start) and
`kind`:

- `started`: run, command, script, args, cwd, started (ISO 8601), environment (python, torch, platform, git), writer (the
  host and process that write the log);
- `summary`: facts about the program for people (`facts`: label -> text), later ones replace earlier ones;
- `finding`: a `Finding`, any verdict; a later one about the same check and place replaces an earlier one;
- `picture`: an overview picture of the run that belongs to no check;
- `message`: text for the user (`level`: info, warning, error);
- `ended`: status, exit_code, seconds. A log without it belongs to a run that was killed or is still going on.

Status: `rehearsed` (stopped on purpose), `finished`, `failed` (the script raised), `exited` (it called sys.exit with a
code other than 0), `interrupted` (Ctrl-C or a signal), `broken` (our own failure), `running`, `killed` (no end was
written, and the process that would have is gone).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from trainrecipe.check import Price
from trainrecipe.finding import Finding, Severity, Verdict
from trainrecipe.journal.events import alive
from trainrecipe.picture import Picture


@dataclasses.dataclass(frozen=True)
class Record:
    """One run as the views see it. Findings are ordered, the headline first."""

    run: str
    command: str
    script: str
    args: tuple[str, ...]
    cwd: str
    started: str
    status: str
    exit_code: int | None
    seconds: float
    environment: Mapping[str, str]
    facts: Mapping[str, str]
    findings: tuple[Finding, ...]
    passed: tuple[Finding, ...]
    skipped: tuple[Finding, ...]
    pictures: tuple[Picture, ...]
    messages: tuple[tuple[str, str], ...]
    trouble: tuple[str, ...] = ()

    def fails(self, floor: Severity) -> bool:
        """Whether an unwaived finding is at or above `floor`."""
        return any(f.counts(floor) for f in self.findings)

    @classmethod
    def from_events(cls, events: Iterable[Mapping[str, Any]]) -> Record:
        """Fold an event log into a record. Raises ValueError when the log has no `started` event."""
        started: Mapping[str, Any] = {}
        ended: Mapping[str, Any] = {}
        facts: dict[str, str] = {}
        findings: dict[tuple[str, str], Finding] = {}
        pictures: list[Picture] = []
        messages: list[tuple[str, str]] = []
        trouble: list[str] = []
        last = 0.0
        for event in events:
            last = event.get("t", last)
            match event["kind"]:
                case "started":
                    started = event
                case "summary":
                    facts |= event["facts"]
                case "finding":
                    found = Finding.from_json(event["finding"])
                    findings[found.check, str(found.place)] = found
                case "picture":
                    pictures.append(Picture.from_json(event["picture"]))
                case "message":
                    messages.append((event["level"], event["text"]))
                case "trouble":
                    trouble += event["listener"]
                case "ended":
                    ended = event
        if not started:
            raise ValueError("the event log has no `started` event")
        every = merge(findings.values())
        return cls(
            run=started["run"],
            command=started["command"],
            script=started["script"],
            args=tuple(started["args"]),
            cwd=started["cwd"],
            started=started["started"],
            status=ended.get("status") or ("running" if alive(started.get("writer")) else "killed"),
            exit_code=ended.get("exit_code"),
            seconds=ended.get("seconds", last),
            environment=started.get("environment", {}),
            facts=facts,
            findings=tuple(f for f in every if f.verdict is Verdict.FINDING),
            passed=tuple(f for f in every if f.verdict is Verdict.PASS),
            skipped=tuple(f for f in every if f.verdict in (Verdict.SKIP, Verdict.UNSURE)),
            pictures=tuple(pictures),
            messages=tuple(messages),
            trouble=tuple(trouble),
        )

    def to_json(self) -> dict[str, Any]:
        """The stable machine-readable form that `--format json` prints."""
        from trainrecipe.finding import SCHEMA_VERSION

        return {
            "version": SCHEMA_VERSION,
            "command": self.command,
            "script": self.script,
            "args": list(self.args),
            "status": self.status,
            "exit_code": self.exit_code,
            "run": self.run,
            "seconds": round(self.seconds, 3),
            "environment": dict(self.environment),
            "facts": dict(self.facts),
            "messages": [{"level": level, "text": text} for level, text in self.messages],
            "findings": [f.to_json() for f in self.findings],
            "passed": [{"says": f.ruling.says, "evidence": dict(f.evidence.data), **_made(f)} for f in self.passed],
            "skipped": [{"verdict": f.verdict.value, "why": f.ruling.says, **_made(f)} for f in self.skipped],
        }


def _made(finding: Finding) -> dict[str, Any]:
    return {"check": finding.check, "seconds": round(finding.seconds, 4)}


def merge(findings: Iterable[Finding]) -> list[Finding]:
    """Order findings, the headline first, and list what another finding explains beneath it.

    A finding is moved into `related` of one that names its check in `explains`; waived findings explain nothing, and a
    note takes nothing graver beneath it.
    """
    order = {v: i for i, v in enumerate((Verdict.FINDING, Verdict.UNSURE, Verdict.PASS, Verdict.SKIP))}
    prices = [price.value for price in Price]

    def key(f: Finding) -> tuple[Any, ...]:
        grade = f.severity.rank if f.severity else 9
        return (f.waived is not None, order[f.verdict], grade, -len(f.explains), prices.index(f.price), f.check)

    ranked = sorted(findings, key=key)
    children: dict[int, list[Finding]] = {}
    moved: set[int] = set()
    for i, parent in enumerate(ranked):
        if parent.verdict is not Verdict.FINDING or parent.waived is not None or i in moved:
            continue
        for j, child in enumerate(ranked):
            redundant = child.check in parent.explains and child.verdict is Verdict.FINDING and child.waived is None
            redundant = redundant and not (parent.severity is Severity.NOTE and child.severity is not Severity.NOTE)
            if j != i and j not in moved and redundant:
                moved.add(j)
                children.setdefault(i, []).append(child)
    return [
        dataclasses.replace(f, related=(*f.related, *children.get(i, ()))) if i in children else f
        for i, f in enumerate(ranked)
        if i not in moved
    ]
