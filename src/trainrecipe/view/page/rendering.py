"""Templates: everything from data is escaped and cleaned; the page's scripts and styles are files of the package."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from trainrecipe.view import phrases
from trainrecipe.view.page import pictures
from trainrecipe.view.page.project import Project

HERE = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript"}


@functools.cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: pictures.visible(value) if type(value) is str else value,
    )
    environment.globals |= {"phrases": phrases}
    environment.filters |= {
        "short": pictures.legible,
        "long": pictures.long_text,
        "number": pictures.number,
        "png": lambda text: Markup(pictures.source(text)),
        "points": pictures.lines,
        "heat": lambda values: Markup(pictures.source(pictures.heat(values))),
        "quoted": repr,
        "sentences": pictures.sentences,
        "segment": lambda text: quote(text, safe=""),
        "signed": lambda value: f"{value:.3f}",
        "percent": lambda value: f"{100 * value:.1f} %" if value == value else "–",
    }
    return environment


def page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """A page or a piece of one. Every template sees `table` (its name, or empty), `tables` and `here` (the path)."""
    project: Project = request.app.state.project
    name = request.path_params.get("table", "")
    html = _templates().get_template(f"{template}.html.j2")
    known = {"table": name, "tables": list(project.folders()), "here": request.url.path}
    known["base"] = f"/t/{quote(name, safe='')}" if name else ""
    return HTMLResponse(html.render(known | context), status)


def rendered(template: str, **context: Any) -> str:
    """A piece of a page as text."""
    return _templates().get_template(f"{template}.html.j2").render(context)


@functools.cache
def _assets() -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (HERE / "assets").iterdir() if p.suffix in _TYPES}


def asset(request: Request) -> Response:
    """One of the page's own scripts and styles; names are looked up, never joined to a path."""
    name = request.path_params["name"]
    content = _assets().get(name)
    if content is None:
        return Response("no such file\n", 404, media_type="text/plain")
    return Response(content, media_type=_TYPES[Path(name).suffix], headers={"Cache-Control": "private, max-age=60"})
