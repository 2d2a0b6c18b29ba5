"""The page: who may see it, what it says, how it is worked with keys and mouse, and that labels stay hidden until the end.

The tests in a browser need Chromium and Playwright; TRAINRECIPE_PICTURES=1 lets them draw docs/images/page-*.png.
"""

from __future__ import annotations

import doctest
import json
import math
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tables
import uvicorn
from starlette.testclient import TestClient

from trainrecipe.table.manifest import Manifest
from trainrecipe.table.store import Store
from trainrecipe.view.page import agreement, baseline, guard
from trainrecipe.view.page.app import application
from trainrecipe.view.page.project import Project
from trainrecipe.view.page.selection import Selection, condition
from trainrecipe.wrong_use import WrongUse

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PICTURES = Path(__file__).parent.parent / "docs" / "images"
CLASSES = ("nought", "unity", "deuce", "tern", "tetrad", "quint", "hexad", "septet", "octet", "ennead")
OWN = {"origin": "http://localhost:8000"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    tables.journal(folder, tables.digits(folder))
    tables.digits(folder, "hostile", hostile=True, count=120)
    tables.digits(folder, "named", count=120, names=CLASSES)
    tables.wine(folder)
    tables.texts(folder)
    tables.series(folder)
    tables.scenes(folder)
    return folder


@pytest.fixture
def client(project: Path) -> Iterator[TestClient]:
    with TestClient(
        application(Project(project), "secret"), base_url="http://localhost:8000", follow_redirects=False
    ) as client:
        client.cookies.set("trainrecipe", "secret")
        yield client


# ---- the arithmetic of agreement


def test_examples_in_docstrings_hold() -> None:
    for module in (agreement, baseline):
        assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(("hits", "total"), [(0, 5), (1, 7), (50, 100), (95, 100), (20, 20)])
def test_the_interval_of_a_share_is_where_the_score_test_would_not_reject(hits: int, total: int) -> None:
    found = agreement.share(hits, total)
    kept = [
        p for p in (i / 20000 for i in range(1, 20000)) if abs(hits / total - p) <= agreement.Z * math.sqrt(p * (1 - p) / total)
    ]
    assert found.low == pytest.approx(min(kept), abs=1e-4)
    assert found.high == pytest.approx(max(kept), abs=1e-4)


def _raters(chooser: random.Random, n: int, classes: int, accuracy: float) -> tuple[list[int], list[int]]:
    truth = [chooser.randrange(classes) for _ in range(n)]

    def rated() -> list[int]:
        return [t if chooser.random() < accuracy else (t + chooser.randrange(1, classes)) % classes for t in truth]

    return rated(), rated()


def test_kappa_is_that_of_scikit_learn_and_its_interval_is_as_wide_as_it_should_be() -> None:
    from sklearn.metrics import cohen_kappa_score

    chooser = random.Random(0)
    found = [agreement.kappa(*_raters(chooser, 150, 4, 0.85)) for _ in range(400)]
    first, second = _raters(chooser, 150, 4, 0.85)
    assert agreement.kappa(first, second).value == pytest.approx(cohen_kappa_score(first, second))
    true = agreement.kappa(*_raters(chooser, 200_000, 4, 0.85)).value
    covered = sum(k.low <= true <= k.high for k in found) / len(found)
    assert 0.92 <= covered <= 0.98
    assert math.isnan(agreement.kappa("aaa", "aaa").value)
    with pytest.raises(ValueError, match="same examples"):
        agreement.kappa("ab", "a")


@pytest.mark.parametrize(("classes", "accuracy"), [(2, 0.9), (10, 0.8), (10, 0.97)])
def test_the_ceiling_recovers_the_accuracy_of_two_unsure_raters(classes: int, accuracy: float) -> None:
    first, second = _raters(random.Random(1), 60_000, classes, accuracy)
    same = sum(a == b for a, b in zip(first, second, strict=True))
    assert agreement.ceiling(same, len(first), classes).value == pytest.approx(accuracy, abs=0.01)


def test_the_sign_test_is_the_exact_binomial_one() -> None:
    from scipy.stats import binomtest

    for a, b in [(0, 0), (0, 1), (3, 9), (10, 11), (0, 20)]:
        assert agreement.sign_test(a, b) == pytest.approx(binomtest(a, a + b).pvalue if a + b else 1.0)


def test_classes_are_drawn_in_proportion() -> None:
    assert baseline.shares({"a": 70, "b": 20, "c": 10}, 10) == {"a": 7, "b": 2, "c": 1}
    for total in range(1, 60):
        assert sum(baseline.shares({"a": 31, "b": 7, "c": 22}, total).values()) == total
    assert baseline.keys_of(["0", "1", "7"]) == {"0": "0", "1": "1", "7": "7"}
    assert baseline.keys_of(["cat", "dog"]) == {"cat": "1", "dog": "2"}
    assert baseline.keys_of([str(i) for i in range(100)]) == {}


# ---- selections


def test_a_selection_comes_back_from_its_address() -> None:
    from urllib.parse import parse_qs

    made = Selection("loss > 2", "é & ü", {"loss": (0.5, 2.0), "label": ("3", "it's")}, "odd", "loss", True)
    assert Selection.of({k: v[0] for k, v in parse_qs(made.query()).items()}) == made
    assert Selection.of({}).query() == ""


def test_chips_take_one_condition_away_each() -> None:
    made = Selection("a > 1 and (b or c) and d in [1, 2]", "x", {"loss": (0.0, 1.0)})
    chips = list(made.chips())
    assert [c.text for c in chips] == ["a > 1", "(b or c)", "d in [1, 2]", "search: x", "0 ≤ loss ≤ 1"]
    assert chips[0].without.where == "(b or c) and d in [1, 2]"
    assert chips[1].without.where == "a > 1 and d in [1, 2]"
    assert [c.text for c in Selection("a or b").chips()] == ["a or b"]
    assert condition("mean radius", (1.0, 2.0)) == "1.0 <= column('mean radius') <= 2.0"


@pytest.mark.parametrize(
    "text", ["[1]", '{"a": 3}', '{"a": [1]}', '{"a": ["NaN", 1]}', '{"a": [NaN, 1]}', "{" * 9000, "null", "%"]
)
def test_a_brush_that_no_page_writes_is_refused(text: str) -> None:
    with pytest.raises(WrongUse, match="brushes"):
        Selection.of({"brush": text})


# ---- who may see it


PATHS = (
    ["/", "/runs", "/t/digits", "/assets/page.css"]
    + [
        f"/t/digits/{p}"
        for p in ("examples", "rows", "state", "cross", "export", "confusion", "example/0", "neighbours/0", "tags")
    ]
    + ["/t/digits/duplicates", "/t/digits/pair?a=0&b=600", "/t/digits/human", "/t/digits/strip"]
)


@pytest.mark.parametrize("path", PATHS)
def test_every_page_wants_the_token_and_forbids_everything_foreign(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert " style=" not in answer.text  # the policy would drop it
    assert not re.search(r"\son[a-z]+=", answer.text) or path.startswith("/assets")
    client.cookies.clear()
    for cookie in ("", "trainrecipe=wrong", "trainrecipe=", "trainrecipe=secre"):
        refused = client.get(path, headers={"cookie": cookie})
        assert refused.status_code == 403
        assert "digits" not in refused.text


def test_the_token_becomes_a_cookie_and_leaves_the_address(client: TestClient) -> None:
    client.cookies.clear()
    assert client.get("/?token=guess").status_code == 403
    answer = client.get("/t/digits?token=secret&where=loss")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/t/digits?where=loss"
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    assert client.get("http://localhost:8000//evil.example/?token=secret").headers["location"] == "/evil.example/"


def test_other_hosts_origins_and_sites_are_refused(client: TestClient) -> None:
    for host in ("evil.example", "localhost.evil.example:8000", "127.0.0.1.evil.example", ""):
        assert client.get("/runs", headers={"host": host}).status_code == 421
    for host in ("localhost:1", "127.0.0.1:99", "[::1]:8000"):
        assert client.get("/runs", headers={"host": host}).status_code == 200
    assert client.get("/runs", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/runs", headers={"origin": "http://localhost:9999"}).status_code == 403
    assert client.get("/runs", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status_code == 403
    for headers in ({}, {"origin": "null"}, {"origin": "http://localhost:9999"}):
        assert client.post("/t/digits/mark/1", data={"tag": "x"}, headers=headers).status_code == 403
    assert "<" not in client.get("/t/digits/tags").text.split("Nothing is tagged yet")[0][-9:-3]  # nothing was written


def test_bodies_are_bounded(client: TestClient) -> None:
    large = b"note=" + b"x" * guard.LARGEST_BODY
    assert client.post("/t/digits/mark/1", content=large, headers=OWN).status_code == 413
    assert client.post("/t/digits/mark/1", content=iter([large[:40_000]] * 3), headers=OWN).status_code == 413


@pytest.mark.parametrize(
    "path",
    [
        "/assets/..%2fapp.py",
        "/assets/%2e%2e/app.py",
        "/t/..%2f..%2f..%2fetc/rows",
        "/t/%2e%2e",
        "/runs/..%2f..%2f..%2fetc%2fpasswd/report",
        "/runs/%2e%2e/report",
        "/t/digits/example/900",
        "/t/digits/pair?a=0&b=../1",
        "/t/digits/human/..%2f..",
    ],
)
def test_no_path_leads_out(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404)
    assert "import " not in answer.text
    assert "root:" not in answer.text


def test_a_report_is_shut_in_a_sandbox(client: TestClient, project: Path) -> None:
    run = Project(project).journal.runs()[-1].run
    answer = client.get(f"/runs/{run}/report")
    assert "Report of the scan" in answer.text
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts allow-popups; default-src 'none'")
    assert "Test examples that were trained on" in client.get(f"/runs/{run}").text


def test_hostile_text_is_only_text(client: TestClient) -> None:
    for path in (
        "",
        "/examples",
        "/state?where=label=='<script>alert(1)</script>'",
        "/example/0",
        "/example/1",
        "/confusion",
        "/human",
    ):
        html = client.get(f"/t/hostile{path}").text
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert "\u202e" not in html
        assert "\x1b" not in html
        assert "x" * 5_000 not in re.sub(r'href="[^"]*"', "", html)
    rows = client.get("/t/hostile/rows").json()["rows"]
    assert rows[0]["label"] == "<script>alert(1)</script><img src=x onerror=alert(2)> \ufffdgnp.exe \ufffd[31m"
    assert rows[1]["label"].endswith("(10,000 characters)")
    assert "<b>" not in client.get("/t/digits/example/7").text.split("OSError")[1][:60]


# ---- what it answers


def test_rows_are_those_of_the_expression_in_its_order(client: TestClient) -> None:
    answer = client.get("/t/digits/rows", params={"where": "label == '3' and loss > 0.1", "sort": "loss", "desc": "1"}).json()
    assert answer["total"] == len(answer["rows"]) > 3
    assert {r["label"] for r in answer["rows"]} == {"3"}
    losses = [float(r["sorted"].split()[1]) for r in answer["rows"]]
    assert losses == sorted(losses, reverse=True)
    brushed = client.get("/t/digits/rows", params={"brush": json.dumps({"label": ["3"], "loss": [0.1, 99]})}).json()
    assert brushed["total"] == answer["total"]


def test_a_histogram_ignores_its_own_brush_and_heeds_the_others(client: TestClient) -> None:
    params = {"columns": "label,loss", "brush": json.dumps({"label": ["3", "8"]})}
    found = client.get("/t/digits/cross", params=params).json()["columns"]
    assert sum(v["n"] for v in found["label"]["values"]) == 900
    chosen = client.get("/t/digits/rows", params={"where": "label in ['3', '8']"}).json()["total"]
    assert sum(found["loss"]["counts"]) == chosen


@pytest.mark.parametrize(("chosen", "where"), [(["True"], "faint"), (["False"], "not faint"), (["True", "False"], "row >= 0")])
def test_flags_are_chosen_like_other_values(client: TestClient, chosen: list[str], where: str) -> None:
    params = {"brush": json.dumps({"faint": chosen}), "columns": "faint,split"}
    assert client.get("/t/digits/rows", params=params).json()["total"] == _count(client, where)
    found = client.get("/t/digits/cross", params=params).json()["columns"]
    assert {v["value"] for v in found["faint"]["values"]} == {"True", "False"}
    assert sum(v["n"] for v in found["split"]["values"]) == _count(client, where)


BAD = ["los > 2", "loss >", "__import__('os')", "loss > 2) or (1", "(" * 3000, "\x00", "label = '3'"]


@pytest.mark.parametrize("where", BAD, ids=range(len(BAD)))
def test_a_bad_expression_is_said_and_nothing_breaks(client: TestClient, where: str) -> None:
    answer = client.get("/t/digits/rows", params={"where": where}, headers={"accept": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert client.get("/t/digits/confusion", params={"where": where}).status_code == 400


def test_an_empty_selection_tells_how_to_widen_it(client: TestClient) -> None:
    html = client.get("/t/digits/state", params={"where": "label == '3' and loss > 99"}).text
    assert "No example matches" in html
    three = client.get("/t/digits/rows", params={"where": "label == '3'"}).json()["total"]
    assert re.search(rf">{three}</a> without <code>loss &gt; 99</code>", html)


def test_cells_of_the_confusion_lead_to_their_examples(client: TestClient) -> None:
    html = client.get("/t/digits/confusion").text
    found = re.findall(r'<a href="(/t/digits/examples\?[^"]+)" aria-label="(\d+) examples labelled', html)
    assert len(found) > 10
    for address, n in found[:12]:
        answer = client.get(address.replace("/examples", "/rows").replace("&amp;", "&")).json()
        assert answer["total"] == int(n)


def test_the_colours_of_a_cell_are_those_that_the_scan_kept(client: TestClient) -> None:
    answer = client.get("/t/digits/picture/5")
    assert answer.content.startswith(b"\x89PNG")
    assert answer.headers["content-type"] == "image/png"
    assert client.get("/t/digits/picture/7").status_code == 404  # it could not be read


def test_a_scan_that_is_built_anew_is_noticed(client: TestClient, project: Path) -> None:
    first = client.get("/t/wine/rows").json()
    time.sleep(0.01)
    Store.open(project / ".trainrecipe" / "data" / "wine").build()
    second = client.get("/t/wine/rows").json()
    assert first["version"] != second["version"]
    assert first["rows"] == second["rows"]


def test_marks_are_kept_and_tags_are_selections(client: TestClient) -> None:
    for row in (5, 640):
        assert client.post(f"/t/digits/mark/{row}", data={"tag": "<odd>"}, headers=OWN).status_code == 200
    client.post("/t/digits/mark/5", data={"note": "a\nnote", "judgement": ""}, headers=OWN)
    html = client.post("/t/digits/mark/5", data={"judgement": "yes"}, headers=OWN).text
    assert ">a\nnote</textarea>" in html
    assert "&lt;odd&gt;" in html
    assert [r["row"] for r in client.get("/t/digits/rows", params={"tag": "<odd>"}).json()["rows"]] == [5, 640]
    client.post("/t/digits/mark/5", data={"untag": "<odd>"}, headers=OWN)
    assert [r["row"] for r in client.get("/t/digits/rows", params={"tag": "<odd>"}).json()["rows"]] == [640]


def test_without_any_table_the_page_teaches(tmp_path: Path) -> None:
    with TestClient(application(Project(tmp_path), "secret"), base_url="http://localhost") as client:
        client.cookies.set("trainrecipe", "secret")
        assert "recipe data train.py" in client.get("/").text
        assert "recipe check train.py" in client.get("/runs").text
        assert client.get("/t/digits").status_code == 404


def test_an_empty_table_has_pages_too(tmp_path: Path) -> None:
    manifest = Manifest("nothing", {"kind": "script", "target": "train.py"}, finished=True)
    Store.create(tables.folder_of(tmp_path, "nothing"), manifest).build()
    with TestClient(application(Project(tmp_path), "secret"), base_url="http://localhost") as client:
        client.cookies.set("trainrecipe", "secret")
        asked = "/examples /rows /state /cross /export /confusion /tags /duplicates /human /strip"
        for path in ("", *asked.split(" ")):
            assert client.get(f"/t/nothing{path}").status_code == 200, path
        assert "The table is empty" in client.get("/t/nothing/state").text
        assert client.get("/t/nothing/example/0").status_code == 404


def test_the_command_serves_on_this_machine_what_its_address_opens(project: Path) -> None:
    command = [sys.executable, "-m", "trainrecipe", "view", "--no-open", "digits"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stdout is not None
            address = serving.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[\w-]{32}", address)
            with httpx.Client(follow_redirects=True) as client:
                assert client.get(address.partition("?")[0]).status_code == 403
                assert "900 examples" in client.get(address).text
        finally:
            serving.terminate()
    wrong = subprocess.run([*command[:-1], "digit"], cwd=project, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "did you mean 'digits'?" in wrong.stderr


def test_every_kind_of_part_is_drawn(client: TestClient) -> None:
    html = client.get("/t/scenes/example/0").text
    box = re.search(r'<rect class="box" x="([\d.]+)" y="([\d.]+)" width="12" height="12">', html)
    assert box
    assert html.count("data:image/png;base64,") >= 3  # the image beneath the box, the mask, the slice of the tensor
    assert "4 × 4" in html
    assert re.search(r"<b>labels</b> \w+,\w+", html)
    assert client.get("/t/scenes/rows").json()["rows"][0]["kept"] is True
    assert client.get("/t/scenes/picture/0").status_code == 200
    assert "3 × 32 × 32 · uint8 · 20 to 210" in html
    assert "<polyline" in client.get("/t/series/example/1").text
    assert client.get("/t/wine/example/1").text.count("<dt>alcohol</dt>") == 2  # among the features and the columns
    assert '<span class="token">' in client.get("/t/texts/example/1").text


def test_a_pair_shows_where_it_differs(client: TestClient) -> None:
    assert "identical in every pixel" in client.get("/t/digits/pair?a=0&b=600").text
    assert re.search(r"mean [\d.]+, at most \d+ of 255", client.get("/t/digits/pair?a=0&b=1").text)


# ---- the human baseline


def _begin(client: TestClient, **fields: Any) -> str:
    answer = client.post("/t/named/human", data={"split": "train", "number": "20", **fields}, headers=OWN)
    assert answer.status_code == 303
    return str(answer.headers["location"])


def _answer(client: TestClient, address: str, at: int, answer: str, **more: str) -> Any:
    fields = {"at": str(at), "answer": answer, "seconds": "1.5", **more}
    return client.post(f"{address.partition('?')[0]}/answer", data=fields, headers=OWN)


def test_no_answer_of_the_server_tells_a_label_before_the_end(client: TestClient) -> None:
    address = _begin(client)
    shell = client.get(address).text
    assert sorted(CLASSES) == re.findall(r'data-answer="(\w+)"', shell)  # one list for all examples, in its own order
    for at in range(20):
        shown = client.get(f"{address}/next", headers={"accept": "application/json"})
        assert not re.search("|".join(CLASSES), shown.text)
        assert "train " not in shown.text
        assert set(shown.json()) == {"done", "total", "html"}
        assert "data:image/png" in shown.json()["html"]
        refused = client.get(f"{address}/result")
        assert refused.status_code == 400
        assert not re.search("|".join(CLASSES), refused.text)
        assert _answer(client, address, at, CLASSES[at % 10]).json() == {"finished": at == 19}


def test_the_result_is_that_of_the_answers_and_goes_to_the_journal(client: TestClient, project: Path) -> None:
    shown = Project(project)
    address = _begin(client, person="ada")
    marks, table = shown.marks("named"), shown.table("named")
    session = address.rpartition("/")[2].partition("?")[0]
    for again in (False, True):
        run = baseline.Pass.of(marks, session, "ada", again)
        rows = table.rows_of(run.keys)
        for at, key in enumerate(run.keys):
            true = table.row(rows[key])["label"]
            given = CLASSES[(CLASSES.index(true) + 1) % 10] if at < (2 if again else 4) else true
            twice = [_answer(client, address, at, given, person="ada", again="1" if again else "") for _ in range(2)]
            assert twice[0].status_code == 200  # pressed twice: the second is about an example that is answered already
        assert len(run.answers(marks)) == 20
    html = client.get(f"/t/named/human/{session}/result?person=ada").text
    assert "80.0 %" in html
    assert "κ" in html
    assert "Noise ceiling" in html
    assert "The model, on the same" in html
    record = shown.journal.record("last")
    assert record.passed[0].check == "human-baseline"
    assert record.passed[0].evidence["human"][3:] == [18, 20]
    assert baseline.Pass.of(marks, session, "ada", True).keys != baseline.Pass.of(marks, session, "ada", False).keys
    shown.close()


def test_undo_takes_the_last_answer_back_until_the_result_was_shown(client: TestClient) -> None:
    address = _begin(client, number="2")
    undo = f"{address}/undo"
    _answer(client, address, 0, "tern")
    client.post(undo, data={}, headers=OWN)
    assert client.get(f"{address}/next").json()["done"] == 0
    assert _answer(client, address, 0, "no such class").status_code == 400
    for at in range(2):
        _answer(client, address, at, "tern")
    client.post(undo, data={}, headers=OWN)
    assert client.get(f"{address}/next").json()["done"] == 2


# ---- colours


def _ratio(a: str, b: str) -> float:
    def light(colour: str) -> float:
        values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_has_the_contrast_that_wcag_asks_for_in_light_and_dark() -> None:
    css = (Path(guard.__file__).parent / "assets" / "page.css").read_text()
    for scheme in re.findall(r":root \{(.*?)\}", css, re.S):
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", scheme))
        for ink in ("ink", "soft", "error", "warning", "note"):
            for ground in ("paper", "card", "wash", "mat"):
                least = 4.5 if (ink, ground) not in {("warning", "mat"), ("note", "mat"), ("error", "mat")} else 3
                assert _ratio(colours[ink], colours[ground]) >= least, (ink, ground)
        assert _ratio(colours["on"], colours["note"]) >= 4.5
        assert _ratio(colours["edge"], colours["card"]) >= 3  # edges of fields


# ---- in a browser


@pytest.fixture(scope="module")
def address(project: Path) -> Iterator[str]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed, so nothing was tried in a browser")
    pytest.importorskip("playwright", reason="Playwright is not installed, so nothing was tried in a browser")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = application(Project(project), "secret")
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed, so nothing was tried in a browser")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed, so nothing was tried in a browser")
    with api.sync_playwright() as playing:
        started = playing.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """A browser's window of which every complaint and every request is written down."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1280, "height": 720}, **options)
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.address = address
        self.page = self.tab()
        self.page.goto(f"{address}/?token=secret")

    def tab(self) -> Any:
        page = self.context.new_page()
        page.set_default_timeout(8000)
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))
        page.on("dialog", lambda d: self.complaints.append(f"dialog {d.message}"))
        page.on("request", lambda r: None if r.url.startswith((self.address, "data:")) else self.foreign.append(r.url))
        return page

    def go(self, path: str, page: Any = None) -> Any:
        page = page or self.page
        page.goto(self.address + path)
        if "/examples" in path:
            page.wait_for_selector("html[data-ready]")
        return page


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    made = Watched(browser, address)
    yield made
    made.context.close()
    assert made.complaints == []
    assert made.foreign == []


def _says(page: Any, selector: str, text: str) -> None:
    """Wait for a text. Not `wait_for_function`: it evaluates text, which the page's policy forbids."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(text, timeout=8000)


def _total(page: Any, count: int) -> None:
    _says(page, "#state .total", f"{count:,}")


def _count(client: TestClient, where: str, table: str = "digits") -> int:
    return int(client.get(f"/t/{table}/rows", params={"where": where}).json()["total"])


def test_first_glance_and_one_click_to_what_stands_out(watched: Watched) -> None:
    page = watched.go("/t/digits")
    assert page.inner_text("h1") == "900 examples"
    assert page.locator(".bars rect").count() == 20
    assert page.locator(".strip li").count() == 12
    assert page.locator(".strip img").first.evaluate("i => i.naturalWidth") == 8
    card = page.locator(".card", has_text="Labels that look wrong")
    assert "Not seen by it" in card.inner_text()
    card.get_by_role("link").click()
    page.wait_for_selector("html[data-ready]")
    _total(page, 2)
    assert page.locator(".cell").count() == 2
    page.go_back()
    page.get_by_role("button", name="Others").click()
    page.wait_for_selector("[hx-get$='seed=2']")


def test_filter_sort_open_come_back_and_reload(watched: Watched, client: TestClient) -> None:
    page = watched.go("/t/digits/examples")
    _total(page, 900)
    page.keyboard.press("/")
    page.keyboard.type("label in ['3', '8'] and loss > 0.2")
    page.keyboard.press("Enter")
    wanted = _count(client, "label in ['3', '8'] and loss > 0.2")
    _total(page, wanted)
    page.keyboard.press("Escape")
    page.select_option("#sort", "loss")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.wait_for_url("**desc=1**")
    top = client.get("/t/digits/rows", params={"where": "label in ['3', '8']", "sort": "loss", "desc": "1"}).json()["rows"]
    page.wait_for_selector(f"#at-0[data-row='{top[0]['row']}']")
    page.locator("#scroller").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/example/{top[2]['row']}?**")
    assert f"3 of {wanted}" in page.inner_text(".steps")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/example/{top[1]['row']}?**")
    page.wait_for_selector(".near img")
    page.keyboard.press("Escape")
    page.wait_for_url("**/examples?**")
    _total(page, wanted)
    assert page.locator(".cell.active").get_attribute("data-row") == str(top[1]["row"])
    page.reload()
    _total(page, wanted)
    assert page.input_value("#where") == "label in ['3', '8'] and loss > 0.2"
    page.locator("#state .chip").first.click()
    _total(page, _count(client, "loss > 0.2"))
    page.go_back()
    _total(page, wanted)


def test_brushing_links_all_views(watched: Watched, client: TestClient) -> None:
    page = watched.go("/t/digits/examples")
    _total(page, 900)
    drawn = page.locator(".histogram[data-name=image_mean] svg")
    drawn.scroll_into_view_if_needed()
    box = drawn.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    page.mouse.down()
    for share in (0.4, 0.5, 0.6):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + 20)
        page.wait_for_timeout(60)  # so that answers come while the button is held
    page.mouse.up()
    page.wait_for_url("**brush=**")
    page.wait_for_selector("#state .chip")
    brush = page.evaluate("JSON.parse(new URLSearchParams(location.search).get('brush')).image_mean")
    few = _count(client, f"{brush[0]!r} <= image_mean <= {brush[1]!r}")
    _total(page, few)
    assert 100 < few < 880
    page.get_by_role("button", name=re.compile("^4 ")).first.click()
    wanted = _count(client, f"{brush[0]!r} <= image_mean <= {brush[1]!r} and label == '4'")
    _total(page, wanted)
    page.go_back()
    _total(page, few)
    lowest = page.get_by_label("lowest image_mean")
    lowest.fill("0")
    lowest.press("Enter")
    _total(page, _count(client, f"0 <= image_mean <= {brush[1]!r}"))
    page.locator("#scroller").focus()
    page.keyboard.press("x")
    _total(page, 900)


def test_only_what_is_visible_is_in_the_document(watched: Watched) -> None:
    page = watched.go("/t/digits/examples?sort=loss")
    _total(page, 900)
    page.locator("#scroller").focus()
    page.keyboard.press("End")
    page.wait_for_selector("#at-899[data-row] canvas")
    assert page.locator(".cell").count() < 100
    page.keyboard.press("v")
    page.wait_for_selector("#heading:not([hidden])")
    page.locator("#heading button", has_text="confidence").click()
    page.wait_for_url("**sort=confidence**")
    page.wait_for_selector("#heading [aria-sort=ascending]")
    values = page.eval_on_selector_all(
        ".cell.line-of", "cells => cells.slice(0, 9).map(c => Number(c.children[5].textContent))"
    )
    assert values == sorted(values)


def test_a_bad_expression_keeps_the_last_good_selection(watched: Watched, client: TestClient) -> None:
    page = watched.go("/t/digits/examples?where=label%3D%3D'3'")
    wanted = _count(client, "label == '3'")
    _total(page, wanted)
    page.fill("#where", "labl == '3'")
    page.press("#where", "Enter")
    page.wait_for_selector("#problem:not([hidden])")
    assert "did you mean 'label'?" in page.inner_text("#problem")
    assert page.locator(".cell").count() > 5
    _total(page, wanted)
    assert "labl" not in page.url
    watched.complaints = [c for c in watched.complaints if "400" not in c]  # what the browser says of an answer 400


def test_keys_tag_judge_and_explain_themselves(watched: Watched, client: TestClient) -> None:
    page = watched.go("/t/digits/examples")
    _total(page, 900)
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#keys:not([open])", state="attached")
    page.keyboard.press("ArrowDown")
    row = page.locator(".cell.active").get_attribute("data-row")
    page.keyboard.press("t")
    page.keyboard.type("blurred")
    page.keyboard.press("Enter")
    _says(page, "#said", "blurred")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/example/{row}**")
    page.wait_for_selector("#marks .chip")
    page.keyboard.press("2")
    page.wait_for_selector(".judge [aria-pressed=true]")
    page.keyboard.press("n")
    page.keyboard.type("looks like a 1")
    page.get_by_role("button", name="Keep the note").click()
    page.wait_for_load_state("networkidle")
    assert page.input_value("#note") == "looks like a 1"
    watched.go("/t/digits/tags").get_by_role("link", name="blurred").click()
    page.wait_for_selector("html[data-ready]")
    _total(page, 1)


def test_two_tabs_do_not_disturb_each_other(watched: Watched, client: TestClient) -> None:
    first, second = watched.page, watched.tab()
    watched.go("/t/digits/examples?where=label%3D%3D'3'", first)
    watched.go("/t/digits/examples?where=label%3D%3D'8'", second)
    second.keyboard.press("t")
    second.keyboard.type("two")
    second.keyboard.press("Enter")
    _says(second, "#said", "two")
    _total(first, _count(client, "label == '3'"))
    _total(second, _count(client, "label == '8'"))
    watched.go("/t/digits/examples?tag=two", first)
    _total(first, 1)


def test_a_person_answers_with_keys_pauses_and_resumes(watched: Watched) -> None:
    page = watched.go("/t/digits/human")
    page.fill("#number", "4")
    page.get_by_role("button", name="Begin").click()
    page.wait_for_selector("#asked-example img")
    page.keyboard.press("7")
    _says(page, "#progress-text", "2 of 4")
    page.keyboard.press("Backspace")
    _says(page, "#progress-text", "1 of 4")
    page.keyboard.press("7")
    _says(page, "#progress-text", "2 of 4")
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Go on").is_visible()
    assert not page.locator("#asked-example").is_visible()
    page.keyboard.press("3")  # the example cannot be seen, so this is no answer
    page.keyboard.press("Escape")
    page.wait_for_url("**/human")
    page.get_by_role("link", name="resume").first.click()
    _says(page, "#progress-text", "2 of 4")
    for n in (2, 3, 4):
        _says(page, "#progress-text", f"{n} of 4")
        page.keyboard.press("1")
    page.wait_for_url("**/result**")
    assert "Answered as labelled" in page.inner_text(".figures")
    page.get_by_role("link", name="Blind second pass").click()
    page.wait_for_selector("#asked-example img")


def test_hostile_strings_are_shown_as_text(watched: Watched) -> None:
    page = watched.go("/t/hostile/examples")
    _total(page, 120)
    assert page.locator("#at-0 b").inner_text().startswith("<script>alert(1)</script>")
    page.locator(".histogram[data-name=label] button", has_text="<script>").click()
    _total(page, 1)
    assert "<script>alert(1)" in page.inner_text("#state .chip")
    page.keyboard.press("Escape")
    page.locator("#scroller").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/example/0**")
    assert page.inner_text(".label").startswith("<script>alert(1)")


def test_a_table_that_is_built_anew_is_announced(watched: Watched, project: Path) -> None:
    page = watched.go("/t/texts/examples")
    _total(page, 240)
    Store.open(project / ".trainrecipe" / "data" / "texts").build()
    page.fill("#search", "shouting")
    page.press("#search", "Enter")
    page.wait_for_selector("#rebuilt:not([hidden])")


def test_every_control_has_a_name(watched: Watched) -> None:
    script = """() => [...document.querySelectorAll('button, a[href], input, select, textarea, [role=img], img')]
      .filter(e => e.type !== 'hidden' && e.checkVisibility())
      .filter(e => !(e.textContent.trim() || e.getAttribute('aria-label') || e.title || e.hasAttribute('alt')))
      .filter(e => !e.labels?.length)
      .map(e => e.outerHTML.slice(0, 120))"""
    digits = [f"/t/digits{p}" for p in ("", "/examples", "/example/12?at=12", "/confusion", "/duplicates", "/human")]
    for path in (*digits, "/runs"):
        page = watched.go(path)
        assert page.evaluate(script) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


@pytest.mark.skipif("TRAINRECIPE_PICTURES" not in os.environ, reason="pictures for the docs are drawn on demand")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_for_the_docs(browser: Any, address: str, scheme: str) -> None:
    shown = Watched(browser, address, color_scheme=scheme)
    brush = '{"image_mean":[4.2,5.4]}'
    paths = {
        "overview": "/t/digits",
        "examples": f"/t/digits/examples?where=label in ['3','8']&brush={brush}&sort=loss&desc=1",
        "example": "/t/digits/example/13?at=13",
        "confusion": "/t/digits/confusion",
        "pair": "/t/digits/pair?a=0&b=1",
        "human": "/t/digits/human",
    }
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        page = shown.go(path)
        page.wait_for_load_state("networkidle")
        page.screenshot(path=str(PICTURES / f"page-{name}-{scheme}.png"))
    shown.context.close()
