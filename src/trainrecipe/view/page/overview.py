"""The first glance: how much there is, how labels are spread, what stands out, and what examples look like."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from trainrecipe.finding import Finding
from trainrecipe.table.table import Table
from trainrecipe.view.page import looks
from trainrecipe.view.page.distribution import distribution
from trainrecipe.view.page.rendering import page
from trainrecipe.wrong_use import WrongUse

STRIP = 12
_CHECKS = Path(__file__).parents[2] / "checks"


@dataclasses.dataclass(frozen=True)
class Card:
    """Something that stands out: one click leads to its examples, where it has some."""

    title: str
    says: str
    severity: str
    where: str = ""
    count: int | None = None
    blind: str = ""
    sort: str = ""

    @property
    def query(self) -> str:
        """The address of the examples, after the question mark."""
        return urlencode({"where": self.where} | ({"sort": self.sort, "desc": "1"} if self.sort else {}))


def overview(request: Request) -> Response:
    """The page that a table opens with."""
    project, name = request.app.state.project, request.path_params["table"]
    table: Table = project.table(name)
    scan = project.scan(name)
    counts = [(split, table.count(f"split == {split.name!r}")) for split in table.manifest.splits]
    return page(
        request,
        "overview",
        manifest=table.manifest,
        counts=counts,
        total=table.count(),
        drawn=distribution(table),
        cards=cards(table, project.findings(name)),
        scan=scan,
        strip=looks.random_looks(table, STRIP, seed=0),
        seed=0,
    )


def strip(request: Request) -> Response:
    """Other random examples."""
    table: Table = request.app.state.project.table(request.path_params["table"])
    text = request.query_params.get("seed", "0")
    seed = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    return page(request, "strip", strip=looks.random_looks(table, STRIP, seed=seed), seed=seed)


def cards(table: Table, findings: tuple[Finding, ...]) -> list[Card]:
    """One card for each finding, and one for examples that could not be read, where no finding tells of them."""
    made = [_card(table, f) for f in findings]
    broken = table.count("status != 'ok'")
    if broken and not any("status" in card.where for card in made):
        says = "They could not be read, or hold NaN, or nothing at all; the column status tells which."
        blind = "Examples that can be read but show the wrong thing."
        made.append(Card("Examples that are not in order", says, "warning", "status != 'ok'", broken, blind))
    if "suspect" in table.columns and not any(f.check == "suspect-labels" for f in findings):
        made += _queue(table)
    return made


def _queue(table: Table) -> list[Card]:
    """The labels to review, as a ranking: how many of them are wrong, only a person can tell."""
    count = table.count("suspect > 0")
    says = "Another class is likelier than the label. This is an order in which to look, not a number of errors."
    blind = "Labels that are wrong in the same way for all alike examples."
    return [Card("Labels to review", says, "note", "suspect > 0", count, blind, "suspect")] if count else []


def _card(table: Table, finding: Finding) -> Card:
    where = finding.evidence.get("where", "")
    count = None
    if isinstance(where, str) and where:
        try:
            count = table.count(where)
        except WrongUse:  # a column of another version of the scan
            where = ""
    blind = finding.evidence.get("blind") or blind_spots(finding.check)
    severity = finding.severity.value if finding.severity else "note"
    return Card(finding.title, finding.ruling.says, severity, where or "", count, str(blind))


def blind_spots(check: str) -> str:
    """The first sentences of "When it is wrong" in a check's documentation, read without importing it; else empty."""
    found: list[Any] = sorted(_CHECKS.rglob(f"{check.replace('-', '_')}.py")) if re.fullmatch(r"[a-z0-9-]+", check) else []
    for path in found:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            doc = ast.get_docstring(node) if isinstance(node, ast.ClassDef) else None
            section = re.search(r"When it is wrong\n-+\n(.+?)(?:\n\n|\Z)", doc or "", re.S)
            if section:
                return " ".join(section[1].split())
    return ""
