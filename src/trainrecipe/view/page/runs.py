"""The runs of the journal, the findings of one, and its report, which is shut in a sandbox."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from trainrecipe.view import phrases
from trainrecipe.view.page.rendering import page
from trainrecipe.wrong_use import WrongUse

MOST = 200
# A report brings its own scripts, and allows by hash no others. Here it is an origin of its own, without cookies.
SANDBOX = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
)


def listed(request: Request) -> Response:
    """All runs, the newest first."""
    found = request.app.state.project.journal.runs()
    return page(request, "runs", runs=found[:MOST], more=max(len(found) - MOST, 0))


def one(request: Request) -> Response:
    """One run: what was found, and where its report is."""
    journal, run = request.app.state.project.journal, _known(request)
    record = journal.record(run)
    has_report = (journal.folder(run) / "report.html").is_file()
    return page(request, "run", record=record, found=phrases.opened(record), has_report=has_report)


def report(request: Request) -> Response:
    """The report of a run, as it was written."""
    path = request.app.state.project.journal.folder(_known(request)) / "report.html"
    try:
        html = path.read_text(encoding="utf-8")
    except OSError:
        raise HTTPException(404, "this run has no report; a run that was killed writes none") from None
    return HTMLResponse(html, headers={"Content-Security-Policy": SANDBOX})


def _known(request: Request) -> str:
    """The id of a run of this project: nothing else becomes part of a path."""
    run: str = request.path_params["run"]
    if run not in {entry.run for entry in request.app.state.project.journal.runs()}:
        raise WrongUse(f"no run {run[:60]!r} is recorded here")
    return run
