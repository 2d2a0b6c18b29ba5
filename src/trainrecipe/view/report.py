"""A record as one HTML file that opens from disk without a network, or as a small fragment for notebooks.

Everything that comes from the user's program is escaped, and the page forbids the browser (content security policy) to
run any script but its own and to load anything from elsewhere.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from trainrecipe.finding import Finding, Severity, plain
from trainrecipe.journal.record import Record
from trainrecipe.picture import Picture
from trainrecipe.view import phrases
from trainrecipe.view.code import for_html
from trainrecipe.view.source import excerpt, shown, spot

_ASSETS = Path(__file__).with_name("assets")
_VEGA = ("vega/vega.min.js", "vega/vega-lite.min.js", "vega/vega-embed.min.js")
_LONGEST_EVIDENCE = 6000


def write(record: Record, path: str | Path) -> Path:
    """Write the report to `path`, creating its folder, and return the path.

        report.write(record, "report.html")

    Raises OSError when the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(to_html(record), encoding="utf-8")
    return target


def to_html(record: Record, *, fragment: bool = False) -> str:
    """The whole page, or with `fragment` a piece without scripts that a notebook may embed (`_repr_html_`)."""
    if fragment:
        return _templates().get_template("fragment.html.j2").render(record=record)
    scripts = [_script(name) for name in (*(_VEGA if _has_chart(record) else ()), "report.js")]
    page = _templates().get_template("report.html.j2")
    return page.render(record=record, css=Markup(_asset("report.css")), scripts=scripts, policy=_policy(scripts))


def _has_chart(record: Record) -> bool:
    return any(picture.kind == "vega-lite" for picture in _pictures(record))


def _pictures(record: Record) -> Iterator[Picture]:
    """Every picture that the page shows."""
    answers = (f for finding in (*phrases.opened(record), *record.passed) for f in (finding, *finding.related))
    for picture in (*record.pictures, *(f.picture for f in answers)):
        while picture is not None:
            yield picture
            picture = picture.beside


@functools.cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


@functools.cache
def _script(name: str) -> Markup:
    """A script of ours for inlining: nothing in it may end the element, and its source map is not shipped."""
    code = "\n".join(line for line in _asset(name).splitlines() if not line.startswith("//# sourceMappingURL"))
    return Markup(code.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def _policy(scripts: list[Markup]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts)
    allowed = " ".join(f"'sha256-{h}'" for h in hashes)
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'"


@functools.cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: phrases.clean(value) if type(value) is str else value,
    )
    environment.globals |= {"phrases": phrases, "Severity": Severity, "code": _code, "spot": _spot, "shown": shown}
    environment.filters |= {
        "spec": _spec,
        "safe_image": _safe_image,
        "evidence": _evidence,
        "square": _is_square,
        "wide": _is_wide,
        "used_columns": phrases.used_columns,
    }
    return environment


def _code(finding: Finding, around: int = 3) -> list[tuple[int, Markup, bool]]:
    lines = excerpt(finding.place, around) if finding.place else None
    return for_html(lines) if lines else []


def _spot(finding: Finding, record: Record) -> str:
    return spot(finding.place, record.cwd) if finding.place else ""


def _spec(picture: Picture) -> Markup:
    """The specification for a data block: `<`, `>`, `&` are escaped, and numbers that JSON lacks are text."""
    return htmlsafe_json_dumps(_legible(plain(picture.content)))


def _legible(value: Any) -> Any:
    """Text without control characters and line separators, which Vega's expressions take for a syntax error."""
    if isinstance(value, str):
        return re.sub("[\u2028\u2029]", " ", phrases.clean(value))
    if isinstance(value, dict):
        return {_legible(k): _legible(v) for k, v in value.items()}
    return [_legible(v) for v in value] if isinstance(value, list) else value


def _is_square(picture: Picture) -> bool:
    mark = picture.content.get("mark")
    return isinstance(mark, dict) and mark.get("type") == "rect"


def _is_wide(picture: Picture) -> bool:
    """Rows of fixed height want width instead; so do grids and tables."""
    return picture.kind in ("grid", "table") or isinstance(picture.content.get("height"), dict)


def _safe_image(source: Any) -> str:
    """The data URI of a picture; anything else, which a browser would have to fetch, is dropped."""
    return source if isinstance(source, str) and source.startswith("data:image/") else ""


def _evidence(finding: Finding) -> str:
    text = json.dumps(finding.evidence.data, indent=1, ensure_ascii=False)
    return text if len(text) <= _LONGEST_EVIDENCE else text[:_LONGEST_EVIDENCE] + "\n… (all of it: --format json)"
