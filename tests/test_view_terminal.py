import dataclasses
import io
import os

import pytest
import samples
from rich.cells import cell_len
from rich.console import Console

from trainrecipe.finding import Evidence, Place, Ruling, Severity
from trainrecipe.journal.index import Entry
from trainrecipe.view import log, phrases, terminal

HOSTILE = "[/red][bold]x[/bold] [link=http://e.vil]y[/link] :skull: \\[ \x1b[31mred\x1b]8;;http://e.vil\x07 日本語 👩‍🔬 \"' ]"


def printed(record, width=80, **options):
    console = Console(file=io.StringIO(), width=width)
    terminal.show(record, console, **options)
    return console.file.getvalue()


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("verbose", [False, True])
def test_nothing_overflows_and_no_line_ends_in_blanks(tmp_path, width, verbose):
    word = samples.simple(check="c" * 150, title="t" * 200, evidence=Evidence({}, Place("/" + "p" * 200, 7, "s" * 300)))
    record = samples.full(tmp_path)
    record = dataclasses.replace(record, findings=(*record.findings, word), facts={"f" * 90: "v" * 200})
    console = Console(file=io.StringIO(), width=width)
    terminal.show(record, console, report_path=tmp_path / ("d" * 99) / "report.html", verbose=verbose)
    log.show([Entry.of(record)] * 2, console, directory=tmp_path)
    for line in console.file.getvalue().splitlines():
        assert cell_len(line) <= width
        assert line == line.rstrip()


def test_a_finding_tells_all_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = samples.full(tmp_path)
    text = flat(printed(record, 120, report_path=tmp_path / "out" / "report.html"))
    for f in phrases.opened(record):
        for told in (f.title, f.check, f.ruling.says, f.ruling.expected, f.ruling.observed, f.why, f.ruling.fix):
            assert flat(told) in text
        assert not f.place or f"train.py:{f.place.line}" in text
    assert "❱ 24 │ loss = F.cross_entropy(net(x), y) 25 │ loss.backward()" in text
    assert "# recipe: allow[batch-mixing] reason" in text
    assert "The loss stops above its floor loss-floor train.py:25" in text
    assert "no-shuffle train.py:39 the set is stored in random order" in text
    assert "augmented-validation, train-val-shift The script has no validation set" in text
    assert "2 errors, 2 warnings and 1 note found, 1 waived, 10 checks passed and 4 could not be made." in text
    assert phrases.CAUTION in text
    assert "report out/report.html" in text
    assert "recipe explain softmax-before-cross-entropy" in text


def test_of_many_reasons_only_those_that_weigh_are_told_at_first_sight(tmp_path):
    alone = [samples.skipped(f"alone-{i}", f"reason number {i}") for i in range(12)]
    shared = [samples.skipped(f"shared-{i}", "what they share") for i in range(4)]
    looked = dataclasses.replace(samples.skipped("looked", "-"), ruling=Ruling.unsure("it could be chance"))
    record = samples.record(tmp_path, (), passed=(samples.passed("fine", "ok"),), skipped=(*alone, *shared, looked))
    brief, full = (flat(printed(record, 120, verbose=v)) for v in (False, True))
    assert "shared-0, shared-1, shared-2, shared-3 what they share" in brief
    assert "looked it could be chance" in brief
    assert all(f"alone-{i}" in brief and f"reason number {i}" not in brief and f"reason number {i}" in full for i in range(12))


def test_text_of_the_user_is_printed_as_it_is(tmp_path):
    ruling = Ruling.found(Severity.ERROR, HOSTILE, expected=HOSTILE, observed=HOSTILE, fix=HOSTILE, causes=(HOSTILE, HOSTILE))
    bad = samples.simple(check=HOSTILE, title=HOSTILE, ruling=ruling, why=HOSTILE)
    bad = dataclasses.replace(bad, evidence=Evidence({}, Place(HOSTILE, 3, HOSTILE, HOSTILE)), related=(bad,))
    record = samples.record(
        tmp_path,
        (bad, dataclasses.replace(bad, waived=HOSTILE)),
        script=HOSTILE,
        args=(HOSTILE,),
        facts={HOSTILE: HOSTILE},
        messages=((HOSTILE, HOSTILE),),
        passed=(samples.passed(HOSTILE, HOSTILE),),
        skipped=(samples.skipped(HOSTILE, HOSTILE),),
    )
    console = Console(file=io.StringIO(), width=400, force_terminal=True, color_system="truecolor")
    terminal.show(record, console, verbose=True)
    log.show([Entry.of(record)], console, directory=tmp_path)
    text = console.file.getvalue()
    assert "]8;;http://e.vil\x07" not in text.replace("\ufffd]8;;", "")
    assert "\x1b[31mred" not in text
    plain = printed(record, 400, verbose=True)
    assert "\x1b" not in plain
    assert plain.count("[/red][bold]x[/bold] [link=http://e.vil]y[/link] :skull:") > 15


def test_no_color_and_pipes_get_plain_text(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    terminal.show(samples.full(tmp_path), console)
    assert "\x1b[31m" not in console.file.getvalue()
    assert "✖ ERROR" in console.file.getvalue()
    assert "\x1b" not in printed(samples.full(tmp_path))


@pytest.mark.parametrize("status", ["rehearsed", "finished", "failed", "exited", "interrupted", "broken", "running", "killed"])
def test_every_status_has_its_sentence(tmp_path, status):
    record = samples.record(tmp_path, status=status, exit_code=3)
    sentence = phrases.ending(record)
    assert "unknown" not in sentence
    assert sentence in flat(printed(record))
    assert "Nothing was checked" in printed(record)
    others = {phrases.ending(dataclasses.replace(record, status=s)) for s in ("rehearsed", "failed", "broken", "odd")}
    assert len(others) == 4


def test_an_examination_from_python_has_no_command_line(tmp_path):
    record = samples.record(tmp_path, (samples.simple(),), command="examine", script="")
    text = flat(printed(record))
    assert text.startswith("trainrecipe.examine ")
    assert "Examined from Python." in text
    assert phrases.headline(record).endswith(" found")


def test_silence_is_never_approval(tmp_path):
    text = flat(printed(samples.record(tmp_path, passed=(samples.passed("zero-grad", "Fine."),))))
    assert "Nothing found and 1 check passed." in text
    assert phrases.CAUTION in text
    assert "recipe explain" not in text


def test_source_that_changed_since_the_run_is_not_shown(tmp_path):
    path = samples.script(tmp_path)
    finding = samples.simple(evidence=Evidence({}, samples.place(path, "F.cross_entropy")))
    path.write_text("# another\n" + samples.SCRIPT)
    text = printed(samples.record(tmp_path, (finding,)))
    assert "❱ 24 │ loss = F.cross_entropy(net(x), y)" in text
    assert "loss.backward()" not in text


def test_a_place_outside_of_the_folder_stays_absolute(tmp_path, monkeypatch):
    path = samples.script(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    finding = samples.simple(evidence=Evidence({}, samples.place(path, "F.cross_entropy")))
    assert f"{path}:24" in printed(samples.record(tmp_path, (finding,)), 400)
    assert os.getcwd() != str(tmp_path)


def test_the_log_has_a_row_per_run(tmp_path):
    console = Console(file=io.StringIO(), width=120)
    failed = samples.record(tmp_path, run="second", status="failed", seconds=3725)
    log.show([Entry.of(samples.full(tmp_path)), Entry.of(failed)], console, directory=tmp_path)
    first, second = console.file.getvalue().splitlines()[-4:-2]
    assert flat(first).startswith("20251125-154610-check-7f3a check train.py rehearsed ✖2 ▲2 ●1 4.2 s ")
    assert flat(second) == "second check train.py failed – 1 h 02 min"
    empty = Console(file=io.StringIO(), width=80)
    log.show([], empty, directory=tmp_path)
    assert "recipe check train.py" in empty.file.getvalue()
