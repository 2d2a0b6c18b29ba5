"""Options of pyproject.toml: what is read, from which file, and how a slip is answered."""

import pytest

from trainrecipe.config import Config, ConfigError
from trainrecipe.finding import Place, Severity


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        (tmp_path / "pyproject.toml").write_text(text)
        return Config.load(tmp_path)

    return load_text


def test_every_option_is_read(load, tmp_path):
    config = load("""
        [tool.trainrecipe]
        fail_on = "error"
        disable = ["input-scale"]
        checks = ["mine"]
        scripts = ["train.py -- --name 'a b'", ["-m", "pkg.train"]]
        budget_seconds = 5
        steps = 12
        [tool.trainrecipe.waive]
        loss-at-init = " on purpose "
    """)
    assert config.fail_on is Severity.ERROR
    assert config.disable == ("input-scale",)
    assert config.checks == (tmp_path / "mine",)
    assert config.scripts == (("train.py", "--", "--name", "a b"), ("-m", "pkg.train"))
    assert (config.budget_seconds, config.steps) == (5.0, 12)
    assert config.waiver("loss-at-init", None) == "on purpose"
    assert config.source == tmp_path / "pyproject.toml"


def test_without_a_table_the_defaults_hold(load, tmp_path):
    assert load("[tool.other]\n").source is None
    assert Config.load(tmp_path).fail_on is Severity.WARNING


def test_the_nearest_file_with_a_table_is_taken(load, tmp_path):
    load("[tool.trainrecipe]\nsteps = 7\n")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'without a table'\n")
    assert Config.load(deep).steps == 7
    (deep / "pyproject.toml").write_text("[tool.trainrecipe]\nsteps = 9\n")
    assert Config.load(deep).steps == 9


def test_a_waiver_for_a_file_covers_that_file_alone(load, tmp_path):
    config = load("""
        [[tool.trainrecipe.waive]]
        check = "no-shuffle"
        file = "streams/*.py"
        reason = "in time order"
        [[tool.trainrecipe.waive]]
        check = "dead-units"
        reason = "sparse"
    """)
    inside, outside = (Place(str(tmp_path / name), 1) for name in ("streams/a.py", "train.py"))
    assert config.waiver("no-shuffle", inside) == "in time order"
    assert config.waiver("no-shuffle", outside) is None
    assert config.waiver("no-shuffle", None) is None
    assert config.waiver("dead-units", outside) == config.waiver("dead-units", None) == "sparse"


def test_a_folder_whose_name_looks_like_a_pattern_is_only_a_name(tmp_path):
    folder = tmp_path / "run[1]"
    folder.mkdir()
    text = "[[tool.trainrecipe.waive]]\ncheck='a'\nfile='t.py'\nreason='r'\n"
    (folder / "pyproject.toml").write_text(text)
    assert Config.load(folder).waiver("a", Place(str(folder / "t.py"), 1)) == "r"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("fail-on = 'error'", ["'fail-on'", "did you mean 'fail_on'?"]),
        ("colour = 1", ["'colour'", "known are fail_on, disable"]),
        ("fail_on = 'eror'", ["fail_on = 'eror'", "'error', 'warning' or 'note'", "did you mean 'error'?"]),
        ("steps = 0", ["steps = 0", "greater than 0"]),
        ("budget_seconds = 'long'", ["budget_seconds = 'long'", "number"]),
        ("scripts = ['']", ["scripts.0", "at least 1"]),
        ("waive = {loss-at-init = ' '}", ["waive", "'loss-at-init' needs a reason in words"]),
        ("waive = [{check = 'a'}]", ["waive.0.reason is missing", "check, reason and"]),
        ("waive = [{check = 'a', reason = 'b', files = 'c'}]", ["files", "did you mean 'file'?"]),
        ("source = 'x'", ["source", "fail_on"]),
        ("steps = ", ["not valid TOML", "line 2"]),
    ],
)
def test_a_slip_is_answered_with_the_file_the_key_and_the_remedy(load, tmp_path, text, parts):
    with pytest.raises(ConfigError) as error:
        load(f"[tool.trainrecipe]\n{text}\n")
    for part in [str(tmp_path / "pyproject.toml"), *parts]:
        assert part in str(error.value)


def test_a_broken_file_that_does_not_mention_us_is_passed_over(load):
    assert load("[broken\n") == Config()


def test_unknown_checks_are_reported_with_the_nearest(load):
    config = load("[tool.trainrecipe]\ndisable = ['dead-unit']\nwaive = {xyzzy = 'why', loss-at-init = 'why'}\n")
    dead, xyzzy = config.unknown(["dead-units", "loss-at-init"])
    assert "disable: there is no check 'dead-unit'; did you mean 'dead-units'?" in dead
    assert "waive: there is no check 'xyzzy'; `recipe checks` lists them" in xyzzy
