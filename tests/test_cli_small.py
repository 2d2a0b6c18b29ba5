"""The small commands, as a person starts them: log, show, explain, checks, new check, and wrong use."""

import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from trainrecipe.check import from_folders
from trainrecipe.cli import COMMANDS
from trainrecipe.finding import Evidence, Finding, Place, Ruling, Severity, Verdict
from trainrecipe.journal.store import Journal


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "project").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


@pytest.fixture
def with_check(project):
    """A project with a check of its own, made by the command itself."""
    assert recipe("new", "check", "huge-weights").returncode == 0
    (project / "pyproject.toml").write_text('[tool.trainrecipe]\nchecks = ["recipe_checks"]\n')
    return project


def recipe(*words, **environment):
    command = [sys.executable, "-m", "trainrecipe", *words]
    env = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=env, check=False)


def recorded(script="train.py", title="Softmax before the loss"):
    ruling = Ruling.found(Severity.ERROR, "Applied twice.", expected="logits", observed="probabilities", fix="drop it")
    finding = Finding("softmax-before-loss", title, ruling, Evidence({}, Place(os.path.abspath(script), 3, "loss = f(x)")))
    log = Journal.at().new_run(command="check", script=script)
    log.append("finding", finding=finding.to_json())
    log.append("ended", status="rehearsed", exit_code=1, seconds=2.0)
    return log


def loaded(*words):
    """The modules in memory after a command has run."""
    code = (
        "import sys; from trainrecipe.cli import main\n"
        f"sys.argv = ['recipe', *{list(words)!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('MODULES', *sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split("MODULES ")[1].split())


@pytest.mark.parametrize("words", [("--help",), ("log",), ("show",), ("checks",), ("explain", "huge-weights")])
def test_no_small_command_imports_torch(with_check, words):
    recorded()
    assert not loaded(*words) & {"torch", "numpy"}


def test_help_imports_neither_the_configuration_nor_the_journal(project):
    assert not loaded("--help") & {"pydantic", "sqlite3", "trainrecipe.config", "trainrecipe.journal.store"}


def test_help_lists_every_command_that_exists_and_how_to_begin(project):
    done = recipe("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        if importlib.util.find_spec(f"trainrecipe.cli.{name}"):
            assert f" {name} " in done.stdout
    assert "recipe check train.py" in done.stdout
    assert "Exit codes" in done.stdout


def test_version(project):
    assert recipe("--version").stdout == f"trainrecipe {importlib.metadata.version('trainrecipe')}\n"


def test_log_lists_the_newest_first(project):
    for i in range(3):
        recorded(f"number{i}.py")
    text = recipe("log", "--limit", "2").stdout
    assert text.index("number2.py") < text.index("number1.py")
    assert "number0.py" not in text
    assert "1 older run not shown" in text
    rows = json.loads(recipe("log", "--json").stdout)
    assert [row["script"] for row in rows] == ["number2.py", "number1.py", "number0.py"]
    assert rows[0] | {"run": "", "started": ""} == {
        "run": "",
        "started": "",
        "command": "check",
        "script": "number2.py",
        "status": "rehearsed",
        "errors": 1,
        "warnings": 0,
        "notes": 0,
        "seconds": 2.0,
        "headline": "Softmax before the loss",
    }


@pytest.mark.parametrize("columns", ["60", "80", "100", "140"])
def test_log_shows_run_command_and_counts_in_every_width(project, columns):
    log = recorded("train.py", "A headline that is far too long for any window " * 4)
    text = recipe("log", COLUMNS=columns).stdout
    assert all(part in text for part in (log.run, "check train.py", "rehearsed", "✖1"))
    assert max(map(len, text.splitlines())) <= int(columns)
    assert ("A headline" in text) == (int(columns) >= 96)


def test_log_without_runs_says_how_to_make_one(project):
    done = recipe("log")
    assert (done.returncode, recipe("log", "--json").stdout) == (0, "[]\n")
    assert "recipe check train.py" in done.stdout
    assert list(project.iterdir()) == []


def test_hostile_text_is_printed_as_it_is(project):
    recorded("[red]<b>.py", "\x1b[31m[bold]title")
    for words in (("log",), ("show",)):
        done = recipe(*words)
        assert done.returncode == 0, done.stderr
        assert "[bold]title" in done.stdout
        assert "\x1b" not in done.stdout


def test_an_ascii_terminal_is_no_obstacle(project):
    recorded("größe.py")
    for words in (("log",), ("show",), ("checks",)):
        assert recipe(*words, PYTHONIOENCODING="ascii").stderr == ""


@pytest.mark.parametrize("form", ["terminal", "json", "sarif", "junit"])
def test_show_prints_each_format_and_writes_the_same_to_a_file(project, form):
    recorded()
    shown = recipe("show", "--format", form)
    assert shown.returncode == 0, shown.stderr
    assert "softmax-before-loss" in shown.stdout
    assert recipe("show", "--format", form, "--output", "out").stdout == ""
    written = (project / "out").read_text(encoding="utf-8")
    if form == "terminal":
        assert "softmax-before-loss" in written
    else:
        assert written.rstrip() == shown.stdout.rstrip()


def test_show_takes_a_run_by_its_end(project):
    log = recorded("first.py")
    recorded("second.py")
    assert json.loads(recipe("show", log.run[-4:], "--format", "json").stdout)["script"] == "first.py"
    assert json.loads(recipe("show", "--format", "json").stdout)["script"] == "second.py"


def test_show_open_writes_the_report_that_is_missing(project):
    log = recorded()
    assert recipe("show", "--open", BROWSER="true").returncode == 0
    assert "Softmax before the loss" in log.report.read_text(encoding="utf-8")


def test_a_new_check_is_valid_and_judges_soundly(with_check):
    torch = pytest.importorskip("torch")
    (check,) = from_folders([with_check / "recipe_checks"])
    model = torch.nn.Linear(3, 2)
    evidence = check.measure(SimpleNamespace(model=model))
    assert check.judge(evidence).verdict is Verdict.PASS
    for bad in (1e4, float("nan"), float("inf")):
        with torch.no_grad():
            model.bias[0] = bad
        evidence = check.measure(SimpleNamespace(model=model))
        ruling = check.judge(evidence)
        assert (ruling.verdict, ruling.severity) == (Verdict.FINDING, Severity.WARNING)
        assert "bias" in ruling.observed
        assert check.draw(evidence).kind == "vega-lite"
    assert check.measure(SimpleNamespace(model=torch.nn.ReLU())).missing


def test_a_new_check_passes_the_linter(with_check):
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I,UP,B", "--line-length", "120"]
    done = subprocess.run([*command, "recipe_checks"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_new_check_tells_how_to_register_it_and_then_does_not(project):
    first = recipe("new", "check", "odd_batch")
    assert "[tool.trainrecipe]" in first.stdout
    assert 'checks = ["recipe_checks"]' in first.stdout
    (project / "pyproject.toml").write_text('[tool.trainrecipe]\nchecks = ["recipe_checks"]\n')
    second = recipe("new", "check", "odd-batches")
    assert "[tool.trainrecipe]" not in second.stdout
    assert {c.id for c in from_folders([project / "recipe_checks"])} == {"odd-batch", "odd-batches"}


def test_explain_and_checks_know_a_check_of_ones_own(with_check):
    page = recipe("explain", "huge_weights").stdout
    for part in (
        "No weight of the model is larger than 100.",
        "When it is wrong",
        "S17",
        "# recipe: allow[huge-weights]",
    ):
        assert part in page
    assert "huge-weights" in recipe("checks").stdout
    row = next(c for c in json.loads(recipe("checks", "--json").stdout) if c["id"] == "huge-weights")
    assert (row["subject"], row["price"], row["rows"]) == ("step", "free", ["S17"])


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("explain", "huge-weigth"), ["'huge-weigth'", "huge-weights"]),
        (("explain", "xyzzy"), ["'xyzzy'", "recipe checks"]),
        (("new", "check", "Huge Weights"), ["'Huge Weights'", "lower-case"]),
        (("new", "check", "../escape"), ["'../escape'", "lower-case"]),
        (("new", "check", "lambda"), ["'lambda'", "lower-case"]),
        (("new", "check", "huge-weights"), ["huge_weights.py is there already"]),
        (("new", "check", "other", "--folder", "pyproject.toml"), ["pyproject.toml/other.py", "--folder"]),
        (("show",), ["no run is recorded", "recipe check train.py"]),
        (("show", "--format", "xml"), ["xml", "terminal"]),
        (("log", "--limit", "0"), ["--limit"]),
        (("frobnicate",), ["frobnicate"]),
        (("train.py",), ["'train.py' is no command", "recipe check train.py"]),
    ],
)
def test_wrong_use_exits_with_2_and_names_the_value_and_the_remedy(with_check, words, parts):
    done = recipe(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    text = " ".join(done.stderr.replace("│", " ").split())
    for part in parts:
        assert part in text


def test_an_output_that_cannot_be_written_is_named(project):
    recorded()
    done = recipe("show", "--format", "json", "--output", "no/such/folder.json")
    assert done.returncode == 2
    assert "no/such/folder.json" in done.stderr


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("class Broken(", "SyntaxError"),
        ("from trainrecipe.check import Check\nclass A(Check):\n    '''Only a line.'''\n", "What it checks"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_broken_check_of_ones_own_is_wrong_use(with_check, text, part):
    (with_check / "recipe_checks" / "odd_one.py").write_text(text)
    done = recipe("checks")
    assert done.returncode == 2
    assert part in done.stderr
    assert "odd_one" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_names_no_folder_or_a_wrong_key_is_wrong_use(project):
    (project / "pyproject.toml").write_text('[tool.trainrecipe]\nchecks = ["nowhere"]\n')
    assert "nowhere" in recipe("checks").stderr
    (project / "pyproject.toml").write_text('[tool.trainrecipe]\ncheck = ["x"]\n')
    done = recipe("checks")
    assert done.returncode == 2
    assert "did you mean 'checks'?" in done.stderr
