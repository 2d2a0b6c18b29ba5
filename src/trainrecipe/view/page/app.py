"""The application: routes, errors and the guard around them.

application(Project(Path.cwd()), token)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from trainrecipe.view.page import confusion, examples, human, marking, one, overview, pairs, runs
from trainrecipe.view.page.guard import Guard, TooLarge
from trainrecipe.view.page.marking import posted
from trainrecipe.view.page.project import NoTable, Project
from trainrecipe.view.page.rendering import asset, page
from trainrecipe.wrong_use import WrongUse


def application(project: Project, token: str, cookie: str = "trainrecipe") -> Starlette:
    """The page of a project. Who does not bring the token is refused: see `guard`."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        project.close()

    app = Starlette(
        routes=_routes(),
        middleware=[Middleware(Guard, token=token, cookie=cookie)],
        exception_handlers={WrongUse: _wrong_use, TooLarge: _too_large, HTTPException: _http},
        lifespan=lifespan,
    )
    app.state.project = project
    return app


def _routes() -> list[Route]:
    table = "/t/{table}"
    return [
        Route("/", _home),
        Route("/assets/{name}", asset),
        Route("/runs", runs.listed),
        Route("/runs/{run}", runs.one),
        Route("/runs/{run}/report", runs.report),
        Route(table, overview.overview),
        Route(f"{table}/strip", overview.strip),
        Route(f"{table}/examples", examples.shell),
        Route(f"{table}/rows", examples.rows),
        Route(f"{table}/state", examples.state),
        Route(f"{table}/cross", examples.cross),
        Route(f"{table}/export", examples.export),
        Route(f"{table}/confusion", confusion.confusion),
        Route(f"{table}/example/{{row:int}}", one.example),
        Route(f"{table}/picture/{{row:int}}", one.picture),
        Route(f"{table}/neighbours/{{row:int}}", one.neighbours),
        Route(f"{table}/mark/{{row:int}}", posted(marking.mark), methods=["POST"]),
        Route(f"{table}/tags", marking.tags),
        Route(f"{table}/duplicates", pairs.groups),
        Route(f"{table}/pair", pairs.pair),
        Route(f"{table}/human", human.setup),
        Route(f"{table}/human", posted(human.start), methods=["POST"]),
        Route(f"{table}/human/{{session}}", human.answering),
        Route(f"{table}/human/{{session}}/next", human.next_example),
        Route(f"{table}/human/{{session}}/answer", posted(human.answer), methods=["POST"]),
        Route(f"{table}/human/{{session}}/undo", posted(human.undo), methods=["POST"]),
        Route(f"{table}/human/{{session}}/result", human.result),
    ]


def _home(request: Request) -> Response:
    """The only table, a list of tables, or how to make one."""
    tables = list(request.app.state.project.folders())
    if len(tables) == 1:
        return RedirectResponse(f"/t/{quote(tables[0], safe='')}", 303)
    project = request.app.state.project
    return page(request, "home", directory=str(project.directory), described=[(n, project.about(n)) for n in tables])


def _wrong_use(request: Request, error: Exception) -> Response:
    status = 404 if isinstance(error, NoTable) else 400
    if "application/json" in request.headers.get("accept", ""):
        from starlette.responses import JSONResponse

        return JSONResponse({"error": str(error)}, status)
    known = {} if status == 400 else {"table": "", "base": ""}
    return page(request, "wrong", status, says=str(error), title="That did not work", **known)


def _too_large(request: Request, error: Exception) -> Response:
    return PlainTextResponse("The request is too large.\n", 413)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return page(request, "wrong", 404, says=error.detail, title="There is nothing here")
    return PlainTextResponse(f"{error.detail}\n", error.status_code)
