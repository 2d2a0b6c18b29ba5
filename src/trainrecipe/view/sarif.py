"""A record as SARIF 2.1.0, for editors and code-scanning services that mark findings in the source.

Waived findings are there with a suppression, checks that could not be made as notifications of the tool.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trainrecipe.check import Check, built_in
from trainrecipe.finding import Finding, Place, Severity
from trainrecipe.journal.record import Record
from trainrecipe.view import phrases
from trainrecipe.view.source import shown

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_ROOT = "SRCROOT"


def dumps(record: Record) -> str:
    """The record as the text of a `.sarif` file."""
    known = {check.id: check for check in built_in()}
    foreign = sorted({f.check: f for f in _all(record) if f.check not in known}.items())
    rules = [_rule(check) for check in known.values()] + [_foreign_rule(f) for _, f in foreign]
    index = {rule["id"]: i for i, rule in enumerate(rules)}
    run = {
        "tool": {"driver": {"name": "trainrecipe", "version": version("trainrecipe"), "rules": rules}},
        "invocations": [_invocation(record, index)],
        "originalUriBaseIds": {_ROOT: {"uri": _folder(record.cwd)}},
        "columnKind": "unicodeCodePoints",
        "results": [_result(f, record, index) for f in record.findings],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _all(record: Record) -> Iterator[Finding]:
    yield from (*record.findings, *record.skipped)


def _rule(check: Check) -> dict[str, Any]:
    body = "\n\n".join(f"**{name}.** {text}" for name, text in check.sections.items())
    return {
        **_named(check.id, check.title),
        "fullDescription": {"text": check.hypothesis},
        "help": {"text": check.sections["What to do"], "markdown": body},
        "properties": {"tags": [check.subject.lower(), *check.rows]},
    }


def _foreign_rule(finding: Finding) -> dict[str, Any]:
    """The rule of a project's own check, of which only the finding is known."""
    why = {"fullDescription": {"text": finding.why}} if finding.why else {}
    return {**_named(finding.check, finding.title), **why}


def _named(check: str, title: str) -> dict[str, Any]:
    return {"id": check, "name": check.title().replace("-", ""), "shortDescription": {"text": title}}


def _result(f: Finding, record: Record, index: dict[str, int]) -> dict[str, Any]:
    r = f.ruling
    result: dict[str, Any] = {
        "ruleId": f.check,
        "ruleIndex": index[f.check],
        "level": (r.severity or Severity.NOTE).value,  # SARIF has the same three words
        "message": {"text": f"{f.title}. {r.says}\nExpected: {r.expected}\nObserved: {r.observed}\nFix: {r.fix}"},
        "locations": _locations(f, record),
        "partialFingerprints": {"checkAndLine/v1": _fingerprint(f, record)},
        "properties": {"expected": r.expected, "observed": r.observed, "fix": r.fix, "causes": list(r.causes)},
    }
    if f.related:
        result["relatedLocations"] = [_related(i, other, record) for i, other in enumerate(f.related, 1)]
    if f.waived is not None:
        result["suppressions"] = [{"kind": "inSource", "justification": f.waived}]
    return result


def _locations(f: Finding, record: Record) -> list[dict[str, Any]]:
    """The line, or the script as a whole where there is none, since code-scanning services refuse a result without."""
    if f.place:
        return [{"physicalLocation": _physical(f.place, record)}]
    return [{"physicalLocation": _artifact(record.script, record)}] if record.script.endswith(".py") else []


def _physical(place: Place, record: Record) -> dict[str, Any]:
    snippet = {"snippet": {"text": place.source}} if place.source else {}
    return {**_artifact(place.file, record), "region": {"startLine": max(place.line, 1), **snippet}}


def _artifact(file: str, record: Record) -> dict[str, Any]:
    name = shown(file, record.cwd)
    path = Path(name)
    if path.is_absolute():
        return {"artifactLocation": {"uri": path.as_uri()}}
    return {"artifactLocation": {"uri": quote(path.as_posix()), "uriBaseId": _ROOT}}


def _folder(cwd: str) -> str:
    return Path(cwd).absolute().as_uri().rstrip("/") + "/"


def _related(number: int, f: Finding, record: Record) -> dict[str, Any]:
    where = {"physicalLocation": _physical(f.place, record)} if f.place else {}
    return {"id": number, "message": {"text": f"{f.check}: {f.title}. {f.ruling.says}"}, **where}


def _fingerprint(f: Finding, record: Record) -> str:
    """Stays the same when lines move: the check, the file, the function and the text of the line."""
    place = (shown(f.place.file, record.cwd), f.place.function, f.place.source) if f.place else ()
    return hashlib.sha256(json.dumps([f.check, *place]).encode()).hexdigest()[:32]


def _invocation(record: Record, index: dict[str, int]) -> dict[str, Any]:
    code = {} if record.exit_code is None else {"exitCode": record.exit_code}
    return {
        "executionSuccessful": record.status in phrases.SOUND,
        "commandLine": phrases.command(record),
        "workingDirectory": {"uri": _folder(record.cwd)},
        "toolExecutionNotifications": _notifications(record, index),
        **code,
    }


def _notifications(record: Record, index: dict[str, int]) -> Sequence[dict[str, Any]]:
    ending = {
        "level": "note" if record.status in phrases.SOUND else "error",
        "message": {"text": phrases.ending(record)},
    }
    return [ending] + [
        {
            "level": "note",
            "message": {"text": f"{f.check} could not be checked: {f.ruling.says}"},
            "associatedRule": {"id": f.check, "index": index[f.check]},
        }
        for f in record.skipped
    ]
