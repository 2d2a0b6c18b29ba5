"""Waivers in the source: which lines they cover, and which do not count."""

import textwrap

import pytest

from trainrecipe.config import Config
from trainrecipe.finding import Evidence, Finding, Place, Ruling, Severity
from trainrecipe.waivers import complaints, waiver_for, waivers_in


@pytest.fixture
def source(tmp_path):
    def write(text):
        path = tmp_path / "train.py"
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return str(path)

    return write


def finding(check, file=None, line=0):
    ruling = Ruling.found(Severity.ERROR, "says", expected="a", observed="b", fix="c")
    return Finding(check, "title", ruling, Evidence({}, Place(file, line) if file else None))


def silenced(file, check="a"):
    """The lines on which a finding of the check would be silenced."""
    with open(file, encoding="utf-8") as lines:
        numbers = range(1, len(lines.readlines()) + 2)
    return [n for n in numbers if waiver_for(finding(check, file, n), Config()) is not None]


def test_a_comment_covers_its_line_or_the_one_below(source):
    file = source("""
        x = 1  # recipe: allow[a] one
        y = 2
        # recipe: allow[a] two
        z = 3
        w = 4
    """)
    assert silenced(file) == [1, 4]
    assert waiver_for(finding("a", file, 1), Config()) == "one"
    assert waiver_for(finding("a", file, 4), Config()) == "two"
    assert silenced(file, "b") == []


def test_a_comment_covers_the_whole_statement(source):
    file = source("""
        loss = cross_entropy(
            softmax(x),
            y,  # recipe: allow[a] inside
        )
        # recipe: allow[a] above
        loss = cross_entropy(
            x, y)
        for x in xs:  # recipe: allow[a] the head, not the body
            pass
    """)
    assert silenced(file) == [1, 2, 3, 4, 6, 7, 8]


def test_comments_may_stand_on_each_other_but_not_far_away(source):
    file = source("""
        if True:
            # recipe: allow[a] first
            # recipe: allow[b] second
            x = 1
            # recipe: allow[a] far

            y = 1
    """)
    assert silenced(file, "a") == [4, 5]  # line 5 is the lonely comment itself
    assert silenced(file, "b") == [4]


def test_text_in_a_string_is_no_waiver(source):
    file = source('''
        x = "# recipe: allow[a] not a comment"
        """
        # recipe: allow[a] not a comment
        """
        y = 1
    ''')
    assert waivers_in(file) == ()


def test_a_file_waiver_covers_all_lines_and_findings_without_one(source):
    file = source("x = 1\n# recipe: allow-file[a] whole\ny = 2\n")
    assert silenced(file)[:3] == [1, 2, 3]
    assert waiver_for(finding("a"), Config(), script=file) == "whole"
    assert waiver_for(finding("a"), Config()) is None


def test_several_checks_and_decorated_reasons(source):
    file = source("x = f(y)  # noqa: E501 # recipe: allow[a,  b] — see #12: it is meant  # pragma: no cover\n")
    assert silenced(file, "a") == silenced(file, "b") == [1]
    assert waiver_for(finding("b", file, 1), Config()) == "see #12: it is meant"


@pytest.mark.parametrize(
    ("comment", "says"),
    [
        ("# recipe: allow[dead-units]", "gives no reason"),
        ("# recipe: allow[dead-units]  # noqa", "gives no reason"),
        ("# recipe: allow[] because", "names no check"),
        ("# recipe: allow dead-units because", "write # recipe: allow[check-id] reason"),
    ],
)
def test_a_waiver_without_reason_or_form_is_reported_and_does_not_count(source, comment, says):
    file = source(f"x = 1  {comment}\n")
    assert silenced(file, "dead-units") == []
    (message,) = complaints([file], ["dead-units"])
    assert message.startswith(f"{file}:1: this waiver does not count")
    assert says in message


def test_an_unknown_check_is_reported_with_the_nearest(source):
    file = source("x = 1  # recipe: allow[dead-unit, loss-at-init] sparse\n# a recipe: two eggs\n")
    (message,) = complaints([file], ["dead-units", "loss-at-init"])
    assert message == f"{file}:1: there is no check 'dead-unit' to waive; did you mean 'dead-units'?"


def test_the_source_speaks_before_the_configuration(source, tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.trainrecipe.waive]\na = 'configured'\n")
    file = source("x = 1  # recipe: allow[a] written\ny = 2\n")
    config = Config.load(tmp_path)
    assert waiver_for(finding("a", file, 1), config) == "written"
    assert waiver_for(finding("a", file, 2), config) == "configured"


@pytest.mark.parametrize("text", ["x = (  # recipe: allow[a] open\n", "\tx\n  y # recipe: allow[a] z\n", ""])
def test_a_file_that_is_no_program_has_no_waivers(source, text):
    assert waivers_in(source(text)) == ()
    assert waivers_in("/no/such/file.py") == waivers_in("<string>") == waivers_in("") == ()


def test_an_edited_file_is_read_again(source):
    file = source("x = 1\n")
    assert silenced(file) == []
    source("x = 1  # recipe: allow[a] now\n")
    assert silenced(file) == [1]
