import dataclasses
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import samples
import vl_convert

from trainrecipe import picture
from trainrecipe.finding import Evidence, Place, Ruling, Severity
from trainrecipe.view import phrases, report

HOSTILE = "</script></style><img src=x onerror=alert(1)><b>&amp; {{ 7*7 }} \"'> <!-- 👩‍🔬 \x00\x1b \u2028 \udc80"
SHOWN = phrases.clean(HOSTILE)
VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Tags with attributes, the text of each script and all other text; refuses tags that are not closed in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.data, self.scripts, self.words, self.open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            kind = self.data if self.tags[-1][1].get("type") == "application/json" else self.scripts
            kind.append(data)
        elif inside != "style":
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def hostile(folder):
    ruling = Ruling.found(Severity.ERROR, HOSTILE, expected=HOSTILE, observed=HOSTILE, fix=HOSTILE, causes=(HOSTILE, HOSTILE))
    chart = picture.lines(HOSTILE, HOSTILE, {HOSTILE: [1.0, 2.0]}, y_title=HOSTILE, rules={HOSTILE: 1.5})
    tiles = [{"text": HOSTILE, "caption": HOSTILE}, {"image": HOSTILE, "caption": HOSTILE}, {"values": [HOSTILE]}]
    tiles += [{"image": "https://e.vil/x.png"}, {"image": 'data:image/png;base64,AA" onerror="alert(1)'}]
    bad = dataclasses.replace(
        samples.simple(check=HOSTILE, title=HOSTILE, ruling=ruling, why=HOSTILE, picture=chart),
        evidence=Evidence({HOSTILE: HOSTILE}, Place(f"{folder}/{HOSTILE}", 3, HOSTILE, HOSTILE)),
    )
    grid = picture.grid(HOSTILE, HOSTILE, tiles)
    return samples.record(
        folder,
        (
            dataclasses.replace(bad, related=(bad,)),
            dataclasses.replace(bad, picture=grid),
            dataclasses.replace(bad, waived=HOSTILE),
        ),
        run=HOSTILE,
        command=HOSTILE.replace(" ", ""),
        script=HOSTILE,
        args=(HOSTILE,),
        started=HOSTILE,
        environment={HOSTILE: HOSTILE},
        facts={HOSTILE: HOSTILE},
        messages=((HOSTILE, HOSTILE),),
        passed=(samples.passed(HOSTILE, HOSTILE, chart),),
        skipped=(samples.skipped(HOSTILE, HOSTILE),),
        pictures=(chart, grid),
    )


@pytest.mark.parametrize("fragment", [False, True])
def test_hostile_text_is_shown_and_harmless(tmp_path, fragment):
    page = Page(report.to_html(hostile(tmp_path), fragment=fragment))
    assert page.text.count(" ".join(SHOWN.split())) > 8
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert tag not in ("b",) or fragment or not attributes
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith(("#", "data:,"))
    for spec in page.data:
        assert json.loads(spec)["$schema"].endswith("vega-lite/v6.json")
        assert not [code for code in ("<", "\\u0000", "\\u2028", "\\udc80") if code in spec]


def test_only_our_scripts_may_run(tmp_path):
    ours, theirs = (Page(report.to_html(r)) for r in (samples.full(tmp_path), hostile(tmp_path)))
    assert ours.scripts == theirs.scripts
    policy = next(a["content"] for t, a in theirs.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert policy.count("sha256-") == len(theirs.scripts) == 4
    assert "unsafe-eval" not in policy


def test_the_file_is_written_whole_and_stays_small(tmp_path):
    path = report.write(hostile(tmp_path), tmp_path / "a" / "b" / "report.html")
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 2_000_000
    assert text.count("vegaEmbed=") == 1
    assert "sourceMappingURL" not in text
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


def test_every_word_of_a_finding_is_there(tmp_path):
    record = samples.full(tmp_path)
    page = Page(report.to_html(record))
    for f in phrases.opened(record):
        for told in (f.title, f.check, f.ruling.says, f.ruling.expected, f.ruling.observed, f.why, *f.ruling.causes):
            assert " ".join(told.split()) in page.text
    for f in (*record.passed, *record.skipped):
        assert f.check in page.text
        assert f.ruling.says in page.text
    focus = [a for t, a in page.tags if "focus" in a.get("class", "")]
    assert len(focus) == sum(1 for f in record.findings if f.place and f.waived is None) + 1
    assert "recipe check train.py -- --epochs 3" in page.text
    charts = [
        p for p in (*record.pictures, *(f.picture for f in (*record.findings, *record.passed))) if p and p.kind == "vega-lite"
    ]
    assert len(page.data) == len(charts)


def test_titles_of_faults_are_not_listed_as_passed(tmp_path):
    innocent = dataclasses.replace(samples.passed("zero-grad", "Held."), title="Gradients are never cleared")
    assert "never cleared" not in report.to_html(samples.record(tmp_path, passed=(innocent,)))


def test_links_inside_the_page_lead_somewhere(tmp_path):
    page = Page(report.to_html(samples.full(tmp_path)))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for t, a in page.tags if t == "a"} <= set(ids)


def test_without_charts_no_drawing_scripts_are_included(tmp_path):
    grid = picture.grid("t", "c", [{"text": "x", "caption": "y"}])
    text = report.to_html(samples.record(tmp_path, (samples.simple(picture=grid),)))
    assert len(text) < 60_000
    assert "vega" not in " ".join(Page(text).scripts[:-1])


def test_a_fragment_is_small_and_needs_no_script(tmp_path):
    text = report.to_html(samples.full(tmp_path), fragment=True)
    page = Page(text)
    assert len(text) < 20_000
    assert not {"script", "style", "link", "html"} & {t for t, _ in page.tags}
    assert "Softmax is applied before cross-entropy" in page.text


@pytest.mark.parametrize("status", ["failed", "exited", "interrupted", "broken", "running", "killed", "odd"])
def test_every_status_is_said(tmp_path, status):
    record = samples.record(tmp_path, status=status, exit_code=2)
    page = Page(report.to_html(record))
    assert phrases.ending(record) in page.text
    assert "Nothing was checked" in page.text


@pytest.mark.parametrize("name", list(samples.pictures()))
def test_every_picture_compiles_and_draws(name):
    spec = samples.pictures()[name].content
    assert spec["$schema"].endswith("/v6.json")
    json.dumps(spec, allow_nan=False)
    assert vl_convert.vegalite_to_vega(dict(spec), vl_version="6.4")["marks"]
    svg = vl_convert.vegalite_to_svg({**spec, "width": 300}, vl_version="6.4")
    assert svg.startswith("<svg")
    drawn = len(re.findall(r'aria-roledescription="(?:line mark|bar|point|rect|rule|text mark)', svg))
    assert drawn or name in ("no lines", "bare points")


def test_views_import_no_torch():
    code = "import sys; from trainrecipe.view import junit, report, sarif, terminal;"
    code += "print(sorted({'torch', 'numpy', 'PIL', 'altair'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
