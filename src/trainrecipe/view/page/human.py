"""The human baseline in the page: choose examples, answer by keys, pause, and see how well people and the model agree.

Until a pass is done, nothing that is sent tells the label: an example goes out as what the net is fed, without its row,
index, columns or target, and an answer is not judged.
"""

from __future__ import annotations

import secrets
import threading
from typing import Any
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from trainrecipe.table.marks import Marks
from trainrecipe.table.table import Table
from trainrecipe.view.page import baseline, looks
from trainrecipe.view.page.baseline import Pass
from trainrecipe.view.page.rendering import page, rendered
from trainrecipe.wrong_use import WrongUse

LONGEST_NAME = 40
TARGETS = ("class", "number", "labels", "boxes", "mask")
"""Kinds of parts that are never shown to a person who is to answer."""
LONGEST_LOOK = 3600.0
"""Seconds; who looked longer was away."""
_ONE = threading.Lock()  # answers are kept one after another, so that the last one is the last only once


def setup(request: Request) -> Response:
    """What to begin, and what can be resumed."""
    table, marks = _opened(request)
    begun = []
    for session, plan in list(marks.sessions().items())[:30]:
        done: dict[tuple[str, bool], int] = {}
        for a in marks.answers(session):
            done[a.person, a.again] = done.get((a.person, a.again), 0) + 1
        passes = [(person, again, n, _query(person, again)) for (person, again), n in sorted(done.items())]
        begun.append((session, plan, passes, len(plan["keys"])))
    return page(request, "human", splits=table.manifest.splits, ready="label" in table.columns, begun=begun)


def start(request: Request, fields: dict[str, str]) -> Response:
    """Begin a session."""
    split, number, person = fields.get("split", ""), fields.get("number", ""), fields.get("person", "").strip()[:LONGEST_NAME]
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= baseline.MOST):
        raise WrongUse(f"the number of examples is a whole number from 1 to {baseline.MOST}, not {number[:40]!r}")
    table, marks = _opened(request)
    seed = secrets.randbelow(2**31)
    session, query = f"{seed:08x}", _query(person, False)
    marks.begin(session, baseline.plan(table, split, int(number), seed))
    address = f"/t/{quote(request.path_params['table'], safe='')}/human/{session}"
    return RedirectResponse(f"{address}?{query}" if query else address, 303)


def answering(request: Request) -> Response:
    """The page that asks; a script gets one example after another."""
    _, marks = _opened(request)
    run = _pass(request, marks, request.query_params)
    pressed = baseline.keys_of(run.classes)
    return page(
        request, "asking", run=run, pressed=pressed, query=_query(run.person, run.again), twice=_query(run.person, True)
    )


def next_example(request: Request) -> Response:
    """The first example that has no answer yet, as the net sees it."""
    table, marks = _opened(request)
    run = _pass(request, marks, request.query_params)
    answered = run.answers(marks)
    left = [key for key in run.keys if key not in answered]
    body: dict[str, Any] = {"done": len(run.keys) - len(left), "total": len(run.keys), "html": ""}
    if left:
        row = table.rows_of(left[:1]).get(left[0])
        shown = _without_target(table, row) if row is not None else None
        body["html"] = rendered("asked", stage=shown)
    return JSONResponse(body)


def answer(request: Request, fields: dict[str, str]) -> Response:
    """Keep the answer to the example at a position; one that was answered already, as by a double press, is left alone."""
    table, marks = _opened(request)
    run = _pass(request, marks, fields)
    given, at, seconds = fields.get("answer", ""), fields.get("at", ""), _seconds(fields.get("seconds", ""))
    if given not in run.classes:
        raise HTTPException(400, "this is none of the classes")
    with _ONE:
        answered = run.answers(marks)
        left = [key for key in run.keys if key not in answered]
        if left and at == str(len(answered)):
            marks.answer(run.session, run.person, left.pop(0), given, seconds, again=run.again)
            if not left:
                made = baseline.result(table, marks, run)
                baseline.record(request.app.state.project.journal, request.path_params["table"], str(table.folder), run, made)
    return JSONResponse({"finished": not left})


def undo(request: Request, fields: dict[str, str]) -> Response:
    """Take the last answer back. After the last one there is nothing to undo: the result has been shown."""
    _, marks = _opened(request)
    run = _pass(request, marks, fields)
    if len(run.answers(marks)) < len(run.keys):
        marks.undo(run.session, run.person, again=run.again)
    return JSONResponse({})


def result(request: Request) -> Response:
    """Accuracy, agreement and ceiling, once every example has an answer."""
    table, marks = _opened(request)
    run = _pass(request, marks, request.query_params)
    left = len(run.keys) - len(run.answers(marks))
    if left:
        raise WrongUse(
            f"{left} of {len(run.keys)} examples have no answer yet; the result is shown at the end, to keep it blind"
        )
    made = baseline.result(table, marks, run)
    rows = table.rows_of(key for key, _, _ in made.mistakes)
    twice = Pass.of(marks, run.session, run.person, True)
    left_twice = len(twice.keys) - len(twice.answers(marks))
    return page(
        request,
        "result",
        run=run,
        made=made,
        mistakes=[(rows.get(key), key, label, given) for key, label, given in made.mistakes],
        twice=_query(run.person, True) if left_twice and not run.again else "",
    )


def _without_target(table: Table, row: int) -> looks.Stage | None:
    """What the net is fed of an example, else what the data set gives, without anything that is or may be a target."""
    inputs = {part.name: part.kind for part in table.manifest.inputs()}
    view = table.views([row]).get(row) or {}
    # A model that computes its own loss is fed the label too: only what is of an input's kind is shown.
    fed = [v for v in view.get("fed") or [] if v.get("kind") in inputs.values() and v.get("kind") not in TARGETS]
    for key in ("item", "raw"):
        parts = {n: v for n, v in (view.get(key) or {}).items() if n in inputs and v.get("kind") not in TARGETS}
        made = looks.stages({"fed": fed} if fed else {key: parts})
        if made:
            return made[0]
    return None


def _opened(request: Request) -> tuple[Table, Marks]:
    project, name = request.app.state.project, request.path_params["table"]
    return project.table(name), project.marks(name)


def _pass(request: Request, marks: Marks, fields: Any) -> Pass:
    person = fields.get("person", "").strip()[:LONGEST_NAME]
    return Pass.of(marks, request.path_params["session"], person, fields.get("again", "") == "1")


def _query(person: str, again: bool) -> str:
    return urlencode({k: v for k, v in {"person": person, "again": "1" if again else ""}.items() if v})


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(value, LONGEST_LOOK) if value >= 0 else 0.0
