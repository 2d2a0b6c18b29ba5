"""A record as JUnit XML, for the test pages of continuous integration: one test case per check."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from trainrecipe.finding import Finding, Ruling, Severity, Verdict
from trainrecipe.journal.record import Record
from trainrecipe.view import phrases
from trainrecipe.view.phrases import clean
from trainrecipe.view.source import spot

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'


def dumps(record: Record, floor: Severity = Severity.WARNING) -> str:
    """The record as XML: findings at or above `floor` fail, milder ones pass with a remark.

    What was waived, could not be checked, or is part of another finding is skipped, with the reason. A script that
    failed is an error of the test case `script`.
    """
    suite = ET.Element("testsuite", name=clean(phrases.command(record)), timestamp=clean(record.started[:19]))
    if record.status not in phrases.SOUND:
        ET.SubElement(_case(suite, record, "script", []), "error", message=clean(phrases.ending(record)))
    for check, answers in _by_check(record).items():
        _fill(_case(suite, record, check, answers), answers, record, floor)
    for name, tag in {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}.items():
        suite.set(name, str(sum(1 for _ in suite.iter(tag))))
    suite.set("time", f"{record.seconds:.3f}")
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    return _DECLARATION + ET.tostring(root, encoding="unicode") + "\n"


def _by_check(record: Record) -> dict[str, list[Finding]]:
    """The answers of each check, by id; a finding listed beneath another counts as skipped: the other stands for it."""
    answers: dict[str, list[Finding]] = {}
    beneath = (_stood_for(other, f) for f in record.findings for other in f.related)
    for f in (*record.findings, *beneath, *record.passed, *record.skipped):
        answers.setdefault(f.check, []).append(f)
    return dict(sorted(answers.items()))


def _stood_for(f: Finding, headline: Finding) -> Finding:
    return dataclasses.replace(f, ruling=Ruling.skipped(f"seen, and part of {headline.check}: {f.ruling.says}"))


def _case(suite: ET.Element, record: Record, check: str, answers: Sequence[Finding]) -> ET.Element:
    seconds = sum(f.seconds for f in answers)
    case = ET.SubElement(suite, "testcase", classname=clean(record.script), name=clean(check), time=f"{seconds:.3f}")
    places = [f.place for f in answers if f.place]
    if places:
        file, _, line = spot(places[0], record.cwd).rpartition(":")
        case.set("file", clean(file))
        case.set("line", line)
    return case


def _fill(case: ET.Element, answers: Sequence[Finding], record: Record, floor: Severity) -> None:
    """One outcome per case: the gravest answer decides, the others are remarks."""
    failing = [f for f in answers if f.counts(floor)]
    passing = [f for f in answers if f.verdict is Verdict.PASS or (f.severity and f.waived is None)]
    if failing:
        failure = ET.SubElement(case, "failure", type=str(failing[0].severity), message=clean(failing[0].ruling.says))
        failure.text = clean("\n\n".join(_long(f, record) for f in failing))
    elif not passing:
        ET.SubElement(case, "skipped", message=clean("; ".join(dict.fromkeys(map(_reason, answers)))))
    remarks = [f for f in answers if f not in failing and f in passing]
    if remarks:
        ET.SubElement(case, "system-out").text = clean("\n\n".join(_long(f, record) for f in remarks))


def _reason(f: Finding) -> str:
    return f.ruling.says if f.waived is None else f"waived: {f.waived or 'no reason given'}"


def _long(f: Finding, record: Record) -> str:
    r = f.ruling
    where = [f"at {spot(f.place, record.cwd)}: {f.place.source}"] if f.place else []
    fields = {"expected": r.expected, "observed": r.observed, "why": f.why, "fix": r.fix}
    causes = [f"perhaps: {cause}" for cause in r.causes]
    head = f"{r.severity.value}: {f.title}" if r.severity else ""
    lines = [head, r.says, *where, *(f"{k}: {v}" for k, v in fields.items() if v and r.severity), *causes]
    return "\n".join([*filter(None, lines), *(f"also seen: {other.check}: {other.title}" for other in f.related)])
