"""How fast the page answers: first paint and every interaction, in the server and in a browser, on a made-up table.

    python benchmarks/page.py --rows 1000000        # writes benchmarks/page.md and prints it
    python benchmarks/page.py --rows 100000 --no-browser --print

Times of the server are those of a request over a loopback connection, as the browser sees it, in milliseconds: the first one
(nothing of this question is cached), then the median and the 95 % quantile of others of its kind with other values. The
columns on CPU count what the server itself computed; they are what remains comparable where other programs run beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import httpx  # noqa: E402
import tables  # noqa: E402

COLUMNS = "split,label,loss,confidence,stat_0,stat_1"
BUDGETS = {"filtered, sorted page": 50, "one histogram": 30, "six histograms under a brush": 80, "first paint": 500}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

SERVER = """
import sys, uvicorn, socket
from pathlib import Path
from trainrecipe.view.page.app import application
from trainrecipe.view.page.project import Project
listening = socket.socket(fileno=int(sys.argv[2]))
app = application(Project(Path(sys.argv[1])), "secret")
uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])
"""


def asked(chooser: random.Random) -> dict[str, Callable[[], tuple[str, dict[str, Any]]]]:
    """Each kind of request with other values every time, so that no answer is taken from a cache of whole answers."""

    def where() -> str:
        return f"split == 'train' and loss > {chooser.uniform(0.1, 2):.6f} and not (label in ['3', '{chooser.randrange(99)}'])"

    def brush() -> str:
        low = chooser.uniform(0, 1)
        return json.dumps({"loss": [low, low + 0.8], "stat_0": [-1, chooser.uniform(0, 1)]})

    return {
        "overview": lambda: ("", {}),
        "filtered, sorted page": lambda: ("/rows", {"where": where(), "sort": "stat_2", "desc": "1"}),
        "page in the middle of a sorted selection": lambda: ("/rows", {"sort": "loss", "offset": chooser.randrange(10**5)}),
        "one histogram": lambda: ("/cross", {"columns": "loss", "where": where()}),
        "six histograms under a brush": lambda: ("/cross", {"columns": COLUMNS, "brush": brush()}),
        "six histograms, expression and brush": lambda: ("/cross", {"columns": COLUMNS, "where": where(), "brush": brush()}),
        "count and chips": lambda: ("/state", {"where": where()}),
        "confusion": lambda: ("/confusion", {"where": where()}),
        "one example": lambda: (f"/example/{chooser.randrange(10**4)}", {"at": chooser.randrange(10**4)}),
    }


def served(project: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A server of its own, as `recipe view` starts one."""
    listening = socket.create_server(("127.0.0.1", 0))
    descriptor = listening.fileno()
    os.set_inheritable(descriptor, True)
    command = [sys.executable, "-c", SERVER, str(project), str(descriptor)]
    return subprocess.Popen(command, close_fds=False), f"http://127.0.0.1:{listening.getsockname()[1]}"


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: subprocess.Popen[bytes]) -> float:
    """The most that a process has held, in MB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def times(process: subprocess.Popen[bytes], address: str, repeats: int) -> list[list[str]]:
    """Rows of the table: what was asked, first, median, 95 %, and CPU time each, in milliseconds."""
    rows = []
    with httpx.Client(cookies={"trainrecipe": "secret"}, timeout=120) as client:
        client.get(f"{address}/assets/page.css")  # the server is up
        for name, question in asked(random.Random(0)).items():
            taken, before = [], cpu(process)
            for _ in range(repeats):
                path, params = question()
                start = time.perf_counter()
                answer = client.get(f"{address}/t/large{path}", params=params)
                taken.append(1000 * (time.perf_counter() - start))
                assert answer.status_code == 200, answer.text[-400:]
            own = 1000 * (cpu(process) - before) / repeats
            rest = sorted(taken[1:])
            middle, high = rest[len(rest) // 2], rest[min(int(0.95 * len(rest)), len(rest) - 1)]
            budget = str(BUDGETS.get(name, ""))
            rows.append([name, f"{taken[0]:.0f}", f"{middle:.0f}", f"{high:.0f}", f"{own:.0f}", budget])
    return rows


def browsed(address: str) -> list[list[str]]:
    """Wall time in a browser, until what was asked for is drawn."""
    from playwright.sync_api import expect, sync_playwright

    rows = []
    with sync_playwright() as playing:
        browser = playing.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})

        def timed(name: str, work: Callable[[], Any]) -> None:
            start = time.perf_counter()
            work()
            rows.append([name, f"{1000 * (time.perf_counter() - start):.0f}"])

        def paint(path: str, ready: str) -> None:
            page.goto(address + path, wait_until="commit")
            page.wait_for_selector(ready)

        page.goto(f"{address}/?token=secret")
        timed("overview, until its strip is there", lambda: paint("/t/large", ".strip img"))
        timed("first paint of the examples: grid and histograms", lambda: paint("/t/large/examples", "html[data-ready]"))
        total = page.locator("#state .total")

        def filtered() -> None:
            page.fill("#where", "loss > 1.2345")
            page.press("#where", "Enter")
            expect(page.locator("#state .chip")).to_have_count(1)
            page.wait_for_selector("#scroller:not(.waiting)")

        def ordered() -> None:
            page.select_option("#sort", "stat_3")
            expect(page.locator("#at-0 .name").last).to_contain_text("stat_3")

        timed("filter by an expression", filtered)
        timed(
            "sort by a column",
            lambda: (page.select_option("#sort", "stat_3"), page.wait_for_selector("#at-0 .name:last-child")),
        )
        page.locator("#scroller").focus()
        last = int(total.inner_text().replace(",", "")) - 1
        timed("jump to the end", lambda: (page.keyboard.press("End"), page.wait_for_selector(f"#at-{last}[data-row]")))
        rows.append(["cells in the document", str(page.locator(".cell").count())])
        rows.append(["answers per second while a range is dragged", f"{dragged(page):.0f}"])
        browser.close()
    return rows


def dragged(page: Any) -> float:
    """How often the histograms are drawn anew while the pointer moves."""
    drawn = page.locator(".histogram[data-name=confidence] svg")
    drawn.scroll_into_view_if_needed()
    box, answers = drawn.bounding_box(), []
    page.on("response", lambda r: answers.append(r) if "/cross" in r.url else None)
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    start = time.perf_counter()
    for i in range(120):
        page.mouse.move(box["x"] + 20 + i * 1.5, box["y"] + 20)
        page.wait_for_timeout(16)
    seconds = time.perf_counter() - start
    page.mouse.up()
    return len(answers) / seconds


def table(head: list[str], rows: list[list[str]]) -> str:
    """As Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--print", action="store_true", help="write no file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        tables.large(Path(folder), options.rows)
        made = time.perf_counter() - start
        process, address = served(Path(folder))
        try:
            server = times(process, address, options.repeats)
            browser = [] if options.no_browser or CHROMIUM is None else browsed(address)
            held = memory(process)
        finally:
            process.terminate()
            process.wait(20)
    machine = f"{os.cpu_count()} cores at a load of {os.getloadavg()[0]:.1f}"
    text = [
        f"# The page at {options.rows:,} rows x 18 columns",
        f"Milliseconds on {machine}. Built in {made:.0f} s; the server held {held:.0f} MB at most.",
        table(["request", "first", "median", "p95", "CPU", "budget"], server),
    ]
    if browser:
        text += ["In the browser, wall time:", table(["interaction", "ms"], browser)]
    report = "\n\n".join(text) + "\n"
    print(report)
    if not options.print:
        (ROOT / "benchmarks" / "page.md").write_text(report, encoding="utf-8")


if __name__ == "__main__":
    main()
